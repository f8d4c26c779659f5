"""A trained forecaster: its file, and what it forecasts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from asr.config import parse_config
from asr.errors import DataError
from asr.models.storage import load_weights, whole_model, write_model
from asr.series.config import ForecastConfig
from asr.series.evaluation import Forecaster as Forecasts
from asr.series.forecaster import Forecaster
from asr.series.table import Series, calendar, read_series
from asr.series.task import point_of
from asr.series.windows import PARTS, Scaler, Windows, make_windows

TASK = "forecasting"
BATCH = 32  # windows forecast at once


@dataclass(frozen=True)
class ForecastModel:
    """The network, and everything that belongs to it.

    ``scaler`` and ``known``: scales of values and covariates, from the training rows. ``errors`` (2, S, C) float64 in units of the
    network: the lower and the upper edge of the interval about a point forecast, None where the network forecasts quantiles.
    ``step`` between rows, and ``seen``, the last timestamp of "train" and of "validation": None and empty where the table had no
    timestamps, or the file is older than they are.
    """

    network: Forecaster
    config: ForecastConfig
    names: tuple[str, ...]
    scaler: Scaler
    known: Scaler
    errors: np.ndarray | None
    notes: dict[str, str] = field(default_factory=dict)
    path: str = ""
    step: pd.tseries.offsets.BaseOffset | None = None
    seen: dict[str, pd.Timestamp] = field(default_factory=dict)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles of its forecasts, rising: those it was trained for, or the two edges of its interval."""
        tail = (1 - self.config.forecast.interval) / 2
        return self.config.forecast.quantiles or (round(tail, 6), round(1 - tail, 6))

    def save(self, path: str | Path) -> None:
        """Write the model file, whole or not at all."""
        arrays = {"scale.shift": self.scaler.shift, "scale.scale": self.scaler.scale, "covariates.shift": self.known.shift,
                  "covariates.scale": self.known.scale, **({} if self.errors is None else {"errors": self.errors})}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in arrays.items()}
        parts = {"series": list(self.names), "step": None if self.step is None else self.step.freqstr,
                 "seen": {part: str(time) for part, time in self.seen.items()}}
        write_model(path, TASK, self.network, self.config, self.notes, tensors, parts)

    @classmethod
    def load(cls, path: str | Path, device: str | torch.device = "cpu") -> ForecastModel:
        """Read a model file; raises ModelError when it is absent, truncated, foreign, of another layout, or no forecaster."""
        with whole_model(path, TASK) as (metadata, tensors):
            config = parse_config(metadata["config"], f"{path}: configuration", ForecastConfig)
            arrays = {name: value.numpy() for name, value in tensors.items() if not name.startswith("network.")}
            scaler, known = (Scaler(arrays[f"{name}.shift"], arrays[f"{name}.scale"]) for name in ("scale", "covariates"))
            names = tuple(map(str, metadata["series"]))
            network = Forecaster(config, len(names), len(known.shift))
            load_weights(network, tensors)
            step = metadata.get("step")
            return cls(network.to(device).eval(), config, names, scaler, known, arrays.get("errors"), metadata["notes"], str(path),
                       None if step is None else pd.tseries.frequencies.to_offset(step),
                       {part: pd.Timestamp(time) for part, time in dict(metadata.get("seen", {})).items()})

    # ---------------------------------------------------------------------------------------------- forecasting

    def windows(self, series: Series) -> Windows:
        """The windows of a table, in the units of this model; raises DataError where its columns or step are not this model's."""
        return make_windows(self._own(series), self.config.data, self.config.forecast, (self.scaler, self.known))

    def _own(self, series: Series) -> Series:
        """The series of the table that this model was trained on."""
        if self.config.data.skip_constant and set(self.names) < set(series.names):
            series = series.only([series.names.index(name) for name in self.names])
        if series.names != self.names or series.covariates.shape[1] != len(self.known.shift):
            raise DataError(f"{series.path}: has the columns {', '.join(series.names)}, and {self.path} was trained on "
                            f"{', '.join(self.names)}; give a table with these columns, in this order")
        times, step = series.times, series.frequency
        if self.step is None or times is None or step is None or step.freqstr.split("-")[0] == self.step.freqstr.split("-")[0]:
            return series  # one that begins on another day, as W-MON and W-SUN, is the same
        # A few rows can look like another step, as five business days do, and be of this one.
        if not np.array_equal(times, pd.date_range(times[0], periods=len(times), freq=self.step)):
            raise DataError(f"{series.path}: has steps of {step.freqstr}, and {self.path} was trained on steps of "
                            f"{self.step.freqstr}; give a table with the same step")
        return replace(series, frequency=self.step)

    def check_unseen(self, windows: Windows, part: str) -> None:
        """Raise DataError where the first row that a part scores is not after what training (for test: validation too) saw."""
        times, last = windows.series.times, self.seen.get(PARTS[PARTS.index(part) - 1])
        if times is None or last is None:
            return
        first = times[int(windows.origins(part)[0] + windows.offsets[0])]
        if _utc(first) <= _utc(last):
            raise DataError(f"{windows.series.path}: the {part} part begins at {first}, and {self.path} was made from rows up to "
                            f"{last}, which must not be scored; give the whole table that it was trained on, or one whose {part} "
                            "part (by the model's data.split) lies after them")

    @torch.inference_mode()
    def outputs(self, inputs: np.ndarray, covariates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """inputs (N, L, C), covariates (N, L + horizon, K) -> point forecasts (N, S, C) and `quantiles` (N, S, C, Q), float64,
        all in units of the network. Quantiles that cross are put in order (Chernozhukov, Fernandez-Val and Galichon,
        "Quantile and probability curves without crossing", Econometrica 78, 2010)."""
        device = next(self.network.parameters()).device
        given = [torch.from_numpy(part).to(device, torch.float32) for part in (inputs, covariates)]
        outputs = self.network(*given).double()
        point = point_of(outputs, self.config.forecast.quantiles).cpu().numpy()
        if self.errors is None:
            return point, outputs.sort(dim=3).values.cpu().numpy()
        return point, point[..., None] + np.moveaxis(self.errors, 0, -1)

    def forecaster(self, windows: Windows, name: str) -> Forecasts:
        """This model as a forecaster of windows, for an evaluation."""
        values, covariates = windows.scaled, windows.covariates
        ahead = np.arange(-windows.lookback, windows.horizon)

        def batches(origins: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for start in range(0, len(origins), BATCH):
                some = origins[start:start + BATCH]
                yield self.outputs(windows.cut(values, some), covariates[some[:, None] + ahead])

        def predict(origins: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            points, spreads = zip(*batches(origins))
            return np.concatenate(points), np.concatenate(spreads)

        return Forecasts(name, windows.lookback, predict, self.quantiles)

    def future(self, path: str | Path) -> Future:
        """What comes after the last row of a table.

        Raises DataError for a table that cannot be read, has other columns or fewer rows than a window, or lacks the
        covariates of the rows to be forecast.
        """
        config, forecast = self.config.data, self.config.forecast
        series = self._own(read_series(path, config, future=True))
        last = len(series) - series.future
        if last < forecast.lookback:
            raise DataError(f"{path}: {last} rows are fewer than a window of {forecast.lookback}; give more")
        if config.covariates and series.future < forecast.horizon:
            raise DataError(f"{path}: {series.future} rows at the end hold the future of the covariates, and {forecast.horizon} "
                            f"are needed; add rows with {', '.join(config.covariates)} alone")
        covariates = series.covariates
        missing = max(0, forecast.horizon - series.future)
        times = series.times
        if missing and times is not None:
            times = times.append(series.times_after(missing))
            made = calendar(times[len(series):], config, missing)
            covariates = np.concatenate([covariates, np.pad(made, ((0, 0), (len(config.covariates), 0)))])
        rows = slice(last - forecast.lookback, last + forecast.horizon)
        steps = np.array(self.network.offsets)
        point, spread = self.outputs(self.scaler.forward(series.values[last - forecast.lookback:last])[None],
                                     self.known.forward(covariates[rows])[None] if covariates.shape[1] else
                                     np.zeros((1, forecast.lookback + forecast.horizon, 0)))
        back = self.scaler.backward
        spread = np.moveaxis(back(np.moveaxis(spread[0], -1, 0)), 0, -1)  # (S, C, Q), the scale's axis last in between
        when = None if times is None else times[last + steps].astype(str).tolist()
        return Future(series, last, steps, when, back(point[0]), spread, self.quantiles)


def _utc(time: pd.Timestamp) -> pd.Timestamp:
    """Comparable with any other: one without a zone is taken as UTC."""
    return pd.to_datetime(time, utc=True)


@dataclass(frozen=True)
class Future:
    """Forecasts after row ``last`` of a series, in the units of its file: ``point`` (S, C), ``spread`` (S, C, Q) of ``quantiles``.

    ``steps`` (S,) counts rows from the first unknown one; ``times`` are their timestamps, where the file has them.
    """

    series: Series
    last: int
    steps: np.ndarray
    times: list[str] | None
    point: np.ndarray
    spread: np.ndarray
    quantiles: tuple[float, ...]
