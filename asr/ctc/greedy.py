"""Greedy (best-path) decoding."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from asr.ctc.batch import check_finite, checked_batch
from asr.ctc.hypothesis import Hypothesis


def greedy(log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike, blank: int = 0) -> list[Hypothesis]:
    """The most probable token of every frame, with repeats merged and blanks removed (Graves et al., 2006, 3.2).

    log_probs (B, T, V) float, lengths (B,) integer; frames at and after a length are ignored. One Hypothesis an utterance.

    Raises UsageError for shapes that do not fit, DataError for log-probabilities that are NaN or infinite above.
    """
    values, sizes = checked_batch(log_probs, lengths, blank, "greedy decoding")
    best, ids = (each.cpu().numpy() for each in values.max(dim=-1))  # (B, T, V) -> (B, T) each
    return [_collapse(best[row, :size], ids[row, :size], blank, row) for row, size in enumerate(sizes)]


def _collapse(scores: NDArray[np.floating], path: NDArray[np.int64], blank: int, index: int) -> Hypothesis:
    """The hypothesis of a path of frames (T,) and their log-probabilities (T,)."""
    check_finite(scores, path, index)
    starts = np.flatnonzero(np.append(True, path[1:] != path[:-1])[:len(path)])
    stops = np.append(starts[1:], len(path))[:len(starts)]
    scores = scores.astype(np.float64)
    peaks = np.exp(np.maximum.reduceat(scores, starts)) if len(path) else np.empty(0)
    score, kept = float(scores.sum()), path[starts] != blank
    return Hypothesis(path[starts][kept].tolist(), score, score, 0.0, starts[kept].tolist(), stops[kept].tolist(),
                      peaks[kept].tolist())
