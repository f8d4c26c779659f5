"""The recurrent stack, on packed sequences from end to end."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from asr.config import RnnConfig
from asr.models.gru import packed_gru
from asr.models.norm import PackedBatchNorm

NORMS = {"batch": PackedBatchNorm, "layer": nn.LayerNorm, "none": lambda size: nn.Identity()}


class RecurrentLayer(nn.Module):
    """Normalisation and dropout of the frames, then one GRU or LSTM layer."""

    def __init__(self, config: RnnConfig, inputs: int, first: bool):
        super().__init__()
        cell = {"gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        self.norm = NORMS[config.norm](inputs)
        self.dropout = nn.Dropout(0.0 if first else config.dropout)
        self.rnn = cell(inputs, config.hidden, bidirectional=config.bidirectional)
        for name, parameter in self.rnn.named_parameters():
            if name.startswith("weight_hh"):  # one orthogonal square per gate keeps long gradients alive
                for gate in parameter.chunk(parameter.shape[0] // config.hidden):
                    nn.init.orthogonal_(gate.data)
            elif name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, frames: PackedSequence) -> PackedSequence:
        frames = frames._replace(data=self.dropout(self.norm(frames.data)))
        if torch.is_grad_enabled() and isinstance(self.rnn, nn.GRU) and frames.data.device.type == "cpu":
            with torch.autocast("cpu", enabled=False):  # steps this small gain nothing from bfloat16, and torch's lose
                return packed_gru(frames._replace(data=frames.data.to(self.rnn.weight_ih_l0.dtype)), self.rnn)
        return self.rnn(frames)[0]


class RecurrentStack(nn.Module):
    """(B, T, D) -> (B, T, H): packs once, so no layer, norm or dropout ever touches a frame of padding."""

    def __init__(self, config: RnnConfig, input_dim: int):
        super().__init__()
        self.dim = config.hidden * (2 if config.bidirectional else 1)
        self.layers = nn.ModuleList(RecurrentLayer(config, input_dim if index == 0 else self.dim, index == 0)
                                    for index in range(config.layers))

    def forward(self, frames: PackedSequence, inner: list[PackedSequence] | None = None) -> PackedSequence:
        """``inner``, where given, is appended what each layer but the last makes, from the first up."""
        for index, layer in enumerate(self.layers, start=1):
            frames = layer(frames)
            if inner is not None and index < len(self.layers):
                inner.append(frames)
        return frames


def pack(frames: Tensor, lengths: Tensor) -> PackedSequence:
    """(B, T, D) frames with lengths (B,) in any order -> the real frames, time-major.

    Packing knows no empty sequence: an utterance of no frames travels as one (zero) frame, and `unpack` drops it.
    """
    return pack_padded_sequence(frames, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)


def unpack(frames: PackedSequence, lengths: Tensor) -> Tensor:
    """Packed frames -> (B, T, D), zero at padding; T is the longest of ``lengths`` (B,)."""
    padded, _ = pad_packed_sequence(frames, batch_first=True)
    longest = int(lengths.max()) if lengths.numel() else 0
    padded = padded[:, :longest]
    return torch.where((lengths > 0)[:, None, None], padded, torch.zeros((), dtype=padded.dtype, device=padded.device))
