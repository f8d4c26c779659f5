"""Pooling and the classifier: real frames alone, whatever stands beside them; and networks of two inputs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import AttentionConfig, ConvConfig, ConvLayerConfig, FusionConfig, ModelConfig, RnnConfig
from asr.errors import ConfigError
from asr.models import build_encoder, build_model
from asr.models.heads import Classifier, Pooling

TOLERANCE = 1e-5
POOLINGS = ("mean", "max", "last", "attention")
VIDEO = ConvConfig(over="image", layers=(ConvLayerConfig(channels=4, stride=(2, 2)), ConvLayerConfig(channels=5, stride=(2, 2))))
SMALL = RnnConfig(hidden=4, layers=1)


@torch.no_grad()
@pytest.mark.parametrize("kind", POOLINGS)
@settings(max_examples=25)
@given(lengths=st.lists(st.integers(0, 7), min_size=1, max_size=4))
def test_pooling_is_the_plain_loop(kind, lengths):
    torch.manual_seed(0)
    pooling = Pooling(kind, 6, bidirectional=True)
    frames = torch.full((len(lengths), 8, 6), torch.nan)
    for row, length in enumerate(lengths):
        frames[row, :length] = torch.randn(length, 6)
    found = pooling(frames, torch.tensor(lengths))
    for row, length in enumerate(lengths):
        real = frames[row, :length]
        if not length:
            expected = torch.zeros(6)
        elif kind == "mean":
            expected = real.mean(dim=0)
        elif kind == "max":
            expected = real.max(dim=0).values
        elif kind == "last":
            expected = torch.cat([real[-1, :3], real[0, 3:]])
        else:
            expected = torch.softmax(pooling.score(real)[:, 0], dim=0) @ real
        torch.testing.assert_close(found[row], expected)


def test_the_last_state_is_torchs():
    """Of a bidirectional GRU: what `nn.GRU` returns as its last state."""
    torch.manual_seed(0)
    encoder = build_encoder(ModelConfig(conv=ConvConfig(layers=()), rnn=RnnConfig(hidden=4, layers=1, norm="none")), 5).eval()
    inputs, lengths = torch.randn(3, 9, 5), torch.tensor([9, 4, 6])
    pooled = Pooling("last", 8, bidirectional=True)(*encoder(inputs, lengths))
    for row, length in enumerate(lengths):
        _, state = encoder.context.rnn.layers[0].rnn(inputs[row, :length])
        torch.testing.assert_close(pooled[row], state.flatten())


OVER_TIME = ConvConfig(over="time", layers=(ConvLayerConfig(channels=4, kernel=(5, 1), stride=(2, 1)),))
CASES = {
    **{pooling: (ModelConfig(conv=ConvConfig(norm="layer"), rnn=SMALL), 8, None, pooling) for pooling in POOLINGS},
    "transformer": (ModelConfig(rnn=RnnConfig(layers=0), attention=AttentionConfig(layers=1, dim=8)), 8, None, "attention"),
    "video, cascade": (ModelConfig(conv=VIDEO, rnn=SMALL), (6, 7, 2), None, "last"),
    "video, parallel": (ModelConfig(architecture="parallel", conv=VIDEO, rnn=SMALL), (6, 7, 1), None, "mean"),
    "video beside a sequence of any length": (ModelConfig(architecture="parallel", conv=VIDEO, rnn=SMALL, fusion=FusionConfig(
        level="utterance", kind="gated")), (6, 7, 3), 5, "max"),
    "two inputs of one length": (ModelConfig(architecture="parallel", conv=OVER_TIME, rnn=SMALL), 8, 3, "attention"),
}


@torch.no_grad()
@pytest.mark.parametrize(("config", "shape", "second", "pooling"), CASES.values(), ids=CASES)
def test_one_item_one_answer(config, shape, second, pooling):
    torch.manual_seed(0)
    model = Classifier(build_encoder(config, shape, second), 3, pooling)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.uniform_(-2, 2)
    model.eval()
    lengths = [9, 4, 7, 1]
    other = lengths if config.fusion.level == "frames" else [2, 8, 1, 5]
    size = (shape,) if isinstance(shape, int) else shape

    def padded(sizes, *tail):
        rows = [torch.randn(length, *tail) for length in sizes]
        batch = torch.full((len(sizes), max(sizes) + 2, *tail), torch.nan)
        for row, values in zip(batch, rows):
            row[:len(values)] = values
        return rows, batch

    rows, batch = padded(lengths, *size)
    given = [batch, torch.tensor(lengths)]
    if second:
        seconds, beside = padded(other, second)
        given += [beside, torch.tensor(other)]
    together = model(*given)
    assert together.shape == (4, 3) and together.isfinite().all()
    for row, length in enumerate(lengths):
        alone = [rows[row][None], torch.tensor([length])]
        if second:
            alone += [seconds[row][None], torch.tensor([other[row]])]
        torch.testing.assert_close(model(*alone)[0], together[row], rtol=0, atol=TOLERANCE)


@torch.no_grad()
def test_frames_of_a_video_do_not_see_each_other():
    encoder = build_encoder(ModelConfig(conv=VIDEO, rnn=RnnConfig(layers=0)), (6, 7, 1)).eval()
    clip, lengths = torch.randn(1, 5, 6, 7, 1), torch.tensor([5])
    changed = clip.clone()
    changed[0, 2] += 1
    moved = (encoder(clip, lengths)[0] != encoder(changed, lengths)[0]).any(dim=2)[0]
    assert moved.tolist() == [False, False, True, False, False]
    assert encoder.dim == 5 * 2 * 2 and encoder.frame_subsampling == 1


def test_training_statistics_do_not_depend_on_padding():
    """Batch norm in training, over the real frames of clips alone."""
    torch.manual_seed(0)
    model = Classifier(build_encoder(ModelConfig(conv=VIDEO, rnn=RnnConfig(layers=0)), (6, 7, 1)), 3)
    clips, lengths = torch.randn(2, 4, 6, 7, 1), torch.tensor([4, 2])
    longer = torch.nn.functional.pad(clips, (0, 0, 0, 0, 0, 0, 0, 3), value=7.0)
    torch.testing.assert_close(model(clips, lengths), model(longer, lengths))


@pytest.mark.parametrize(("make", "message"), [
    (lambda: build_encoder(ModelConfig(), 8, 3), "two inputs need two branches"),
    (lambda: build_model(ModelConfig(architecture="parallel", fusion=FusionConfig(level="utterance")), 8, 5), "needs frames"),
    (lambda: build_model(ModelConfig(conv=VIDEO), 8, 5), "is for video"),
])
def test_networks_that_cannot_be(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(("overrides", "message"), [
    (["model.architecture=parallel", "model.conv.layers=[]"], "parallel needs two branches"),
    (["model.architecture=parallel", "model.rnn.layers=0"], "parallel needs two branches"),
    (["model.architecture=parallel", "model.stacking=2"], "stacking is for the cascade"),
    (["model.conv.layers=[]", "model.rnn.layers=0"], "nothing to learn with"),
    (["model.conv.over=time"], r"kernel and stride must be 1 in the second place"),
    (["model.fusion={kind: film, dim: 4, level: words}"], "'frames' or 'utterance'"),
    (["model.fusion={kind: cross_attention, level: utterance}"], "needs level: frames"),
    (["model.fusion={kind: cross_attention, dim: 6, heads: 4}"], "multiple of heads 4"),
])
def test_configurations_that_cannot_be(overrides, message):
    from asr.config import load_config

    with pytest.raises(ConfigError, match=message):
        load_config(None, overrides)


def test_inputs_of_different_lengths_are_not_joined_frame_by_frame():
    config = ModelConfig(architecture="parallel", conv=ConvConfig(norm="none"), rnn=SMALL)
    encoder = build_encoder(config, 8, 3)
    with pytest.raises(ValueError, match=r"as many frames each; model\.fusion\.level: utterance"):
        encoder(torch.zeros(1, 9, 8), torch.tensor([9]), torch.zeros(1, 9, 3), torch.tensor([8]))
    with pytest.raises(ValueError, match="made for two inputs"):
        encoder(torch.zeros(1, 9, 8), torch.tensor([9]))
