"""Lengths and masks: the one place that says which frames of a padded batch are real."""

from __future__ import annotations

import torch
from torch import Tensor


def frame_mask(lengths: Tensor, size: int) -> Tensor:
    """Boolean (B, size), true at the frames before each length; lengths (B,) int64."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def unattended(lengths: Tensor, size: int) -> Tensor:
    """Boolean (B, size), true at the frames that attention must not see: those past each length.

    An utterance of no frames attends to its padding, for a softmax over nothing is NaN; whoever asks drops what it says.
    """
    return ~frame_mask(lengths, size) & (lengths > 0).unsqueeze(1)


def conv_output_lengths(lengths: Tensor, kernel: int, stride: int, padding: int) -> Tensor:
    """Frames that a convolution makes of ``lengths`` frames, as integers; an empty input stays empty.

    The formula is that of ``torch.nn.Conv2d`` with dilation 1, in whole numbers: fractions of a padded length lose
    frames to rounding.
    """
    made = torch.div(lengths + 2 * padding - kernel, stride, rounding_mode="floor") + 1
    return torch.where(lengths > 0, made.clamp(min=0), torch.zeros_like(lengths))


def silence_padding(frames: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, ...) with zeros past each length (B,). Not by a product: padding may hold anything, and NaN times zero is NaN."""
    mask = frame_mask(lengths, frames.shape[1]).view(*frames.shape[:2], *[1] * (frames.dim() - 2))
    return torch.where(mask, frames, torch.zeros((), dtype=frames.dtype, device=frames.device))


def masked_mean(frames: Tensor, lengths: Tensor) -> Tensor:
    """(B, T, D), any value at padding, lengths (B,) -> (B, D): the mean of the real frames; zero where there are none."""
    return silence_padding(frames, lengths).sum(dim=1) / lengths.clamp(min=1).unsqueeze(1)


def stack_frames(frames: Tensor, lengths: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(B, T, D) zero at padding, lengths (B,) -> (B, ceil(T / count), count·D), lengths (B,): ``count`` frames joined into one.

    The last of an utterance is filled up with zeros, so there are as many as centred convolutions of the same stride make.
    """
    if count == 1:
        return frames, lengths
    missing = -frames.shape[1] % count
    frames = torch.nn.functional.pad(frames, (0, 0, 0, missing))
    return frames.unflatten(1, (-1, count)).flatten(2), conv_output_lengths(lengths, 1, count, 0)
