"""A batch of log-probabilities as decoders are given it, checked."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from asr.errors import DataError, UsageError


def checked_batch(log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike, blank: int,
                  what: str) -> tuple[Tensor, NDArray[np.int64]]:
    """Log-probabilities (B, T, V) as they are, a tensor on its own device, float64 or else float32; lengths (B,) on the CPU.

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
        raise UsageError(f"{what}: lengths from {sizes.min()} to {sizes.max()}, but log_probs has {values.shape[1]} frames")
    if not 0 <= blank < values.shape[2]:
        raise UsageError(f"{what}: the blank is {blank}, but there are {values.shape[2]} tokens")
    return values if values.dtype == torch.float64 else values.float(), sizes.astype(np.int64)


def check_finite(values: NDArray[np.floating], tokens: NDArray[np.integer] | None, index: int) -> None:
    """Refuse NaN and infinity, but not minus infinity, among the log-probabilities of utterance ``index``: (T, V), or (T,) those
    of ``tokens``. Raises DataError."""
    if not (values < np.inf).all():  # NaN is not below it either
        frame, *token = np.argwhere(~(values < np.inf))[0]
        raise DataError(f"utterance {index} of the batch: its log-probability of token {token[0] if token else tokens[frame]} at "
                        f"frame {frame} is {values[(frame, *token)]}; the network's output is not finite")
