"""Three ways of counting the same words, held against each other: jiwer's, sclite's weights, and ours.

The fewest errors are one number, so jiwer's and ours are equal, in every utterance. sclite's weights may take a path with
more errors, never with fewer, and never a heavier one; where its errors are as many, so are its substitutions. Anything
else means that a counter is wrong, and is an error that names the utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.errors import AsrError
from asr.scoring.align import FEWEST_ERRORS, SCLITE, Counts, add, align, count, jiwer_counts
from asr.scoring.rules import Aligned, Rules, key


@dataclass(frozen=True)
class Agreement:
    """The same words counted three ways.

    Attributes:
        fewest: with the fewest errors; jiwer's total is the same.
        sclite: with sclite's weights.
        more: utterances in which sclite's weights count more errors than the fewest there can be.
    """

    fewest: Counts
    sclite: Counts
    more: list[str]


def check(rules: Rules, ids: Sequence[str], alignments: Sequence[Aligned]) -> Agreement:
    """Count the aligned words in all three ways; raises AsrError with the utterance where they cannot all be right."""
    if rules.name == "edit":
        ours, theirs = [row.reference for row in alignments], [row.hypothesis for row in alignments]
        told = [count(row.operations) for row in alignments]
        fewest, light = told, [count(operations) for operations in align(ours, theirs, SCLITE)]
    else:
        ours = [[key(rules, word) for word in _kept(row, row.reference, "d", "Ii")] for row in alignments]
        theirs = [[key(rules, word) for word in _kept(row, row.hypothesis, "i", "Dd")] for row in alignments]
        told = [count(row.operations.replace("d", "").replace("i", "")) for row in alignments]
        fewest, light = [count(operations) for operations in align(ours, theirs, FEWEST_ERRORS)], told
        again = [count(operations) for operations in align(ours, theirs, SCLITE)]
        _refuse(ids, [_weight(one) != _weight(other) for one, other in zip(told, again)], told, again, "sclite's, twice")
    if jiwer_counts(ours, theirs).errors != sum(each.errors for each in fewest):
        jiwers = [jiwer_counts([ref], [hyp]) for ref, hyp in zip(ours, theirs)]
        _refuse(ids, [one.errors != other.errors for one, other in zip(fewest, jiwers)], fewest, jiwers, "ours and jiwer's")
    _refuse(ids, [_conflict(one, other) for one, other in zip(fewest, light)], fewest, light, "ours and sclite's")
    _refuse(ids, [(one.reference, one.hypothesis) != (len(ref), len(hyp))
                  for one, ref, hyp in zip(told, ours, theirs)], told, told, "the words and their counts")
    return Agreement(add(fewest), add(light),
                     [utterance for utterance, one, other in zip(ids, fewest, light) if other.errors > one.errors])


def _kept(row: Aligned, side: list[str], forgiven: str, absent: str) -> list[str]:
    """The words of one side, without the optional ones that were left out on the other."""
    if forgiven not in row.operations:
        return side
    letters = [letter for letter in row.operations if letter not in absent]
    return [word for word, letter in zip(side, letters) if letter != forgiven]


def _weight(counts: Counts) -> int:
    return SCLITE.gap * (counts.insertions + counts.deletions) + SCLITE.substitution * counts.substitutions


def _conflict(fewest: Counts, light: Counts) -> bool:
    return (light.errors < fewest.errors or _weight(light) > _weight(fewest)
            or (light.errors == fewest.errors and light != fewest))


def _refuse(ids: Sequence[str], wrong: list[bool], one: Sequence[Counts], other: Sequence[Counts], whose: str) -> None:
    if any(wrong):
        first = wrong.index(True)
        raise AsrError(f"utterance {ids[first]}: two ways of counting disagree ({whose}): {one[first].kaldi('WER')} and "
                       f"{other[first].kaldi('WER')}; {sum(wrong)} utterance(s) in all. The fault is a counter's, not your "
                       "files': please report it with this utterance's two texts")
