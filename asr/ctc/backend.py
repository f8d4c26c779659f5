"""Where alignment and decoding are computed."""

from __future__ import annotations

import torch
from torch import Tensor

from asr.ctc.kernels.common import why_not

BACKENDS = ("auto", "cpu", "triton")


def takes_kernels(backend: str, values: Tensor) -> bool:
    """Whether Triton's kernels compute it: ``auto`` takes them for tensors on a CUDA device that can run them.

    Raises ValueError for a backend that there is not, and for ``triton`` where it cannot run, with the reason.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r}: choose from {', '.join(BACKENDS)}")
    if backend == "cpu" or (backend == "auto" and values.device.type != "cuda"):
        return False
    reason = why_not(values.device)
    if reason and backend == "triton":
        raise ValueError(f"backend 'triton': {reason}")
    return not reason


def int32(values: Tensor | list[int], device: torch.device) -> Tensor:
    """Whole numbers as the kernels take them."""
    return torch.as_tensor(values, dtype=torch.int32).to(device)
