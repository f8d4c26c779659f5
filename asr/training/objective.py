"""What training may add to the CTC loss."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from asr.models.masking import frame_mask


class Mix(NamedTuple):
    """Which utterances of a batch are heard together: each with its ``partner``, (B,) int64, and what share of the sum it is
    itself, (B,) float32; where that is 1 it is heard alone.

    What is heard has two transcripts, and the loss is theirs in the same shares (Meng et al., 2021, "MixSpeech: Data
    augmentation for low-resource automatic speech recognition", arXiv 2102.12664, with their Beta(0.5, 0.5)).
    """

    partner: Tensor
    share: Tensor

    @classmethod
    def draw(cls, part: float, size: int, generator: torch.Generator) -> Mix:
        """``part`` of the utterances, each with any other one of the batch."""
        draws = torch.rand(3, size, generator=generator)
        step = 1 + (draws[0] * (size - 1)).long()  # of one utterance alone the partner is itself, which changes nothing
        share = torch.sin(0.5 * math.pi * draws[1]).square()  # the arcsine distribution is Beta(0.5, 0.5)
        return cls((torch.arange(size) + step) % size, torch.where(draws[2] < part, share, 1.0))

    def heard(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, T, F), zeros after ``lengths`` (B,) int64 -> those that are heard, and their lengths: the longer's."""
        share = self.share.to(features)[:, None, None]
        longer = torch.where(self.share.to(features.device) < 1, lengths.maximum(lengths[self.partner]), lengths)
        return share * features + (1 - share) * features[self.partner], longer


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
