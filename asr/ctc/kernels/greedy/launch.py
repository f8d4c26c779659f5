"""Greedy decoding of batches: two launches."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asr.ctc.kernels.common import on_device

WIDEST = 1024  # tokens a program looks at at once
AT_ONCE = 2048  # scores a program looks at at once


class Runs(NamedTuple):
    """What is heard in each utterance; what lies past its count is undefined.

    Attributes:
        runs: (B, 3, T) int32: tokens, their first frames, and one past their last.
        peaks: (B, T) float64 where the scores are, else float32: the highest score of each.
        counts: (B,) int32, tokens heard.
        scores: (B,) float64, the sum of the best path's scores.
    """

    runs: Tensor
    peaks: Tensor
    counts: Tensor
    scores: Tensor


def decode(log_probs: Tensor, lengths: Tensor, blank: int, block: int = 1024) -> Runs:
    """log_probs (B, T, V) of any floating type and strides; lengths (B,) int32 on the same device. Nothing is checked.

    ``block``: frames the second kernel takes at once, a power of two.
    """
    from asr.ctc.kernels.greedy import triton as kernels

    batch, frames, vocabulary = log_probs.shape
    new = log_probs.new_empty
    dtype = torch.float64 if log_probs.dtype == torch.float64 else torch.float32
    ids, best = new((batch, frames), dtype=torch.int32), new((batch, frames), dtype=dtype)
    found = Runs(new((batch, 3, frames), dtype=torch.int32), new((batch, frames), dtype=dtype),
                 new(batch, dtype=torch.int32), new(batch, dtype=torch.float64))
    if not batch:
        return found
    width = min(WIDEST, 1 << (vocabulary - 1).bit_length())
    rows = max(1, AT_ONCE // width) if vocabulary <= WIDEST else 1
    with on_device(log_probs):
        if frames:
            kernels.best_tokens[(batch, -(-frames // rows))](log_probs, *log_probs.stride(), lengths, ids, best, frames, vocabulary,
                                                             ROWS=rows, BLOCK=width, num_warps=4)
        kernels.collapse[(batch,)](ids, best, lengths, *found, frames, blank, BLOCK=block, num_warps=4)
    return found
