"""The context: what sees the whole utterance. A recurrent stack, a self-attention stack, or one after the other."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from asr.config import ModelConfig
from asr.models.attention import AttentionStack
from asr.models.recurrent import RecurrentStack, pack


class Context(nn.Module):
    """Packed frames of ``input_dim`` -> packed frames of `dim`. What the configuration gives no layers is left out."""

    def __init__(self, config: ModelConfig, input_dim: int):
        super().__init__()
        self.dim = input_dim
        self.rnn, self.attention = None, None
        if config.rnn.layers:
            self.rnn = RecurrentStack(config.rnn, self.dim)
            self.dim = self.rnn.dim
        if config.attention.layers:
            self.attention = AttentionStack(config.attention, self.dim)
            self.dim = self.attention.dim

    def forward(self, frames: PackedSequence, lengths: Tensor, inner: list[PackedSequence] | None = None) -> PackedSequence:
        """``inner``: see `RecurrentStack.forward`."""
        if self.rnn is not None:
            frames = self.rnn(frames, inner)
        if self.attention is not None:
            padded, _ = pad_packed_sequence(frames, batch_first=True)
            frames = pack(self.attention(padded, lengths), lengths)
        return frames
