"""The forecaster: shapes, what it may and may not depend on, and each part against its equations written plainly."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from asr.config import AttentionConfig, ConvConfig, ConvLayerConfig, ModelConfig, RnnConfig, load_config
from asr.errors import ConfigError
from asr.series.config import ForecastConfig, HorizonConfig
from asr.series.forecaster import Forecaster, ParallelDecoder, Skip, window_statistics

LOOKBACK = 24
CONV = ConvConfig(layers=(ConvLayerConfig(channels=4, kernel=(3, 1), stride=(2, 1)),), over="time", norm="layer")
MODELS = {
    "patches": ModelConfig(conv=ConvConfig(layers=(), over="time"), stacking=6, projection=5,
                           rnn=RnnConfig(hidden=6, layers=1, bidirectional=False)),
    "cascade": ModelConfig(conv=CONV, rnn=RnnConfig(hidden=6, layers=2)),
    "attention": ModelConfig(conv=CONV, rnn=RnnConfig(layers=0),
                             attention=AttentionConfig(layers=1, dim=8, heads=2, feedforward=8)),
    "parallel": ModelConfig(architecture="parallel", conv=CONV, rnn=RnnConfig(hidden=6, layers=1)),
}


def config_of(model: str = "patches", **forecast: object) -> ForecastConfig:
    return ForecastConfig(forecast=HorizonConfig(**{"lookback": LOOKBACK, "horizon": 10, "segment": 4, "period": 6, **forecast}),
                          model=MODELS[model].model_dump())


def network(config: ForecastConfig, series: int = 3, covariates: int = 0, seed: int = 0) -> Forecaster:
    """A network in evaluation mode in which no part is zero."""
    torch.manual_seed(seed)
    made = Forecaster(config, series, covariates)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made.eval()


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("decoder", ["direct", "parallel"])
@pytest.mark.parametrize("channels", ["independent", "joint"])
def test_shapes_of_every_kind(model, decoder, channels):
    for steps, quantiles, covariates in (("all", (), 0), ("last", (0.1, 0.5, 0.9), 2)):
        made = network(config_of(model, decoder=decoder, channels=channels, steps=steps, quantiles=quantiles), 3, covariates)
        outputs = made(torch.randn(2, LOOKBACK, 3), torch.randn(2, LOOKBACK + 10, covariates) if covariates else None)
        assert outputs.shape == (2, 10 if steps == "all" else 1, 3, max(1, len(quantiles)))
        outputs.sum().backward()
        assert all(parameter.grad is not None for parameter in made.parameters())


@settings(max_examples=25)
@given(st.sampled_from(sorted(MODELS)), st.sampled_from(["direct", "parallel"]), st.sampled_from(["independent", "joint"]),
       st.sampled_from(["none", "last", "mean", "standard"]), st.sampled_from(["none", "linear", "seasonal"]))
def test_a_window_has_one_forecast_whatever_stands_beside_it(model, decoder, channels, normalise, skip):
    made = network(config_of(model, decoder=decoder, channels=channels, normalise=normalise, skip=skip), covariates=2)
    inputs, known = torch.randn(5, LOOKBACK, 3), torch.randn(5, LOOKBACK + 10, 2)
    with torch.no_grad():
        together = made(inputs, known)
        for n in (0, 4):
            torch.testing.assert_close(made(inputs[n:n + 1], known[n:n + 1])[0], together[n], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(made(inputs.flip(0), known.flip(0)).flip(0), together, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("decoder", ["direct", "parallel"])
def test_independent_series_do_not_see_each_other_and_joint_ones_do(decoder):
    for channels in ("independent", "joint"):
        made = network(config_of(channels=channels, decoder=decoder))
        inputs = torch.randn(2, LOOKBACK, 3)
        changed = inputs.clone()
        changed[:, :12, 2] += 1.0
        with torch.no_grad():
            moved = (made(inputs) - made(changed)).abs().amax(dim=(0, 1, 3))
        assert (moved[:2].max() == 0) == (channels == "independent") and moved[2] > 1e-3


@pytest.mark.parametrize(("normalise", "shifts", "scales"), [("last", True, False), ("mean", True, False), ("standard", True, True),
                                                             ("none", False, False)])
def test_what_is_taken_from_a_window_is_given_back(normalise, shifts, scales):
    """A window shifted (and, with `standard`, stretched) has its forecast shifted and stretched."""
    made = network(config_of(normalise=normalise, skip="linear"))
    inputs = torch.randn(2, LOOKBACK, 3) * 3
    with torch.no_grad():
        plain, moved, stretched = made(inputs), made(inputs + 7), made(inputs * 5)
    assert torch.allclose(moved, plain + 7, atol=1e-4) == shifts
    assert torch.allclose(stretched, plain * 5, atol=1e-3) == scales


def test_beside_a_skip_the_first_forecast_is_the_naive_one():
    inputs = torch.randn(4, LOOKBACK, 3)
    with torch.no_grad():
        for normalise, skip, expected in (
                ("last", "linear", inputs[:, -1:].expand(-1, 10, -1)),
                ("mean", "linear", inputs.mean(dim=1, keepdim=True).expand(-1, 10, -1)),
                ("mean", "seasonal", inputs.unflatten(1, (4, 6)).mean(dim=1).repeat(1, 2, 1)[:, :10])):
            for decoder in ("direct", "parallel"):
                made = Forecaster(config_of(normalise=normalise, skip=skip, decoder=decoder), 3).eval()
                torch.testing.assert_close(made(inputs)[..., 0], expected)


def test_statistics_of_windows():
    inputs = torch.randn(2, 9, 3)
    shift, scale = window_statistics(inputs, "standard")
    torch.testing.assert_close(shift, inputs.mean(dim=1, keepdim=True))
    torch.testing.assert_close(scale, inputs.var(dim=1, keepdim=True, correction=0).add(1e-5).sqrt())
    assert torch.isfinite(1 / window_statistics(torch.ones(1, 9, 1), "standard")[1]).all()  # a window that does not move


@pytest.mark.parametrize(("horizon", "steps", "segment"), [(10, "all", 4), (12, "all", 4), (10, "last", 4), (3, "last", 24)])
@pytest.mark.parametrize("covariates", [0, 2])
def test_segments_are_steps_of_one_gru_cell(horizon, steps, segment, covariates):
    """SegRNN's decoder by torch's own cell: every segment and series asks it once, from the same state."""
    torch.manual_seed(3)
    forecast = HorizonConfig(lookback=LOOKBACK, horizon=horizon, steps=steps, segment=segment)
    offsets = list(range(horizon)) if steps == "all" else [horizon - 1]
    decoder = ParallelDecoder(forecast, offsets, 6, 3, 2, covariates, 0.0)
    nn.init.normal_(decoder.output.weight)
    state, ahead = torch.randn(6, 6), torch.randn(6, horizon, covariates)  # two windows of three series
    made = decoder(state, ahead if covariates else None)
    for n, (place, offset) in ((n, item) for n in range(6) for item in enumerate(offsets)):
        number = offset // segment
        asked = decoder.place[number - offsets[0] // segment] + decoder.which[n % 3]
        if covariates:
            part = torch.zeros(segment, covariates)
            seen = ahead[n, number * segment:(number + 1) * segment]
            part[:len(seen)] = seen
            asked = asked + decoder.known(part.flatten())
        hidden = decoder.cell(asked.unsqueeze(0), state[n:n + 1])
        expected = decoder.output(hidden).view(segment, 2)[offset % segment]
        torch.testing.assert_close(made[n, place], expected, atol=1e-5, rtol=1e-5)


def test_skips_are_their_linear_maps():
    inputs = torch.randn(2, LOOKBACK, 3)
    for steps, offsets in (("all", list(range(10))), ("last", [9])):
        linear = Skip(HorizonConfig(lookback=LOOKBACK, horizon=10, steps=steps, skip="linear", skip_rows=7), offsets)
        seasonal = Skip(HorizonConfig(lookback=LOOKBACK, horizon=10, steps=steps, skip="seasonal", period=6), offsets)
        for part in (linear, seasonal):
            nn.init.normal_(part.map.weight)
        for place, offset in enumerate(offsets):
            expected = torch.einsum("blc,l->bc", inputs[:, -7:], linear.map.weight[place]) + linear.map.bias[place]
            torch.testing.assert_close(linear(inputs)[:, place], expected)
            periods = inputs.unflatten(1, (4, 6))[:, :, offset % 6]  # the same place of each past period
            expected = torch.einsum("bnc,n->bc", periods, seasonal.map.weight[offset // 6])
            torch.testing.assert_close(seasonal(inputs)[:, place], expected)


def test_covariates_ahead_reach_the_forecast_and_only_theirs():
    """In a segment they move that segment alone; past the horizon there is none."""
    made = network(config_of(decoder="parallel"), covariates=1)
    inputs, known = torch.randn(1, LOOKBACK, 3), torch.randn(1, LOOKBACK + 10, 1)
    changed = known.clone()
    changed[0, LOOKBACK + 5] += 1
    with torch.no_grad():
        moved = (made(inputs, known) - made(inputs, changed)).abs()[0, :, :, 0].amax(dim=1)
    assert moved[4:8].min() > 0 and moved[:4].max() == 0 and moved[8:].max() == 0
    with pytest.raises(ValueError, match="needs its 1 covariates"):
        made(inputs)
    with pytest.raises(ValueError, match="inputs must be"):
        made(inputs[:, :-1], known)


@pytest.mark.parametrize(("override", "said"), [
    ("forecast.lookback=100", "must be a multiple of 24, the rows that model.conv strides and model.stacking make one frame of"),
    ("forecast.quantiles=[0.1,0.9]", "must hold 0.5"),
    ("forecast.quantiles=[0.5,0.1]", "must rise"),
    ("forecast.quantiles=[0.5,1.0]", "between 0 and 1"),
    ("forecast.skip_rows=999", "must not exceed lookback"),
    ("model.conv.over=image", "image is for video"),
])
def test_configurations_that_cannot_be(override, said):
    with pytest.raises(ConfigError, match=said):
        load_config(None, ["model.conv.layers=[]", "model.stacking=24", override], ForecastConfig)
    with pytest.raises(ConfigError, match="multiple of period 24, for the seasonal skip"):
        load_config(None, ["forecast.lookback=100", "model.stacking=1", "forecast.skip=seasonal"], ForecastConfig)


