"""The CTC loss on logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ctc_loss(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int = 0,
             reduction: str = "mean", zero_infinity: bool = False, backend: str = "auto") -> Tensor:
    """Connectionist temporal classification (Graves et al., 2006), differentiable with respect to the logits.

    logits (T, B, V) unnormalised, float32, bfloat16 or float16 (computed in float32); targets (B, L) padded, or
    (sum of target_lengths,) concatenated; lengths (B,) integers. ``reduction``: ``none`` (B,), ``sum``, or ``mean``
    (each loss divided by its target length, then the mean over the batch), as in ``torch.nn.functional.ctc_loss``.
    An impossible target (fewer frames than labels plus adjacent repeats) costs infinity, or zero with
    ``zero_infinity``. Backends: ``torch`` runs everywhere; ``auto`` chooses the fastest there is.
    Raises ValueError for an unknown backend.
    """
    if backend not in ("auto", "torch"):
        raise ValueError(f"backend {backend!r}: choose 'auto' or 'torch'")
    with torch.autocast(logits.device.type, enabled=False):
        dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
        log_probs = torch.log_softmax(logits, dim=-1, dtype=dtype)
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)
