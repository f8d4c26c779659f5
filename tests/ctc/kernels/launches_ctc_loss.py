"""The launches of the CTC loss that tests compile: shapes of the benchmark's table, every mode, one warp and many."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from asr.ctc.kernels.ctc_loss.launch import ctc_gradient, ctc_losses, ctc_losses_and_gradient_

FLOAT, HALF = torch.float32, torch.bfloat16
ALSO_SM80 = ("V1000 L100", "V1000 L100 overwrite bfloat16", "V32 L20", "V1000 L1000")


def launches() -> Iterator[tuple[str, Callable[[], object]]]:
    yield "V1000 L100", lambda: loss(1000, 100, FLOAT)
    yield "V1000 L100 bfloat16", lambda: loss(1000, 100, HALF)
    yield "V1000 L100 no gradient", lambda: loss(1000, 100, FLOAT, keep=False)
    yield "V1000 L100 overwrite", lambda: overwrite(1000, 100, FLOAT)
    yield "V1000 L100 overwrite bfloat16", lambda: overwrite(1000, 100, HALF)
    yield "V5000 L200", lambda: loss(5000, 200, FLOAT)
    yield "V32 L20", lambda: loss(32, 20, FLOAT)
    yield "V33 L20 transposed", lambda: loss(33, 20, FLOAT, transposed=True)
    yield "V32 L20 concatenated", lambda: loss(32, 20, FLOAT, concatenated=True)
    yield "V1000 L1000", lambda: loss(1000, 1000, FLOAT)
    yield "V1000 L4000", lambda: loss(1000, 4000, FLOAT)


def batch(vocabulary, labels, dtype):
    return (torch.zeros(2, 2, vocabulary, dtype=dtype), torch.ones(2, labels, dtype=torch.int64), torch.tensor([2, 1]),
            torch.tensor([labels, 1]))


def loss(vocabulary, labels, dtype, keep=True, concatenated=False, transposed=False):
    logits, targets, frames, sizes = batch(vocabulary, labels, dtype)
    if concatenated:
        targets = torch.ones(labels + 1, dtype=torch.int32)
    if transposed:
        logits = logits.permute(2, 0, 1).contiguous().permute(1, 2, 0)  # (T, B, V) -> (V, T, B) in memory -> (T, B, V)
    found = ctc_losses(logits, targets, frames, sizes, 0, labels, keep, True)
    if keep:
        ctc_gradient(torch.ones(2), logits, *found, 0)


def overwrite(vocabulary, labels, dtype):
    logits, *rest = batch(vocabulary, labels, dtype)
    ctc_losses_and_gradient_(logits, torch.ones(2), *rest, 0, labels, True)
