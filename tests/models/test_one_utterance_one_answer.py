"""Law 1: the logits of an utterance are the same alone, in a padded batch, and in any order."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import AttentionConfig, ConvConfig, ConvLayerConfig, FusionConfig, ModelConfig, RnnConfig
from asr.models import build_model
from asr.models.fusion import FUSIONS

BINS, TOKENS, TOLERANCE = 12, 7, 1e-5

layers = st.builds(ConvLayerConfig, channels=st.integers(1, 6),
                   kernel=st.tuples(st.sampled_from([1, 3, 5, 11]), st.sampled_from([1, 3, 5])),
                   stride=st.tuples(st.integers(1, 3), st.integers(1, 2)))
over_time = layers.map(lambda layer: layer.model_copy(update={"kernel": (layer.kernel[0], 1), "stride": (layer.stride[0], 1)}))
norms = st.sampled_from(["batch", "layer", "none"])


@st.composite
def convs(draw, least: int):
    over = draw(st.sampled_from(["spectrogram", "spectrogram", "time"]))
    drawn = draw(st.lists(layers if over == "spectrogram" else over_time, min_size=least, max_size=3))
    return ConvConfig(layers=tuple(drawn), over=over, norm=draw(norms), dropout=0.2,
                      activation=draw(st.sampled_from(["relu", "hardtanh", "gelu", "silu"])))


@st.composite
def configs(draw, architecture: str):
    """Any network: what is left out, and what follows what."""
    conv = draw(convs(least=architecture == "parallel"))
    rnn = draw(st.builds(RnnConfig, cell=st.sampled_from(["gru", "lstm"]), hidden=st.integers(1, 9), layers=st.integers(0, 3),
                         bidirectional=st.booleans(), norm=norms, dropout=st.just(0.1)))
    needed = not rnn.layers and (architecture == "parallel" or not conv.layers)
    kinds = st.sampled_from(["transformer", "conformer"])
    attention = draw(st.builds(AttentionConfig, kind=kinds, layers=st.integers(int(needed), 2), dim=st.just(8),
                               heads=st.sampled_from([1, 2]), feedforward=st.just(12), kernel=st.sampled_from([3, 15])))
    fusion = draw(st.builds(FusionConfig, kind=st.sampled_from(list(FUSIONS)), dim=st.just(6), heads=st.sampled_from([1, 3])))
    stacking = 1 if architecture == "parallel" else draw(st.integers(1, 3))
    return ModelConfig(architecture=architecture, conv=conv, rnn=rnn, attention=attention, fusion=fusion, stacking=stacking,
                       projection=draw(st.sampled_from([0, 5])))


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
@given(config=st.one_of(configs("cascade"), configs("parallel")), lengths=st.lists(st.integers(1, 60), min_size=1, max_size=6),
       data=st.data())
def test_logits_do_not_depend_on_the_batch(config, lengths, data):
    order = data.draw(st.permutations(range(len(lengths))))
    assert largest_difference(network(config), lengths, order) <= TOLERANCE


@pytest.mark.parametrize("fusion", FUSIONS)
@pytest.mark.parametrize("context", [{"rnn": RnnConfig(hidden=5, layers=1)}, {"rnn": RnnConfig(cell="lstm", hidden=5, layers=1)},
                                     *({"rnn": RnnConfig(hidden=4, layers=layers), "attention": AttentionConfig(
                                         kind=kind, layers=1, dim=8, heads=2, feedforward=8)}
                                       for kind in ("transformer", "conformer") for layers in (0, 1))],
                         ids=["gru", "lstm", "transformer", "gru, then transformer", "conformer", "gru, then conformer"])
def test_every_fusion_with_every_context(fusion, context):
    config = ModelConfig(architecture="parallel", fusion=FusionConfig(kind=fusion, dim=8), **context)
    assert largest_difference(network(config), [60, 31, 8, 0, 1], [2, 0, 3, 1, 4]) <= TOLERANCE


@pytest.mark.parametrize("config", [
    ModelConfig(architecture="parallel", fusion=FusionConfig(kind="cross_attention", dim=8)),
    ModelConfig(architecture="parallel", fusion=FusionConfig(kind="squeeze_excite")),
    ModelConfig(rnn=RnnConfig(layers=0), attention=AttentionConfig(layers=1, dim=8)),
    ModelConfig(rnn=RnnConfig(layers=0), attention=AttentionConfig(kind="conformer", layers=1, dim=8)),
], ids=["cross-attention", "squeeze-excite", "transformer", "conformer"])
def test_a_mutant_that_looks_at_padding_fails(config, monkeypatch):
    """What looks along the frames, told that padding is an utterance's own."""
    model, lengths, order = network(config), [60, 31, 8], [2, 0, 1]
    assert largest_difference(model, lengths, order) <= TOLERANCE
    everything = lambda lengths, size: torch.zeros(len(lengths), size, dtype=torch.bool)  # noqa: E731
    monkeypatch.setattr("asr.models.attention.unattended", everything)
    monkeypatch.setattr("asr.models.fusion.unattended", everything)
    monkeypatch.setattr("asr.models.fusion.masked_mean", lambda frames, lengths: frames.mean(dim=1))
    assert largest_difference(model, lengths, order) > 100 * TOLERANCE


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
def test_a_mutant_without_masks_fails(norm, monkeypatch):
    """The property above must be able to fail: with every frame called real, it does, by far."""
    config = ModelConfig(conv=ConvConfig(norm=norm, layers=(ConvLayerConfig(channels=4, kernel=(5, 3), stride=(2, 2)),
                                                           ConvLayerConfig(channels=4, kernel=(5, 3)))))
    model, lengths, order = network(config), [60, 31, 8], [2, 0, 1]
    assert largest_difference(model, lengths, order) <= TOLERANCE
    monkeypatch.setattr("asr.models.conv.frame_mask", lambda sizes, size: torch.ones(len(sizes), size, dtype=torch.bool))
    monkeypatch.setattr("asr.models.conv.silence_padding", lambda inputs, lengths: inputs.nan_to_num(0.0))
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
