"""The self-attention stack: Transformer and Conformer layers, torch's and torchaudio's, blind to padding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torchaudio.models.conformer import ConformerLayer

from asr.config import AttentionConfig
from asr.models.masking import silence_padding, unattended


class MaskedConformerLayer(ConformerLayer):
    """torchaudio's layer (Gulati et al., 2020), with an utterance's convolution blind to what lies past its end.

    torchaudio's convolution reads padding, and its norms average over it, so an utterance would depend on its batch. Here padding
    is silenced before the depthwise convolution, and the norm after it is a layer norm of each frame.
    """

    def __init__(self, config: AttentionConfig):
        super().__init__(config.dim, config.feedforward, config.heads, config.kernel, config.dropout)
        convolution = self.conv_module.sequential
        (norm,) = (place for place, step in enumerate(convolution) if isinstance(step, nn.BatchNorm1d))
        convolution[norm] = _ChannelNorm(config.dim)
        self.self_attn.batch_first = True

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:  # type: ignore[override]
        """frames (B, T, D), padding (B, T) true past each end -> (B, T, D), rubbish at padding."""
        frames = frames + 0.5 * self.ffn1(frames)
        queries = self.self_attn_layer_norm(frames)
        attended, _ = self.self_attn(queries, queries, queries, key_padding_mask=padding, need_weights=False)
        frames = frames + self.self_attn_dropout(attended)
        pointwise, gate, *depthwise_on = self.conv_module.sequential
        within = gate(pointwise(self.conv_module.layer_norm(frames).transpose(1, 2)))  # (B, T, D) -> (B, D, T)
        within = within.masked_fill(padding.unsqueeze(1), 0.0)
        for step in depthwise_on:
            within = step(within)
        frames = frames + within.transpose(1, 2)  # (B, D, T) -> (B, T, D)
        return self.final_layer_norm(frames + 0.5 * self.ffn2(frames))


class _ChannelNorm(nn.LayerNorm):
    """Layer norm of each frame of (B, D, T) over D."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs.transpose(1, 2)).transpose(1, 2)  # (B, D, T) -> (B, T, D), and back


class TransformerLayer(nn.TransformerEncoderLayer):
    """torch's layer (Vaswani et al., 2017) with the norms first, which trains without a long warm-up (Xiong et al., 2020)."""

    def __init__(self, config: AttentionConfig):
        super().__init__(config.dim, config.heads, config.feedforward, config.dropout, "gelu", batch_first=True, norm_first=True)

    def forward(self, frames: Tensor, padding: Tensor) -> Tensor:  # type: ignore[override]
        """frames (B, T, D), padding (B, T) true past each end -> (B, T, D), rubbish at padding."""
        return super().forward(frames, src_key_padding_mask=padding)


class AttentionStack(nn.Module):
    """A linear layer to the stack's width, positions, then the layers.

    Transformers are told positions by sinusoids; a Conformer's convolution sees for itself what is beside what.
    """

    def __init__(self, config: AttentionConfig, input_dim: int):
        super().__init__()
        self.dim = config.dim
        self.input = nn.Linear(input_dim, config.dim)
        self.dropout = nn.Dropout(config.dropout)
        layer = {"transformer": TransformerLayer, "conformer": MaskedConformerLayer}[config.kind]
        self.positions = config.kind == "transformer"
        self.layers = nn.ModuleList(layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """frames (B, T, D) zero at padding, lengths (B,) -> (B, T, dim) zero at padding."""
        padding = unattended(lengths, frames.shape[1])
        frames = self.input(frames)
        if self.positions:
            frames = frames + sinusoids(frames.shape[1], self.dim, frames)
        frames = self.dropout(frames)
        for layer in self.layers:
            frames = layer(frames, padding)
        return silence_padding(self.norm(frames), lengths)


def sinusoids(length: int, dim: int, like: Tensor) -> Tensor:
    """Positions (T, D) of Vaswani et al. (2017), section 3.5; sines in the even places, cosines in the odd."""
    steps: dict[str, Any] = {"dtype": torch.float32, "device": like.device}
    rates = torch.exp(torch.arange(0, dim, 2, **steps) * (-math.log(10000.0) / dim))
    angles = torch.arange(length, **steps).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1).to(like.dtype)
