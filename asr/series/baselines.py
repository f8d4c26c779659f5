"""Forecasts that need no network: what every result stands beside.

`parse_baselines` reads their names: ``last``, ``mean:L``, ``seasonal:P``, ``profile:PxN``, ``ar:P``, ``linear:L``,
``nlinear:L``. All work on values in units of the network (`data.scale`), series by series. The linear ones are fitted in
closed form on the training windows, with the ridge that validation prefers; the test part is never looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from asr.errors import DataError, UsageError
from asr.series.linear import fit_linear, statistics
from asr.series.windows import Windows

KINDS = ("last", "mean:L", "seasonal:P", "profile:PxN", "ar:P", "linear:L", "nlinear:L")


@dataclass(frozen=True)
class Baseline:
    """A forecaster that sees ``lookback`` rows: ``forecast`` takes (N, L, C) float64 to (N, S, C), S steps of the windows."""

    name: str
    lookback: int
    forecast: Callable[[np.ndarray], np.ndarray]
    notes: dict[str, object] = field(default_factory=dict)


def check_baselines(names: list[str]) -> None:
    """Raise UsageError for a name that `make_baseline` does not know, before any work."""
    for name in names:
        _parse(name)


def make_baseline(name: str, windows: Windows) -> Baseline:
    """The baseline of this name, fitted on the training part of ``windows`` where it has something to fit.

    Raises UsageError for an unknown name, DataError where the data are too few for it.
    """
    kind, numbers = _parse(name)
    offsets = windows.offsets
    if kind == "last":
        return Baseline(name, 1, lambda inputs: np.repeat(inputs[:, -1:], len(offsets), axis=1))
    if kind == "mean":
        def mean(inputs: np.ndarray) -> np.ndarray:
            return np.repeat(inputs.mean(axis=1, keepdims=True), len(offsets), axis=1)

        return _checked(Baseline(name, numbers[0], mean), windows)
    if kind in ("seasonal", "profile"):
        period, repeats = numbers[0], numbers[1] if kind == "profile" else 1
        return _checked(Baseline(name, period * repeats, lambda inputs: profile(inputs, period, offsets)), windows)
    return _fitted(name, kind, numbers[0], windows)


def profile(inputs: np.ndarray, period: int, offsets: np.ndarray) -> np.ndarray:
    """(N, L, C) -> (N, S, C): the mean, place by place, of the periods that the inputs hold (L a multiple of ``period``).

    With one period it is the seasonal naive forecast (Hyndman and Athanasopoulos, "Forecasting: principles and practice", 5.2).
    """
    windows, length, series = inputs.shape
    return inputs.reshape(windows, length // period, period, series).mean(axis=1)[:, offsets % period]


def _parse(name: str) -> tuple[str, tuple[int, ...]]:
    kind, _, rest = name.partition(":")
    pattern = {"last": "", "mean": r"\d+", "seasonal": r"\d+", "profile": r"\d+x\d+", "ar": r"\d+", "linear": r"\d+",
               "nlinear": r"\d+"}.get(kind)
    numbers = tuple(int(number) for number in rest.split("x") if number.isdigit())
    if pattern is None or not re.fullmatch(pattern, rest) or 0 in numbers:
        raise UsageError(f"--baseline {name}: not known; write {', '.join(KINDS)}, L, P and N being numbers of rows, as in "
                         "seasonal:24 or profile:24x14")
    return kind, numbers


def _checked(baseline: Baseline, windows: Windows) -> Baseline:
    """Refused where the first window of test would reach back before the first row: no window is dropped for a baseline."""
    for part in ("validation", "test"):
        first = windows.bounds[part][0] - int(windows.offsets[0])
        if baseline.lookback > first:
            raise DataError(f"{windows.series.path}: the baseline {baseline.name} sees {baseline.lookback} rows, and only {first} "
                            f"lie before the {part} part; take fewer")
    return baseline


def _fitted(name: str, kind: str, lookback: int, windows: Windows) -> Baseline:
    """One linear map from ``lookback`` rows to all steps, by ridge regression (`fit_linear`).

    ``ar`` has a map of its own for each series, fitted directly for each step (no forecast is fed back); ``linear`` and
    ``nlinear`` share one over all series. ``nlinear`` subtracts the last value before and adds it afterwards. These are the
    models of Zeng, Chen, Zhang and Xu, "Are transformers effective for time series forecasting?", AAAI 2023: DLinear's two maps
    of trend and remainder, both linear in the window, add up to one linear map, so ``linear`` is its optimum and that of Linear.
    """
    _checked(Baseline(name, lookback, lambda inputs: inputs), windows)
    normalise = "last" if kind == "nlinear" else "none"
    series = len(windows.series.names)
    groups = [[c] for c in range(series)] if kind == "ar" else [list(range(series))]
    found = [fit_linear(windows, lookback, normalise, group) for group in groups]
    maps = np.stack([found[c if kind == "ar" else 0].weights for c in range(series)])  # (C, L + 1, S)

    def forecast(inputs: np.ndarray) -> np.ndarray:
        shift, scale = statistics(inputs, normalise)
        # (N, L, C) -> (C, N, L), times (C, L, S) -> (C, N, S) -> (N, S, C)
        outputs = np.matmul(((inputs - shift) / scale).transpose(2, 0, 1), maps[:, :-1]) + maps[:, -1:]
        return outputs.transpose(1, 2, 0) * scale + shift

    return Baseline(name, lookback, forecast, {"ridge": [one.ridge for one in found]})
