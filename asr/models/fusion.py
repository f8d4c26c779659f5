"""Fusion: two branches of one network become one.

Every fusion takes two sequences that are aligned in time, (B, T, A) of the convolutions and (B, T, C) of the context, with their
lengths; pooled vectors are sequences of one frame. What a frame becomes depends on that frame alone, but for cross-attention
and squeeze-and-excitation, which look along the real frames of the utterance.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from asr.config import FusionConfig
from asr.models.masking import masked_mean, unattended


class Concat(nn.Module):
    """[a; b], as in LSTM-FCN (Karim et al., 2017, arXiv 1709.05206)."""

    def __init__(self, config: FusionConfig, a: int, b: int):
        super().__init__()
        self.dim = a + b

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        return torch.cat([a, b], dim=2)


class Projected(nn.Module):
    """Both branches brought to one width, `of_a` and `of_b`; the fusions below differ in what they do then."""

    def __init__(self, config: FusionConfig, a: int, b: int):
        super().__init__()
        self.dim = config.dim
        self.of_a, self.of_b = nn.Linear(a, config.dim), nn.Linear(b, config.dim)


class Sum(Projected):
    """A a + B b (Feichtenhofer et al., 2016, arXiv 1604.06573, after a projection)."""

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        return self.of_a(a) + self.of_b(b)


class Gated(Projected):
    """g * tanh(A a) + (1 - g) * tanh(B b), g = sigmoid(G [a; b]): the gated multimodal unit (Arevalo et al., 2017,
    arXiv 1702.01992)."""

    def __init__(self, config: FusionConfig, a: int, b: int):
        super().__init__(config, a, b)
        self.gate = nn.Linear(a + b, config.dim)

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        gate = torch.sigmoid(self.gate(torch.cat([a, b], dim=2)))
        return torch.lerp(torch.tanh(self.of_b(b)), torch.tanh(self.of_a(a)), gate)


class Glu(nn.Module):
    """The gated linear unit (Dauphin et al., 2017, arXiv 1612.08083) of [a; b]: V [a; b] * sigmoid(W [a; b])."""

    def __init__(self, config: FusionConfig, a: int, b: int):
        super().__init__()
        self.dim = config.dim
        self.both = nn.Linear(a + b, 2 * config.dim)

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        return nn.functional.glu(self.both(torch.cat([a, b], dim=2)), dim=2)


class Bilinear(Projected):
    """O (tanh(A a) * tanh(B b)): a bilinear product of low rank, `dim` (Kim et al., 2017, arXiv 1610.04325)."""

    def __init__(self, config: FusionConfig, a: int, b: int):
        super().__init__(config, a, b)
        self.output = nn.Linear(config.dim, config.dim)

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        return self.output(torch.tanh(self.of_a(a)) * torch.tanh(self.of_b(b)))


class Film(nn.Module):
    """The context scales and shifts what the convolutions see: (1 + s(b)) * A a + t(b) (Perez et al., 2018, arXiv 1709.07871)."""

    def __init__(self, config: FusionConfig, a: int, b: int):
        super().__init__()
        self.dim = config.dim
        self.of_a, self.scale_shift = nn.Linear(a, config.dim), nn.Linear(b, 2 * config.dim)

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        scale, shift = self.scale_shift(b).chunk(2, dim=2)
        return torch.addcmul(shift, 1 + scale, self.of_a(a))


class CrossAttention(Projected):
    """Each branch asks the other: [A a + attention(A a, B b), B b + attention(B b, A a)] (Tsai et al., 2019, arXiv 1906.00295)."""

    def __init__(self, config: FusionConfig, a: int, b: int):
        super().__init__(config, a, b)
        self.dim = 2 * config.dim
        self.norm_a, self.norm_b = nn.LayerNorm(config.dim), nn.LayerNorm(config.dim)
        self.a_asks = nn.MultiheadAttention(config.dim, config.heads, batch_first=True)
        self.b_asks = nn.MultiheadAttention(config.dim, config.heads, batch_first=True)

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        padding = unattended(lengths, a.shape[1])
        a, b = self.of_a(a), self.of_b(b)
        asking_a, asking_b = self.norm_a(a), self.norm_b(b)
        heard_a, _ = self.a_asks(asking_a, asking_b, asking_b, key_padding_mask=padding, need_weights=False)
        heard_b, _ = self.b_asks(asking_b, asking_a, asking_a, key_padding_mask=padding, need_weights=False)
        return torch.cat([a + heard_a, b + heard_b], dim=2)


class SqueezeExcite(nn.Module):
    """[a; b], every channel scaled by a gate that has seen the mean of all over the utterance (Hu et al., 2018, arXiv 1709.01507),
    as MLSTM-FCN has it (Karim et al., 2019, arXiv 1801.04503); a quarter of the channels in the middle."""

    def __init__(self, config: FusionConfig, a: int, b: int):
        super().__init__()
        self.dim = a + b
        self.gate = nn.Sequential(nn.Linear(a + b, max(1, (a + b) // 4)), nn.ReLU(), nn.Linear(max(1, (a + b) // 4), a + b),
                                  nn.Sigmoid())

    def forward(self, a: Tensor, b: Tensor, lengths: Tensor) -> Tensor:
        both = torch.cat([a, b], dim=2)
        return both * self.gate(masked_mean(both, lengths)).unsqueeze(1)


FUSIONS = {"concat": Concat, "sum": Sum, "gated": Gated, "glu": Glu, "bilinear": Bilinear, "film": Film,
           "cross_attention": CrossAttention, "squeeze_excite": SqueezeExcite}


def build_fusion(config: FusionConfig, a: int, b: int) -> nn.Module:
    """The fusion of branches ``a`` and ``b`` wide: (B, T, a), (B, T, b), lengths (B,) -> (B, T, fusion.dim)."""
    return FUSIONS[config.kind](config, a, b)
