"""What decoding and alignment of a data directory share: its batches, the places of its utterances, the folder written."""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import torch

from asr.corpus import DataDir, Utterance
from asr.corpus.recombine import Spoken
from asr.errors import AsrError, AudioError, DataError, UsageError
from asr.models.storage import SpeechModel
from asr.scoring.formats import read_ctm
from asr.system import environment, write_text
from asr.transcription.batches import batches_by_length
from asr.transcription.inputs import ArchivedInputs, AudioInputs, Inputs, stats_by_speaker
from asr.transcription.recognizer import Emissions, emissions_of
from asr.transcription.writers import Place, channel_label

logger = logging.getLogger("asr")
Batches = list[list[Utterance]]
Watch = Callable[[Batches], Iterable[list[Utterance]]]


class Heard(NamedTuple):
    """A batch of utterances that could be read, and what the network makes of them."""

    utterances: list[Utterance]
    emissions: Emissions
    durations: list[float]
    """Seconds."""

    def on_cpu(self) -> Heard:
        """A copy to keep, off the device."""
        log_probs, frames, (features, counts) = self.emissions
        return self._replace(emissions=Emissions(log_probs.cpu(), frames.cpu(), (features.cpu(), counts.cpu())))


def open_inputs(model: SpeechModel, data: DataDir, archived: bool) -> Inputs:
    """The audio of the utterances or, archived, their features; raises DataError for archives that do not fit."""
    return ArchivedInputs(model, data) if archived else AudioInputs(model, data)


def walk(model: SpeechModel, data: DataDir, inputs: Inputs, utterances: Iterable[Utterance], batch_seconds: float,
         watch: Watch, failed: dict[str, str]) -> Iterator[Heard]:
    """The utterances through the network, in batches of near-equal length, the longest first.

    One that cannot be read, or of which the network makes numbers that are not finite, is named on the log, and in ``failed``
    with the reason, and passed over. A model with speaker CMVN takes a speaker's statistics from all of ``utterances``, unless
    cmvn.scp has them.
    """
    known: list[tuple[Utterance, float]] = []
    for utterance in utterances:
        try:
            known.append((utterance, inputs.duration(utterance)))
        except (AudioError, DataError) as error:
            note_failure(failed, utterance, error)
    batches = [[known[index][0] for index in batch]
               for batch in batches_by_length([duration for _, duration in known], batch_seconds)]
    by_speaker = model.config.features.cmvn == "speaker"
    stats = stats_by_speaker(model, data, inputs, batches) if by_speaker else {}
    for batch in watch(batches):
        kept, arrays = [], []
        for utterance in batch:
            try:
                arrays.append(inputs.read(utterance))
                kept.append(utterance)
            except (AudioError, DataError) as error:
                note_failure(failed, utterance, error)
        if kept:
            chosen = torch.stack([stats[utterance.speaker] for utterance in kept]) if by_speaker else None
            heard = Heard(kept, emissions_of(model, *inputs.features(arrays), chosen), list(map(inputs.seconds, kept, arrays)))
            if (heard := _finite(heard, failed)).utterances:
                yield heard


def _finite(heard: Heard, failed: dict[str, str]) -> Heard:
    """The batch without the utterances of which the network makes NaN or infinity; they are named as `walk` says."""
    log_probs, frames, features = heard.emissions
    good = [bool(torch.isfinite(row[:count]).all()) for row, count in zip(log_probs, frames.tolist())]
    if all(good):
        return heard
    for utterance, finite in zip(heard.utterances, good):
        if not finite:
            note_failure(failed, utterance, "the network gives numbers that are not finite; train it again")
    rows = torch.tensor(good, device=log_probs.device)
    emissions = Emissions(log_probs[rows], frames[rows], (features[0][rows], features[1][rows]))
    return Heard(list(compress(heard.utterances, good)), emissions, list(compress(heard.durations, good)))


def note_failure(failed: dict[str, str], utterance: Utterance, error: AsrError | str) -> None:
    """Name an utterance that is given up, on the log and in ``failed``."""
    failed[utterance.id] = str(error)
    logger.error("utterance %s: %s", utterance.id, error)


def place_of(data: DataDir, utterance: Utterance) -> Place:
    """Recording and channel as `reco2file_and_channel` names them; else the recording's id, and channel A, B ... or 1."""
    named = data.tables.get("reco2file_and_channel", {}).get(utterance.recording, "").split()
    if len(named) == 2:
        return Place(named[0], named[1], utterance.start)
    return Place(utterance.recording, channel_label(utterance.channel), utterance.start)


def words_of(data: DataDir, ctm: str | Path) -> dict[str, list[Spoken]]:
    """The words that a ctm file (`place_of`) holds of each utterance, by where their middle lies; an utterance without is absent.

    Raises DataError for a file that is no ctm, and for words of a recording that the data do not have.
    """
    timed = read_ctm(ctm)
    found: dict[str, list[Spoken]] = {}
    places = {utterance: place_of(data, utterance) for utterance in data.utterances}
    known = {(place.recording, place.channel) for place in places.values()}
    if foreign := sorted(timed.keys() - known):
        raise DataError(f"{ctm}: {len(foreign)} recordings are not in {data.path or 'the data'} (first: {' '.join(foreign[0])}); "
                        "the alignment must be of the same directory")
    for utterance, place in places.items():
        end = place.start + data.duration(utterance)
        own = [Spoken(word.start - place.start, word.duration, word.word)
               for word in timed.get((place.recording, place.channel), ()) if place.start <= word.start + word.duration / 2 < end]
        if own:
            found[utterance.id] = own
    return found


def summary(model: SpeechModel, data: DataDir, settings: dict[str, object], done: dict[str, int], failed: dict[str, str],
            more: dict[str, object], audio_seconds: float, wall_seconds: float) -> str:
    """decode.json and its like: which model did what to which data, how much of it, in what time, and where."""
    content = {"model": {"path": model.path, "fingerprint": model.fingerprint}, "data": str(data.path or ""),
               "settings": settings, "utterances": len(data.utterances), **done, "failed": failed, **more,
               "audio_seconds": round(audio_seconds, 3), "wall_seconds": round(wall_seconds, 3),
               "real_time_factor": round(wall_seconds / audio_seconds, 5) if audio_seconds else None,
               "environment": environment()}
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def make_folder(out: Path, what: str) -> None:
    """Make the folder ``out``; raises UsageError where that cannot be."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{out}: cannot make the {what} folder: {error.strerror}") from None


def write_folder(out: Path, files: Mapping[str, str], stale: Sequence[str], what: str) -> None:
    """Put the files into ``out`` in their order: all are written and on the disk before the first gets its name.

    An earlier run's files of these names are replaced and the ``stale`` ones go; what others wrote into the folder stays.
    The last file goes first and comes last, so that its presence says that the folder is complete.
    Raises AsrError where the disk is full.
    """
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=f".{what}.") as folder:
            for name, content in files.items():
                write_text(Path(folder) / name, content)
            for name in (*list(files)[-1:], *stale):
                (out / name).unlink(missing_ok=True)
            for name in files:
                (out / name).parent.mkdir(exist_ok=True)
                os.replace(Path(folder) / name, out / name)
    except OSError as error:
        raise AsrError(f"{out}: cannot write the {what} folder: {error.strerror or error}") from None
