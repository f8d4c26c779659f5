"""Markdown tables of scored forecasts, for a RESULTS file: baselines, published figures and ours side by side.

    python recipes/utils/forecasts.py --title "ETTh1, test" --metrics mse,mae --published conf/published.yaml --key ETTh1 \\
        --baselines exp/etth1/baselines_ETTh1_*/test --runs exp/etth1/gru_ETTh1_*_seed*/test

Each folder is one that `asr forecast evaluate --out` wrote; the horizon is in its scores.json, the seed of a run in the name of
the run's folder, <name>_seed<N>. A figure of ours is the mean over the seeds of a metric. Its interval, and that of the difference
to a baseline, are over blocks of test windows (asr/series/intervals.py), drawn alike for both, with the seeds' errors side by side.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import yaml

from asr.series import metrics
from asr.series.intervals import Draws, draw_blocks
from asr.series.metrics import Errors


@dataclass
class Horizon:
    """What was scored at one horizon: scores of the baselines, and of each seed; and the sums of every window."""

    summary: dict[str, Any]
    baselines: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: dict[int, dict[str, Any]] = field(default_factory=dict)
    sums: dict[str, np.ndarray] = field(default_factory=dict)
    """Baselines by name and ours as `seed <N>`: (N, C, 8), see `asr.series.metrics.Errors`."""

    @cached_property
    def draws(self) -> Draws:
        """Blocks of the windows, the same for every forecaster."""
        return draw_blocks(self.summary["windows"], self.summary["horizon"])

    def value(self, of: str, metric: str) -> float:
        """A metric of a baseline, or of ``ours`` the mean over the seeds; NaN where it is undefined (null in scores.json)."""
        return mean(_value(scores, metric) for scores in (self.seeds.values() if of == "ours" else [self.baselines[of]]))


def read(baselines: list[Path], runs: list[Path]) -> dict[int, Horizon]:
    """Horizon -> what is known of it, rising; folders without a score are named.

    Raises ValueError where windows differ, and where two runs have one horizon and seed: they are of two systems.
    """
    found: dict[int, Horizon] = {}
    for folder in [*baselines, *runs]:
        if not (folder / "scores.json").is_file():
            print(f"{folder}: not scored yet, left out", file=sys.stderr)
            continue
        summary = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        at = found.setdefault(summary["horizon"], Horizon(summary))
        if any(summary[key] != at.summary[key] for key in ("windows", "rows", "series", "units")):
            raise ValueError(f"{folder}: was scored on other windows than the rest at horizon {summary['horizon']}")
        with np.load(folder / "errors.npz") as saved:
            sums = {name: saved[name] for name in saved.files}
        if folder in runs:
            seed = re.fullmatch(r".*_seed(\d+)", folder.resolve().parent.name)
            if seed is None:
                raise ValueError(f"{folder}: the run's folder must be called <name>_seed<N>")
            if int(seed[1]) in at.seeds:
                raise ValueError(f"{folder}: a second run of seed {seed[1]} at horizon {summary['horizon']}; give the runs of one "
                                 "system alone")
            at.seeds[int(seed[1])] = summary["scores"]["network"]
            at.sums[f"seed {seed[1]}"] = sums["network"]
        else:
            at.baselines |= summary["scores"]
            at.sums |= sums
    return dict(sorted(found.items()))


def replicates(at: Horizon, name: str, metric: str) -> np.ndarray:
    """A metric of each replicate (R,): of a baseline, or of ``ours`` the mean over the seeds."""
    members = [key for key in at.sums if key.startswith("seed ")] if name == "ours" else [name]
    measure = {"mse": metrics.mse, "mae": metrics.mae, "rse": metrics.rse, "corr": metrics.corr}[metric]
    centre = np.array(at.summary["centre"])
    return np.mean([[measure(total) for total in at.draws.totals(Errors(at.sums[key], centre))] for key in members], axis=0)


def main_table(found: dict[int, Horizon], names: list[str], published: dict[str, dict[int, list[float]]]) -> str:
    """A row a forecast, a column a horizon, and the mean of the first metric where every horizon has one."""
    first = names[0]
    rows = [["forecast", *(f"{horizon}" for horizon in found), *([f"mean {first.upper()}"] if len(found) > 1 else [])]]
    kinds: dict[str, list[list[float] | None]] = {}
    for at in found.values():
        for name in at.baselines:
            kinds.setdefault(name, [])
    for name in kinds:
        kinds[name] = [[at.value(name, metric) for metric in names] if name in at.baselines else None for at in found.values()]
    for name, figures in published.items():
        kinds[f"{name} (published)"] = [figures.get(horizon) for horizon in found]
    rows += [_row(name, values, len(found) > 1) for name, values in kinds.items()]
    if all(at.seeds for at in found.values()):
        ours = [[at.value("ours", metric) for metric in names] for at in found.values()]
        count = min(len(at.seeds) for at in found.values())
        rows.append([f"**{cell}**" for cell in _row(f"ours, mean of {count} seeds", ours, len(found) > 1)])
    return _markdown(rows)


def _row(name: str, values: list[list[float] | None], averaged: bool) -> list[str]:
    # Four places of what was computed here; published figures keep the three they were printed with.
    places = 3 if name.endswith("(published)") and averaged and not any(v and round(v[0], 3) != v[0] for v in values) else 4
    cells = [" / ".join(_text(f".{places}f", value) for value in found) if found else "" for found in values]
    whole = [found[0] for found in values if found]
    return [name, *cells, *([_text(f".{places}f", mean(whole)) if len(whole) == len(values) else ""] if averaged else [])]


def seed_table(found: dict[int, Horizon], names: list[str]) -> str:
    """A row for each horizon: every seed, their mean, its interval, and how many blocks of windows the interval is drawn from."""
    rows = [["horizon", "metric", "seeds", "mean", "95 % interval", "windows", "blocks"]]
    for horizon, at in found.items():
        for metric in names:
            each = [_value(scores, metric) for _, scores in sorted(at.seeds.items())]
            rows.append([str(horizon), metric.upper(), " ".join(_text(".4f", value) for value in each),
                         f"**{_text('.4f', at.value('ours', metric))}**",
                         _text(".4f", *at.draws.interval(replicates(at, "ours", metric))), str(at.summary["windows"]),
                         str(at.draws.blocks)])
    return _markdown(rows)


def difference_table(found: dict[int, Horizon], metric: str) -> str:
    """Ours less a baseline at each horizon, with the interval over the same drawn blocks; below zero ours is better (but CORR)."""
    rows = [["ours less", *(f"{horizon}" for horizon in found)]]
    ours = {horizon: replicates(at, "ours", metric) for horizon, at in found.items()}
    for name in dict.fromkeys(name for at in found.values() for name in at.baselines):
        cells = []
        for horizon, at in found.items():
            if name not in at.sums:
                cells.append("")
                continue
            value = at.value("ours", metric) - at.value(name, metric)
            low, high = at.draws.interval(ours[horizon] - replicates(at, name, metric))
            places = "+.5f" if metric == "rse" else "+.4f"  # small by its definition
            cells.append(f"{_text(places, value)} ({_text(places, low, high)})" if not math.isnan(value) else "undefined")
        rows.append([name, *cells])
    return _markdown(rows)


def _value(scores: dict[str, Any], metric: str) -> float:
    value = scores[metric]["value"]
    return math.nan if value is None else value


def _text(form: str, *values: float) -> str:
    """A value, or an interval, in words."""
    return "undefined" if any(map(math.isnan, values)) else " to ".join(format(value, form) for value in values)


def _markdown(rows: list[list[str]]) -> str:
    return "".join("| " + " | ".join(row) + " |\n" for row in [rows[0], ["---"] * len(rows[0]), *rows[1:]])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--title", required=True)
    parser.add_argument("--metrics", required=True, help="mse,mae,rse,corr: those to print, the first compared with baselines")
    parser.add_argument("--published", type=Path, help="YAML: key -> name -> horizon -> values of the metrics")
    parser.add_argument("--key", help="which part of --published")
    parser.add_argument("--baselines", type=Path, nargs="*", default=[], help="scored folders of baselines")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="scored folders of runs")
    options = parser.parse_args()
    names = options.metrics.split(",")
    try:
        published = yaml.safe_load(options.published.read_text(encoding="utf-8"))[options.key] if options.published else {}
        found = read(options.baselines, options.runs)
    except (ValueError, OSError, KeyError) as error:
        print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
        return 1
    print(f"\n{options.title}: {' / '.join(name.upper() for name in names)}\n")
    if not found:
        print("nothing scored yet")
        return 0
    print(main_table(found, names, published))
    if all(at.seeds for at in found.values()):
        print(seed_table(found, names))
        print(difference_table(found, names[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
