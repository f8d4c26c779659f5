"""The network of deepspeech.pytorch, said again: the peer of `benchmarks/training_step.py`.

After https://github.com/SeanNaren/deepspeech.pytorch, `deepspeech_pytorch/model.py` at commit 165f464, with its order of
work, which is what is timed: two convolutions over (bins, frames), whose outputs are masked after every module of the stack
with a mask made utterance by utterance; recurrent layers that are packed and padded again each by itself, with batch norm
over all frames, padding included, before each but the first; the two directions added; batch norm, and a linear layer without
bias. Its CTC (warp-ctc, which is no longer built) is torch's here, as in its later versions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

KERNELS, STRIDES = ((41, 11), (21, 11)), ((2, 2), (2, 1))  # (bins, frames)


def convolved(sizes: Tensor | int, axis: int) -> Tensor | int:
    """What the two convolutions make of so many bins (axis 0) or frames (axis 1)."""
    for kernel, stride in zip(KERNELS, STRIDES):
        sizes = (sizes + 2 * (kernel[axis] // 2) - kernel[axis]) // stride[axis] + 1
    return sizes


class Recurrent(nn.Module):
    """(T, B, D) -> (T, B, H): batch norm (but in the first layer), then a bidirectional layer whose directions are added."""

    def __init__(self, cell: str, inputs: int, hidden: int, first: bool):
        super().__init__()
        self.norm = None if first else nn.BatchNorm1d(inputs)
        self.rnn = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](inputs, hidden, bidirectional=True)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        if self.norm is not None:
            frames = self.norm(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
        frames, _ = pad_packed_sequence(self.rnn(pack_padded_sequence(frames, lengths))[0])
        return frames.unflatten(2, (2, -1)).sum(2)


class DeepSpeech(nn.Module):
    """(B, T, F) features, lengths (B,) from the longest on -> logits (B, T', V), lengths (B,)."""

    def __init__(self, bins: int, hidden: int, layers: int, vocab_size: int, cell: str = "gru"):
        super().__init__()
        stack: list[nn.Module] = []
        for inputs, kernel, stride in zip((1, 32), KERNELS, STRIDES):
            stack += [nn.Conv2d(inputs, 32, kernel, stride, tuple(size // 2 for size in kernel)), nn.BatchNorm2d(32),
                      nn.Hardtanh(0, 20, inplace=True)]
        self.conv = nn.ModuleList(stack)
        width = 32 * int(convolved(bins, 0))
        self.rnns = nn.ModuleList(Recurrent(cell, hidden if index else width, hidden, index == 0) for index in range(layers))
        self.norm, self.output = nn.BatchNorm1d(hidden), nn.Linear(hidden, vocab_size, bias=False)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        lengths = torch.as_tensor(convolved(lengths.cpu(), 1))
        frames = features.transpose(1, 2).unsqueeze(1)  # (B, T, F) -> (B, 1, F, T)
        for module in self.conv:
            frames = module(frames)
            mask = torch.zeros(frames.shape, dtype=torch.bool)
            for row, length in zip(mask, lengths.tolist()):
                row[:, :, length:] = True
            frames = frames.masked_fill(mask.to(frames.device), 0)
        frames = frames.flatten(1, 2).permute(2, 0, 1).contiguous()  # (B, C, F, T) -> (T, B, C·F)
        for layer in self.rnns:
            frames = layer(frames, lengths)
        logits = self.output(self.norm(frames.flatten(0, 1))).unflatten(0, frames.shape[:2])
        return logits.transpose(0, 1), lengths  # (T, B, V) -> (B, T, V)
