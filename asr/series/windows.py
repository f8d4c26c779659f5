"""Which rows are training, validation and test, in which units, and the windows that are cut from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from asr.errors import DataError
from asr.series.config import HorizonConfig, SeriesConfig
from asr.series.table import Series

PARTS = ("train", "validation", "test")
CELLS = 4_000_000  # values of one batch of windows at most: bounds the memory to 32 MB


@dataclass(frozen=True)
class Scaler:
    """What takes values of the file to those the network sees, and back: ``(value - shift) / scale``, each (C,) float64."""

    shift: np.ndarray
    scale: np.ndarray

    def forward(self, values: np.ndarray) -> np.ndarray:
        """(..., C) in the units of the file -> in units of the network."""
        return (values - self.shift) / self.scale

    def backward(self, values: np.ndarray) -> np.ndarray:
        """(..., C) in units of the network -> in the units of the file."""
        return values * self.scale + self.shift


@dataclass(frozen=True)
class Windows:
    """A series cut into its parts, with the windows of each.

    A window is named by its origin: the first row after the inputs. Its inputs are rows ``origin - lookback`` to
    ``origin - 1``, its targets the rows ``origin + offsets``. A window belongs to the part in which all its targets lie;
    the inputs of validation and test reach back into the part before, so every row of them is forecast. ``scaler`` is the scale
    of the values, ``known`` that of the covariates.
    """

    series: Series
    scaler: Scaler
    known: Scaler
    bounds: dict[str, tuple[int, int]]
    lookback: int
    offsets: np.ndarray

    @property
    def horizon(self) -> int:
        """Rows from the origin to the last target, both counted."""
        return int(self.offsets[-1]) + 1

    def __deepcopy__(self, memo: dict[int, object]) -> Windows:
        """Itself: averaging copies a training task, and must not copy the table with it."""
        return self

    @property
    def scaled(self) -> np.ndarray:
        """(T, C) float64: the values in units of the network."""
        return self.scaler.forward(self.series.values)

    @property
    def covariates(self) -> np.ndarray:
        """(T, K) float64: the covariates in units of the network, by their own scale."""
        return self.known.forward(self.series.covariates)

    def only(self, columns: Sequence[int]) -> Windows:
        """The same windows of these series alone."""
        kept = list(columns)
        return replace(self, series=self.series.only(kept), scaler=Scaler(self.scaler.shift[kept], self.scaler.scale[kept]))

    def origins(self, part: str, lookback: int | None = None) -> np.ndarray:
        """(N,) int64: the origins of every window of a part; with another ``lookback`` for a forecaster that sees less or more.

        Raises DataError where there is none: fewer rows than a window needs.
        """
        lookback = self.lookback if lookback is None else lookback
        first, last = self.bounds[part]
        start = max(lookback, first - int(self.offsets[0]))
        stop = last - int(self.offsets[-1])
        if stop <= start:
            before = "" if part == "train" else " (which may lie before it)"
            raise DataError(f"{self.series.path}: the {part} part, rows {first + 1} to {last}, has {last - first} rows: too few "
                            f"for one window of {lookback} rows of input{before} and {len(self.offsets)} of forecast, "
                            f"{self.horizon} ahead; give more rows, another data.split, or a shorter lookback or horizon")
        return np.arange(start, stop)

    def cut(self, values: np.ndarray, origins: np.ndarray, lookback: int | None = None) -> np.ndarray:
        """(T, C) -> (N, L, C): the inputs of these windows, copied."""
        lookback = self.lookback if lookback is None else lookback
        return values[origins[:, None] + np.arange(-lookback, 0)]

    def targets(self, values: np.ndarray, origins: np.ndarray) -> np.ndarray:
        """(T, C) -> (N, S, C): the targets of these windows, NaN where they were not observed."""
        rows = origins[:, None] + self.offsets
        return np.where(self.series.observed[rows], values[rows], np.nan)

    def batches(self, origins: np.ndarray, lookback: int) -> Iterator[np.ndarray]:
        """The origins in runs short enough for memory."""
        size = max(1, CELLS // ((lookback + len(self.offsets)) * len(self.series.names)))
        for start in range(0, len(origins), size):
            yield origins[start:start + size]


def make_windows(series: Series, data: SeriesConfig, forecast: HorizonConfig,
                 scales: tuple[Scaler, Scaler] | None = None) -> Windows:
    """Split, find constant columns, fit the scale, and know every window.

    With ``scales``, of the values and of the covariates, a model's own are taken, and the columns are left as they are.
    Raises DataError where there are fewer rows than the split asks for, or a target does not change over the training rows
    (its scale would be zero), unless ``data.skip_constant`` leaves such targets out.
    """
    bounds = split(len(series) - series.future, data.split, series)
    first, last = bounds["train"]
    if scales is None:
        series = _moving(series, data, first, last)
        scales = fit_scaler(series, data.scale, first, last), fit_covariates(series, first, last)
    offsets = np.arange(forecast.horizon) if forecast.steps == "all" else np.array([forecast.horizon - 1])
    return Windows(series, *scales, bounds, forecast.lookback, offsets)


def _moving(series: Series, data: SeriesConfig, first: int, last: int) -> Series:
    """The series without the columns that do not change over the training rows, where they may be left out."""
    seen = np.where(series.observed, series.values, np.nan)[first:last]
    moving = np.array([len(np.unique(column[~np.isnan(column)])) > 1 for column in seen.T])
    if not moving.all():
        names = [name for name, moves in zip(series.names, moving) if not moves]
        if not data.skip_constant or not moving.any():
            raise DataError(f"{series.path}: over the training rows {first + 1} to {last}, {', '.join(map(repr, names))} "
                            f"{'never changes' if len(names) == 1 else 'never change'}: there is nothing to learn; leave "
                            f"{'it' if len(names) == 1 else 'them'} out with data.targets, or with data.skip_constant=true")
        series = series.only(np.flatnonzero(moving).tolist())
    return series


def split(rows: int, shares: tuple[float, float, float], series: Series) -> dict[str, tuple[int, int]]:
    """First row and the one after the last of each part, in order of time."""
    total = np.cumsum(shares)
    # A hair above, so that 0.6 + 0.2 of 7588 rows ends where 0.8 of them does.
    ends = np.floor(total * rows + 1e-6).astype(int) if max(shares) <= 1 else total.astype(int)
    if ends[2] > rows:
        raise DataError(f"{series.path}: data.split asks for {ends[2]} rows, and there are {rows}; give fewer, or fractions")
    starts = [0, *map(int, ends[:2])]
    return {part: (start, int(end)) for part, start, end in zip(PARTS, starts, ends)}


def fit_scaler(series: Series, kind: str, first: int, last: int) -> Scaler:
    """The scale of training rows ``first`` to ``last - 1``; "maxabs_file" looks at the whole file (see `SeriesConfig`)."""
    count = len(series.names)
    seen = np.where(series.observed, series.values, np.nan)
    if kind == "standard":
        return Scaler(np.nanmean(seen[first:last], axis=0), np.nanstd(seen[first:last], axis=0))
    if kind == "maxabs_file":
        return Scaler(np.zeros(count), np.nanmax(np.abs(seen), axis=0))
    return Scaler(np.zeros(count), np.ones(count))


def fit_covariates(series: Series, first: int, last: int) -> Scaler:
    """Mean and deviation of the covariates over the training rows; one that does not change there keeps its size."""
    known = series.covariates[first:last]
    deviation = known.std(axis=0)
    return Scaler(known.mean(axis=0), np.where(deviation > 0, deviation, 1.0))
