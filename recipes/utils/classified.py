"""Markdown tables of scored classifiers, for a RESULTS file: systems side by side, and what each is better or worse than.

    python recipes/utils/classified.py --title "NATOPS, test" --against cnn exp/natops/natops_{cnn,concat}_seed*

Each folder is a run, <name>_seed<N>, that `asr classify evaluate` scored into its folder --part (eval_test). Runs that differ only
in the seed are one system: its row has the mean of their accuracies, its interval (the bootstrap over items, or groups, with all
runs on each), every run's own (of more than ten their range and deviation), wrong answers of all runs together, and the difference
from the system that --against names, with the interval of the same bootstrap, paired, and where both have several runs, after a
semicolon, the interval with other runs of both as well (not of joined folds, where each is a training of its own). --label-parts
shape,motion also prints how often these parts of a label are right, of "ring-left" that of "ring" and of "left".
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np

from asr.classification.comparison import compare
from asr.classification.metrics import units_of
from asr.classification.predictions import Predictions, read_predictions
from asr.errors import AsrError
from asr.scoring.intervals import bootstrap_interval

Runs = dict[int, tuple[Predictions, dict[str, Any]]]


def read_runs(folders: list[Path], part: str) -> dict[str, Runs]:
    """System -> seed -> (predictions, scores.json), in the order given; runs without a score are named."""
    systems: dict[str, Runs] = {}
    for folder in folders:
        if not (folder / part / "scores.json").is_file():
            print(f"{folder}: not scored yet, left out", file=sys.stderr)
            continue
        name, _, seed = folder.resolve().name.rpartition("_seed")
        if not name or not re.fullmatch(r"\d+", seed):
            raise ValueError(f"{folder}: the run's folder must be called <name>_seed<N>")
        scores = json.loads((folder / part / "scores.json").read_text(encoding="utf-8"))
        log = folder / "train.log"
        spent = re.findall(r"(\d+) s of processor time", log.read_text(encoding="utf-8")) if log.is_file() else []
        scores["seconds"] = sum(map(int, spent))  # of every start, where a run was stopped and went on
        systems.setdefault(name, {})[int(seed)] = (read_predictions(folder / part / "predictions.tsv"), scores)
    return {name: dict(sorted(runs.items())) for name, runs in systems.items()}


def table(systems: dict[str, Runs], against: str | None = None, parts: str | None = None, dev: bool = False,
          seconds: bool = False) -> str:
    """The markdown table, without a title. ``against``: the end of a system's name; ``parts``: names of the parts of a label;
    ``dev``: whether the models were chosen on a dev table, whose accuracy is printed; ``seconds``: print the median of the
    processor time that a training took."""
    base = next((name for name in systems if against and (name == against or name.endswith(f"_{against}"))), None)
    named = parts.split(",") if parts else []
    head = ["system", "parameters", *(["processor s"] if seconds else []), *(["dev %"] if dev else []), "accuracy %",
            "95 % interval", "runs", "wrong / items", "macro F1 %", *(f"{name} %" for name in named),
            *([f"less {against}, points"] if base else [])]
    rows = [head, ["---"] * len(head)]
    for name, runs in systems.items():
        predictions, scores = [each for each, _ in runs.values()], [each for _, each in runs.values()]
        notes = [each["trained"] for each in scores]  # of each run those of every network that decides in it
        rates = [100 * each["accuracy"] for each in scores]
        wrong, items = wrong_of(predictions)
        low, high = bootstrap_interval(wrong, items)
        row = [name, f"{sum(int(each['parameters']) for each in notes[0]):,}", f"**{mean(rates):.2f}**",
               f"{100 * (1 - high):.2f} to {100 * (1 - low):.2f}", _each(rates),
               f"{sum(wrong)} / {sum(items)}",
               f"{100 * mean(each['macro_f1'] for each in scores):.2f}",
               *(f"{100 * mean(_of_part(each, number) for each in predictions):.1f}" for number in range(len(named)))]
        if seconds:
            row.insert(2, f"{median(each['seconds'] for each in scores):.0f}")
        if dev:
            errors = [float(each["dev_error"]) for members in notes for each in members]
            row.insert(3 if seconds else 2, f"{100 - 100 * mean(errors):.2f}")
        if base:
            row.append(_difference(systems[base], runs) if name != base else "")
        rows.append(row)
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def _each(rates: list[float]) -> str:
    """Every run's accuracy; of more than ten runs how they lie."""
    if len(rates) <= 10:
        return " ".join(f"{rate:.2f}" for rate in rates)
    return f"{len(rates)}: {min(rates):.2f} to {max(rates):.2f}, deviation {stdev(rates):.2f}"


def wrong_of(runs: list[Predictions]) -> tuple[list[int], list[int]]:
    """Of each item, or group where there are several: wrong answers of all runs, and answers. All runs have one order of items."""
    _, members = units_of(runs[0].groups, len(runs[0].ids))
    wrong = np.zeros(members.max() + 1, int)
    for run in runs:
        np.add.at(wrong, members, [said != label for said, label in zip(run.predicted, run.references or [])])
    return wrong.tolist(), (len(runs) * np.bincount(members)).tolist()


def _of_part(run: Predictions, number: int) -> float:
    """The part of the items of which this part of the label is right."""
    return mean(said.split("-")[number] == label.split("-")[number] for said, label in zip(run.predicted, run.references or []))


def _difference(base: Runs, runs: Runs) -> str:
    found = compare([each for each, _ in base.values()], [each for each, _ in runs.values()])
    low, high = (100 * edge for edge in found.bootstrap.interval)
    # Where every fold is a training of its own, the spread between trainings is among what the first interval draws already.
    folded = any("folds" in trained for _, scores in runs.values() for trained in scores["trained"])
    others = "" if found.crossed is None or folded else "; {:+.2f} to {:+.2f}".format(*(100 * edge for edge in found.crossed))
    return f"{100 * found.difference:+.2f} ({low:+.2f} to {high:+.2f}{others})"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--title", required=True)
    parser.add_argument("--part", default="eval_test", help="the scored folder in each run")
    parser.add_argument("--against", help="the system that the others are compared with")
    parser.add_argument("--label-parts", help="names of the parts of a label, which hyphens divide: shape,motion")
    parser.add_argument("--dev", action="store_true", help="print the accuracy on the dev table that chose the weights")
    parser.add_argument("--seconds", action="store_true", help="print the processor time of a training")
    parser.add_argument("folders", type=Path, nargs="*", help="runs")
    options = parser.parse_args()
    try:
        systems = read_runs(options.folders, options.part)
        found = "nothing scored yet"
        if systems:
            found = table(systems, options.against, options.label_parts, options.dev, options.seconds)
    except (AsrError, ValueError, OSError) as error:
        print(f"{Path(__file__).name}: error: {error}", file=sys.stderr)
        return 1
    print(f"\n{options.title}\n\n{found}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
