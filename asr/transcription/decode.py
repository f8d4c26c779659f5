"""Decoding of a data directory into a decode folder."""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from asr.corpus import DataDir, Utterance
from asr.errors import AsrError, AudioError, DataError, UsageError
from asr.system import environment, write_text
from asr.transcription.batches import batches_by_length
from asr.transcription.inputs import ArchivedInputs, AudioInputs, Inputs, log_probs, stats_by_speaker
from asr.transcription.recognizer import Recognizer
from asr.transcription.result import Result
from asr.transcription.writers import Place, ctm, kaldi_text, nbest_jsonl

logger = logging.getLogger("asr")
METHODS = ("greedy",)
Batches = list[list[Utterance]]
Watch = Callable[[Batches], Iterable[list[Utterance]]]


@dataclass(frozen=True)
class DecodeReport:
    """What a decode did: results by utterance id, reasons of those without one, and how long it took."""

    results: dict[str, Result]
    failed: dict[str, str]
    too_short: list[str]
    """Decoded as empty: their audio is shorter than one window of the front-end."""
    audio_seconds: float
    wall_seconds: float

    @property
    def real_time_factor(self) -> float | None:
        """Wall seconds for a second of audio; None where there was no audio."""
        return self.wall_seconds / self.audio_seconds if self.audio_seconds else None


def decode_dir(model: str | Path | Recognizer, data: DataDir, out: str | Path, method: str = "greedy",
               batch_seconds: float = 120.0, device: str = "auto", archived: bool = False, nbest: int = 0,
               watch: Watch = iter) -> DecodeReport:
    """Decode every utterance of ``data`` and write the decode folder ``out``.

    ``model``: a model file, loaded onto ``device``, or a Recognizer, which stays where it is. ``batch_seconds``: padded
    audio seconds in a batch; memory and speed depend on it, the transcripts do not. ``archived``: read the features
    that ``asr features`` wrote (feats.scp) in place of the audio; they must have the model's own configuration.
    A model with speaker CMVN takes its statistics from cmvn.scp, else from all of a speaker's utterances in ``data``.
    ``watch`` is given the list of batches and yields them on, to show how far the work is.

    Written: ``text`` and ``words.ctm``, ``nbest.jsonl`` with at most ``nbest`` transcripts where that is not 0, and last
    ``decode.json``: its presence says that the folder is complete. An utterance whose audio or features cannot be read
    is named on the log and in ``decode.json`` and is in none of the others; the caller sees it in ``report.failed``.

    Raises UsageError, ModelError, and DataError for feature archives that do not fit, before any work.
    """
    if method not in METHODS:
        raise UsageError(f"--method {method}: choose from {', '.join(METHODS)}")
    if not batch_seconds > 0:
        raise UsageError(f"--batch-seconds {batch_seconds:g}: must be above zero")
    if nbest < 0 or (nbest > 1 and method == "greedy"):
        raise UsageError(f"--nbest {nbest}: greedy decoding finds one transcript; ask for 0 or 1")
    recognizer = model if isinstance(model, Recognizer) else Recognizer.load(model, device)
    inputs = ArchivedInputs(recognizer.model, data) if archived else AudioInputs(recognizer.model, data)
    out = Path(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot make the decode folder: {error.strerror}") from None
    report = _decode(recognizer, data, inputs, batch_seconds, watch)
    settings = {"method": method, "batch_seconds": batch_seconds, "device": str(recognizer.model.device),
                "archived": archived, "nbest": nbest}
    files = {"text": kaldi_text(report.results),
             "words.ctm": ctm(report.results, {utterance.id: _place(data, utterance) for utterance in data.utterances})}
    if nbest:
        files["nbest.jsonl"] = nbest_jsonl(report.results, nbest)
    files["decode.json"] = _summary(recognizer, data, report, settings)
    _write_folder(out, files)
    return report


def _decode(recognizer: Recognizer, data: DataDir, inputs: Inputs, batch_seconds: float,
            watch: Watch) -> DecodeReport:
    started = time.perf_counter()
    failed: dict[str, str] = {}
    known: list[tuple[Utterance, float]] = []
    for utterance in data.utterances:
        try:
            known.append((utterance, inputs.duration(utterance)))
        except (AudioError, DataError) as error:
            _note_failure(failed, utterance, error)
    batches = [[known[index][0] for index in batch]
               for batch in batches_by_length([duration for _, duration in known], batch_seconds)]
    by_speaker = recognizer.model.config.features.cmvn == "speaker"
    stats = stats_by_speaker(recognizer.model, data, inputs, batches) if by_speaker else {}
    found: dict[str, Result] = {}
    too_short: list[str] = []
    for batch in watch(batches):
        kept, arrays = [], []
        for utterance in batch:
            try:
                arrays.append(inputs.read(utterance))
                kept.append(utterance)
            except (AudioError, DataError) as error:
                _note_failure(failed, utterance, error)
        if not kept:
            continue
        chosen = torch.stack([stats[utterance.speaker] for utterance in kept]) if by_speaker else None
        emissions, frames = log_probs(recognizer.model, inputs, arrays, chosen)
        results = recognizer.results(emissions, frames, list(map(inputs.seconds, kept, arrays)))
        found.update((utterance.id, result) for utterance, result in zip(kept, results))
        too_short += [utterance.id for utterance, count in zip(kept, frames.tolist()) if not count]
    if too_short:
        logger.warning("%d utterance(s) shorter than one window are decoded as empty: %s", len(too_short),
                       ", ".join(sorted(too_short)[:10]) + (" ..." if len(too_short) > 10 else ""))
    return DecodeReport(found, dict(sorted(failed.items())), sorted(too_short),
                        sum(result.duration for result in found.values()), time.perf_counter() - started)


def _note_failure(failed: dict[str, str], utterance: Utterance, error: AsrError) -> None:
    failed[utterance.id] = str(error)
    logger.error("utterance %s: %s", utterance.id, error)


def _place(data: DataDir, utterance: Utterance) -> Place:
    """Recording and channel as `reco2file_and_channel` names them; else the recording's id, and channel A, B ... or 1."""
    named = data.tables.get("reco2file_and_channel", {}).get(utterance.recording, "").split()
    if len(named) == 2:
        return Place(named[0], named[1], utterance.start)
    channel = "1" if utterance.channel is None else chr(ord("A") + utterance.channel)
    return Place(utterance.recording, channel, utterance.start)


def _summary(recognizer: Recognizer, data: DataDir, report: DecodeReport, settings: dict[str, object]) -> str:
    model = recognizer.model
    factor = report.real_time_factor
    content = {"model": {"path": model.path, "fingerprint": model.fingerprint}, "data": str(data.path or ""),
               "settings": settings, "utterances": len(data.utterances), "decoded": len(report.results),
               "failed": report.failed, "too_short": report.too_short,
               "audio_seconds": round(report.audio_seconds, 3), "wall_seconds": round(report.wall_seconds, 3),
               "real_time_factor": None if factor is None else round(factor, 5), "environment": environment()}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _write_folder(out: Path, files: dict[str, str]) -> None:
    """Put the files into ``out`` in their order: all are written and on the disk before the first gets its name.

    An earlier decode's files of this list, and its n-best, go; what others wrote into the folder stays.
    """
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".decode.") as folder:
            for name, content in files.items():
                write_text(Path(folder) / name, content)
            for stale in ("decode.json", "nbest.jsonl"):
                (out / stale).unlink(missing_ok=True)
            for name in files:
                os.replace(Path(folder) / name, out / name)
    except OSError as error:
        raise AsrError(f"{out}: cannot write the decode folder: {error.strerror or error}") from None
