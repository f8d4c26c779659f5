"""One answer for a whole item: pooling over time, and a classifier."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from asr.models.masking import frame_mask, masked_mean
from asr.models.network import Encoder
from asr.models.parallel import Parallel

Kind = Literal["mean", "max", "last", "attention"]


class Pooling(nn.Module):
    """(B, T, D) frames -> (B, D), of the real frames alone; zero for an item without any.

    ``mean``; ``max``; ``last``: of a recurrence, the forward half at the last frame and the backward half at the first, where
    each has read everything; ``attention``: a weighted mean, the weights a softmax over time of a learned score of each frame
    (Yang et al., 2016, HAN, with one linear layer).
    """

    def __init__(self, kind: Kind, dim: int, bidirectional: bool = False):
        super().__init__()
        self.kind, self.bidirectional = kind, bidirectional
        self.score = nn.Linear(dim, 1) if kind == "attention" else None

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """frames (B, T, D), any value at padding; lengths (B,) int64."""
        if self.kind == "mean":
            return masked_mean(frames, lengths)
        mask = frame_mask(lengths, frames.shape[1]).unsqueeze(2)
        if self.kind == "max":
            pooled = frames.masked_fill(~mask, -torch.inf).amax(dim=1)
        elif self.score is not None:
            scores = self.score(frames).masked_fill(~mask, -torch.inf)
            scores = torch.where((lengths > 0)[:, None, None], scores, torch.zeros_like(scores))
            pooled = (scores.softmax(dim=1) * frames.masked_fill(~mask, 0.0)).sum(dim=1)
        else:
            last = frames[torch.arange(len(frames), device=frames.device), (lengths - 1).clamp(min=0)]
            half = frames.shape[2] // 2
            pooled = torch.cat([last[:, :half], frames[:, 0, half:]], dim=1) if self.bidirectional else last
        return torch.where((lengths > 0).unsqueeze(1), pooled, torch.zeros((), dtype=pooled.dtype, device=pooled.device))


class Classifier(nn.Module):
    """An encoder, pooling over time, one linear layer: one label an item.

    Where the two branches of a parallel network are joined after pooling (`model.fusion.level: utterance`), each is pooled by
    itself.
    """

    def __init__(self, encoder: Encoder, classes: int, pooling: Kind = "mean", dropout: float = 0.0):
        super().__init__()
        self.encoder = encoder
        config = encoder.config
        directed = config.rnn.bidirectional and bool(config.rnn.layers) and not config.attention.layers
        self.late = isinstance(encoder, Parallel) and config.fusion.level == "utterance"
        if isinstance(encoder, Parallel) and self.late:
            self.pooling = Pooling(pooling if pooling != "last" else "mean", config.projection or encoder.conv.dim)
            self.context_pooling = Pooling(pooling, encoder.context.dim, directed)
        else:
            self.pooling = Pooling(pooling, encoder.dim, directed and not isinstance(encoder, Parallel))
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(encoder.dim, classes)

    def forward(self, inputs: Tensor, lengths: Tensor, second: Tensor | None = None, second_lengths: Tensor | None = None
                ) -> Tensor:
        """inputs (B, T, F) or (B, T, H, W, C), lengths (B,) int64, a second input (B, S, D) and its lengths where the encoder
        takes one -> logits (B, classes)."""
        given = (inputs, lengths) if second is None else (inputs, lengths, second, second_lengths)
        if isinstance(self.encoder, Parallel) and self.late:
            (seen, seen_lengths), (heard, heard_lengths) = self.encoder.branches(*given)
            a, b = self.pooling(seen, seen_lengths), self.context_pooling(heard, heard_lengths)
            pooled = self.encoder.fusion(a.unsqueeze(1), b.unsqueeze(1), torch.ones_like(lengths)).squeeze(1)
        else:
            pooled = self.pooling(*self.encoder(*given))
        return self.output(self.dropout(pooled))
