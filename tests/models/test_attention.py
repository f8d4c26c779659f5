"""Transformer and Conformer layers against those of torch and torchaudio, where there is no padding."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torchaudio.models.conformer import ConformerLayer

from asr.config import AttentionConfig
from asr.errors import ConfigError
from asr.models.attention import AttentionStack, MaskedConformerLayer, TransformerLayer, sinusoids

CONFIG = {"layers": 2, "dim": 8, "heads": 2, "feedforward": 12, "kernel": 5}


def test_a_transformer_layer_is_torchs():
    torch.manual_seed(0)
    ours = TransformerLayer(AttentionConfig(**CONFIG)).eval()
    theirs = nn.TransformerEncoderLayer(8, 2, 12, activation="gelu", batch_first=True, norm_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    frames = torch.randn(3, 9, 8)
    torch.testing.assert_close(ours(frames, torch.zeros(3, 9, dtype=torch.bool)), theirs(frames))


def test_a_conformer_layer_is_torchaudios():
    """With the norm of its convolution put in torchaudio's layer too: batch norm reads padding, and is replaced."""
    torch.manual_seed(0)
    ours = MaskedConformerLayer(AttentionConfig(**CONFIG)).eval()
    theirs = ConformerLayer(8, 12, 2, 5).eval()
    theirs.conv_module.sequential[3] = ours.conv_module.sequential[3]
    theirs.load_state_dict(ours.state_dict())
    frames = torch.randn(3, 9, 8)
    expected = theirs(frames.transpose(0, 1), None).transpose(0, 1)  # (B, T, D) <-> (T, B, D)
    torch.testing.assert_close(ours(frames, torch.zeros(3, 9, dtype=torch.bool)), expected)


def test_positions_are_those_of_the_paper():
    table = sinusoids(7, 6, torch.zeros(1))
    for position in range(7):
        for pair in range(3):
            angle = position / 10000 ** (2 * pair / 6)
            assert table[position, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[position, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("kind", ["transformer", "conformer"])
def test_order_matters(kind):
    """Without positions attention would take a sentence for a set of words."""
    torch.manual_seed(0)
    stack = AttentionStack(AttentionConfig(kind=kind, **CONFIG), 4).eval()
    frames, lengths = torch.randn(1, 9, 4), torch.tensor([9])
    turned = stack(frames.flip(1), lengths).flip(1)
    assert (stack(frames, lengths) - turned).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["transformer", "conformer"])
def test_gradients_reach_every_parameter(kind):
    stack = AttentionStack(AttentionConfig(kind=kind, **CONFIG), 4)
    stack(torch.randn(2, 9, 4), torch.tensor([9, 4])).square().sum().backward()
    assert [name for name, parameter in stack.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(("wrong", "message"), [("{layers: 1, dim: 6, heads: 4}", "multiple of heads 4"),
                                                ("{kernel: 4}", "must be odd"), ("{layers: 1, dim: 5, heads: 1}", "must be even")])
def test_what_cannot_be_is_a_fault_of_the_configuration(wrong, message):
    from asr.config import load_config

    with pytest.raises(ConfigError, match=rf"model\.attention: .*{message}"):
        load_config(None, [f"model.attention={wrong}"])
