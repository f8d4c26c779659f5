"""The linear map by least squares: the network's own normalisation in numpy, and the solution against numpy's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from series.made_series import made_values
from series.test_windows import series_of

from asr.errors import DataError
from asr.series.config import ForecastConfig, HorizonConfig, SeriesConfig
from asr.series.forecaster import Forecaster, window_statistics
from asr.series.linear import fit_linear, statistics
from asr.series.windows import Scaler, make_windows

KINDS = ["none", "last", "mean", "standard"]


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_those_of_the_network(kind):
    inputs = np.random.default_rng(0).standard_normal((4, 9, 3))
    for ours, theirs in zip(statistics(inputs, kind), window_statistics(torch.from_numpy(inputs), kind)):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_with_this_skip_forecasts_the_least_squares_solution(kind):
    """With the network's part at zero, its errors on training windows are those of numpy's least squares on the same windows."""
    values = made_values(400) * np.array([1, 5, 0.2])
    forecast = HorizonConfig(lookback=24, horizon=6, normalise=kind, skip="ridge", skip_rows=12)
    windows = make_windows(series_of(values), SeriesConfig(split=(240, 80, 80)), forecast)
    fitted = fit_linear(windows, 24, kind, [0, 1, 2], 12)
    network = Forecaster(ForecastConfig(forecast=forecast), 3).eval()
    network.skip.set_map(torch.from_numpy(fitted.weights))
    assert not network.skip.map.weight.requires_grad

    def both(part: str) -> tuple[np.ndarray, np.ndarray]:
        origins = windows.origins(part)
        inputs = torch.from_numpy(windows.cut(windows.scaled, origins)).float()
        with torch.no_grad():
            return network(inputs)[..., 0].numpy(), windows.targets(windows.scaled, origins)

    made, wanted = both("validation")
    assert ((made - wanted) ** 2).mean() == pytest.approx(fitted.validation, rel=1e-4)
    made, wanted = both("train")
    shift, scale = statistics(windows.cut(windows.scaled, windows.origins("train")), kind)
    inputs = windows.cut(windows.scaled, windows.origins("train")) - shift
    design = np.concatenate([inputs[:, -12:], scale], axis=1).transpose(0, 2, 1).reshape(-1, 13)
    target = (wanted - shift).transpose(0, 2, 1).reshape(-1, 6)
    penalty = np.sqrt(max(fitted.ridge, 1e-9) * (design[:, :12] ** 2).sum() / 12) * np.eye(13)[:12]
    solution = np.linalg.lstsq(np.vstack([design, penalty]), np.vstack([target, np.zeros((12, 6))]), rcond=None)[0]
    np.testing.assert_allclose(made, (design @ solution).reshape(-1, 3, 6).transpose(0, 2, 1) + shift, atol=2e-4)


def test_windows_that_were_not_observed_whole_are_left_out():
    values = made_values(400)
    series = series_of(values)
    forecast = HorizonConfig(lookback=24, horizon=6)
    clean = fit_linear(make_windows(series, SeriesConfig(split=(240, 80, 80)), forecast), 24, "last", [1])
    series.observed[100, 0] = False  # another series' hole is no matter
    same = fit_linear(make_windows(series, SeriesConfig(split=(240, 80, 80), scale="none"), forecast), 24, "last", [1])
    assert clean.weights.shape == same.weights.shape
    series.observed[::5, 1] = False
    with pytest.raises(DataError, match="no window of 24 rows has all its targets observed"):
        fit_linear(make_windows(series, SeriesConfig(split=(240, 80, 80)), forecast), 24, "last", [1])


def test_one_series_of_a_wide_table_costs_what_it_does_alone(monkeypatch):
    """The same map to the bit, and no more cells are scaled than the table of this series has."""
    values = made_values(400, 8)
    data, forecast, cells = SeriesConfig(split=(240, 80, 80), scale="none"), HorizonConfig(lookback=24, horizon=6), []
    forward = Scaler.forward

    def counted(self: Scaler, given: np.ndarray) -> np.ndarray:
        cells.append(given.size)
        return forward(self, given)

    monkeypatch.setattr(Scaler, "forward", counted)
    monkeypatch.setattr("asr.series.windows.CELLS", 3000)  # several batches
    wide = fit_linear(make_windows(series_of(values), data, forecast), 24, "none", [5])
    count = sum(cells)
    alone = fit_linear(make_windows(series_of(values[:, 5:6]), data, forecast), 24, "none", [0])
    np.testing.assert_array_equal(wide.weights, alone.weights)
    assert (wide.ridge, wide.validation) == (alone.ridge, alone.validation)
    assert count == sum(cells) - count <= 2 * 400
