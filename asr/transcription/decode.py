"""Decoding of a data directory into a decode folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from asr.corpus import DataDir
from asr.errors import UsageError
from asr.scoring.files import FILES as SCORE_FILES
from asr.text import Tokenizer
from asr.transcription.decoder import GREEDY, DecoderOptions
from asr.transcription.directory import Heard, Watch, make_folder, open_inputs, place_of, summary, walk, write_folder
from asr.transcription.recognizer import Recognizer
from asr.transcription.result import Result, calibrated
from asr.transcription.tuning import Emitted, Tuned, calibrate, calibration_error, judged, save_tuned, tune, with_tuned
from asr.transcription.tuning import Watch as WatchPoints
from asr.transcription.writers import ctm, kaldi_text, nbest_jsonl

logger = logging.getLogger("asr")


@dataclass(frozen=True)
class DecodeReport:
    """What a decode did: results by utterance id, reasons of those without one, and how long it took."""

    results: dict[str, Result]
    failed: dict[str, str]
    too_short: list[str]
    """Decoded as empty: their audio is shorter than one window of the front-end."""
    audio_seconds: float
    wall_seconds: float
    frames: int
    """Output frames of the network."""
    skipped: int
    """Of them, those that ``blank_skip`` took for certain blanks."""
    tuned: Tuned | None = None

    @property
    def real_time_factor(self) -> float | None:
        """Wall seconds for a second of audio; None where there was no audio."""
        return self.wall_seconds / self.audio_seconds if self.audio_seconds else None


def decode_dir(model: str | Path | Recognizer, data: DataDir, out: str | Path, options: DecoderOptions = GREEDY,
               batch_seconds: float = 120.0, device: str = "auto", archived: bool = False, nbest: int = 0,
               tuned: str | Path | None = None, tuning: bool = False, watch: Watch = iter,
               watch_tuning: WatchPoints = iter) -> DecodeReport:
    """Decode every utterance of ``data`` and write the decode folder ``out``.

    ``model``: a model file, loaded onto ``device``, or a Recognizer, whose model is used where it is. ``batch_seconds``: padded
    audio seconds in a batch; memory and speed depend on it, the transcripts do not. ``archived``: read the features
    that ``asr features`` wrote (feats.scp) in place of the audio; they must have the model's own configuration.
    A model with speaker CMVN takes its statistics from cmvn.scp, else from all of a speaker's utterances in ``data``.
    ``tuned``: a tuned.json, whose weights and calibration take the place of those in ``options``.
    ``tuning``: find both on this data, whose transcripts it needs, and decode with them.
    ``watch`` is given the list of batches and yields them on, to show how far the work is; ``watch_tuning`` the points of a grid.

    Written: ``text`` and ``words.ctm``, ``nbest.jsonl`` with at most ``nbest`` transcripts where that is not 0, tuned.json,
    tuning.tsv and tuning.png where there was tuning, and last ``decode.json``: its presence says that the folder is complete.
    The score of an earlier decode (`asr.scoring.write_scores`) is removed.
    An utterance whose audio or features cannot be read is named on the log and in ``decode.json`` and is in none of the others;
    the caller sees it in ``report.failed``.

    Raises UsageError, ModelError, and DataError for files that do not fit, before any work; DataError where there is nothing to
    tune on.
    """
    if not batch_seconds > 0:
        raise UsageError(f"--batch-seconds {batch_seconds:g}: must be above zero")
    if nbest < 0 or (nbest > 1 and options.method == "greedy"):
        raise UsageError(f"--nbest {nbest}: greedy decoding finds one transcript; ask for 0 or 1")
    if tuning and tuned is not None:
        raise UsageError("--tune finds weights and --tuned gives them: choose one")
    recognizer = model if isinstance(model, Recognizer) else Recognizer.load(model, device)
    references = _references(data, recognizer.model.tokenizer)
    if tuning and len(references) < len(data):
        raise UsageError(f"--tune: {len(data) - len(references)} of {len(data)} utterances have no transcript in {data.path}/text")
    if nbest > 1:
        options = replace(options, nbest=nbest)
    options = with_tuned(options, tuned, recognizer.model)
    recognizer = recognizer.with_options(replace(options, calibration=None))
    inputs = open_inputs(recognizer.model, data, archived)
    out = Path(out)
    make_folder(out, "decode")

    started = time.perf_counter()
    failed: dict[str, str] = {}
    batches: Iterable[Heard] = walk(recognizer.model, data, inputs, data.utterances, batch_seconds, watch, failed)
    found = None
    if tuning:
        batches = [batch.on_cpu() for batch in batches]
        found = tune(recognizer.decoder, [Emitted.of(batch) for batch in batches], references, watch_tuning)
        decoder = recognizer.decoder if found.prior is None else recognizer.decoder.with_prior(found.prior)
        recognizer = recognizer.with_decoder(decoder.reweighted(found.weights))
    report = replace(_decode(recognizer, batches, started, failed), tuned=found)
    calibration, confidence = options.calibration, {}
    if tuning:
        calibration, confidence = calibrate(report.results, references)
    elif calibration is not None:
        confidence = calibration_error(*judged(report.results, references), calibration)
    if calibration is not None:
        report = replace(report, results={key: calibrated(result, calibration) for key, result in report.results.items()})

    settings = {**replace(recognizer.decoder.options, calibration=calibration).settings(), "batch_seconds": batch_seconds,
                "device": str(recognizer.model.device), "int8": recognizer.model.int8, "archived": archived, "nbest": nbest,
                "tuned": None if tuned is None else str(tuned)}
    if found is not None:
        save_tuned(out, found, calibration, confidence, settings, recognizer.model, str(data.path or ""))
    _write(out, data, report, nbest, summary(
        recognizer.model, data, settings, {"decoded": len(report.results), "frames": report.frames, "skipped": report.skipped},
        report.failed, {"too_short": report.too_short, "confidence": confidence}, report.audio_seconds, report.wall_seconds))
    return report


def _references(data: DataDir, tokenizer: Tokenizer) -> dict[str, str]:
    """The transcripts there are, as the model writes."""
    return {utterance.id: tokenizer.normalize(utterance.text) for utterance in data.utterances if utterance.text is not None}


def _decode(recognizer: Recognizer, batches: Iterable[Heard], started: float, failed: dict[str, str]) -> DecodeReport:
    found: dict[str, Result] = {}
    too_short: list[str] = []
    frames = skipped = 0
    for utterances, emissions, durations in batches:
        results = recognizer.results(emissions.log_probs, emissions.frames, durations, emissions.features)
        found.update((utterance.id, result) for utterance, result in zip(utterances, results))
        too_short += [utterance.id for utterance, count in zip(utterances, emissions.frames.tolist()) if not count]
        frames += int(emissions.frames.sum())
        skipped += recognizer.decoder.skipped(emissions.log_probs, emissions.frames)
    if too_short:
        logger.warning("%d utterance(s) shorter than one window are decoded as empty: %s", len(too_short),
                       ", ".join(sorted(too_short)[:10]) + (" ..." if len(too_short) > 10 else ""))
    return DecodeReport(found, dict(sorted(failed.items())), sorted(too_short),
                        sum(result.duration for result in found.values()), time.perf_counter() - started, frames, skipped)


def _write(out: Path, data: DataDir, report: DecodeReport, nbest: int, summary: str) -> None:
    files = {"text": kaldi_text(report.results),
             "words.ctm": ctm(report.results, {utterance.id: place_of(data, utterance) for utterance in data.utterances})}
    if nbest:
        files["nbest.jsonl"] = nbest_jsonl(report.results, nbest)
    files["decode.json"] = summary
    write_folder(out, files, [*SCORE_FILES, "nbest.jsonl"], "decode")  # no score outlives its hypotheses
