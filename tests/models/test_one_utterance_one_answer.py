"""Law 1: the logits of an utterance are the same alone, in a padded batch, and in any order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import ConvConfig, ConvLayerConfig, ModelConfig, RnnConfig
from asr.models import build_model

BINS, TOKENS, TOLERANCE = 12, 7, 1e-5

layers = st.builds(ConvLayerConfig, channels=st.integers(1, 6),
                   kernel=st.tuples(st.sampled_from([1, 3, 5, 11]), st.sampled_from([1, 3, 5])),
                   stride=st.tuples(st.integers(1, 3), st.integers(1, 2)))
configs = st.builds(
    ModelConfig,
    conv=st.builds(ConvConfig, layers=st.lists(layers, min_size=1, max_size=3).map(tuple),
                   norm=st.sampled_from(["batch", "layer", "none"]),
                   activation=st.sampled_from(["relu", "hardtanh", "gelu", "silu"]), dropout=st.just(0.2)),
    projection=st.sampled_from([0, 5]),
    rnn=st.builds(RnnConfig, cell=st.sampled_from(["gru", "lstm"]), hidden=st.integers(1, 9), layers=st.integers(1, 3),
                  bidirectional=st.booleans(), norm=st.sampled_from(["batch", "layer", "none"]), dropout=st.just(0.1)))


def network(config: ModelConfig, seed: int = 0) -> torch.nn.Module:
    """A network in evaluation mode whose batch norms hold statistics far from their initial ones."""
    torch.manual_seed(seed)
    model = build_model(config, BINS, TOKENS)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-2, 2)
        elif name.endswith("running_var"):
            buffer.uniform_(0.2, 3)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, -0.5, 0.5)  # a bias turns unmasked padding into sound
    return model.eval()


@torch.no_grad()
def largest_difference(model: torch.nn.Module, lengths: list[int], order: list[int]) -> float:
    """Between each utterance's logits alone and in one batch, padded with rubbish, in the given order."""
    torch.manual_seed(1)
    utterances = [torch.randn(length, BINS) for length in lengths]
    batch = torch.full((len(lengths), max(lengths) + 3, BINS), torch.nan)
    for row, index in enumerate(order):
        batch[row, :lengths[index]] = utterances[index]
    logits, frames = model(batch, torch.tensor([lengths[index] for index in order]))
    worst = 0.0
    for row, index in enumerate(order):
        alone, count = model(utterances[index].unsqueeze(0), torch.tensor([lengths[index]]))
        assert int(count[0]) == int(frames[row]) == alone.shape[1]
        assert not logits[row, int(frames[row]):].any()
        if int(frames[row]):
            worst = max(worst, float((alone[0] - logits[row, :int(frames[row])]).abs().max()))
    return worst


@settings(max_examples=80)
@given(config=configs, lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6), data=st.data())
def test_logits_do_not_depend_on_the_batch(config, lengths, data):
    order = data.draw(st.permutations(range(len(lengths))))
    assert largest_difference(network(config), lengths, order) <= TOLERANCE


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_a_mutant_without_masks_fails(norm, monkeypatch):
    """The property above must be able to fail: with every frame called real, it does, by far."""
    config = ModelConfig(conv=ConvConfig(norm=norm, layers=(ConvLayerConfig(channels=4, kernel=(5, 3), stride=(2, 2)),
                                                           ConvLayerConfig(channels=4, kernel=(5, 3)))))
    model, lengths, order = network(config), [60, 31, 8], [2, 0, 1]
    assert largest_difference(model, lengths, order) <= TOLERANCE
    real = torch.where
    monkeypatch.setattr("asr.models.conv.frame_mask", lambda sizes, size: torch.ones(len(sizes), size, dtype=torch.bool))
    monkeypatch.setattr(torch, "where", lambda condition, kept, other: real(condition, kept.nan_to_num(0.0), other))
    assert largest_difference(model, lengths, order) > 100 * TOLERANCE


@torch.no_grad()
def test_masking_every_layer_by_the_final_length_is_caught(monkeypatch):
    """With strides the final length is shorter than a middle layer's: such a mask alters even an utterance alone."""
    config = ModelConfig(conv=ConvConfig(layers=(ConvLayerConfig(channels=4, kernel=(11, 3)),
                                                 ConvLayerConfig(channels=4, kernel=(11, 3), stride=(2, 2)))))
    model, probe, length = network(config), torch.randn(1, 61, BINS), torch.tensor([61])
    right, _ = model(probe, length)
    final = int(model.output_lengths(length))
    monkeypatch.setattr("asr.models.conv.frame_mask", lambda sizes, size: torch.arange(size).expand(len(sizes), size) < final)
    wrong, _ = model(probe, length)
    assert float((right - wrong).abs().max()) > 100 * TOLERANCE
