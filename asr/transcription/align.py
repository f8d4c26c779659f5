"""Alignment of a data directory: when each word and token of its transcripts was said."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from asr.corpus import DataDir, Utterance
from asr.corpus.dataset import labels_needed
from asr.ctc import Hypothesis
from asr.ctc.align import WILDCARD, Alignment, align
from asr.errors import AudioError, DataError, UsageError
from asr.models.storage import SpeechModel, save_model
from asr.models.timing import TimingModel
from asr.models.timing_fit import FEWEST, timing_of
from asr.text import Tokenizer
from asr.transcription.directory import (
    Heard,
    Watch,
    make_folder,
    note_failure,
    open_inputs,
    place_of,
    summary,
    walk,
    write_folder,
)
from asr.transcription.inputs import Inputs
from asr.transcription.recognizer import Recognizer
from asr.transcription.result import Result
from asr.transcription.textgrid import recording_tiers, textgrid
from asr.transcription.writers import ctm

logger = logging.getLogger("asr")
TEXTGRIDS = "textgrid"
"""The folder of the TextGrid files, one a recording."""


@dataclass(frozen=True)
class AlignReport:
    """What an alignment did: results by utterance id, reasons of those without one, and how long it took."""

    results: dict[str, Result]
    failed: dict[str, str]
    times: str
    """Whose they are: the model's timing model, one estimated from the data, or the network's output frames."""
    audio_seconds: float
    wall_seconds: float


@dataclass(frozen=True)
class Target:
    """A transcript as the network writes it."""

    tokens: list[int]
    words: list[tuple[str, int, int]]
    """Each with its first token and one past its last."""

    @classmethod
    def of(cls, text: str, tokenizer: Tokenizer, wildcard: str | None) -> Target:
        """The tokens of a transcript; the word ``wildcard`` in it stands for any speech. Raises DataError."""
        tokens: list[int] = []
        words: list[tuple[str, int, int]] = []
        for part in _parts(text, wildcard):
            before = len(tokens)
            if part == wildcard:
                tokens.append(WILDCARD)
                words.append((part, before, before + 1))
            else:
                ids = tokenizer.encode(part)
                spans = tokenizer.word_spans(ids)
                if tokenizer.alike:  # of words that sound alike, the transcript's
                    spans = [(word, *span[1:]) for word, span in zip(tokenizer.normalize(part).split(), spans, strict=True)]
                words += [(word, before + first, before + past) for word, first, past in spans]
                tokens += ids
        return cls(tokens, words)


def align_dir(model: str | Path | Recognizer, data: DataDir, out: str | Path, batch_seconds: float = 120.0,
              device: str = "auto", archived: bool = False, wildcard: str | None = None, fit: str | Path | None = None,
              watch: Watch = iter) -> AlignReport:
    """Align the transcripts of ``data`` with its audio and write the folder ``out``.

    ``model``, ``batch_seconds``, ``archived`` and ``watch`` are as in `decode_dir`. ``wildcard``: a word that stands, in
    transcripts, for speech that was not written down. ``fit``: estimate the timing model anew, from this data, use it, and
    write the model with it to this path. A model without one is given one that is estimated from this data, if
    at least 20 of its utterances are fit for that.

    Written: ``words.ctm``, ``tokens.ctm``, ``textgrid/RECORDING.TextGrid``, and last ``align.json``: its presence says that the
    folder is complete. Times are seconds from the start of the recording. An utterance that cannot be read or written with
    the model's tokens, whose audio is too short for its text, or that has no text, is named on the log and in
    ``align.json``, and is in none of the others; the caller sees it in ``report.failed``.

    Raises UsageError and ModelError, and DataError for feature archives that do not fit, before any work; and DataError
    where ``fit`` is asked for and the data does not suffice.
    """
    if not batch_seconds > 0:
        raise UsageError(f"--batch-seconds {batch_seconds:g}: must be above zero")
    if wildcard is not None and wildcard.split() != [wildcard]:
        raise UsageError(f"--wildcard {wildcard!r}: must be one word, as it stands in the transcripts")
    recognizer = model if isinstance(model, Recognizer) else Recognizer.load(model, device)
    inputs = open_inputs(recognizer.model, data, archived)
    out = Path(out)
    make_folder(out, "alignment")
    started = time.perf_counter()
    failed: dict[str, str] = {}
    targets = _targets(data, recognizer.model.tokenizer, wildcard, failed)
    timing, whose = _timing(recognizer.model, data, inputs, targets, wildcard, fit)
    recognizer = Recognizer(replace(recognizer.model, timing=timing))
    utterances = [utterance for utterance in data.utterances if utterance.id in targets]
    results: dict[str, Result] = {}
    for heard in walk(recognizer.model, data, inputs, utterances, batch_seconds, watch, failed):
        results.update(_align_batch(recognizer, heard, targets, failed))
    report = AlignReport(results, dict(sorted(failed.items())), whose, sum(result.duration for result in results.values()),
                         time.perf_counter() - started)
    settings = {"batch_seconds": batch_seconds, "device": str(recognizer.model.device), "archived": archived,
                "wildcard": wildcard}
    _write(out, data, report, summary(recognizer.model, data, settings, {"aligned": len(results)}, report.failed,
                                      {"times": whose}, report.audio_seconds, report.wall_seconds))
    return report


def _targets(data: DataDir, tokenizer: Tokenizer, wildcard: str | None, failed: dict[str, str]) -> dict[str, Target]:
    targets = {}
    for utterance in data.utterances:
        try:
            if utterance.text is None:
                raise DataError("has no transcript; add it to `text`")
            targets[utterance.id] = Target.of(utterance.text, tokenizer, wildcard)
        except DataError as error:
            note_failure(failed, utterance, error)
    return targets


def _parts(text: str, wildcard: str | None) -> list[str]:
    """The stretches of text between wildcards, and the wildcards; two of these side by side are one."""
    parts: list[str] = []
    for word in text.split():
        if word == wildcard:
            if parts[-1:] != [word]:
                parts.append(word)
        elif parts and parts[-1] != wildcard:
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return parts


def _timing(model: SpeechModel, data: DataDir, inputs: Inputs, targets: dict[str, Target], wildcard: str | None,
            fit: str | Path | None) -> tuple[TimingModel | None, str]:
    """The timing model to use, and whose it is."""
    if model.timing is not None and fit is None:
        return model.timing, "the model's timing model"
    known = {utterance.id: utterance for utterance in data.utterances if utterance.id in targets}
    texts = {key: model.tokenizer.normalize(utterance.text or "") for key, utterance in known.items()
             if wildcard not in (utterance.text or "").split()}
    durations = {}
    for key in texts:
        try:
            durations[key] = inputs.duration(known[key])
        except (AudioError, DataError):
            continue  # it is named when it is to be aligned
    sounds = {key: model.tokenizer.sounds_of(text) for key, text in texts.items()}
    timing = timing_of(sounds, durations, lambda key: _features(inputs, known[key]), model.config.features.kind)
    if timing is None:
        said = f"fewer than {FEWEST} utterances with text are short enough to estimate a timing model from"
        if fit is not None:
            raise DataError(f"{data.path or 'data'}: {said}; use more data with --fit")
        logger.warning("the model has no timing model, and %s: times are those of the network's output frames, "
                       "which may lie far from the words", said)
        return None, "the network's output frames"
    if fit is not None:
        save_model(fit, model.network, model.frontend, model.config, model.tokenizer, model.notes, timing)
        logger.info("%s: the model with a timing model of %s", fit, data.path or "this data")
    else:
        logger.info("the model has no timing model: it is estimated from this data")
    return timing, "a timing model of this data"


def _features(inputs: Inputs, utterance: Utterance) -> torch.Tensor | None:
    try:
        return inputs.features([inputs.read(utterance)])[0][0].cpu()
    except (AudioError, DataError):
        return None


def _align_batch(recognizer: Recognizer, heard: Heard, targets: dict[str, Target], failed: dict[str, str]) -> dict[str, Result]:
    emissions = heard.emissions
    chosen: list[int] = []
    for row, (utterance, count) in enumerate(zip(heard.utterances, emissions.frames.tolist())):
        tokens = targets[utterance.id].tokens
        if (needed := labels_needed(tokens)) > count:
            note_failure(failed, utterance, f"text longer than the audio allows: its {len(tokens)} labels need {needed} output "
                                            f"frames, its {heard.durations[row]:.2f} s of audio give {count}")
        else:
            chosen.append(row)
    rows = [targets[heard.utterances[row].id].tokens for row in chosen]
    padded = torch.nn.utils.rnn.pad_sequence([torch.tensor(tokens, dtype=torch.int64) for tokens in rows], True) if rows \
        else torch.zeros(0, 0)
    alignments = align(emissions.log_probs[chosen], emissions.frames[chosen], padded, list(map(len, rows)))
    cepstra = recognizer.hear(len(heard.utterances), emissions.features)
    return {heard.utterances[row].id: recognizer.result_of([_spoken(alignment, targets[heard.utterances[row].id].words)],
                                                           heard.durations[row], cepstra[row])
            for row, alignment in zip(chosen, alignments)}


def _spoken(alignment: Alignment, words: Sequence[tuple[str, int, int]]) -> Hypothesis:
    """An alignment as if it had been decoded: what gives words their times takes both."""
    return Hypothesis(alignment.tokens, alignment.score, alignment.score, 0.0, alignment.start, alignment.end,
                      alignment.confidence, list(words))


def _write(out: Path, data: DataDir, report: AlignReport, summary_json: str) -> None:
    places = {utterance.id: place_of(data, utterance) for utterance in data.utterances}
    files = {"words.ctm": ctm(report.results, places), "tokens.ctm": ctm(report.results, places, tokens=True)}
    recordings: dict[str, list[Utterance]] = {}
    for utterance in data.utterances:
        if utterance.id in report.results:
            recordings.setdefault(utterance.recording, []).append(utterance)
    for recording, utterances in recordings.items():
        ends = [utterance.start + report.results[utterance.id].duration for utterance in utterances]
        name = recording.replace("/", "%2F")  # an id may hold what no file name may
        files[f"{TEXTGRIDS}/{name}.TextGrid"] = textgrid(recording_tiers(utterances, report.results), max(ends))
    stale = [f"{TEXTGRIDS}/{path.name}" for path in (out / TEXTGRIDS).glob("*.TextGrid")]  # of recordings there are no more
    write_folder(out, {**files, "align.json": summary_json}, stale, "alignment")
