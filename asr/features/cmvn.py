"""Cepstral mean and variance normalisation: Kaldi's statistics, and their use on padded batches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from asr.corpus.archive import read_matrix
from asr.errors import DataError

if TYPE_CHECKING:
    from asr.corpus import DataDir, Utterance
    from asr.features.frontend import FrontEnd

VARIANCE_FLOOR = 1e-5  # a bin that never moves (digital silence, a single frame) is left near zero, not blown up


class CmvnStats:
    """Kaldi's accumulator: a (2, F + 1) float64 matrix of sums, the count, sums of squares, and a zero.

    >>> stats = CmvnStats(2)
    >>> stats.add(np.array([[1.0, 2.0], [3.0, 2.0]]))
    >>> stats.count, stats.mean.tolist()
    (2.0, [2.0, 2.0])
    """

    def __init__(self, dim: int) -> None:
        self.matrix = np.zeros((2, dim + 1))

    @classmethod
    def from_matrix(cls, matrix: np.ndarray) -> CmvnStats:
        """From a matrix as Kaldi's ``compute-cmvn-stats`` writes it; raises DataError for another shape or no frames."""
        matrix = np.asarray(matrix, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != 2 or matrix.shape[1] < 2:
            raise DataError("CMVN statistics: expected a matrix of 2 rows and one column more than there are features, "
                            f"got {matrix.shape}")
        if not np.isfinite(matrix).all() or matrix[0, -1] <= 0:
            raise DataError("CMVN statistics: no frames were counted, or a value is not finite; compute them again")
        stats = cls(matrix.shape[1] - 1)
        stats.matrix = matrix.copy()
        return stats

    def to_matrix(self) -> np.ndarray:
        """The (2, F + 1) float64 matrix that Kaldi's tools read."""
        return self.matrix.copy()

    @property
    def dim(self) -> int:
        return self.matrix.shape[1] - 1

    @property
    def count(self) -> float:
        """Frames seen."""
        return float(self.matrix[0, -1])

    def add(self, features: np.ndarray | Tensor) -> None:
        """Count the frames of (T, F)."""
        values = np.asarray(features, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != self.dim:
            raise DataError(f"CMVN statistics of {self.dim} features cannot take an array of shape {values.shape}")
        self.matrix[0, :-1] += values.sum(axis=0)
        self.matrix[0, -1] += len(values)
        self.matrix[1, :-1] += np.square(values).sum(axis=0)

    def merge(self, other: CmvnStats) -> None:
        """Add another accumulator's counts to this one."""
        if other.dim != self.dim:
            raise DataError(f"CMVN statistics of {self.dim} features cannot take those of {other.dim}")
        self.matrix += other.matrix

    @property
    def mean(self) -> np.ndarray:
        """(F,) float64; zero before any frame was seen."""
        return self.matrix[0, :-1] / max(self.count, 1.0)

    def scale(self, variance: bool = True) -> np.ndarray:
        """(F,) float64: one over the standard deviation, or ones when the variance is to stay."""
        if not variance:
            return np.ones(self.dim)
        spread = self.matrix[1, :-1] / max(self.count, 1.0) - np.square(self.mean)
        return 1.0 / np.sqrt(np.maximum(spread, VARIANCE_FLOOR))

    def normalizer(self, variance: bool = True) -> Tensor:
        """(2, F) float32, mean and scale: a row of the ``stats`` that ``FrontEnd`` takes for speaker normalisation."""
        return torch.from_numpy(np.stack([self.mean, self.scale(variance)])).float()


def compute_cmvn(items: Iterable[tuple[str, np.ndarray | Tensor]]) -> dict[str, CmvnStats]:
    """Accumulate (key, features (T, F)) by key, such as a speaker's name; features of no frames count nothing."""
    found: dict[str, CmvnStats] = {}
    for key, features in items:
        found.setdefault(key, CmvnStats(features.shape[1])).add(features)
    return found


def total(stats: Iterable[CmvnStats]) -> CmvnStats:
    """The sum of several accumulators; raises DataError when there is none."""
    merged: CmvnStats | None = None
    for one in stats:
        if merged is None:
            merged = CmvnStats(one.dim)
        merged.merge(one)
    if merged is None:
        raise DataError("CMVN statistics: nothing to add up; no utterance gave features")
    return merged


def normalize_utterances(features: Tensor, frames: Tensor, variance: bool = True) -> Tensor:
    """Each utterance of (B, T, F) by its own mean and standard deviation over its frames (B,); padding becomes zero."""
    valid = (torch.arange(features.shape[1], device=features.device) < frames[:, None]).unsqueeze(2)  # (B, T, 1)
    count = frames.clamp(min=1)[:, None, None]
    # float64 sums: the number of padded frames must not change the rounding of the mean.
    mean = (features.masked_fill(~valid, 0).sum(dim=1, keepdim=True, dtype=torch.float64) / count).float()
    centred = (features - mean).masked_fill(~valid, 0)
    if not variance:
        return centred
    spread = centred.square().sum(dim=1, keepdim=True, dtype=torch.float64) / count
    return centred * spread.clamp(min=VARIANCE_FLOOR).rsqrt().float()


def normalize_by(features: Tensor, frames: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(features - mean) * scale, with (F,) or (B, 1, F) mean and scale; padding becomes zero."""
    normalized = (features - mean).mul_(scale)
    for row, count in zip(normalized, frames.tolist()):
        row[count:] = 0
    return normalized


def speaker_stats(data: DataDir, frontend: FrontEnd, archived: bool = False) -> dict[str, np.ndarray]:
    """Mean and scale of every speaker of a data directory, (2, F) float32 each, from its audio (or, archived, feats.scp).

    For training, so the first utterance that cannot be read ends it. Decoding goes on without such an utterance and may
    take statistics from cmvn.scp: see `asr.transcription.inputs.stats_by_speaker`. Both add up with `compute_cmvn`.
    """
    found = compute_cmvn((utterance.speaker, raw_features(data, utterance, frontend, archived))
                         for utterance in data.utterances)
    return {speaker: stats.normalizer(frontend.config.cmvn_variance).numpy() for speaker, stats in found.items()}


def raw_features(data: DataDir, utterance: Utterance, frontend: FrontEnd, archived: bool = False) -> np.ndarray | Tensor:
    """An utterance's features (T, F) before normalisation, from its audio (or, archived, feats.scp).

    Raises AudioError or DataError where they cannot be read.
    """
    if archived:
        return read_matrix((data.feats or {}).get(utterance.id, ""), f"utterance {utterance.id}", frontend.dim)
    samples = torch.from_numpy(data.audio(utterance, frontend.sample_rate)).unsqueeze(0)
    return frontend.extract(samples, torch.tensor([samples.shape[1]]))[0][0]
