"""Launches of the alignment kernels, for `offline.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from asr.ctc.kernels.align.launch import best_paths, plan


def launches() -> Iterator[tuple[str, Callable[[], object]]]:
    for dtype, labels in ((torch.float32, 10), (torch.float32, 100), (torch.float32, 500), (torch.float64, 100)):
        yield f"{labels} labels {dtype}", lambda labels=labels, dtype=dtype: _align(40, labels, dtype)
    yield "several tiles", lambda: _align(40, 1200, torch.float32)
    yield "several tiles and segments", lambda: _align(400, 1200, torch.float32, plan(400, 1200, 2, whole=0))


def _align(frames, labels, dtype, cut=None):
    ints = torch.zeros(2, dtype=torch.int32)
    best_paths(torch.zeros(2, frames, 32, dtype=dtype), ints, torch.zeros(2, labels, dtype=torch.int32), ints, 0, cut=cut)
