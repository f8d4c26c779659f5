"""A batch of log-probabilities as decoders are given it, checked."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from asr.errors import DataError, UsageError


def checked_batch(log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike, blank: int,
                  what: str) -> tuple[Tensor, NDArray[np.int64]]:
    """Log-probabilities (B, T, V) as they are, a tensor on its own device, see `readable`; lengths (B,) on the CPU.

    Raises UsageError, which begins with ``what``, for types and shapes that do not fit, and for a blank that is no token.
    """
    try:
        values = log_probs.detach() if isinstance(log_probs, Tensor) else torch.from_numpy(np.array(log_probs, order="C"))
        sizes = (lengths.detach().cpu() if isinstance(lengths, Tensor) else torch.from_numpy(np.array(lengths))).numpy()
    except (TypeError, ValueError) as error:  # no array of numbers
        raise UsageError(f"{what}: expected log_probs (B, T, V) and whole lengths (B,): {error}") from None
    if values.ndim != 3 or sizes.shape != values.shape[:1] or (len(sizes) and sizes.dtype.kind not in "iu"):
        raise UsageError(f"{what}: expected log_probs (B, T, V) and whole lengths (B,), got {tuple(values.shape)} and "
                         f"{sizes.dtype} {sizes.shape}")
    if not values.is_floating_point():
        raise UsageError(f"{what}: expected log_probs of a floating type, got {values.dtype}")
    if len(sizes) and not 0 <= sizes.min() <= sizes.max() <= values.shape[1]:
        wrong = np.flatnonzero((sizes < 0) | (sizes > values.shape[1]))[0]
        raise UsageError(f"{what}: lengths from {sizes.min()} to {sizes.max()}, but log_probs has {values.shape[1]} frames; the "
                         f"first that does not fit is that of utterance {wrong}")
    if not 0 <= blank < values.shape[2]:
        raise UsageError(f"{what}: the blank is {blank}, but there are {values.shape[2]} tokens")
    return readable(values), sizes.astype(np.int64)


def readable(values: Tensor) -> Tensor:
    """As they are where kernels can read them, which saves a copy on the device; types of eight bits as float32."""
    return values if values.element_size() > 1 else values.float()


def wide(values: Tensor) -> Tensor:
    """As the CPU computes with them, on their own device: float64 as it is, all else float32."""
    return values if values.dtype == torch.float64 else values.float()


def not_finite(best: Tensor, sizes: ArrayLike) -> list[list[int]]:
    """[utterance, frame] of frames whose highest log-probability ``best`` (B, T) is NaN or infinity; minus infinity may be.

    Looked at on the device: of a batch without such frames nothing is copied from it.
    """
    inside = torch.arange(best.shape[1], device=best.device) < torch.as_tensor(sizes).to(best.device)[:, None]
    return torch.nonzero(~(best < torch.inf) & inside).tolist()  # NaN is not below it either


def check_finite(best: Tensor, values: Tensor, sizes: NDArray[np.integer]) -> None:
    """Refuse NaN and infinity, but not minus infinity, among log-probabilities (B, T, V).

    ``best`` (B, T): the highest of each frame. Raises DataError, which names the first that is wrong.
    """
    for index, frame in not_finite(best, sizes):
        row = values[index, frame].double().cpu()
        token = int(torch.nonzero(~(row < torch.inf))[0])
        raise DataError(f"utterance {index} of the batch: its log-probability of token {token} at frame {frame} is "
                        f"{float(row[token])}; the network's output is not finite")
