"""Metrics against their formulas, written plainly; and what they promise whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr

from asr.series.metrics import Errors, all_metrics, corr, coverage, mae, mase, mse, pinball, rse, seasonal_scale


def drawn(seed: int, shape: tuple[int, ...] = (30, 4, 3), missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.standard_normal(shape) + np.arange(shape[-1]) * 5
    forecast = truth + rng.standard_normal(shape) * 0.3
    return np.where(rng.random(shape) < missing, np.nan, truth), forecast


def lstnet(truth: np.ndarray, forecast: np.ndarray) -> tuple[float, float]:
    """RSE and CORR as the published `main.py` and `utils.py` compute them, from (N, C): one step."""
    deviation = np.sqrt(((truth - truth.mean()) ** 2).mean())  # utils.normal_std of the pooled values, N in the denominator
    spread_y, spread_p = truth.std(axis=0), forecast.std(axis=0)
    both = ((forecast - forecast.mean(0)) * (truth - truth.mean(0))).mean(0)
    moves = spread_y != 0
    return np.sqrt(((truth - forecast) ** 2).mean()) / deviation, (both[moves] / (spread_y * spread_p)[moves]).mean()


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("centre", [None, np.array([0.3, 5.0, 11.0])])
def test_the_plain_formulas(missing, centre):
    truth, forecast = drawn(1, missing=missing)
    known = ~np.isnan(truth)
    errors = Errors.of(truth, forecast, centre)
    assert mse(errors) == pytest.approx(((truth - forecast)[known] ** 2).mean())
    assert mae(errors) == pytest.approx(np.abs(truth - forecast)[known].mean())
    spread = ((truth[known] - truth[known].mean()) ** 2).sum()
    assert rse(errors) == pytest.approx(np.sqrt(((truth - forecast)[known] ** 2).sum() / spread))
    per_series = [pearsonr(truth[..., c][known[..., c]], forecast[..., c][known[..., c]])[0] for c in range(3)]
    assert corr(errors) == pytest.approx(np.mean(per_series))
    scale = np.array([0.5, 1.0, 2.0])
    scaled = [np.abs(truth - forecast)[..., c][known[..., c]].mean() / scale[c] for c in range(3)]
    assert mase(errors, scale) == pytest.approx(np.mean(scaled))


def test_rse_and_corr_are_lstnets():
    truth, forecast = drawn(2, (200, 1, 4))
    truth[:, :, 3] = 7.0  # a series that does not change is skipped by CORR, and counts for RSE
    assert (rse(Errors.of(truth, forecast)), corr(Errors.of(truth, forecast))) == pytest.approx(lstnet(truth[:, 0], forecast[:, 0]))


def test_pinball_and_coverage():
    truth, forecast = drawn(3, missing=0.1)
    levels = (0.1, 0.5, 0.9)
    spread = forecast[..., None] + np.array([-0.3, 0.0, 0.3])
    errors = Errors.of(truth, forecast, None, spread, levels)
    losses, inside = [], []
    for index in np.ndindex(truth.shape):
        if np.isnan(truth[index]):
            continue
        for q, f in zip(levels, spread[index]):
            losses.append(q * (truth[index] - f) if truth[index] >= f else (1 - q) * (f - truth[index]))
        inside.append(spread[index][0] <= truth[index] <= spread[index][-1])
    assert pinball(errors) == pytest.approx(np.mean(losses))
    assert coverage(errors) == pytest.approx(np.mean(inside))
    assert set(all_metrics(errors, None)) == {"mse", "mae", "rse", "corr", "pinball", "coverage"}
    half = Errors.of(truth, forecast, None, forecast[..., None], (0.5,))
    assert pinball(half) == pytest.approx(mae(half) / 2)  # the median's loss is half the absolute error
    with pytest.raises(ValueError, match="no forecasts of quantiles"):
        pinball(Errors.of(truth, forecast))


def test_the_true_quantile_has_the_least_pinball_loss():
    values = np.random.default_rng(0).exponential(size=(4000, 1, 1))
    candidates = np.linspace(0.1, 4, 200)
    losses = [pinball(Errors.of(values, values * 0, None, np.full((4000, 1, 1, 1), f), (0.8,))) for f in candidates]
    assert candidates[np.argmin(losses)] == pytest.approx(np.quantile(values, 0.8), abs=0.03)


def test_the_scale_of_mase_makes_the_naive_forecast_one():
    values = np.random.default_rng(4).standard_normal((300, 2)).cumsum(axis=0)
    for season in (1, 24):
        scale = seasonal_scale(values, season)
        naive = Errors.of(values[season:, None], values[:-season, None])
        assert mase(naive, scale) == pytest.approx(1.0)
    observed = np.ones(values.shape, bool)
    observed[7, 0] = False
    spoiled = values.copy()
    spoiled[7, 0] = 1e9
    np.testing.assert_allclose(seasonal_scale(spoiled, 1, observed)[0], np.abs(np.diff(values[:, 0]))[np.r_[:6, 8:299]].mean())
    for values, season, said in ((np.ones((10, 1)), 10, "too few"), (np.ones((10, 1)), 2, "divide by zero")):
        with pytest.raises(ValueError, match=said):
            seasonal_scale(values, season)


@given(st.integers(0, 10**6), st.integers(1, 29))
def test_sums_of_parts_are_sums_of_the_whole(seed, cut):
    truth, forecast = drawn(seed, missing=0.1)
    whole = Errors.of(truth, forecast)
    joined = Errors.join([Errors.of(truth[:cut], forecast[:cut]), Errors.of(truth[cut:], forecast[cut:])])
    np.testing.assert_array_equal(whole.sums, joined.sums)
    weights = np.random.default_rng(seed).integers(0, 4, 30).astype(float)
    weights[0] = 1
    repeated = np.repeat(np.arange(30), weights.astype(int))
    drawn_again = Errors.of(truth[repeated], forecast[repeated])
    for name, value in all_metrics(drawn_again, np.ones(3)).items():
        assert all_metrics(whole.total(weights), np.ones(3))[name] == pytest.approx(value)


def test_a_perfect_and_a_constant_forecast():
    truth, _ = drawn(5)
    assert all_metrics(Errors.of(truth, truth), np.ones(3)) == pytest.approx({"mse": 0, "mae": 0, "rse": 0, "corr": 1, "mase": 0})
    flat = Errors.of(truth, np.full_like(truth, truth.mean()))
    assert rse(flat) == pytest.approx(1.0)
    assert np.isnan(corr(flat))  # of a forecast that never changes, it is undefined


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="windows, steps, series"):
        Errors.of(np.zeros((3, 2)), np.zeros((3, 2)))
    with pytest.raises(ValueError, match="windows, steps, series"):
        Errors.of(np.zeros((3, 2, 1)), np.zeros((3, 2, 2)))
