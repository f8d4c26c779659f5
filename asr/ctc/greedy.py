"""Greedy (best-path) decoding."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from asr.ctc.hypothesis import Hypothesis


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
        kept = values != blank
        peaks = np.exp(np.maximum.reduceat(scores.double().numpy(), starts.numpy())) if size else np.empty(0)
        score = float(scores.double().sum())
        found.append(Hypothesis(values[kept].tolist(), score, score, 0.0, starts[kept].tolist(), stops[kept].tolist(),
                                peaks[kept.numpy()].tolist()))
    return found
