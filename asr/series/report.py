"""What `asr forecast evaluate` and `predict` leave behind: scores, tables, pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from asr.series.baselines import make_baseline
from asr.series.config import ForecastConfig
from asr.series.evaluation import Forecaster, evaluate, of_baseline, summarise, table, write_scores
from asr.series.plots import PANELS, Panel, draw_by_step, draw_forecasts
from asr.series.table import read_series
from asr.series.windows import Windows, make_windows
from asr.system import atomic_path, choose_device, environment, write_text

if TYPE_CHECKING:
    from asr.series.model import Future

SHOWN_PAST = 4  # horizons of the past in a picture, at most


def evaluate_table(data: Path, out: Path, what: Path | ForecastConfig, baselines: list[str], part: str, device: str) -> str:
    """Score a model (its path) and baselines, or by a configuration baselines alone, on every window of a part; the table.

    Writes scores.json, table.md, errors.npz, forecasts.png and horizon.png into ``out``. Baselines are fitted on the training part,
    with the network's own split and scale. Raises DataError for a table that does not suffice, or a part of it that the model's
    training or validation saw.
    """
    notes: dict[str, Any] = dict(environment())
    forecasters: list[Forecaster] = []
    if isinstance(what, ForecastConfig):
        config = what
        windows = make_windows(read_series(data, config.data), config.data, config.forecast)
    else:
        from asr.series.model import ForecastModel

        model = ForecastModel.load(what, choose_device(device))
        config = model.config
        windows = model.windows(read_series(data, config.data))
        model.check_unseen(windows, part)
        forecasters.append(model.forecaster(windows, "network"))
        notes |= {"model": str(what), "training": model.notes, "seed": config.seed}
    windows.origins(part)  # too few rows: said before anything is fitted
    fitted = [make_baseline(name, windows) for name in baselines]
    forecasters += [of_baseline(baseline, windows) for baseline in fitted]
    notes["baselines"] = {baseline.name: baseline.notes for baseline in fitted}
    results = [evaluate(forecaster, windows, part, config.forecast.units) for forecaster in forecasters]
    summary = summarise(results, windows, part, config.forecast.units, config.data.season)
    write_scores(out, summary, results, notes)
    text = table(summary)
    write_text(out / "table.md", text)
    if len(windows.offsets) > 1:
        draw_by_step({result.name: result.by_step for result in results}, windows.offsets, out / "horizon.png",
                     "scaled" if config.forecast.units == "scaled" else "")
    draw_forecasts(panels(forecasters, windows, part), out / "forecasts.png", _band(forecasters[0].quantiles))
    return text


def panels(forecasters: list[Forecaster], windows: Windows, part: str) -> list[Panel]:
    """Series and origins to show, spread evenly over both: chosen by place, not by fit."""
    origins, names = windows.origins(part), windows.series.names
    count = min(PANELS, max(len(names), 2))
    back, truth = windows.scaler.backward, np.where(windows.series.observed, windows.series.values, np.nan)
    found = []
    for n, origin in enumerate(origins[np.linspace(0, len(origins) - 1, count).astype(int)]):
        c = n * len(names) // count
        made = [forecaster.predict(np.array([origin])) for forecaster in forecasters]
        shown = {forecaster.name: back(point[0])[:, c] for forecaster, (point, _) in zip(forecasters, made)}
        spread = made[0][1]
        edges = [None, None] if spread is None else [back(spread[0, :, :, edge])[:, c] for edge in (0, -1)]
        when = "" if windows.series.times is None else f", from {windows.series.times[origin]}"
        past = min(windows.lookback, SHOWN_PAST * windows.horizon)
        found.append(Panel(f"{names[c]}{when or f', from row {origin + 1}'}", truth[origin - past:origin, c], windows.offsets,
                           truth[origin:origin + windows.horizon, c], shown, *edges))
    return found


def predict_table(model_path: Path, data: Path, out: Path, device: str) -> Path:
    """Write the forecast after the last row of a table to ``out`` and its picture beside it (.png); ``out`` is returned.

    Columns: time (or step, the rows counted from 1), series, forecast, and q0.1 ... for each quantile.
    """
    from asr.series.model import ForecastModel

    future = ForecastModel.load(model_path, choose_device(device)).future(data)
    frame = as_frame(future)
    with atomic_path(out) as temporary:
        if out.suffix == ".parquet":
            frame.to_parquet(temporary, index=False)
        else:
            frame.to_csv(temporary, index=False)
    series = future.series
    found = []
    for c, name in enumerate(series.names[:PANELS]):
        past = slice(max(0, future.last - SHOWN_PAST * (int(future.steps[-1]) + 1)), future.last)
        seen = np.where(series.observed[past, c], series.values[past, c], np.nan)
        found.append(Panel(name, seen, future.steps, None, {"forecast": future.point[:, c]}, future.spread[:, c, 0],
                           future.spread[:, c, -1]))
    draw_forecasts(found, out.with_suffix(".png"), _band(future.quantiles))
    return out


def as_frame(future: Future) -> pd.DataFrame:
    """A forecast as a long table, a row for each step and series."""
    steps, names = len(future.steps), future.series.names
    kind, when = ("step", future.steps + 1) if future.times is None else ("time", future.times)
    columns = {kind: np.repeat(when, len(names)), "series": list(names) * steps, "forecast": future.point.ravel()}
    for place, level in enumerate(future.quantiles):
        columns[f"q{level:g}"] = future.spread[:, :, place].ravel()
    return pd.DataFrame(columns)


def _band(quantiles: tuple[float, ...]) -> str:
    return f"{100 * (quantiles[-1] - quantiles[0]):.0f} % interval" if quantiles else ""
