"""Parts and windows: every row of validation and test is forecast, and nothing of them is in what training sees."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from series.made_series import made_values

from asr.errors import DataError
from asr.series.config import HorizonConfig, SeriesConfig
from asr.series.table import Series
from asr.series.windows import Windows, make_windows

LONG, SHORT = HorizonConfig(lookback=10, horizon=5), HorizonConfig(lookback=5, horizon=4)


def series_of(values: np.ndarray) -> Series:
    names = tuple(f"s{n}" for n in range(values.shape[1]))
    return Series(Path("made.csv"), names, values, np.ones(values.shape, bool), np.zeros((len(values), 0)))


def windows_of(rows: int, split: tuple[float, float, float], lookback: int, horizon: int, steps: str = "all") -> Windows:
    forecast = HorizonConfig(lookback=lookback, horizon=horizon, steps=steps)
    return make_windows(series_of(made_values(rows)), SeriesConfig(split=split), forecast)


def test_the_counts_of_the_published_protocols():
    """ETT (Informer and those after it): 12, 4 and 4 months of hours; exchange_rate: LSTNet's `utils.py`."""
    ett = windows_of(17420, (8640, 2880, 2880), 336, 96)
    assert ett.bounds == {"train": (0, 8640), "validation": (8640, 11520), "test": (11520, 14400)}
    assert [len(ett.origins(part)) for part in ett.bounds] == [8640 - 336 - 96 + 1, 2785, 2785]
    assert len(windows_of(17420, (8640, 2880, 2880), 336, 720).origins("test")) == 2161
    for horizon, train in ((3, 4382), (24, 4361)):
        rates = windows_of(7588, (0.6, 0.2, 0.2), 168, horizon, "last")
        assert len(rates.origins("train")) == train
        assert len(rates.origins("validation")) == len(rates.origins("test")) == 1518
        assert rates.origins("train")[0] + rates.offsets[0] == 168 + horizon - 1


@given(st.data())
def test_every_row_of_a_part_is_forecast_by_as_many_windows_as_can(data):
    lookback, horizon = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 9))
    steps = data.draw(st.sampled_from(["all", "last"]))
    sizes = [data.draw(st.integers(lookback + horizon, 40)), *(data.draw(st.integers(horizon, 30)) for _ in range(2))]
    rest = data.draw(st.integers(0, 5))
    windows = windows_of(sum(sizes) + rest, tuple(sizes), lookback, horizon, steps)
    values = np.arange(sum(sizes) + rest, dtype=float)[:, None] * np.ones(3)
    for part, (first, last) in windows.bounds.items():
        origins = windows.origins(part)
        rows = windows.targets(values, origins)[:, :, 0]
        inputs = windows.cut(values, origins)[:, :, 0]
        assert rows.min() >= first and rows.max() == last - 1
        np.testing.assert_array_equal(inputs, origins[:, None] + np.arange(-lookback, 0))  # the rows before the origin, in order
        np.testing.assert_array_equal(rows, origins[:, None] + windows.offsets)
        assert inputs.max() < rows.min(axis=1).max() + 1 and (inputs.max(axis=1) < rows.min(axis=1)).all()
        if part != "train":  # none is missing: each row of the part is a target, the first one too
            np.testing.assert_array_equal(np.unique(rows), np.arange(first, last))
            assert len(origins) == (last - first - horizon + 1 if steps == "all" else last - first)
        else:
            assert rows.max() < windows.bounds["validation"][0] and inputs.min() == 0
        np.testing.assert_array_equal(np.concatenate(list(windows.batches(origins, lookback))), origins)


def test_the_scale_is_that_of_the_training_rows_alone():
    values = made_values(200)
    values[120:] *= 50
    split = (120.0, 40.0, 40.0)
    scaler = make_windows(series_of(values), SeriesConfig(split=split), LONG).scaler
    np.testing.assert_allclose(scaler.shift, values[:120].mean(axis=0))
    np.testing.assert_allclose(scaler.scale, values[:120].std(axis=0))
    np.testing.assert_allclose(scaler.backward(scaler.forward(values)), values)
    whole = make_windows(series_of(values), SeriesConfig(split=split, scale="maxabs_file"), LONG).scaler
    np.testing.assert_array_equal(whole.scale, np.abs(values).max(axis=0))  # the leak of LSTNet's protocol, and it is named so


def test_values_that_were_filled_have_no_part_in_scale_or_targets():
    values = made_values(100)
    observed = np.ones(values.shape, bool)
    observed[10:20, 0] = False
    spoiled = np.where(observed, values, 1e6)
    windows = make_windows(replace(series_of(spoiled), observed=observed), SeriesConfig(split=(60, 20, 20)), SHORT)
    np.testing.assert_allclose(windows.scaler.shift[0], np.delete(values[:60, 0], np.s_[10:20]).mean())
    targets = windows.targets(spoiled, np.array([8]))
    assert np.isnan(targets[0, :, 0]).tolist() == [False, False, True, True] and not np.isnan(targets[0, :, 1:]).any()


def test_constant_columns_are_named_or_left_out():
    values = made_values(100)
    values[:60, 1] = 4.0  # over training; that it moves later is no help
    series = series_of(values)
    with pytest.raises(DataError, match=r"training rows 1 to 60, 's1' never changes.*data\.targets, or with data\.skip_constant"):
        make_windows(series, SeriesConfig(split=(60, 20, 20)), SHORT)
    windows = make_windows(series, SeriesConfig(split=(60, 20, 20), skip_constant=True), SHORT)
    assert windows.series.names == ("s0", "s2")
    np.testing.assert_array_equal(windows.series.values, values[:, [0, 2]])
    with pytest.raises(DataError, match="never change"):
        make_windows(series_of(np.ones((100, 2))), SeriesConfig(split=(60, 20, 20), skip_constant=True), SHORT)


@pytest.mark.parametrize(("rows", "split", "lookback", "horizon", "said"), [
    (100, (60, 20, 20), 58, 4, "train part, rows 1 to 60, has 60 rows: too few for one window of 58 rows of input and 4 of"),
    (100, (60, 20, 20), 10, 21, "the validation part, rows 61 to 80, has 20 rows: too few"),
    (100, (60, 20, 21), 10, 4, "data.split asks for 101 rows, and there are 100"),
])
def test_too_few_rows(rows, split, lookback, horizon, said):
    with pytest.raises(DataError, match=said):
        windows = windows_of(rows, split, lookback, horizon)
        for part in ("train", "validation"):
            windows.origins(part)


def test_a_test_part_is_needed_only_when_it_is_asked_for():
    windows = windows_of(100, (70, 30, 0), 10, 4)
    assert len(windows.origins("validation")) == 27
    with pytest.raises(DataError, match="the test part"):
        windows.origins("test")


@pytest.mark.parametrize("split", [(0.0, 0.5, 0.5), (0.6, 0.3, 0.2), (0.5, 0.0, 0.5), (100.5, 20, 20), (0.8, 0.3, -0.1)])
def test_splits_that_are_none(split):
    with pytest.raises(ValidationError, match="split"):
        SeriesConfig(split=split)
