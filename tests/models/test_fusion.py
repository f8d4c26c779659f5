"""Each fusion against its formula, written out; and what all have in common."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from asr.config import FusionConfig
from asr.models.fusion import FUSIONS, build_fusion

A, B, DIM = 5, 3, 4


def made(kind: str, seed: int = 0):
    torch.manual_seed(seed)
    fusion = build_fusion(FusionConfig(kind=kind, dim=DIM, heads=2), A, B).eval()
    return fusion, torch.randn(2, 6, A), torch.randn(2, 6, B), torch.tensor([6, 4])


def project(layer, inputs):
    return linear(inputs, layer.weight, layer.bias)


def formula(kind, f, a, b, lengths):
    both = torch.cat([a, b], dim=2)
    if kind == "concat":
        return both
    if kind == "sum":
        return project(f.of_a, a) + project(f.of_b, b)
    if kind == "gated":
        gate = 1 / (1 + torch.exp(-project(f.gate, both)))
        return gate * torch.tanh(project(f.of_a, a)) + (1 - gate) * torch.tanh(project(f.of_b, b))
    if kind == "glu":
        values = project(f.both, both)
        return values[..., :DIM] / (1 + torch.exp(-values[..., DIM:]))
    if kind == "bilinear":
        return project(f.output, torch.tanh(project(f.of_a, a)) * torch.tanh(project(f.of_b, b)))
    if kind == "film":
        given = project(f.scale_shift, b)
        return (1 + given[..., :DIM]) * project(f.of_a, a) + given[..., DIM:]
    if kind == "squeeze_excite":
        first, second = f.gate[0], f.gate[2]
        means = torch.stack([row[:length].mean(dim=0) for row, length in zip(both, lengths)])
        gates = 1 / (1 + torch.exp(-project(second, project(first, means).clamp(min=0))))
        return both * gates[:, None]
    return torch.stack([attended(f, row_a[:length], row_b[:length], len(row_a))
                        for row_a, row_b, length in zip(a, b, lengths.tolist())])


def attended(f, a, b, size):
    """Cross-attention of one utterance, head by head."""
    a, b = project(f.of_a, a), project(f.of_b, b)
    norm = lambda layer, x: torch.nn.functional.layer_norm(x, (DIM,), layer.weight, layer.bias)  # noqa: E731
    heard = []
    for asks, asking, asked in ((f.a_asks, norm(f.norm_a, a), norm(f.norm_b, b)), (f.b_asks, norm(f.norm_b, b), norm(f.norm_a, a))):
        weights, biases = asks.in_proj_weight.chunk(3), asks.in_proj_bias.chunk(3)
        q, k, v = (linear(x, w, bias).unflatten(1, (2, DIM // 2)) for x, w, bias in zip((asking, asked, asked), weights, biases))
        heads = [torch.softmax(q[:, h] @ k[:, h].T / (DIM // 2) ** 0.5, dim=1) @ v[:, h] for h in range(2)]
        heard.append(project(asks.out_proj, torch.cat(heads, dim=1)))
    return torch.nn.functional.pad(torch.cat([a + heard[0], b + heard[1]], dim=1), (0, 0, 0, size - len(a)))


@torch.no_grad()
@pytest.mark.parametrize("kind", FUSIONS)
def test_a_fusion_is_its_formula(kind):
    fusion, a, b, lengths = made(kind)
    found, expected = fusion(a, b, lengths), formula(kind, fusion, a, b, lengths)
    assert found.shape == (2, 6, fusion.dim)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(found[row, :length], expected[row, :length])


@pytest.mark.parametrize("kind", FUSIONS)
def test_both_branches_matter_and_learn(kind):
    fusion, a, b, lengths = made(kind)
    a.requires_grad_(), b.requires_grad_()
    fusion(a, b, lengths).square().sum().backward()
    assert a.grad[0].abs().sum() > 0 and b.grad[0].abs().sum() > 0
    assert [name for name, parameter in fusion.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


@torch.no_grad()
@pytest.mark.parametrize("kind", FUSIONS)
def test_pooled_vectors_are_sequences_of_one_frame(kind):
    fusion, a, b, _ = made(kind)
    ones = torch.ones(2, dtype=torch.int64)
    pooled = fusion(a[:, :1], b[:, :1], ones)
    assert pooled.shape == (2, 1, fusion.dim) and pooled.isfinite().all()
