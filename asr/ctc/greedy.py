"""Greedy (best-path) decoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from asr.ctc.backend import int32, takes_kernels
from asr.ctc.batch import check_finite, checked_batch, wide
from asr.ctc.hypothesis import Hypothesis
from asr.ctc.kernels.greedy.launch import decode


def greedy(log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike, blank: int = 0, backend: str = "auto") -> list[Hypothesis]:
    """The most probable token of every frame, with repeats merged and blanks removed (Graves et al., 2006, 3.2).

    log_probs (B, T, V) float, lengths (B,) integer; frames at and after a length are ignored. One Hypothesis an utterance.
    ``backend``: ``cpu``, ``triton`` (a CUDA device), or ``auto``, which goes where log_probs are. What is found is the same.

    Raises UsageError for shapes that do not fit, DataError for log-probabilities that are NaN or infinite above, ValueError for
    a backend that cannot run here.
    """
    values, sizes = checked_batch(log_probs, lengths, blank, "greedy decoding")
    return _on_device(values, sizes, blank) if takes_kernels(backend, values) else _on_cpu(values, sizes, blank)


def _on_cpu(values: Tensor, sizes: NDArray[np.int64], blank: int) -> list[Hypothesis]:
    best, ids = wide(values).max(dim=-1)  # (B, T, V) -> (B, T) each
    check_finite(best, values, sizes)
    best, ids = best.cpu().numpy(), ids.cpu().numpy()
    return [_collapse(best[row, :size], ids[row, :size], blank) for row, size in enumerate(sizes)]


def _on_device(values: Tensor, sizes: NDArray[np.int64], blank: int) -> list[Hypothesis]:
    found = decode(values, int32(sizes, values.device), blank)
    runs, peaks, counts, scores = (each.cpu().numpy() for each in found)
    if not (scores < np.inf).all():  # a sum with NaN or infinity in it, so the scores need to be read once only
        check_finite(values.amax(dim=-1), values, sizes)
    return [_hypothesis(*runs[row, :, :count], peaks[row, :count], float(scores[row])) for row, count in enumerate(counts)]


def _collapse(scores: NDArray[np.floating], path: NDArray[np.int64], blank: int) -> Hypothesis:
    """The hypothesis of a path of frames (T,) and their log-probabilities (T,)."""
    starts = np.flatnonzero(np.append(True, path[1:] != path[:-1])[:len(path)])
    stops = np.append(starts[1:], len(path))[:len(starts)]
    peaks = np.maximum.reduceat(scores, starts) if len(path) else scores
    kept = path[starts] != blank
    return _hypothesis(path[starts][kept], starts[kept], stops[kept], peaks[kept], float(scores.sum(dtype=np.float64)))


def _hypothesis(tokens: NDArray[np.integer], starts: NDArray[np.integer], ends: NDArray[np.integer], peaks: NDArray[np.floating],
                score: float) -> Hypothesis:
    return Hypothesis(tokens.tolist(), score, score, 0.0, starts.tolist(), ends.tolist(), np.exp(peaks, dtype=np.float64).tolist())
