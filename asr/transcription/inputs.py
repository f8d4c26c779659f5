"""What decoding reads of a data directory: audio, or the features that were archived from it."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from torch import Tensor

from asr.corpus import DataDir, Utterance
from asr.corpus.archive import read_matrix
from asr.errors import AudioError, DataError
from asr.features import CmvnStats, compute_cmvn
from asr.features.archive import foreign
from asr.models.storage import SpeechModel
from asr.transcription.recognizer import pad

logger = logging.getLogger("asr")


class Inputs(Protocol):
    """A data directory's utterances as arrays, and the features that the model's front-end makes of them."""

    def duration(self, utterance: Utterance) -> float:
        """Seconds, as cheaply as they can be had; raises AudioError or DataError."""

    def read(self, utterance: Utterance) -> np.ndarray:
        """The utterance's array; raises AudioError or DataError."""

    def seconds(self, utterance: Utterance, array: np.ndarray) -> float:
        """The duration of an utterance whose array has been read."""

    def features(self, arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Arrays -> features (B, T, F) float32 before CMVN, frames (B,) int64, on the model's device."""


class AudioInputs:
    """Waveforms (N,) at the model's rate."""

    def __init__(self, model: SpeechModel, data: DataDir):
        self.model, self.data = model, data

    def duration(self, utterance: Utterance) -> float:
        return self.data.duration(utterance)

    def read(self, utterance: Utterance) -> np.ndarray:
        return self.data.audio(utterance, self.model.config.features.sample_rate)

    def seconds(self, utterance: Utterance, array: np.ndarray) -> float:
        return len(array) / self.model.config.features.sample_rate

    def features(self, arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        return self.model.extract(*pad(arrays))


class ArchivedInputs:
    """Raw features (T, F) from feats.scp, which `asr features` wrote with the model's own configuration.

    Raises DataError where there are no archives, or their configuration is unknown or another.
    """

    def __init__(self, model: SpeechModel, data: DataDir):
        if data.feats is None:
            raise DataError(f"{data.path or 'data'}: there is no feats.scp; write it with `asr features`")
        if faults := foreign(data.feats.values(), model.config.features):
            raise DataError("\n  ".join(faults))
        self.model, self.data, self.feats = model, data, data.feats

    def duration(self, utterance: Utterance) -> float:
        try:
            return self.data.duration(utterance)
        except (AudioError, DataError):  # archives may outlive their audio
            return len(self.read(utterance)) * self.model.frontend.frame_shift

    def read(self, utterance: Utterance) -> np.ndarray:
        features = read_matrix(self.feats.get(utterance.id, ""), f"utterance {utterance.id}", self.model.frontend.dim)
        return features.astype(np.float32, copy=False)

    def seconds(self, utterance: Utterance, array: np.ndarray) -> float:
        return self.duration(utterance)

    def features(self, arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
        features, frames = pad(arrays)
        return features.to(self.model.device), frames.to(self.model.device)


def stats_by_speaker(model: SpeechModel, data: DataDir, inputs: Inputs,
                     batches: Iterable[Sequence[Utterance]]) -> dict[str, Tensor]:
    """Mean and scale (2, F) of each speaker, for a model with speaker CMVN.

    From cmvn.scp, where `asr features` wrote it with the model's configuration; else from all of a speaker's utterances.
    Utterances that cannot be read are passed over here: decoding names them.
    """
    config, dim = model.config.features, model.frontend.dim
    stored = data.cmvn or {}
    if foreign(stored.values(), config):
        logger.warning("%s: cmvn.scp is of other features than the model's: statistics are computed anew", data.path)
        stored = {}
    known = {speaker: CmvnStats.from_matrix(read_matrix(stored[speaker], f"speaker {speaker}", dim + 1))
             if speaker in stored else CmvnStats(dim) for speaker in data.speakers}

    def others() -> Iterator[tuple[str, Tensor]]:
        for utterance in itertools.chain.from_iterable(batches):
            if utterance.speaker not in stored:
                with contextlib.suppress(AudioError, DataError):
                    features, _ = inputs.features([inputs.read(utterance)])
                    yield utterance.speaker, features[0].cpu()

    return {speaker: stats.normalizer(config.cmvn_variance) for speaker, stats in (known | compute_cmvn(others())).items()}
