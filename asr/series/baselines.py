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
from asr.series.windows import Windows

RIDGES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # times the mean squared input
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


# --------------------------------------------------------------------------------------------------- linear maps


def _fitted(name: str, kind: str, lookback: int, windows: Windows) -> Baseline:
    """One linear map from ``lookback`` rows to all steps, by ridge regression.

    ``ar`` has a map of its own for each series, fitted directly for each step (no forecast is fed back); ``linear`` and ``nlinear``
    share one over all series. ``nlinear`` subtracts the last value before and adds it afterwards. These are the models of Zeng,
    Chen, Zhang and Xu, "Are transformers effective for time series forecasting?", AAAI 2023: DLinear's two maps of trend and
    remainder, both linear in the window, add up to one linear map, so ``linear`` is its optimum and that of Linear.
    """
    shared = kind != "ar"
    subtract = kind == "nlinear"
    series = len(windows.series.names)
    origins = {part: windows.origins(part, lookback) for part in ("train", "validation")}
    _checked(Baseline(name, lookback, lambda inputs: inputs), windows)
    groups = [list(range(series))] if shared else [[c] for c in range(series)]
    maps = np.zeros((series, lookback + 1, len(windows.offsets)))
    chosen = []
    for group in groups:
        train = _moments(windows, origins["train"], lookback, group, subtract)
        dev = _moments(windows, origins["validation"], lookback, group, subtract)
        ridge, best = _ridge(train, dev)
        chosen.append(ridge)
        maps[group] = best

    def forecast(inputs: np.ndarray) -> np.ndarray:
        last = inputs[:, -1:] if subtract else np.zeros_like(inputs[:, -1:])
        # (N, L, C) x (C, L, S) -> (C, N, S) -> (N, S, C)
        outputs = np.matmul((inputs - last).transpose(2, 0, 1), maps[:, :-1]) + maps[:, -1:]
        return outputs.transpose(1, 2, 0) + last

    return Baseline(name, lookback, forecast, {"ridge": chosen})


@dataclass
class _Moments:
    """What least squares needs of a set of windows: X'X (L+1, L+1), X'Y (L+1, S), Y'Y (S,); the last input is 1."""

    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray


def _moments(windows: Windows, origins: np.ndarray, lookback: int, group: list[int], subtract: bool) -> _Moments:
    steps = len(windows.offsets)
    found = _Moments(np.zeros((lookback + 1, lookback + 1)), np.zeros((lookback + 1, steps)), np.zeros(steps))
    values = windows.scaled
    for some in windows.batches(origins, lookback):
        # (N, L, C), (N, S, C) -> one row for each window and series of the group
        inputs = windows.cut(values, some, lookback)[:, :, group].transpose(0, 2, 1).reshape(-1, lookback)
        targets = windows.targets(values, some)[:, :, group].transpose(0, 2, 1).reshape(-1, steps)
        if subtract:
            last = inputs[:, -1:].copy()
            inputs, targets = inputs - last, targets - last
        whole = ~np.isnan(targets).any(axis=1)  # least squares of all steps at once: windows whose every target was observed
        inputs, targets = inputs[whole], targets[whole]
        design = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
        found.xx += design.T @ design
        found.xy += design.T @ targets
        found.yy += (targets ** 2).sum(axis=0)
    if found.xx[-1, -1] == 0:
        raise DataError(f"{windows.series.path}: no window of {lookback} rows has all its targets observed; "
                        "leave out the linear baselines")
    return found


def _ridge(train: _Moments, dev: _Moments) -> tuple[float, np.ndarray]:
    """The ridge with the least squared error on ``dev``, and its map (L+1, S); the constant is not shrunk."""
    size = len(train.xx) - 1
    unit = np.trace(train.xx[:size, :size]) / size
    best: tuple[float, float, np.ndarray] | None = None
    for ridge in RIDGES:
        # A hair of ridge always: inputs that say the same twice (nlinear's last column is zero) leave X'X singular.
        penalty = np.diag(np.append(np.full(size, max(ridge, 1e-9) * unit), 0.0))
        try:
            weights = np.linalg.solve(train.xx + penalty, train.xy)
        except np.linalg.LinAlgError:
            continue
        error = float((dev.yy - 2 * (weights * dev.xy).sum(axis=0) + (weights * (dev.xx @ weights)).sum(axis=0)).sum())
        if best is None or error < best[0]:
            best = (error, ridge, weights)
    if best is None:
        raise DataError("the inputs of the linear baseline do not vary; leave it out")
    return best[1], best[2]
