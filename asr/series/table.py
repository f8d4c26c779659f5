"""A time series from a CSV or parquet file, read strictly: what does not fit is named with its row and its cure."""

from __future__ import annotations

import lzma
import math
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from asr.errors import ConfigError, DataError
from asr.series.config import SeriesConfig

MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
PERIODS = {"hour": 24.0, "weekday": 7.0, "monthday": 31.0, "yearday": 366.0}
SHOWN = 5
SPARSE, LONG = 100, 1_000_000  # a grid of over a million steps, and a hundred for each row: a timestamp is wrong


@dataclass(frozen=True)
class Series:
    """T rows, equally spaced in time, of C variables to forecast and K covariates that are known ahead.

    ``values`` (T, C) and ``covariates`` (T, K) are float64 in the units of the file, holes filled; ``observed`` (T, C) is
    False where a value was filled: such cells are inputs, but nothing is learned from them and nothing is scored on them.
    ``times`` has T timestamps, or is None where the file has none; ``frequency`` is the step between them. The last
    ``future`` rows hold covariates alone: what is known of rows that are to be forecast.
    """

    path: Path
    names: tuple[str, ...]
    values: np.ndarray
    observed: np.ndarray
    covariates: np.ndarray
    times: pd.DatetimeIndex | None = None
    frequency: pd.tseries.offsets.BaseOffset | None = None
    future: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def only(self, columns: Sequence[int]) -> Series:
        """The same with these of its variables alone, in this order."""
        kept = list(columns)
        return replace(self, names=tuple(self.names[c] for c in kept), values=self.values[:, kept],
                       observed=self.observed[:, kept])

    def times_after(self, count: int) -> pd.DatetimeIndex | None:
        """The timestamps of the ``count`` rows that follow the last one."""
        if self.times is None or self.frequency is None:
            return None
        return pd.date_range(self.times[-1], periods=count + 1, freq=self.frequency)[1:]


def read_series(path: str | Path, config: SeriesConfig, future: bool = False) -> Series:
    """Read a table, one row a time step, in order of time.

    Args:
        path: ``.parquet``, or CSV under any other name (compressed as its name says: ``.gz``, ``.zip``, ``.xz`` ...).
        config: which columns are what, and what fills holes.
        future: take rows at the end that have covariates and not one target as the future of the covariates.

    Raises DataError, naming the row, for a file that cannot be read, text or infinity in a column of numbers, timestamps
    that cannot be read, repeat, go back, skip a step or lie between steps, and missing values without ``fill``;
    ConfigError for columns that are not there.
    """
    path = Path(path)
    frame = _read(path, config)
    targets = _columns(path, frame, config)
    times = _times(path, frame, config)
    frequency = None
    numbers = frame[[*targets, *config.covariates]]
    numbers = pd.DataFrame({name: _numbers(path, numbers[name], config) for name in numbers})
    lines = np.arange(len(numbers))  # which row of the file each row is; -1 for one that the file lacks
    if times is not None:
        read = times
        times, frequency, numbers = _on_the_grid(path, read, numbers, config)
        lines = read.get_indexer(times)
    known = ~np.isnan(numbers.to_numpy())
    extra = _future(path, numbers, lines, targets, config) if future else 0
    if config.fill == "none":
        _refuse_missing(path, numbers, config, len(numbers) - extra)
    filled = _fill(path, numbers.iloc[:len(numbers) - extra], config)
    if extra:
        filled = pd.concat([filled, numbers.iloc[len(numbers) - extra:].fillna(0.0)])
    given = filled[list(config.covariates)].to_numpy(np.float64)
    covariates = np.concatenate([given, calendar(times, config, len(filled))], axis=1)
    values = filled[targets].to_numpy(np.float64)
    return Series(path, tuple(targets), values, known[:, :len(targets)], covariates, times, frequency, extra)


def calendar(times: pd.DatetimeIndex | None, config: SeriesConfig, rows: int) -> np.ndarray:
    """(T, 2 for each of ``config.calendar``): sine and cosine of where a timestamp stands in its day, week, month or year."""
    columns = []
    for name in config.calendar:
        if times is None:
            raise ConfigError(f"data.calendar: {name} needs timestamps; name their column with data.time")
        place = {"hour": times.hour + times.minute / 60, "weekday": times.day_of_week, "monthday": times.day - 1,
                 "yearday": times.day_of_year - 1}[name]
        angle = 2 * math.pi * np.asarray(place, dtype=np.float64) / PERIODS[name]
        columns += [np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0))


# ------------------------------------------------------------------------------------------------------ reading


def _read(path: Path, config: SeriesConfig) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
            if config.time is not None and config.time not in frame.columns and frame.index.name == config.time:
                frame = frame.reset_index()
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the last name would be thrown away
                frame = pd.read_csv(path, sep=config.separator, header=0 if config.header else None, na_values=MISSING,
                                    keep_default_na=False, skip_blank_lines=False, encoding="utf-8", low_memory=False,
                                    index_col=False)
    except pd.errors.EmptyDataError:
        raise DataError(f"{path}: is empty") from None
    except pd.errors.ParserWarning:  # the first row says how many cells a row may have, so it has them; more later are an error
        raise DataError(f"{path}: {_row(0, path, config)}: rows have more cells than the line of names; write decimal points, not "
                        "commas, or name every column, or set data.separator") from None
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror or error}") from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, RuntimeError) as error:  # the last: a zip with a password
        raise DataError(f"{path}: cannot read: {error}; unpack it, or copy it again") from None
    except (ValueError, pd.errors.ParserError) as error:  # also what pyarrow raises, and text that is not UTF-8
        raise DataError(f"{path}: cannot read as a table: {' '.join(str(error).split())}") from None
    frame.columns = [str(name).strip() for name in frame.columns]
    repeated = frame.columns[frame.columns.duplicated()]
    if len(repeated):
        raise DataError(f"{path}: two columns are named {repeated[0]!r}; rename one")
    if frame.empty:
        raise DataError(f"{path}: no rows below the names of the columns")
    return frame


def _columns(path: Path, frame: pd.DataFrame, config: SeriesConfig) -> list[str]:
    """The columns to forecast; raises for names that are not there, or have two roles."""
    for key, names in (("time", [config.time] if config.time is not None else []), ("targets", config.targets),
                       ("covariates", config.covariates)):
        absent = [name for name in names if name not in frame.columns]
        if absent:
            shown = ", ".join(frame.columns[:20]) + (", ..." if len(frame.columns) > 20 else "")
            raise ConfigError(f"data.{key}: {path} has no column {absent[0]!r}; it has {shown}")
    taken = {config.time, *config.covariates}
    both = [name for name in config.targets if name in taken]
    if both:
        raise ConfigError(f"data.targets: {both[0]!r} is also the time or a covariate; a column has one role")
    targets = list(config.targets) or [name for name in frame.columns if name not in taken]
    if not targets:
        raise ConfigError(f"{path}: no column is left to forecast; look at data.time and data.covariates")
    return targets


def _row(index: int, path: Path, config: SeriesConfig) -> str:
    """Where the ``index``-th row of the table stands, as a person counts."""
    return f"row {index + 1}" + ("" if path.suffix == ".parquet" else f" (line {index + 1 + config.header})")


def _numbers(path: Path, column: pd.Series, config: SeriesConfig) -> np.ndarray:
    """A column as float64, NaN where a cell is empty."""
    numbers = pd.to_numeric(column, errors="coerce")
    bad = np.flatnonzero(numbers.isna() & column.notna())
    if len(bad) or pd.api.types.is_datetime64_any_dtype(column):
        first = int(bad[0]) if len(bad) else 0
        cure = "correct it, or leave the cell empty and choose data.fill"
        if config.time is None and _is_time(column.iloc[first]):
            cure = f"if these are the timestamps, set data.time={column.name}"
        elif len(bad) == column.notna().sum():
            cure = "leave the column out with data.targets"
        more = f", and in {len(bad) - 1} more rows" if len(bad) > 1 else ""
        raise DataError(f"{path}: {_row(first, path, config)}: column {column.name!r} holds {str(column.iloc[first])!r}, "
                        f"which is not a number{more}; {cure}")
    values = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        raise DataError(f"{path}: {_row(int(infinite[0]), path, config)}: column {column.name!r} is infinite; correct it, or "
                        "leave the cell empty and choose data.fill")
    return values


def _is_time(cell: object) -> bool:
    try:
        pd.Timestamp(str(cell))
    except ValueError:
        return False
    return True


# --------------------------------------------------------------------------------------------------- timestamps


def _times(path: Path, frame: pd.DataFrame, config: SeriesConfig) -> pd.DatetimeIndex | None:
    """The timestamps of the rows, strictly rising."""
    if config.time is None:
        return None
    column = frame[config.time]
    if pd.api.types.is_numeric_dtype(column) and not column.isna().all():
        raise DataError(f"{path}: column {config.time!r} holds numbers, not timestamps; write dates such as 2016-07-01 00:00, or "
                        "leave data.time out if the rows are equally spaced")
    try:
        read = pd.to_datetime(column, errors="coerce", format=None if pd.api.types.is_datetime64_any_dtype(column) else "mixed")
    except ValueError as error:  # offsets from UTC that change, as with summer time
        raise DataError(f"{path}: column {config.time!r}: {' '.join(str(error).split())}; write all timestamps in one "
                        "zone") from None
    bad = np.flatnonzero(read.isna())
    if len(bad):
        cell = column.iloc[bad[0]]
        what = "has no timestamp" if pd.isna(cell) else f"holds {str(cell)!r}, which is not a timestamp"
        raise DataError(f"{path}: {_row(int(bad[0]), path, config)}: {what} (column {config.time!r}); correct it")
    times = pd.DatetimeIndex(read)
    backwards = np.flatnonzero(np.diff(times.asi8) <= 0)
    if len(backwards):
        here = int(backwards[0]) + 1
        word, cure = (("repeats", "keep one row of a timestamp") if times[here] == times[here - 1]
                      else ("goes back behind", "sort the rows by time"))
        more = f" ({len(backwards)} such rows)" if len(backwards) > 1 else ""
        raise DataError(f"{path}: {_row(here, path, config)}: {times[here]} {word} the timestamp before it, "
                        f"{times[here - 1]}{more}; {cure}")
    return times


def _on_the_grid(path: Path, times: pd.DatetimeIndex, numbers: pd.DataFrame, config: SeriesConfig
                 ) -> tuple[pd.DatetimeIndex, pd.tseries.offsets.BaseOffset, pd.DataFrame]:
    """The table with a row for every step; rows that the file lacks are an error, or with ``fill`` rows of NaN."""
    frequency = _frequency(path, times, config)
    _refuse_sparse(path, times, frequency, config)
    grid = pd.date_range(times[0], times[-1], freq=frequency)
    place = grid.get_indexer(times)
    off = np.flatnonzero(place < 0)
    if len(off):
        raise DataError(f"{path}: {_row(int(off[0]), path, config)}: {times[off[0]]} does not lie on the steps of "
                        f"{frequency.freqstr} that begin at {times[0]} ({len(off)} such rows); correct it, or set data.frequency")
    gaps = np.flatnonzero(np.diff(place) > 1)
    if len(gaps) and config.fill == "none":
        first = int(gaps[0])
        lost = len(grid) - len(times)
        raise DataError(f"{path}: {_row(first + 1, path, config)}: a gap: {times[first + 1]} follows {times[first]}, and the step "
                        f"is {frequency.freqstr}; {lost} rows are missing in {len(gaps)} gaps; add them, or fill them with "
                        "data.fill=linear or data.fill=forward")
    return grid, frequency, numbers.set_axis(times, axis=0).reindex(grid)


def _refuse_sparse(path: Path, times: pd.DatetimeIndex, frequency: pd.tseries.offsets.BaseOffset, config: SeriesConfig) -> None:
    """Raise DataError, before there is a row for every step, where these would be no table but a wrong timestamp."""
    if not isinstance(frequency, pd.tseries.offsets.Tick):  # a day and more: never many
        return
    steps = int((times[-1] - times[0]) / pd.Timedelta(frequency))
    if steps > max(LONG, SPARSE * len(times)):
        here = int(np.diff(times.asi8).argmax()) + 1
        raise DataError(f"{path}: {_row(here, path, config)}: {times[here]} follows {times[here - 1]}, the largest of the jumps "
                        f"by which {len(times)} rows span {steps} steps of {frequency.freqstr}; correct it, or set data.frequency")


def _frequency(path: Path, times: pd.DatetimeIndex, config: SeriesConfig) -> pd.tseries.offsets.BaseOffset:
    """The step between rows: as told, as pandas sees it, or the difference that comes most often."""
    if config.frequency is not None:
        try:
            frequency = pd.tseries.frequencies.to_offset(config.frequency)
        except ValueError:
            raise ConfigError(f"data.frequency: pandas knows no step {config.frequency!r}; h, D, B, W, MS and 15min are "
                              "some") from None
        if frequency.n <= 0:
            raise ConfigError(f"data.frequency: {config.frequency!r} does not go on in time; give a step above zero")
        return frequency
    if len(times) < 3:
        raise DataError(f"{path}: {len(times)} rows are too few to see the step between timestamps; set data.frequency")
    # Over the first rows that are regular, so that months, which differ in length, are seen in spite of a gap later on.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pandas 4 announces that an offset will come in place of its name: both are taken
        found = pd.infer_freq(times) or (pd.infer_freq(times[:64]) if len(times) > 64 else None)
    if found is not None:
        return pd.tseries.frequencies.to_offset(found)
    steps, counts = np.unique(np.diff(times.asi8), return_counts=True)
    return pd.tseries.frequencies.to_offset(pd.Timedelta(int(steps[counts.argmax()]), unit=times.unit))


# ------------------------------------------------------------------------------------------------ missing values


def _refuse_missing(path: Path, numbers: pd.DataFrame, config: SeriesConfig, rows: int) -> None:
    holes = np.argwhere(numbers.iloc[:rows].isna().to_numpy())
    if len(holes) == 0:
        return
    shown = "; ".join(f"{_row(int(row), path, config)}: column {numbers.columns[column]!r}" for row, column in holes[:SHOWN])
    raise DataError(f"{path}: {len(holes)} values are missing: {shown}{'; ...' if len(holes) > SHOWN else ''}; fill them in the "
                    "inputs with data.fill=linear or data.fill=forward (they are not scored), or leave the columns out with "
                    "data.targets")


def _future(path: Path, numbers: pd.DataFrame, lines: np.ndarray, targets: list[str], config: SeriesConfig) -> int:
    """How many rows at the end hold covariates alone; ``lines`` (T,): which row of the file each is, -1 where it has none."""
    if not config.covariates:
        return 0
    known = np.flatnonzero(numbers[targets].notna().any(axis=1).to_numpy())
    extra = len(numbers) - 1 - int(known[-1]) if len(known) else 0
    holes = np.argwhere(numbers[list(config.covariates)].iloc[len(numbers) - extra:].isna().to_numpy())
    if len(holes):
        row, column = len(numbers) - extra + int(holes[0][0]), holes[0][1]
        if lines[row] < 0:
            raise DataError(f"{path}: no row for {numbers.index[row]}, which is to be forecast; add it, with every covariate")
        when = "" if config.time is None else f" at {numbers.index[row]}"
        raise DataError(f"{path}: {_row(int(lines[row]), path, config)}: the covariate {config.covariates[column]!r} is missing"
                        f"{when}, in a row that is to be forecast; give every covariate there, or leave the row out")
    return extra


def _fill(path: Path, numbers: pd.DataFrame, config: SeriesConfig) -> pd.DataFrame:
    """No NaN: between two known values as ``fill`` says, after the last one that value, before the first one that."""
    empty = [name for name in numbers if numbers[name].isna().all()]
    if empty:
        raise DataError(f"{path}: column {empty[0]!r} holds no value; leave it out with data.targets")
    # A straight line looks one value ahead; "forward" never does.
    between = numbers.interpolate("linear", limit_area="inside") if config.fill == "linear" else numbers
    return between.ffill().bfill()
