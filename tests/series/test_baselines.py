"""Baselines against plain loops and least squares; what is printed of them agrees with published figures (recipes' RESULTS)."""

from __future__ import annotations

import numpy as np
import pytest
from series.made_series import made_values
from series.test_windows import series_of

from asr.errors import DataError, UsageError
from asr.series.baselines import check_baselines, make_baseline
from asr.series.config import HorizonConfig, SeriesConfig
from asr.series.evaluation import evaluate, of_baseline
from asr.series.metrics import mse
from asr.series.windows import Windows, make_windows


def windows_of(values: np.ndarray, horizon: int = 6, steps: str = "all", split: tuple[float, ...] = (240, 80, 80)) -> Windows:
    return make_windows(series_of(values), SeriesConfig(split=split), HorizonConfig(lookback=24, horizon=horizon, steps=steps))


@pytest.fixture(scope="module")
def windows() -> Windows:
    return windows_of(made_values(400))


def test_forecasts_without_a_fit(windows):
    inputs = np.random.default_rng(0).standard_normal((2, 24, 3))
    for n, c, step in np.ndindex(2, 3, 6):
        past = inputs[n, :, c]
        assert make_baseline("last", windows).forecast(inputs[:, -1:])[n, step, c] == past[-1]
        assert make_baseline("mean:24", windows).forecast(inputs)[n, step, c] == pytest.approx(past.mean())
        assert make_baseline("seasonal:4", windows).forecast(inputs[:, -4:])[n, step, c] == past[-4:][step % 4]
        mean = past.reshape(3, 8)[:, step % 8].mean()
        assert make_baseline("profile:8x3", windows).forecast(inputs)[n, step, c] == pytest.approx(mean)


def test_a_baseline_of_the_last_step_alone_is_the_last_of_all_steps():
    values = made_values(400)
    every, last = windows_of(values), windows_of(values, steps="last")
    inputs = np.random.default_rng(1).standard_normal((5, 24, 3))
    for name in ("last", "mean:24", "seasonal:4", "profile:8x3"):
        both = [make_baseline(name, w) for w in (every, last)]
        length = both[0].lookback
        np.testing.assert_array_equal(both[0].forecast(inputs[:, -length:])[:, -1:], both[1].forecast(inputs[:, -length:]))


@pytest.mark.parametrize("name", ["linear:12", "nlinear:12", "ar:12"])
def test_linear_baselines_are_least_squares_with_the_ridge_that_validation_prefers(windows, name):
    values = windows.scaled
    shared, subtract = not name.startswith("ar"), name.startswith("n")
    baseline = make_baseline(name, windows)

    def rows(part: str, c: int) -> tuple[np.ndarray, np.ndarray]:
        first, last = windows.bounds[part]
        origins = range(12 if part == "train" else first, last - 6 + 1)
        x = np.array([values[o - 12:o, c] for o in origins])
        y = np.array([values[o:o + 6, c] for o in origins])
        base = x[:, -1:].copy() if subtract else 0.0
        return x - base, y - base

    test = np.arange(*windows.bounds["test"])[:-5]
    forecasts = baseline.forecast(windows.cut(values, test, 12))
    groups = [[0, 1, 2]] if shared else [[0], [1], [2]]
    for group, ridge in zip(groups, baseline.notes["ridge"]):
        x, y = (np.concatenate(part) for part in zip(*(rows("train", c) for c in group)))
        errors = {}
        for candidate in (ridge, 0.0, 1e-2, 1.0):
            # least squares with rows of the penalty's square root, in place of the normal equations
            penalty = np.sqrt(max(candidate, 1e-9) * (x ** 2).sum() / 12)
            design = np.vstack([np.column_stack([x, np.ones(len(x))]), np.column_stack([penalty * np.eye(12), np.zeros(12)])])
            weights = np.linalg.lstsq(design, np.vstack([y, np.zeros((12, 6))]), rcond=None)[0]
            xv, yv = (np.concatenate(part) for part in zip(*(rows("validation", c) for c in group)))
            errors[candidate] = ((xv @ weights[:12] + weights[12] - yv) ** 2).mean()
            if candidate == ridge:
                for c in group:
                    xt, _ = rows("test", c)
                    base = windows.cut(values, test, 1)[:, :, c] if subtract else 0.0
                    np.testing.assert_allclose(forecasts[:, :, c], xt @ weights[:12] + weights[12] + base, atol=1e-6)
        assert min(errors, key=errors.__getitem__) == ridge or errors[ridge] <= min(errors.values()) + 1e-12


def test_an_autoregression_is_found_again():
    """A series that follows its own past exactly is forecast exactly, where the season repeats and where it is fitted."""
    time = np.arange(400)
    values = np.stack([np.sin(2 * np.pi * time / 12), np.cos(2 * np.pi * time / 7) * 3 + 1], axis=1)
    windows = windows_of(values)
    assert mse(evaluate(of_baseline(make_baseline("ar:24", windows), windows), windows, "test", "scaled").errors) < 1e-8
    only = windows_of(values[:, :1])
    assert mse(evaluate(of_baseline(make_baseline("seasonal:12", only), only), only, "test", "scaled").errors) < 1e-20


def test_what_a_fit_sees_of_the_test_part_is_nothing():
    values = made_values(400)
    changed = values.copy()
    changed[320:] = 99.0
    for name in ("ar:12", "linear:12", "nlinear:12"):
        inputs = np.random.default_rng(2).standard_normal((4, 12, 3))
        one, other = (make_baseline(name, windows_of(v)).forecast(inputs) for v in (values, changed))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["", "first", "last:3", "seasonal", "seasonal:0", "profile:24", "profile:24x", "ar:x", "mean:-3"])
def test_names_that_are_none(name):
    with pytest.raises(UsageError, match="write last, mean:L"):
        check_baselines([name])


@pytest.mark.parametrize("name", ["profile:100x3", "seasonal:241", "mean:300"])
def test_no_window_is_dropped_for_a_baseline(windows, name):
    with pytest.raises(DataError, match="only 240 lie before the validation part"):
        make_baseline(name, windows)


def test_too_few_training_rows_for_a_linear_baseline(windows):
    with pytest.raises(DataError, match="the train part"):
        make_baseline("linear:236", windows)
