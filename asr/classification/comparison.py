"""Two classifiers on the same items: which is better, and is it real. Imports without torch.

Of each system several runs (seeds) may be given. The paired bootstrap draws items (or groups) and takes all runs of both systems on
them, so its interval is that of the mean over just these runs on another test set. Where both have several, a second interval draws
runs as well: what to expect of other seeds. The verdict is by that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

import numpy as np

from asr.classification.metrics import units_of
from asr.classification.predictions import Predictions
from asr.errors import DataError
from asr.scoring.comparison import PairedBootstrap, paired_bootstrap
from asr.scoring.intervals import crossed_interval
from asr.scoring.scores import Interval


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test on the items one system alone gets right (McNemar, Psychometrika 12, 1947; binomial, two-sided).

    Attributes:
        first_only, second_only: items that only this system gets right.
        p: how often a split as uneven comes by chance if such an item is either system's with equal probability.
    """

    first_only: int
    second_only: int
    p: float


@dataclass(frozen=True)
class Comparison:
    """Accuracies are fractions, one a run; ``difference`` is the second's mean less the first's: positive speaks for the second.

    ``bootstrap.interval`` is that of the difference for just these runs, ``crossed`` the one for other runs as well; None where a
    system has a single run. ``mcnemar`` holds a test for each pair of runs, in the order given; it is
    empty where the systems have different numbers of runs.
    """

    names: tuple[str, str]
    accuracies: tuple[list[float], list[float]]
    unit: str
    units: int
    bootstrap: PairedBootstrap
    crossed: Interval | None
    mcnemar: list[McNemar]

    @property
    def difference(self) -> float:
        return mean(self.accuracies[1]) - mean(self.accuracies[0])

    def as_json(self) -> dict[str, Any]:
        return {"names": list(self.names), "accuracies": list(self.accuracies), "difference": self.difference,
                "interval": list(self.bootstrap.interval), "interval_with_other_runs": self.crossed and list(self.crossed),
                "p": self.bootstrap.p, "unit": self.unit, "units": self.units,
                "mcnemar": [{"first_only": each.first_only, "second_only": each.second_only, "p": each.p} for each in self.mcnemar]}

    def describe(self) -> str:
        """What `asr classify compare` prints."""
        lines = []
        for name, rates in zip(self.names, self.accuracies):
            spread = f" (deviation between {len(rates)} runs {100 * stdev(rates):.2f})" if len(rates) > 1 else ""
            lines.append(f"{name}: accuracy {100 * mean(rates):.2f} %{spread}")
        low, high = (100 * edge for edge in self.bootstrap.interval)
        lines += [f"difference {100 * self.difference:+.2f} points ({self.names[1]} less {self.names[0]})",
                  f"paired bootstrap over {self.units} {self.unit}s: 95 % interval [ {low:+.2f}, {high:+.2f} ], "
                  f"p {_p(self.bootstrap.p)}"]
        if self.crossed:
            low, high = (100 * edge for edge in self.crossed)
            lines.append(f"with other runs of both as well: 95 % interval [ {low:+.2f}, {high:+.2f} ]")
        lines += [f"McNemar, run {number}: {test.first_only} items only {self.names[0]} gets right, {test.second_only} only "
                  f"{self.names[1]}: p {_p(test.p)}" for number, test in enumerate(self.mcnemar, start=1)]
        if low <= 0 <= high:
            lines.append(f"No difference shown between {self.names[0]} and {self.names[1]}.")
        else:
            better, worse = self.names[::-1] if self.difference > 0 else self.names
            lines.append(f"{better} is better than {worse} on items like these.")
        return "\n".join(lines) + "\n"


def compare(first: Sequence[Predictions], second: Sequence[Predictions], names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Compare runs of two systems. Raises DataError where they are not of the same items with the same labels."""
    runs = [*first, *second]
    orders = [_same_items(runs[0], run) for run in runs]
    right = [np.array([run.predicted[at] == run.references[at] for at in order])  # type: ignore[index]
             for run, order in zip(runs, orders)]
    ours, theirs = right[:len(first)], right[len(first):]
    wrong = [np.mean([~run for run in system], axis=0) for system in (ours, theirs)]  # mean errors of each item
    unit, members = units_of(runs[0].groups, len(runs[0].ids))
    differences = np.bincount(members, weights=wrong[0] - wrong[1]).round(12)  # so that units that are alike are seen to be
    bootstrap = paired_bootstrap(differences.tolist(), np.bincount(members).tolist())
    crossed = None
    if min(len(ours), len(theirs)) > 1:
        first_wrong, second_wrong = (np.array([np.bincount(members, weights=~run) for run in system]) for system in (ours, theirs))
        crossed = crossed_interval(first_wrong, second_wrong, np.bincount(members))
    tests = [mcnemar(one, other) for one, other in zip(ours, theirs)] if len(ours) == len(theirs) else []
    return Comparison(names, ([float(run.mean()) for run in ours], [float(run.mean()) for run in theirs]), unit,
                      len(differences), bootstrap, crossed, tests)


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """The exact test of two boolean arrays (N,): what each system gets right."""
    from scipy.stats import binomtest

    one, other = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    return McNemar(one, other, float(binomtest(one, one + other, 0.5).pvalue) if one + other else 1.0)


def _same_items(one: Predictions, other: Predictions) -> list[int]:
    """Where each item of the one stands in the other."""
    if one.references is None or other.references is None:
        raise DataError("predictions without labels cannot be compared")
    at = {name: number for number, name in enumerate(other.ids)}
    lacking = [name for name in one.ids if name not in at]
    if lacking or len(at) != len(one.ids):
        example = f" (first: {lacking[0]})" if lacking else ""
        raise DataError(f"the runs are not of the same items: {len(one.ids)} and {len(at)}, {len(lacking)} of them not in "
                        f"both{example}")
    changed = [name for name, label in zip(one.ids, one.references) if other.references[at[name]] != label]
    if changed:
        raise DataError(f"the runs do not agree on what is right: {len(changed)} items have other labels (first: {changed[0]})")
    return [at[name] for name in one.ids]


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"
