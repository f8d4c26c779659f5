"""The 2-D convolution stack: masked at every layer by the length at that layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.config import ConvConfig, ConvLayerConfig
from asr.models.masking import conv_output_lengths, frame_mask
from asr.models.norm import FrameNorm, MaskedBatchNorm2d

# In place where the gradient follows from the output: nothing below keeps what it is made from.
ACTIVATIONS = {"relu": lambda: nn.ReLU(inplace=True), "hardtanh": lambda: nn.Hardtanh(0.0, 20.0, inplace=True), "gelu": nn.GELU,
               "silu": nn.SiLU}


class ConvLayer(nn.Module):
    """Convolution, normalisation, activation, dropout; then silence on every frame past the utterance's end.

    Kernels are odd and centred (padding is half the kernel), so without stride a layer keeps the number of frames.
    The input must be zero at padding; the output is, with the lengths that this layer makes.
    """

    def __init__(self, config: ConvLayerConfig, inputs: int, bins: int, stack: ConvConfig):
        super().__init__()
        padding = tuple(size // 2 for size in config.kernel)
        self.conv = nn.Conv2d(inputs, config.channels, config.kernel, config.stride, padding, bias=stack.norm != "batch")
        self.bins = int(self.output_bins(torch.tensor(bins)))
        self.norm = {"batch": lambda: MaskedBatchNorm2d(config.channels),
                     "layer": lambda: FrameNorm(config.channels, self.bins),
                     "none": lambda: None}[stack.norm]()
        self.activation = ACTIVATIONS[stack.activation]()
        self.dropout = nn.Dropout(stack.dropout)
        nn.init.kaiming_normal_(self.conv.weight, nonlinearity="relu")

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return conv_output_lengths(lengths, self.conv.kernel_size[0], self.conv.stride[0], self.conv.padding[0])

    def output_bins(self, bins: Tensor) -> Tensor:
        return conv_output_lengths(bins, self.conv.kernel_size[1], self.conv.stride[1], self.conv.padding[1])

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """inputs (B, C, T, F) zero at padding, lengths (B,) -> (B, C', T', F') zero at padding, lengths (B,)."""
        outputs = self.conv(inputs)
        lengths = self.output_lengths(lengths)
        mask = frame_mask(lengths, outputs.shape[2])[:, None, :, None].to(outputs.dtype)
        if self.norm is not None:
            outputs = self.norm(outputs, mask)
        # Every activation here maps zero to zero, so after a norm (zero at padding) no second mask is needed.
        outputs = self.activation(outputs)
        return self.dropout(outputs if self.norm is not None else outputs * mask), lengths


class ConvStack(nn.Module):
    """(B, T, F) features -> (B, T', C·F') frames for the layer above; `dim` is C·F', found by walking the layers."""

    def __init__(self, config: ConvConfig, input_dim: int):
        super().__init__()
        layers, channels, bins = [], 1, input_dim
        for layer in config.layers:
            layers.append(ConvLayer(layer, channels, bins, config))
            channels, bins = layer.channels, layers[-1].bins
        self.layers = nn.ModuleList(layers)
        self.dim = channels * bins

    def output_lengths(self, lengths: Tensor) -> Tensor:
        for layer in self.layers:
            lengths = layer.output_lengths(lengths)
        return lengths

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, T, F) float, any value at padding; lengths (B,) -> (B, T', C·F') zero at padding, lengths (B,)."""
        mask = frame_mask(lengths, features.shape[1]).unsqueeze(2)
        # where, not a product: padding may hold anything, and NaN times zero is NaN.
        outputs = torch.where(mask, features, torch.zeros((), dtype=features.dtype, device=features.device)).unsqueeze(1)
        for layer in self.layers:
            outputs, lengths = layer(outputs, lengths)
        outputs = outputs.transpose(1, 2)  # (B, C, T, F) -> (B, T, C, F)
        return outputs.flatten(2), lengths
