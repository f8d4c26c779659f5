"""Rolling-origin evaluation: every window once, in the units asked for, and intervals that hold what they promise."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from series.made_series import made_values
from series.test_baselines import windows_of

from asr.series import intervals
from asr.series import windows as windows_module
from asr.series.baselines import make_baseline
from asr.series.evaluation import Forecaster, evaluate, of_baseline, summarise, table, write_scores
from asr.series.intervals import draw_blocks
from asr.series.metrics import Errors, mse
from asr.series.plots import Panel, draw_by_step, draw_forecasts


@pytest.fixture(scope="module")
def windows():
    return windows_of(made_values(400))


@pytest.mark.parametrize("units", ["scaled", "original"])
def test_every_window_is_scored_in_batches_of_any_size(windows, monkeypatch, units):
    forecaster = of_baseline(make_baseline("seasonal:24", windows), windows)
    values = windows.series.values if units == "original" else windows.scaled
    squares = np.array([[(values[o + s] - values[o + s - 24]) ** 2 for s in range(6)] for o in range(320, 395)])  # (N, S, C)
    for cells in (1, 1000, 10**7):
        monkeypatch.setattr(windows_module, "CELLS", cells)
        result = evaluate(forecaster, windows, "test", units)
        assert len(result.errors) == 75
        assert mse(result.errors) == pytest.approx(squares.mean())
        np.testing.assert_allclose(result.by_step, squares.mean(axis=(0, 2)))


def test_quantiles_are_scaled_back_with_their_own_series(windows):
    values = windows.scaled

    def predict(origins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        truth = windows.targets(values, origins)
        return truth, truth[..., None] + np.array([-1e-3, 1e-3])

    result = evaluate(Forecaster("oracle", 1, predict, (0.1, 0.9)), windows, "test", "original")
    assert mse(result.errors) == pytest.approx(0, abs=1e-20)
    assert result.errors.covered.sum() == result.errors.sums[:, :, 0].sum() == 75 * 6 * 3


@given(st.integers(1, 200), st.integers(1, 60), st.integers(0, 99))
def test_blocks_are_drawn_whole_from_a_circle(count, horizon, seed):
    draws = draw_blocks(count, horizon, 20, seed)
    length = min(count, max(horizon, 24))
    assert draws.blocks == -(-count // length)
    weights = draws.weights()
    np.testing.assert_array_equal(weights.sum(axis=1), count)  # as many windows as there are, every time
    starts = np.random.default_rng(seed).integers(count, size=(20, draws.blocks))
    for row, begun in zip(weights, starts):
        plain = np.zeros(count)
        for number, start in enumerate(begun):
            size = length if number < draws.blocks - 1 else count - length * (draws.blocks - 1)
            for place in range(start, start + size):
                plain[place % count] += 1
        np.testing.assert_array_equal(row, plain)


def test_replicates_are_summed_in_parts_that_fit_into_memory(monkeypatch):
    rng = np.random.default_rng(0)
    truth = rng.standard_normal((50, 3, 2))
    errors = Errors.of(truth, truth + rng.standard_normal(truth.shape), None, truth[..., None] + np.array([-1, 1]), (0.1, 0.9))
    whole = draw_blocks(50, 3, 7).totals(errors)
    monkeypatch.setattr(intervals, "_CELLS", 100)
    for one, other in zip(whole, draw_blocks(50, 3, 7).totals(errors), strict=True):
        np.testing.assert_allclose(one.sums, other.sums)
        np.testing.assert_allclose(one.pinball, other.pinball)
    again = errors.total(draw_blocks(50, 3, 7).weights()[4])
    np.testing.assert_allclose(whole[4].covered, again.covered)


def test_the_interval_covers_the_mean_of_errors_that_come_in_spells():
    """Errors of an AR(1) with a known mean: about 95 of 100 intervals hold it; single windows drawn alone hold far fewer."""
    rng = np.random.default_rng(5)
    held = {12: 0, 1: 0}
    for _ in range(100):
        walk = np.zeros(600)
        noise = rng.standard_normal(600)
        for t in range(1, 600):
            walk[t] = 0.9 * walk[t - 1] + noise[t]
        errors = Errors.of(walk[:, None, None] + 20, np.zeros((600, 1, 1)))
        for length in held:
            draws = draw_blocks(600, 48, 200, 1) if length == 12 else None
            weights = draws.weights() if draws else rng.multinomial(600, np.full(600, 1 / 600), 200)
            means = weights @ errors.sums[:, 0, 3] / 600
            low, high = draws.interval(means) if draws else np.percentile(means, [2.5, 97.5])
            held[length] += low <= 20 <= high
    assert held[12] >= 88 and held[1] <= 60


def test_the_summary_compares_the_first_with_the_others(windows, tmp_path):
    results = [evaluate(of_baseline(make_baseline(name, windows), windows), windows, "test", "scaled")
               for name in ("nlinear:24", "last", "seasonal:24")]
    summary = summarise(results, windows, "test", "scaled", 24)
    assert summary == summarise(results, windows, "test", "scaled", 24)  # the same at every call
    assert (summary["windows"], summary["cells"], summary["rows"], summary["blocks"]) == (75, 75 * 6 * 3, [321, 400], 4)
    assert summary["compared"] == "nlinear:24" and list(summary["differences"]) == ["last", "seasonal:24"]
    for name, scores in summary["scores"].items():
        assert scores["mse"]["interval"][0] <= scores["mse"]["value"] <= scores["mse"]["interval"][1], name
    difference = summary["differences"]["last"]["mse"]
    values = [summary["scores"][name]["mse"]["value"] for name in ("nlinear:24", "last")]
    assert difference["value"] == pytest.approx(values[0] - values[1])
    assert difference["interval"][1] < 0  # far better than the last value, on a daily shape
    itself = summarise([results[0], results[0]], windows, "test", "scaled", 24)["differences"]["nlinear:24"]["mse"]
    assert itself == {"value": 0.0, "interval": [0.0, 0.0]}
    write_scores(tmp_path, summary, results, {"seed": 3})
    assert json.loads((tmp_path / "scores.json").read_text())["seed"] == 3
    with np.load(tmp_path / "errors.npz") as saved:
        np.testing.assert_array_equal(saved["last"], results[1].errors.sums)
    assert table(summary).splitlines()[0] == "| forecast | MSE | MAE | RSE | CORR | MASE |"
    assert len(table(summary).splitlines()) == 5


def test_mase_is_left_out_where_it_is_not_defined(windows):
    result = evaluate(of_baseline(make_baseline("last", windows), windows), windows, "test", "scaled")
    assert "mase" not in summarise([result], windows, "test", "scaled", 240)["scores"]["last"]


def test_blocks_are_as_long_as_the_horizon_where_its_last_step_alone_is_forecast():
    windows = windows_of(made_values(400), 40, "last")
    result = evaluate(of_baseline(make_baseline("last", windows), windows), windows, "test", "scaled")
    summary = summarise([result], windows, "test", "scaled", 24)
    assert (summary["steps"], summary["windows"], summary["blocks"]) == (1, 80, 2)


def test_what_is_undefined_is_null(tmp_path):
    """A test part that never changes has no CORR and no RSE; drawn windows that were not observed have no score."""
    values = made_values(400, 1)
    values[320:] = 10.1
    windows = windows_of(values)
    windows.series.observed[350:] = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = [evaluate(of_baseline(make_baseline(name, windows), windows), windows, "test", "original")
                   for name in ("last", "seasonal:24")]
        summary = summarise(results, windows, "test", "original", 24)
        write_scores(tmp_path, summary, results, {})
    read = json.loads((tmp_path / "scores.json").read_text(), parse_constant=pytest.fail)
    for scores in (read["scores"]["last"], read["differences"]["seasonal:24"]):
        assert scores["corr"] == scores["rse"] == {"value": None, "interval": None}
        assert len(scores["mse"]["interval"]) == 2
    assert table(summary).splitlines()[2].count("| undefined |") == 1 and "nan" not in table(summary)


def test_pictures_are_written(tmp_path):
    steps = np.arange(6)
    panel = Panel("a", np.zeros(24), steps, np.ones(6), {"ours": np.ones(6), "last": np.zeros(6)}, np.zeros(6), np.ones(6) * 2)
    single = Panel("b", np.zeros(24), np.array([5]), None, {"ours": np.ones(1)}, np.zeros(1), np.ones(1))
    draw_forecasts([panel, panel, single], tmp_path / "forecasts.png", "80 % interval", "kW")
    draw_by_step({"ours": np.ones(6), "last": np.arange(6.0)}, steps, tmp_path / "steps.png", "scaled")
    for name in ("forecasts.png", "steps.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG") and (tmp_path / name).stat().st_size > 5000
