"""A score broken down: by speaker, by recording, by duration, by any column of a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from asr.scoring.align import Counts, add
from asr.scoring.intervals import bootstrap_interval

if TYPE_CHECKING:
    from asr.scoring.scores import UtteranceScore

DURATIONS = (1, 2, 4, 8, 16, 32)
"""Edges in seconds between the groups of durations, the same for every test set, so that sets can be compared."""

_FEW = 12  # different numbers of a column are groups of their own; more are four groups of like size
_REPLICATES = 2_000


@dataclass(frozen=True)
class Slice:
    """The sums of the utterances that have one value of a column."""

    column: str
    value: str
    members: list[UtteranceScore]

    @property
    def utterances(self) -> int:
        return len(self.members)

    @cached_property
    def wrong_sentences(self) -> int:
        return sum(each.wrong for each in self.members)

    @cached_property
    def words(self) -> Counts:
        return add([each.words for each in self.members])

    @cached_property
    def characters(self) -> Counts | None:
        counts = [each.characters for each in self.members if each.characters is not None]
        return add(counts) if counts else None

    @cached_property
    def ci(self) -> tuple[float, float] | None:
        """95 % interval of its WER, bootstrap over its utterances; None where it has fewer than two, or no reference words."""
        if self.utterances < 2 or not self.words.reference:
            return None
        return bootstrap_interval([each.words.errors for each in self.members],
                                  [each.words.reference for each in self.members], replicates=_REPLICATES)


def slice_by(utterances: Sequence[UtteranceScore], column: str) -> list[Slice]:
    """One slice for each value, in the order of the values; ``""`` (last) for utterances without one.

    Durations are grouped at fixed edges; another column of more than twelve different numbers into four groups of like size.
    """
    values = [each.speaker if column == "speaker" else each.columns.get(column) for each in utterances]
    known = [value for value in values if value]
    name: Callable[[str], tuple[float, str]] = lambda value: (0.0, value)  # noqa: E731
    numbers = {value: float(value) for value in set(known) if _is_number(value)}
    if known and len(numbers) == len(set(known)):
        if column == "duration":
            name = _grouper(numbers, DURATIONS, " s")
        elif column != "speaker" and len(numbers) > _FEW:
            ordered = sorted(numbers[value] for value in known)
            name = _grouper(numbers, [ordered[len(ordered) * quarter // 4] for quarter in (1, 2, 3)], "")
        elif column != "speaker":
            name = lambda value: (numbers[value], value)  # noqa: E731
    groups: dict[tuple[float, str], list[UtteranceScore]] = {}
    for utterance, value in zip(utterances, values):
        groups.setdefault(name(value) if value else (math.inf, ""), []).append(utterance)
    return [Slice(column, label, groups[order, label]) for order, label in sorted(groups)]


def _grouper(numbers: dict[str, float], edges: Sequence[float], unit: str) -> Callable[[str], tuple[float, str]]:
    edges = sorted(set(edges))

    def name(value: str) -> tuple[float, str]:
        below = [edge for edge in edges if edge <= numbers[value]]
        above = [edge for edge in edges if edge > numbers[value]]
        if not below:
            return -math.inf, f"below {above[0]:g}{unit}"
        return below[-1], f"{below[-1]:g} to {above[0]:g}{unit}" if above else f"{below[-1]:g}{unit} or more"

    return name


def _is_number(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False
