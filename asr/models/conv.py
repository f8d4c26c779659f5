"""The 2-D convolution stack: masked at every layer by the length at that layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.config import ConvConfig, ConvLayerConfig
from asr.models.large_conv import large_conv2d, suits
from asr.models.masking import conv_output_lengths, frame_mask, silence_padding
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
        if suits(self.conv, inputs):
            outputs = large_conv2d(inputs, self.conv.weight, self.conv.bias, self.conv.stride[1], self.conv.padding)
        else:
            outputs = self.conv(inputs)
        lengths = self.output_lengths(lengths)
        mask = frame_mask(lengths, outputs.shape[2])[:, None, :, None].to(outputs.dtype)
        if self.norm is not None:
            outputs = self.norm(outputs, mask)
        # Every activation here maps zero to zero, so after a norm (zero at padding) no second mask is needed.
        outputs = self.activation(outputs)
        return self.dropout(outputs if self.norm is not None else outputs * mask), lengths


class ConvStack(nn.Module):
    """Convolutions over the frames of a batch; `dim` is the width of an output frame, found by walking the layers.

    ``input_shape``: bins of a frame; for convolutions over images (height, width, colours) of one.
    Over a spectrogram a frame of output is C·F' wide, over time C, over images C·H'·W'. Without layers it is the frame as it was.
    """

    def __init__(self, config: ConvConfig, input_shape: int | tuple[int, int, int]):
        super().__init__()
        self.over, self.subsampling = config.over, config.subsampling
        if isinstance(input_shape, int) == (self.over == "image"):
            raise ValueError("convolutions over images are for video, and for nothing else: model.conv.over")
        if self.over == "image":
            rows, bins, channels = input_shape  # every image is a batch entry of `rows` frames
        else:
            rows, (channels, bins) = 1, (input_shape, 1) if self.over == "time" else (1, input_shape)
        layers, whole = [], rows * bins * channels
        for layer in config.layers:
            layers.append(ConvLayer(layer, channels, bins, config))
            channels, bins = layer.channels, layers[-1].bins
            rows = int(layers[-1].output_lengths(torch.tensor(rows))) if self.over == "image" else 1
        self.layers = nn.ModuleList(layers)
        self.dim = rows * bins * channels if layers else whole

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames (B,) of ``lengths`` (B,) input frames."""
        return lengths if self.over == "image" else self._walk(lengths)

    def _walk(self, lengths: Tensor) -> Tensor:
        for layer in self.layers:
            lengths = layer.output_lengths(lengths)
        return lengths

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """inputs (B, T, F), or (B, T, H, W, C) for images, any value at padding; lengths (B,) int64
        -> (B, T', D) zero at padding, lengths (B,)."""
        outputs = silence_padding(inputs, lengths)
        if not self.layers:
            return outputs.flatten(2), lengths
        if self.over == "image":
            return self._images(outputs, lengths), lengths
        # (B, T, F) -> (B, 1, T, F), or with bins as channels (B, F, T, 1)
        outputs = outputs.unsqueeze(1) if self.over == "spectrogram" else outputs.transpose(1, 2).unsqueeze(3)
        for layer in self.layers:
            outputs, lengths = layer(outputs, lengths)
        outputs = outputs.transpose(1, 2)  # (B, C, T, F) -> (B, T, C, F)
        return outputs.flatten(2), lengths

    def _images(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T, C'·H'·W'): every frame an utterance of H rows; one past the clip's end has none."""
        batch, frames, rows = inputs.shape[:3]
        outputs = inputs.flatten(0, 1).movedim(3, 1)  # (B·T, H, W, C) -> (B·T, C, H, W)
        sizes = frame_mask(lengths, frames).flatten() * rows
        for layer in self.layers:
            outputs, sizes = layer(outputs, sizes)
        return outputs.flatten(1).unflatten(0, (batch, frames))
