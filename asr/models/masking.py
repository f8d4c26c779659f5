"""Lengths and masks: the one place that says which frames of a padded batch are real."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_mask(lengths: Tensor, size: int) -> Tensor:
    """Boolean (B, size), true at the frames before each length; lengths (B,) int64."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def conv_output_lengths(lengths: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Frames that a convolution makes of ``lengths`` frames, as integers; an empty input stays empty.

    The formula is that of ``torch.nn.Conv2d`` with dilation 1, in whole numbers: fractions of a padded length lose
    frames to rounding.
    """
    made = torch.div(lengths + 2 * padding - kernel, stride, rounding_mode="floor") + 1
    return torch.where(lengths > 0, made.clamp(min=0), torch.zeros_like(lengths))
