"""What the launchers share: where kernels can run, on which device, and checks of targets before any launch."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

IMPOSSIBLE = -(2.0 ** 100)
"""The log-probability of what cannot be, in place of -inf: differences of it are numbers, not NaN. Sums of it are exact
(a power of two swallows what is added to it), and a path through a million such frames still fits in a float32."""


INSTALLED = find_spec("triton") is not None
INTERPRETED = INSTALLED and os.environ.get("TRITON_INTERPRET") == "1"
"""Whether Triton's interpreter runs the kernels, on the CPU; triton looks at the variable when it is imported."""
FAST_LOG2 = not INTERPRETED and torch.version.hip is None
"""Whether kernels may take logarithms by `lg2.approx`, an NVIDIA instruction that the interpreter does not know."""


def why_not(device: torch.device) -> str:
    """Why kernels cannot run on tensors of this device, or nothing where they can."""
    if not INSTALLED:
        return "Triton is not installed (it comes with torch on Linux)"
    if INTERPRETED:
        return ""
    if device.type != "cuda":
        return f"kernels need a CUDA device, the tensors are on {device.type}"
    if not torch.compiler.is_compiling() and _capability(device.index or 0) < (8, 0):
        return f"{torch.cuda.get_device_name(device)} is too old: kernels need compute capability 8.0"
    return ""


def on_device(tensor: Tensor) -> AbstractContextManager[object]:
    """Triton launches on the current device; make that the tensor's."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()


@cache
def _capability(index: int) -> tuple[int, int]:
    return torch.cuda.get_device_capability(index)


# ------------------------------------------------------------------------------------------------------ targets


def check_shapes(scores: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int) -> None:
    """scores (T, B, V), targets (B, L) or (N,), lengths (B,); types and shapes alone, so nothing is copied from a GPU.

    Raises ValueError that names what does not fit.
    """
    if scores.dim() != 3 or not scores.is_floating_point():
        raise ValueError(f"logits must be floating point (T, B, V), not {scores.dtype} {tuple(scores.shape)}")
    batch, vocabulary = scores.shape[1:]
    for name, values in (("targets", targets), ("input_lengths", input_lengths), ("target_lengths", target_lengths)):
        if values.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"{name} must be int32 or int64, not {values.dtype}")
        if name != "targets" and values.shape != (batch,):
            raise ValueError(f"{name} must be ({batch},), one an utterance of logits (T, B, V), not {tuple(values.shape)}")
    if targets.dim() not in (1, 2) or (targets.dim() == 2 and len(targets) != batch):
        raise ValueError(f"targets must be ({batch}, L) padded or (sum of target_lengths,), not {tuple(targets.shape)}")
    if not 0 <= blank < vocabulary:
        raise ValueError(f"blank {blank} is no token: there are {vocabulary}")


def check_values(frames: int, vocabulary: int, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int) -> None:
    """Lengths that fit the tensors and labels that are tokens other than the blank, or ValueError that names the utterance.

    Tensors on a GPU are copied to the host, which waits for the work queued before.
    """
    sizes, counts, labels = (values.cpu().numpy() for values in (input_lengths, target_lengths, targets))
    longest = labels.shape[1] if labels.ndim == 2 else labels.size
    for name, values, limit, of in (("input_lengths", sizes, frames, "frames"), ("target_lengths", counts, longest, "labels")):
        wrong = np.flatnonzero((values < 0) | (values > limit))
        if wrong.size:
            raise ValueError(f"utterance {wrong[0]}: {name} is {values[wrong[0]]}, there are {limit} {of}")
    if labels.ndim == 1 and counts.sum() != labels.size:
        raise ValueError(f"target_lengths add up to {counts.sum()}, the concatenated targets are {labels.size} labels")
    owner, position, found = _owners(labels, counts)
    wrong = np.flatnonzero((found < 0) | (found >= vocabulary) | (found == blank))
    if wrong.size:
        first = wrong[0]
        why = "the blank" if found[first] == blank else f"not a token, they go from 0 to {vocabulary - 1}"
        raise ValueError(f"utterance {owner[first]}: label {found[first]} at position {position[first]} is {why}")


def _owners(labels: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Utterance, position in it, and label of every real label, whether padded or concatenated."""
    owner = np.repeat(np.arange(len(counts)), counts)
    position = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    return owner, position, labels if labels.ndim == 1 else labels[owner, position]
