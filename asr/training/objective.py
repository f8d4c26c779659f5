"""What training may add to the CTC loss."""

from __future__ import annotations

import torch
from torch import Tensor

from asr.models.masking import frame_mask


def disagreement(first: Tensor, second: Tensor, lengths: Tensor) -> Tensor:
    """How far two views of the same utterances are apart: the consistency loss of CR-CTC, (B,) float32.

    Half the sum over an utterance's frames of KL(second || first) + KL(first || second), in nats, where the distribution on the
    left is what the other should come to, and is given no gradient (Yao et al., 2024, "CR-CTC: Consistency regularization on
    CTC for improved speech recognition", arXiv 2410.05101, equation 3).

    ``first``, ``second``: logits (B, T, V); ``lengths`` (B,) int64, frames past them do not count.
    """
    first, second = torch.log_softmax(first.float(), dim=-1), torch.log_softmax(second.float(), dim=-1)
    frames = _divergence(second.detach(), first) + _divergence(first.detach(), second)  # (B, T)
    return 0.5 * frames.masked_fill(~frame_mask(lengths, frames.shape[1]), 0.0).sum(dim=1)


def _divergence(towards: Tensor, from_: Tensor) -> Tensor:
    """KL(towards || from_) of log-probabilities (..., V): (...)."""
    return torch.nn.functional.kl_div(from_, towards, reduction="none", log_target=True).sum(dim=-1)
