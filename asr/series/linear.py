"""A linear map from the rows of a window to its steps, by least squares: a baseline, and what may stand beside a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from asr.errors import DataError
from asr.series.windows import Windows

RIDGES = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # times the mean squared input


@dataclass(frozen=True)
class LinearMap:
    """``weights`` (L + 1, S): of the rows, and last of the constant; the ``ridge`` that validation preferred, its error there."""

    weights: np.ndarray
    ridge: float
    validation: float


def statistics(inputs: np.ndarray, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """(N, L, C) -> shift and scale (N, 1, C) of each window: `series.forecaster.window_statistics` in numpy."""
    one = np.ones_like(inputs[:, :1])
    if kind == "last":
        return inputs[:, -1:], one
    if kind == "none":
        return np.zeros_like(one), one
    mean = inputs.mean(axis=1, keepdims=True)
    return mean, np.sqrt(inputs.var(axis=1, keepdims=True) + 1e-5) if kind == "standard" else one


def fit_linear(windows: Windows, lookback: int, normalise: str, series: list[int], rows: int = 0) -> LinearMap:
    """Ridge regression of the targets on the last ``rows`` (0: all) of ``lookback`` rows, one map for these series together.

    Inputs and targets are normalised by the window's statistics over ``lookback``, as for a network. The error that is least is
    that on values as they are, so a window counts by the square of its scale. The constant is not shrunk. Windows with a target
    that was not observed are left out; raises DataError where none is left.
    """
    rows = rows or lookback
    windows = windows.only(series)
    origins = [windows.origins(part, lookback) for part in ("train", "validation")]
    return _ridge(*(_moments(windows, some, lookback, normalise, rows) for some in origins))


@dataclass
class _Moments:
    """What least squares needs of a set of windows: X'X (L+1, L+1), X'Y (L+1, S), the sum and the number of squared targets."""

    xx: np.ndarray
    xy: np.ndarray
    yy: float = 0.0
    count: int = 0


def _moments(windows: Windows, origins: np.ndarray, lookback: int, normalise: str, rows: int) -> _Moments:
    steps, values = len(windows.offsets), windows.scaled
    found = _Moments(np.zeros((rows + 1, rows + 1)), np.zeros((rows + 1, steps)))
    for some in windows.batches(origins, lookback):
        inputs = windows.cut(values, some, lookback)
        targets = windows.targets(values, some)
        shift, scale = statistics(inputs, normalise)
        # Divided by the scale and counted by its square: so much as not divided, but for the constant, which is the scale.
        # (N, L, C), (N, S, C) -> one row for each window and series
        design = np.concatenate([(inputs - shift)[:, -rows:], scale], axis=1).transpose(0, 2, 1).reshape(-1, rows + 1)
        wanted = (targets - shift).transpose(0, 2, 1).reshape(-1, steps)
        whole = ~np.isnan(wanted).any(axis=1)  # least squares of all steps at once
        design, wanted = design[whole], wanted[whole]
        found.xx += design.T @ design
        found.xy += design.T @ wanted
        found.yy += float((wanted ** 2).sum())
        found.count += wanted.size
    if found.count == 0:
        raise DataError(f"{windows.series.path}: no window of {lookback} rows has all its targets observed; leave out the linear "
                        "baselines, and a ridge skip")
    return found


def _ridge(train: _Moments, dev: _Moments) -> LinearMap:
    size = len(train.xx) - 1
    unit = np.trace(train.xx[:size, :size]) / size
    best: LinearMap | None = None
    for ridge in RIDGES:
        # A hair of ridge always: inputs that say the same twice (the last column is zero after the last value is taken off)
        # leave X'X singular.
        penalty = np.diag(np.append(np.full(size, max(ridge, 1e-9) * unit), 0.0))
        try:
            weights = np.linalg.solve(train.xx + penalty, train.xy)
        except np.linalg.LinAlgError:
            continue
        error = (dev.yy - 2 * (weights * dev.xy).sum() + (weights * (dev.xx @ weights)).sum()) / dev.count
        if best is None or error < best.validation:
            best = LinearMap(weights, ridge, float(error))
    if best is None:
        raise DataError("the inputs of a linear map do not vary; leave it out")
    return best
