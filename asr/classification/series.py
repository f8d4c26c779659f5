"""Recordings of several channels as inputs: sensors, tracks of a body, coefficients of a voice."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from asr.classification.config import InputConfig
from asr.classification.reader import Moments, Reader
from asr.errors import AsrError, DataError


class SeriesReader(Reader):
    """A file as (T, C) float32, and frames of it: (T, C), or (T, 2 C) with differences.

    All items have the channels of the first that was read in training; lengths may differ.
    """

    def __init__(self, config: InputConfig) -> None:
        super().__init__(config)
        self.channels, self.like = 0, ""
        self.mean = self.deviation = np.zeros(0, np.float32)

    @property
    def shape(self) -> int:
        return self.channels * (2 if self.config.series.differences else 1)

    def read(self, source: str) -> np.ndarray:
        rows = read_series(source)
        if not self.channels:
            self.channels, self.like = rows.shape[1], f", as the first of them, {source}"
        if rows.shape[1] != self.channels:
            raise DataError(f"{source}: {rows.shape[1]} channels, the training items have {self.channels}{self.like}")
        return rows

    def fit(self, items: Iterable[np.ndarray]) -> None:
        moments = Moments()
        for item in items:
            moments.add(item)
        self.mean, self.deviation = moments.result()

    def make(self, item: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        config = self.config.series
        if rng is not None:
            item = self._in_time(item, rng)
        if config.standardise == "item":
            item = (item - item.mean(axis=0)) / np.maximum(item.std(axis=0), 1e-4 * self.deviation)
        elif config.standardise == "train":
            item = (item - self.mean) / self.deviation
        if rng is not None:
            item = self._in_size(item, rng)
        if config.differences:
            item = np.concatenate([item, np.diff(item, axis=0, prepend=item[:1])], axis=1)
        return np.ascontiguousarray(item, np.float32)

    def _in_time(self, item: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Cropped and stretched."""
        config, size = self.config.series, len(item)
        if config.crop:
            cut = int(rng.uniform(0, config.crop) * size)
            start = int(rng.integers(cut + 1))
            item = item[start:start + size - cut]
        if config.warp:
            size = max(1, round(len(item) * rng.uniform(1 - config.warp, 1 + config.warp)))
            places = np.linspace(0, len(item) - 1, size)
            item = np.stack([np.interp(places, np.arange(len(item)), channel) for channel in item.T], axis=1)
        return item

    def _in_size(self, item: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Scaled, with noise, and with channels set to their mean."""
        config = self.config.series
        unit = self.deviation if config.standardise == "none" else np.float32(1)
        if config.scale:
            item = item * rng.uniform(1 - config.scale, 1 + config.scale, item.shape[1])
        if config.jitter:
            item = item + config.jitter * unit * rng.standard_normal(item.shape)
        if config.channel_dropout:
            rest = self.mean if config.standardise == "none" else np.float32(0)
            item = np.where(rng.random(item.shape[1]) < config.channel_dropout, rest, item)
        return item

    def length(self, item: np.ndarray) -> int:
        return len(item)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {"mean": self.mean, "deviation": self.deviation}, {}

    def restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        self.mean, self.deviation = arrays["mean"], arrays["deviation"]
        self.channels = len(self.mean)


def read_series(path: str | Path) -> np.ndarray:
    """(T, C) float32 of a `.npy` file (a single axis is one channel), or of a `.csv` or `.tsv` of numbers, with a header or not.

    Raises DataError with the file, and the line where it has lines, for what is no finite number or has no rows.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".npy":
        rows = load_array(path)
        rows = rows[:, None] if rows.ndim == 1 else rows
        if rows.ndim != 2:
            raise DataError(f"{path}: an array of {rows.ndim} axes; expected (times, channels)")
    elif suffix in (".csv", ".tsv"):
        rows = _table_of_numbers(path, "," if suffix == ".csv" else "\t")
    else:
        raise DataError(f"{path}: cannot read: {suffix or 'no suffix'}; a series is a .npy, .csv or .tsv file")
    if not rows.size:
        raise DataError(f"{path}: cannot read: no rows in it")
    bad = np.argwhere(~np.isfinite(rows))
    if len(bad):
        raise DataError(f"{path}: not a finite number at time {bad[0][0]}, channel {bad[0][1]} (and {len(bad) - 1} more): fill the "
                        "gaps, or leave the item out")
    return rows.astype(np.float32)


def load_array(path: Path) -> np.ndarray:
    """The array in a .npy file, or the only one in a .npz; real numbers, never a pickle."""
    try:
        with open(path, "rb") as file:  # np.load leaves the file open where what is in it is broken
            loaded = np.load(file, allow_pickle=False)
            if isinstance(loaded, np.lib.npyio.NpzFile):
                if len(loaded.files) != 1:
                    raise DataError(f"{path}: cannot read: {len(loaded.files)} arrays in it, expected one")
                loaded = loaded[loaded.files[0]]
    except (OSError, ValueError, EOFError, KeyError, NotImplementedError) as error:
        raise DataError(f"{path}: cannot read: {' '.join(str(error).split()) or type(error).__name__}") from None
    except AsrError:
        raise
    except Exception as error:  # zipfile and zlib have errors of their own, without a common kind
        raise DataError(f"{path}: cannot read: {type(error).__name__}: {error}") from None
    if loaded.dtype.kind not in "fiub":
        raise DataError(f"{path}: cannot read: it holds {loaded.dtype}, not real numbers")
    return loaded


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _table_of_numbers(path: Path, comma: str) -> np.ndarray:
    rows: list[list[float]] = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            for line, fields in enumerate(csv.reader(file, delimiter=comma), start=1):
                if not any(field.strip() for field in fields) and len(fields) < 2:
                    continue
                if line == 1 and "".join(fields).strip() and not any(map(_is_number, fields)):
                    continue  # a header
                try:
                    row = [float(field) for field in fields]
                except ValueError as error:
                    raise DataError(f"{path}:{line}: {error}{' (a header has no number in it)' * (line == 1)}") from None
                if rows and len(row) != len(rows[0]):
                    raise DataError(f"{path}:{line}: {len(row)} numbers, the rows before have {len(rows[0])}")
                rows.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot read: {error}") from None
    return np.array(rows, np.float64)
