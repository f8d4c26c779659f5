"""Accuracy, macro F1 and their intervals, class by class. Imports without torch.

Precision of a class is the part of the items given its label that are of it, recall the part of its items that are given its
label, F1 their harmonic mean, 2 * both / (given + of it); where a class occurs on neither side it has none of them, and macro F1 is
the mean over the classes that have one (van Rijsbergen, "Information Retrieval", 1979, chapter 7; the mean of F1s, not the F1 of
means: Opitz and Burst, "Macro F1 and macro F1", 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from asr.errors import DataError
from asr.scoring.intervals import (
    CONFIDENCE,
    REPLICATES,
    SEED,
    bootstrap_interval,
    outer_tail,
    upper_bound_without_errors,
)

Interval = tuple[float, float]


@dataclass(frozen=True)
class ClassScore:
    """One class: how many items are of it, were given its label, and both. A rate that is 0 / 0 is None."""

    label: str
    items: int
    predicted: int
    correct: int

    @property
    def precision(self) -> float | None:
        return self.correct / self.predicted if self.predicted else None

    @property
    def recall(self) -> float | None:
        return self.correct / self.items if self.items else None

    @property
    def f1(self) -> float | None:
        return 2 * self.correct / (self.items + self.predicted) if self.items + self.predicted else None


@dataclass(frozen=True)
class Scores:
    """What a classifier got right. Rates are fractions.

    Attributes:
        labels: the classes.
        confusion: (C, C) int64 counts, reference by prediction.
        unit, units: what the bootstrap drew (`group` where there are several, else `item`), and how many there are.
        accuracy_interval, f1_interval: 95 %, by the bootstrap of `asr.scoring.intervals`.
    """

    labels: tuple[str, ...]
    confusion: np.ndarray
    unit: str
    units: int
    accuracy_interval: Interval
    f1_interval: Interval

    @property
    def items(self) -> int:
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        return self.correct / self.items

    @property
    def macro_f1(self) -> float:
        return float(macro_f1(self.confusion))

    @property
    def classes(self) -> list[ClassScore]:
        return [ClassScore(label, int(self.confusion[n].sum()), int(self.confusion[:, n].sum()), int(self.confusion[n, n]))
                for n, label in enumerate(self.labels)]

    def as_json(self) -> dict[str, Any]:
        """Plain values; rates are fractions, None where they are 0 / 0."""
        return {"items": self.items, "correct": self.correct, "accuracy": self.accuracy,
                "accuracy_interval": list(self.accuracy_interval), "macro_f1": self.macro_f1, "f1_interval": list(self.f1_interval),
                "unit": self.unit, "units": self.units, "confidence": CONFIDENCE, "replicates": REPLICATES,
                "labels": list(self.labels), "confusion": self.confusion.tolist(),
                "classes": [{"label": each.label, "items": each.items, "predicted": each.predicted, "correct": each.correct,
                             "precision": each.precision, "recall": each.recall, "f1": each.f1} for each in self.classes]}

    def summary(self) -> str:
        """What `asr classify evaluate` prints."""
        low, high = (100 * edge for edge in self.accuracy_interval)
        f_low, f_high = (100 * edge for edge in self.f1_interval)
        width = max(5, *(len(label) for label in self.labels))
        lines = [f"accuracy {100 * self.accuracy:.2f} % [ {self.correct} / {self.items} ], 95 % interval [ {low:.2f}, {high:.2f} ] "
                 f"over {self.units} {self.unit}s",
                 f"macro F1 {100 * self.macro_f1:.2f} %, 95 % interval [ {f_low:.2f}, {f_high:.2f} ]",
                 f"{'class':<{width}}  items  precision  recall     F1"]
        lines += [f"{each.label:<{width}}  {each.items:>5}  {_percent(each.precision):>9}  {_percent(each.recall):>6}  "
                  f"{_percent(each.f1):>5}" for each in self.classes]
        return "\n".join(lines) + "\n"


def score(references: Sequence[int], predictions: Sequence[int], labels: Sequence[str],
          groups: Sequence[str] | None = None) -> Scores:
    """Score predictions, numbers of classes both, item by item.

    ``groups``: the group (speaker, subject, source) of each item; where there are two or more, the intervals draw them, as items of
    one group are more alike than those of a test to come. Raises DataError where there is no item.
    """
    if not len(references):
        raise DataError("there is no item to score")
    classes = len(labels)
    cells = np.asarray(references, np.int64) * classes + np.asarray(predictions, np.int64)
    confusion = np.bincount(cells, minlength=classes**2).reshape(classes, classes)
    unit, members = units_of(groups, len(cells))
    units = int(members.max()) + 1
    errors = np.bincount(members, weights=(np.asarray(references) != np.asarray(predictions)).astype(float))
    counts = np.bincount(members)
    low, high = bootstrap_interval(errors.tolist(), counts.tolist())
    if not errors.any():
        high = upper_bound_without_errors(units)
    return Scores(tuple(labels), confusion, unit, units, (1 - high, 1 - low), _f1_interval(members, cells, classes))


def units_of(groups: Sequence[str] | None, items: int) -> tuple[str, np.ndarray]:
    """What the bootstrap draws, `group` where there are two or more, else `item`; and the number of each item's unit (N,)."""
    if groups is not None and len(set(groups)) > 1:
        return "group", np.unique(np.asarray(groups), return_inverse=True)[1]
    return "item", np.arange(items)


def macro_f1(confusion: np.ndarray) -> np.ndarray:
    """(..., C, C) counts or weights, reference by prediction -> (...,) macro F1."""
    correct = np.diagonal(confusion, axis1=-2, axis2=-1)
    both = confusion.sum(axis=-1) + confusion.sum(axis=-2)
    occurs = both > 0
    f1 = np.where(occurs, 2 * correct / np.where(occurs, both, 1), 0.0)
    return f1.sum(axis=-1) / np.maximum(1, occurs.sum(axis=-1))


def _f1_interval(members: np.ndarray, cells: np.ndarray, classes: int) -> Interval:
    """The interval of macro F1; units with the same confusions are alike and drawn together."""
    units = int(members.max()) + 1
    used, cells = np.unique(cells, return_inverse=True)  # confusions that occur: the others are zero in every replicate
    table = np.zeros((units, len(used)))
    np.add.at(table, (members, cells), 1)
    kinds, how_many = np.unique(table, axis=0, return_counts=True)
    generator = np.random.default_rng(SEED)
    values = []
    step = max(1, 2_000_000 // max(len(kinds), classes**2))  # bounds the memory to 16 MB
    for start in range(0, REPLICATES, step):
        drawn = generator.multinomial(units, how_many / units, size=min(step, REPLICATES - start)) @ kinds
        full = np.zeros((len(drawn), classes**2))
        full[:, used] = drawn
        values.append(macro_f1(full.reshape(-1, classes, classes)))
    tail = 100 * outer_tail((1 - CONFIDENCE) / 2, units)
    low, high = np.percentile(np.concatenate(values), [tail, 100 - tail])
    return float(low), float(high)


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f}"
