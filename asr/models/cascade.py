"""The cascade CRNN: convolutions, then recurrence, then one linear layer to the tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.config import ModelConfig
from asr.models.conv import ConvStack
from asr.models.recurrent import RecurrentStack, pack, unpack


class CascadeCrnn(nn.Module):
    """2-D convolutions over (time, frequency), a recurrent stack over time, logits over tokens and blank.

    The classic network of Deep Speech 2 (Amodei et al., 2016). An utterance has the same logits alone and in any
    batch: the convolutions are masked at each layer by the length at that layer, everything above runs on packed frames.
    """

    def __init__(self, config: ModelConfig, input_dim: int, vocab_size: int):
        super().__init__()
        self.config, self.input_dim, self.vocab_size = config, input_dim, vocab_size
        self.conv = ConvStack(config.conv, input_dim)
        width = config.projection or self.conv.dim
        self.projection = nn.Linear(self.conv.dim, width) if config.projection else nn.Identity()
        self.rnn = RecurrentStack(config.rnn, width)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.rnn.dim, vocab_size)

    @property
    def frame_subsampling(self) -> int:
        """Input frames to one output frame: the product of the strides in time."""
        steps = 1
        for layer in self.conv.layers:
            steps *= layer.conv.stride[0]
        return steps

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames (B,) int64 of ``lengths`` (B,) feature frames, by walking the layers."""
        return self.conv.output_lengths(lengths)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, T, F) float, lengths (B,) int64 -> logits (B, T', V), zero at padding, and lengths (B,) int64."""
        if features.dim() != 3 or features.shape[2] != self.input_dim:
            raise ValueError(f"features must be (batch, frames, {self.input_dim}), not {tuple(features.shape)}")
        if features.shape[1] == 0:  # no utterance has a frame, and a convolution of nothing is an error in torch
            return features.new_zeros(len(lengths), 0, self.vocab_size), lengths
        hidden, lengths = self.conv(features, lengths)
        frames = pack(self.projection(hidden), lengths)
        frames = self.rnn(frames)
        frames = frames._replace(data=self.output(self.dropout(frames.data)))
        return unpack(frames, lengths), lengths


def build_model(config: ModelConfig, input_dim: int, vocab_size: int) -> CascadeCrnn:
    """The network that the configuration describes, for features of ``input_dim`` and a vocabulary with blank."""
    return {"cascade": CascadeCrnn}[config.architecture](config, input_dim, vocab_size)


@torch.no_grad()
def summarize(model: CascadeCrnn, frame_shift: float, frame_length: float, frames: int = 1000) -> str:
    """A table of the network: layers, output shapes for ``frames`` input frames, parameters; then receptive field
    and frame rate of the convolutions (the recurrence sees the whole utterance when it is bidirectional).

    ``frame_shift`` and ``frame_length`` are those of the front-end, in seconds.
    """
    rows = [("input", f"({frames}, {model.input_dim})", 0)]
    length, field, step = torch.tensor([frames]), 1, 1
    for index, layer in enumerate(model.conv.layers, start=1):
        length = layer.output_lengths(length)
        kernel, stride = layer.conv.kernel_size, layer.conv.stride
        field, step = field + (kernel[0] - 1) * step, step * stride[0]
        rows.append((f"conv{index} {kernel[0]}x{kernel[1]} /{stride[0]},{stride[1]}",
                     f"({layer.conv.out_channels}, {int(length)}, {layer.bins})", _parameters(layer)))
    if model.config.projection:
        rows.append(("projection", f"({int(length)}, {model.config.projection})", _parameters(model.projection)))
    rnn = model.config.rnn
    name = ("bi" if rnn.bidirectional else "") + rnn.cell
    for index, layer in enumerate(model.rnn.layers, start=1):
        rows.append((f"{name}{index}", f"({int(length)}, {model.rnn.dim})", _parameters(layer)))
    rows.append(("output", f"({int(length)}, {model.vocab_size})", _parameters(model.output)))
    lines = [f"{'layer':<20} {'output shape':<18} {'parameters':>12}"]
    lines += [f"{name:<20} {shape:<18} {count:>12,}" for name, shape, count in rows]
    lines.append(f"{'total':<39} {_parameters(model):>12,}")
    lines.append(f"receptive field of the convolutions: {field} frames, {(field - 1) * frame_shift + frame_length:.3f} s; "
                 f"output frame rate {1 / (step * frame_shift):.4g} Hz (one per {step} input frames)")
    return "\n".join(lines)


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
