"""Greedy (best-path) decoding."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Hypothesis:
    """A decoded utterance. The three lists run alongside each other, one entry a token."""

    tokens: list[int]
    score: float
    """Log-probability of the path of frames."""
    frames: list[int]
    """The first output frame of each token."""
    ends: list[int]
    """One past the last output frame of each token's run."""
    confidence: list[float]
    """The mean posterior of each token over its frames."""


def greedy(log_probs: Tensor, lengths: Tensor, blank: int = 0) -> list[Hypothesis]:
    """The most probable token of every frame, with repeats merged and blanks removed (Graves et al., 2006, 3.2).

    log_probs (B, T, V) float, lengths (B,) int64; frames at and after a length are ignored. One Hypothesis an utterance.
    """
    best, ids = log_probs.max(dim=-1)  # (B, T, V) -> (B, T) each
    best, ids, sizes = best.detach().float().cpu(), ids.cpu(), lengths.tolist()
    found = []
    for row, size in enumerate(sizes):
        path, scores = ids[row, :size], best[row, :size]
        values, counts = torch.unique_consecutive(path, return_counts=True)
        stops = counts.cumsum(0)
        starts = stops - counts
        sums = torch.cat([scores.new_zeros(1), scores.exp().double().cumsum(0)])
        kept = values != blank
        means = (sums[stops] - sums[starts]) / counts
        found.append(Hypothesis(values[kept].tolist(), float(scores.double().sum()), starts[kept].tolist(),
                                stops[kept].tolist(), means[kept].tolist()))
    return found
