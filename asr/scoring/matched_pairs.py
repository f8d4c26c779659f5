"""The matched-pairs sentence-segment word error test (Gillick & Cox, "Some statistical issues in the comparison of speech
recognition algorithms", ICASSP 1989), as NIST's sc_stats computes it.

The utterances are cut into segments around errors: a segment ends where both systems have two words in a row correct. Errors
of one segment then hardly depend on those of another, and the difference of the two systems' errors in a segment is one
observation; its mean over all segments, by its standard error, is the statistic z, normal when the systems are equal.

The result is that of sc_stats, but where every segment has the same difference: there is no spread then, sc_stats gives
z = 0, and here the segments are taken for a sign test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from math import copysign, erfc, inf, sqrt

from asr.errors import UsageError
from asr.scoring.align import ERRORS
from asr.scoring.scores import UtteranceScore

BOUNDARY = 2  # words in a row that both have correct, to end a segment (sc_stats: "minimum number of correct boundary words")


@dataclass(frozen=True)
class MatchedPairs:
    """The result of the test; positive where the first system makes more errors.

    Attributes:
        segments: stretches with an error of either system.
        mean, deviation: of the difference of errors (first less second) in a segment.
        z: the statistic; infinite where every segment has the same difference, other than none.
        p: two-sided probability of a difference like this, or larger, if the systems were equal.
    """

    segments: int
    mean: float
    deviation: float
    z: float
    p: float


@dataclass(frozen=True)
class _Place:
    """A word of the reference in one system's alignment: the errors it holds and those inserted before it."""

    errors: int
    inserted: int
    spoken: bool


_UNSPOKEN = _Place(0, 0, False)


def mapsswe(first: Iterable[UtteranceScore], second: Iterable[UtteranceScore]) -> MatchedPairs:
    """Test two systems on the same utterances, in the same order; raises UsageError where they are not the same."""
    differences: list[int] = []
    for one, other in zip(first, second, strict=True):
        if one.id != other.id:
            raise UsageError(f"the two scores do not hold the same utterances in the same order: {one.id} beside {other.id}")
        differences += segments(_places(one), _places(other))
    count = len(differences)
    if count < 2:
        return MatchedPairs(count, float(sum(differences)), 0.0, 0.0, 1.0)
    mean = sum(differences) / count
    variance = sum((each - mean) ** 2 for each in differences) / (count - 1)
    if variance:
        z = mean / sqrt(variance / count)
        return MatchedPairs(count, mean, sqrt(variance), z, erfc(abs(z) / sqrt(2)))
    return MatchedPairs(count, mean, 0.0, copysign(inf, mean) if mean else 0.0, min(1.0, 2 * 0.5**count) if mean else 1.0)


def segments(first: tuple[list[_Place], int], second: tuple[list[_Place], int]) -> Iterator[int]:
    """The difference of errors in each segment of an utterance that holds one.

    Each side: its reference words, and how many words it inserted after the last.
    """
    ours = theirs = good = 0
    within = False  # a segment that has begun with an error
    for one, other in zip_longest(first[0], second[0], fillvalue=_UNSPOKEN):
        if one.inserted or other.inserted:
            within, good = True, 0
        wrong = one.errors or other.errors
        ours += one.inserted + one.errors
        theirs += other.inserted + other.errors
        if wrong:
            within, good = True, 0
        elif within and (one.spoken and other.spoken):
            good += 1
            if good == BOUNDARY:
                yield ours - theirs
                ours = theirs = good = 0
                within = False
    ours += first[1]
    theirs += second[1]
    if ours or theirs:
        yield ours - theirs


def _places(utterance: UtteranceScore) -> tuple[list[_Place], int]:
    """The places of the reference text with their errors, and the words inserted after the last one.

    An alternation is one place, whatever branch was taken; without a word of it spoken (``@``), it cannot end a segment.
    """
    if utterance.slots is None:
        return _words(utterance.operations)
    count = 1 + max((slot for slot in utterance.slots), default=-1)
    errors, inserted, spoken, before = [0] * count, [0] * count, [False] * count, 0
    for letter, slot in zip(utterance.operations, utterance.slots):
        if slot < 0:
            before += letter in ERRORS
            continue
        if spoken[slot]:
            errors[slot] += before  # inserted between the words of one alternative
        else:
            inserted[slot] = before
        before, spoken[slot] = 0, True
        errors[slot] += letter in ERRORS
    return [_Place(*each) for each in zip(errors, inserted, spoken)], before


_PLAIN = {(letter, inserted): _Place(int(letter in ERRORS), inserted, True) for letter in "CSDd" for inserted in range(4)}


def _words(operations: str) -> tuple[list[_Place], int]:
    places, inserted = [], 0
    for letter in operations:
        if letter in "Ii":
            inserted += letter == "I"
        else:
            places.append(_PLAIN.get((letter, inserted)) or _Place(int(letter in ERRORS), inserted, True))
            inserted = 0
    return places, inserted
