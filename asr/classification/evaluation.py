"""Scoring a trained classifier on a table, and labelling items without labels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asr.classification.ensemble import Models, Progress, load_ensemble
from asr.classification.metrics import Scores, score
from asr.classification.pictures import draw_confusion
from asr.classification.predictions import Predictions
from asr.classification.table import read_table, table_of
from asr.errors import UsageError
from asr.system import choose_device, write_text


def evaluate(models: Models, table: str | Path, out: str | Path, skip_bad: bool = False, device: str = "auto",
             progress: Progress | None = None) -> Scores:
    """Score a model on a table, or several that decide together.

    Leaves scores.json, classes.tsv, predictions.tsv and confusion.png in ``out``.

    Raises ModelError for another file than a classifier's and for models that do not go together, DataError with every item that
    cannot be used (a label that training did not know, a file that cannot be read), unless they are to be skipped: then they are
    named, counted, and in scores.json.
    """
    classifier = load_ensemble(models, choose_device(device))
    items = read_table(table, classifier.config, classifier.labels, skip_bad=skip_bad)
    predictions, kept = classifier.predict(items, skip_bad, progress)
    scores = score(*predictions.numbers, classifier.labels, predictions.groups)
    out = Path(out)
    predictions.write(out / "predictions.tsv")
    write_text(out / "classes.tsv", _classes(scores))
    draw_confusion(scores, out / "confusion.png")
    notes: dict[str, Any] = {"models": [member.path for member in classifier.members], "table": str(table), "skipped": kept.skipped,
                             "trained": [member.notes for member in classifier.members]}
    write_text(out / "scores.json", json.dumps(scores.as_json() | notes, ensure_ascii=False, indent=1) + "\n")
    return scores


def predict(models: Models, inputs: str | Path | Sequence[str], skip_bad: bool = False, device: str = "auto",
            progress: Progress | None = None) -> Predictions:
    """Label the items of a table (a path), or inputs themselves: files, or texts. Labels that a table has are left aside.

    Raises as `evaluate` does; UsageError for inputs of a model that wants two of each item.
    """
    classifier = load_ensemble(models, choose_device(device))
    if isinstance(inputs, str | Path):
        items = read_table(inputs, classifier.config, need_labels=False, skip_bad=skip_bad)
    elif len(classifier.config.inputs) > 1:
        raise UsageError("this model wants two inputs of every item: give it a --table")
    else:
        items = table_of(inputs, classifier.config, skip_bad)
    predictions, _ = classifier.predict(items, skip_bad, progress)
    return Predictions(predictions.ids, predictions.labels, predictions.probabilities, None, predictions.groups)


def _classes(scores: Scores) -> str:
    """The table of classes, tab-separated; a rate that is 0 / 0 is empty."""
    lines = ["label\titems\tpredicted\tcorrect\tprecision\trecall\tf1"]
    for each in scores.classes:
        rates = ("" if rate is None else f"{rate:.6f}" for rate in (each.precision, each.recall, each.f1))
        lines.append("\t".join([each.label, str(each.items), str(each.predicted), str(each.correct), *rates]))
    return "\n".join(lines) + "\n"
