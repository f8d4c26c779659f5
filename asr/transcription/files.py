"""Transcription of audio files: which ones, in which order, and the name of each output."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.audio import find_audio
from asr.errors import AsrError, AudioError, UsageError
from asr.system import write_text
from asr.transcription.batches import batches_by_length
from asr.transcription.recognizer import Recognizer
from asr.transcription.result import Result
from asr.transcription.writers import FORMATS

GROUP = 64  # files read and batched together: enough to find mates of equal length, few enough to hold in memory


@dataclass(frozen=True)
class Transcript:
    """What became of a file: its result, or why there is none."""

    path: Path
    result: Result | None
    error: str | None = None


def find_inputs(inputs: Sequence[str | Path], recursive: bool = False) -> dict[Path, Path]:
    """The audio files among files and folders, each with the name of its output, without the format's suffix.

    A name is the file's path below the deepest folder that holds all inputs, with its own suffix kept: of one folder
    the tree, of several their names too. So no two files share an output (``a.wav`` and ``a.mp3``, ``x/a.wav`` and
    ``y/a.wav``). A file met twice is transcribed once. Raises UsageError for an input that is absent or has no audio.
    """
    roots = []
    found: dict[str, Path] = {}
    for source in map(Path, inputs):
        if not source.exists():
            raise UsageError(f"{source}: no such file or folder")
        paths = find_audio([source], recursive)
        if not paths:
            cure = "" if recursive else "; --recursive looks in folders below"
            raise UsageError(f"{source}: no audio files in it{cure}")
        roots.append(os.path.abspath(source if source.is_dir() else source.parent))
        for path in paths:
            found.setdefault(os.path.abspath(path), path)
    if not roots:
        raise UsageError("nothing to transcribe: name files or folders")
    base = os.path.commonpath(roots)
    return {path: Path(os.path.relpath(absolute, base)) for absolute, path in found.items()}


def transcribe_files(recognizer: Recognizer, paths: Iterable[str | Path], batch_seconds: float = 120.0,
                     channel: int | None = None) -> Iterator[Transcript]:
    """Transcribe files and yield a Transcript of each, in their order; a file that cannot be read has an error.

    Files are batched by length within groups of a few dozen, so results come early and memory stays bounded.
    """
    if not batch_seconds > 0:
        raise UsageError(f"batch_seconds must be above zero, not {batch_seconds:g}")
    ordered = [Path(path) for path in paths]
    for start in range(0, len(ordered), GROUP):
        yield from _transcribe_group(recognizer, ordered[start:start + GROUP], batch_seconds, channel)


def write_transcript(transcript: Transcript, out: str | Path, name: str | Path, formats: Sequence[str]) -> None:
    """Write ``out/name.txt``, ``out/name.json`` ..., each whole or not at all."""
    if transcript.result is None:
        raise ValueError(f"{transcript.path}: has no result to write")
    for suffix in formats:
        path = Path(out) / f"{name}.{suffix}"
        try:
            write_text(path, FORMATS[suffix](transcript.path, transcript.result))
        except OSError as error:
            raise AsrError(f"{path}: cannot write: {error.strerror or error}") from None


def parse_formats(text: str) -> list[str]:
    """``txt,json`` as a list without repeats; raises UsageError for a format that is not known."""
    formats = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise UsageError(f"--format {text}: " + (f"unknown format {', '.join(unknown)}; " if unknown else "")
                         + f"choose from {', '.join(FORMATS)}")
    return formats


def _transcribe_group(recognizer: Recognizer, paths: list[Path], batch_seconds: float,
                      channel: int | None) -> list[Transcript]:
    found: dict[int, Transcript] = {}
    loaded: dict[int, tuple[np.ndarray, float]] = {}
    for index, path in enumerate(paths):
        try:
            loaded[index] = recognizer.read(path, channel)
        except AudioError as error:
            found[index] = Transcript(path, None, str(error))
    keys = list(loaded)
    for batch in batches_by_length([loaded[key][1] for key in keys], batch_seconds):
        chosen = [keys[item] for item in batch]
        results = recognizer.transcribe_batch(*zip(*(loaded[key] for key in chosen)))
        found.update((key, Transcript(paths[key], result)) for key, result in zip(chosen, results))
    return [found[index] for index in range(len(paths))]
