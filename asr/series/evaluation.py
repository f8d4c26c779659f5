"""Rolling-origin evaluation: every window of a part is forecast from what lay before it, and scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asr.series.baselines import Baseline
from asr.series.intervals import CONFIDENCE, Draws, draw_blocks
from asr.series.metrics import Errors, all_metrics, seasonal_scale
from asr.series.windows import Windows
from asr.system import atomic_open, write_text

# (N,) origins -> point forecasts (N, S, C) and those of quantiles (N, S, C, Q) or None, in units of the network
Predict = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Forecaster:
    """Something that forecasts windows: a network, or a baseline."""

    name: str
    lookback: int
    predict: Predict
    quantiles: tuple[float, ...] = ()


@dataclass(frozen=True)
class Result:
    """What a forecaster did on every window of a part: its `Errors`, and its squared error at every step (S,)."""

    name: str
    errors: Errors
    by_step: np.ndarray


def of_baseline(baseline: Baseline, windows: Windows) -> Forecaster:
    """A baseline as a forecaster of these windows."""
    values = windows.scaled
    return Forecaster(baseline.name, baseline.lookback,
                      lambda origins: (baseline.forecast(windows.cut(values, origins, baseline.lookback)), None))


def evaluate(forecaster: Forecaster, windows: Windows, part: str, units: str) -> Result:
    """Forecast and score every window of a part: none is dropped, and a value that was not observed is not scored.

    ``units`` is "scaled" or "original". A refit is not made: the forecaster is what training left, at every origin.
    """
    scaler = windows.scaler
    back = scaler.backward if units == "original" else (lambda values: values)
    values, origins = windows.scaled, windows.origins(part)
    centre = back(np.zeros(len(windows.series.names)))
    parts, squares, counts = [], np.zeros(len(windows.offsets)), np.zeros(len(windows.offsets))
    for some in windows.batches(origins, forecaster.lookback):
        truth = back(windows.targets(values, some))
        point, spread = forecaster.predict(some)
        point = back(np.asarray(point, dtype=np.float64))
        if spread is not None:  # (N, S, C, Q) -> (N, S, Q, C), the axis that the scale goes with last, and back
            spread = np.moveaxis(back(np.moveaxis(np.asarray(spread, dtype=np.float64), -1, -2)), -1, -2)
        parts.append(Errors.of(truth, point, centre, spread, forecaster.quantiles))
        squares += np.nansum((truth - point) ** 2, axis=(0, 2))
        counts += (~np.isnan(truth)).sum(axis=(0, 2))
    return Result(forecaster.name, Errors.join(parts), squares / np.maximum(counts, 1))


def mase_scale(windows: Windows, season: int, units: str) -> np.ndarray | None:
    """The denominators of MASE from the training rows, or None where it is not defined."""
    first, last = windows.bounds["train"]
    values = windows.series.values if units == "original" else windows.scaled
    try:
        return seasonal_scale(values[first:last], season, windows.series.observed[first:last])
    except ValueError:
        return None


def summarise(results: Iterable[Result], windows: Windows, part: str, units: str, season: int) -> dict[str, Any]:
    """The scores of several forecasters on the same windows, with intervals, as plain values for scores.json.

    The first one is compared with each of the others: the interval of the difference is over the same drawn blocks.
    """
    results = list(results)
    scale = mase_scale(windows, season, units)
    draws = draw_blocks(len(results[0].errors), windows.horizon)
    replicates = {result.name: _replicates(draws, result.errors, scale) for result in results}
    points = {result.name: all_metrics(result.errors, scale) for result in results}
    scores = {result: {name: _score(value, replicates[result][name], draws) for name, value in values.items()}
              for result, values in points.items()}
    first = results[0].name
    differences = {
        other.name: {name: _score(points[first][name] - value, replicates[first][name] - replicates[other.name][name], draws)
                     for name, value in points[other.name].items()}
        for other in results[1:]}
    series = windows.series
    origins = windows.origins(part)
    return {"file": series.path.name, "part": part, "units": units, "series": list(series.names), "horizon": windows.horizon,
            "steps": len(windows.offsets), "season": season, "windows": len(origins),
            "rows": [int(origins[0] + windows.offsets[0]) + 1, int(origins[-1] + windows.offsets[-1]) + 1],
            "cells": int(results[0].errors.sums[:, :, 0].sum()), "confidence": CONFIDENCE, "blocks": draws.blocks,
            "centre": results[0].errors.centre.tolist(),
            "scores": scores, "compared": first, "differences": differences}


def _score(value: float, replicates: np.ndarray, draws: Draws) -> dict[str, Any]:
    """A value and its interval for scores.json, which knows no NaN: null where it is undefined, as CORR of a constant part."""
    if np.isnan(value):
        return {"value": None, "interval": None}
    low, high = draws.interval(replicates)
    return {"value": value, "interval": None if np.isnan(low) else [low, high]}


def _replicates(draws: Draws, errors: Errors, scale: np.ndarray | None) -> dict[str, np.ndarray]:
    found = [all_metrics(total, scale) for total in draws.totals(errors)]
    return {name: np.array([metrics[name] for metrics in found]) for name in found[0]}


def write_scores(out: Path, summary: dict[str, Any], results: Iterable[Result], notes: dict[str, Any]) -> None:
    """scores.json, and errors.npz with the sums of every window, from which intervals over several runs can be made."""
    write_text(out / "scores.json", json.dumps({**summary, **notes}, indent=1) + "\n")
    with atomic_open(out / "errors.npz", binary=True) as file:
        np.savez_compressed(file, **{result.name: result.errors.sums for result in results})


def table(summary: dict[str, Any]) -> str:
    """The scores as a table in Markdown, for people."""
    names = list(dict.fromkeys(name for scores in summary["scores"].values() for name in scores))
    lines = ["| forecast | " + " | ".join(name.upper() if name != "coverage" else name for name in names) + " |",
             "|---|" + "---|" * len(names)]
    for name, scores in summary["scores"].items():
        cells = [_cell(**scores[metric]) if metric in scores else "" for metric in names]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: float | None, interval: list[float] | None) -> str:
    if value is None:
        return "undefined"
    return f"{value:.4g}" + (" ({:.4g} to {:.4g})".format(*interval) if interval else "")
