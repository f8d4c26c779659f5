"""Greedy decoding, slow and plain: one frame at a time."""

from __future__ import annotations

from torch import Tensor


def runs(log_probs: Tensor, blank: int) -> tuple[list[list[int]], list[float], float]:
    """[token, first frame, end] of every token heard in (T, V), their highest log-probabilities, and the best path's score."""
    found: list[list[int]] = []
    peaks: list[float] = []
    score, before = 0.0, blank
    for frame, row in enumerate(log_probs):
        token = int(row.argmax())
        if token not in (blank, before):
            found.append([token, frame, frame + 1])
            peaks.append(float(row[token]))
        elif token != blank:
            found[-1][2] = frame + 1
            peaks[-1] = max(peaks[-1], float(row[token]))
        score, before = score + float(row[token]), token
    return found, peaks, score
