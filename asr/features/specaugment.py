"""SpecAugment: masks over time and frequency of normalised features."""

from __future__ import annotations

import torch
from torch import Tensor

from asr.config import SpecAugmentConfig


class SpecAugment:
    """Frequency and time masks (Park et al., 2019, without time warping), filled with zero: the mean after CMVN.

    Each mask has its own width, uniform from 0 to the largest, and its own place. Time masks lie within the frames of
    the utterance and are no wider than ``time_fraction`` of them. Every draw comes from the generator that is passed in.
    """

    def __init__(self, config: SpecAugmentConfig) -> None:
        self.config = config

    def __call__(self, features: Tensor, frames: Tensor, generator: torch.Generator) -> Tensor:
        """(B, T, F) normalised features of (B,) frames -> a masked copy (the input itself when there is nothing to mask)."""
        config = self.config
        time, bins = features.shape[1:]
        masked = None
        if config.time_masks and config.time_width:
            widest = (frames * config.time_fraction).floor().clamp(max=config.time_width)
            masked = _masks(config.time_masks, widest, frames, time, generator).unsqueeze(2)  # (B, T, 1)
        if config.freq_masks and config.freq_width:
            size = torch.full_like(frames, bins)
            widest = size.clamp(max=config.freq_width)
            rows = _masks(config.freq_masks, widest, size, bins, generator).unsqueeze(1)  # (B, 1, F)
            masked = rows if masked is None else masked | rows
        return features if masked is None else features.masked_fill(masked, 0.0)


def _masks(count: int, widest: Tensor, sizes: Tensor, total: int, generator: torch.Generator) -> Tensor:
    """True inside ``count`` intervals of at most ``widest`` (B,) within [0, sizes) for each row: bool (B, total)."""
    draws = torch.rand(2, len(sizes), count, generator=generator, device=generator.device).to(sizes.device)
    widths = (draws[0] * (widest[:, None] + 1)).long().minimum(widest[:, None].long())
    starts = (draws[1] * (sizes[:, None] - widths + 1)).long()
    place = torch.arange(total, device=sizes.device)
    inside = (place >= starts[..., None]) & (place < (starts + widths)[..., None])  # (B, count, total)
    return inside.any(dim=1)

