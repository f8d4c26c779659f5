"""Launches of greedy decoding, for `offline.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from asr.ctc.kernels.greedy.launch import decode


def launches() -> Iterator[tuple[str, Callable[[], object]]]:
    for dtype in (torch.float32, torch.float64):
        for vocabulary in (32, 5000):
            yield f"{vocabulary} tokens {dtype}", lambda v=vocabulary, d=dtype: decode(torch.zeros(2, 40, v, dtype=d),
                                                                                     torch.zeros(2, dtype=torch.int32), 0)
