"""Recordings in which a text is planted, the recogniser that hears it, and jobs over them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from transcription.tiny import RATE, plant, planted_model, spell

from asr import audio
from asr.transcription import Recognizer
from asr.transcription.job import Job, JobReport, settings_of
from asr.transcription.ledger import NAME
from asr.transcription.pipeline import Local
from asr.transcription.sources import find_items

RECOGNIZER = Recognizer(planted_model())


def say(path: Path, text: str) -> Path:
    """A file of this text; its samples are exact in 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, plant(spell(RECOGNIZER.model.tokenizer, text)), RATE)
    return path


def work(out: Path, *inputs: object, formats: Sequence[str] = ("txt",), recognizer: Recognizer = RECOGNIZER, apart: bool = False,
         batch_seconds: float = 2.0, **options: object) -> JobReport:
    """A job over files and folders, in this process, with two workers."""
    job = Job(out, formats, settings_of(recognizer), batch_seconds, **options)
    return job.run(Local(recognizer, 2), find_items([str(each) for each in inputs], recursive=True), apart)


def rows(out: Path, kind: str) -> list[dict]:
    """The rows of the ledger that have this key."""
    return [row for line in (out / NAME).read_text().splitlines() if kind in (row := json.loads(line))]


def outputs(out: Path) -> dict[str, bytes]:
    """All that a job leaves but what may differ from run to run."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*"))
            if path.is_file() and path.name != NAME and not path.name.startswith("transcribe.")}
