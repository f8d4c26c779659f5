"""Alignment of references with hypotheses, and what it counts.

An alignment is a string of letters, one for every step: ``C`` correct, ``S`` substituted, ``D`` deleted, ``I`` inserted;
``d`` and ``i`` are optional words that sclite forgives when they are on one side only. Each utterance is aligned alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

CORRECT, SUBSTITUTION, DELETION, INSERTION = "C", "S", "D", "I"
FORGIVEN_DELETION, FORGIVEN_INSERTION = "d", "i"
ERRORS = frozenset((SUBSTITUTION, DELETION, INSERTION))

_PAIRS_PER_CALL = 20_000
"""jiwer and the kernels number the words of a call in one table: calls of this many pairs keep it, and memory, small."""


class Weights(NamedTuple):
    """What a substitution costs, and a deletion or an insertion."""

    substitution: int
    gap: int


FEWEST_ERRORS = Weights((1 << 32) + 1, 1 << 32)
"""The fewest errors, and among those the fewest substitutions: that fixes all three counts, whichever path is found."""
SCLITE = Weights(4, 3)


@dataclass(frozen=True)
class Counts:
    """Errors against a number of reference items (words or characters)."""

    reference: int = 0
    insertions: int = 0
    deletions: int = 0
    substitutions: int = 0

    @property
    def errors(self) -> int:
        return self.insertions + self.deletions + self.substitutions

    @property
    def correct(self) -> int:
        return self.reference - self.deletions - self.substitutions

    @property
    def hypothesis(self) -> int:
        """Hypothesis items."""
        return self.correct + self.substitutions + self.insertions

    @property
    def rate(self) -> float | None:
        """Errors by reference items, as a fraction (it can exceed 1); None, undefined, where the reference holds none."""
        return self.errors / self.reference if self.reference else None

    @property
    def match_error_rate(self) -> float:
        """MER (Morris, Maier & Green, Interspeech 2004): errors by steps of the alignment, from 0 to 1."""
        steps = self.correct + self.errors
        return self.errors / steps if steps else 0.0

    @property
    def information_lost(self) -> float:
        """WIL (same paper): 1 less the part of the reference that is correct times that of the hypothesis, from 0 to 1."""
        if not self.reference or not self.hypothesis:
            return float(self.reference != self.hypothesis)
        return 1 - self.correct**2 / (self.reference * self.hypothesis)

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.reference + other.reference, self.insertions + other.insertions,
                      self.deletions + other.deletions, self.substitutions + other.substitutions)

    def kaldi(self, name: str) -> str:
        """Kaldi's line: ``%WER 1.33 [ 4 / 300, 0 ins, 1 del, 3 sub ]``."""
        percent = f"{100 * self.rate:.2f}" if self.rate is not None else "undefined"
        return (f"%{name} {percent} [ {self.errors} / {self.reference}, {self.insertions} ins, "
                f"{self.deletions} del, {self.substitutions} sub ]")


def count(operations: str) -> Counts:
    """The counts of an alignment. An optional word counts as a correct one, on whichever side it is, as in sclite."""
    insertions = operations.count(INSERTION)
    return Counts(len(operations) - insertions, insertions, operations.count(DELETION), operations.count(SUBSTITUTION))


def add(counts: Sequence[Counts]) -> Counts:
    """The sum."""
    return Counts(sum(each.reference for each in counts), sum(each.insertions for each in counts),
                  sum(each.deletions for each in counts), sum(each.substitutions for each in counts))


def align(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]],
          weights: Weights = FEWEST_ERRORS) -> Iterator[str]:
    """The alignment of each reference (a list of words) with the hypothesis at the same place."""
    import numpy as np

    from asr.scoring import kernels

    steps = np.empty(max(kernels.CELLS, *map(len, hypotheses), 1), dtype=np.uint8)  # a row at least
    for ref, ref_starts, hyp, hyp_starts in _numbered(references, hypotheses):
        operations = np.zeros(len(ref) + len(hyp), dtype=np.uint8)
        lengths = np.empty(len(ref_starts) - 1, dtype=np.int64)
        counts = np.zeros((len(lengths), 3), dtype=np.int64)
        kernels.align_pairs(ref, ref_starts, hyp, hyp_starts, *weights, operations, lengths, counts, steps)
        ends = ref_starts[1:] + hyp_starts[1:]
        letters = operations.tobytes().decode("ascii")
        for end, length in zip(ends.tolist(), lengths.tolist()):
            yield letters[end - length:end]


def count_characters(references: Sequence[str], hypotheses: Sequence[str]) -> Iterator[Counts]:
    """The counts of each text's characters (code points): the fewest errors, and among those the fewest substitutions."""
    import numpy as np

    from asr.scoring import kernels

    for ref, ref_starts, hyp, hyp_starts in _numbered(references, hypotheses):
        costs = np.empty(len(ref_starts) - 1, dtype=np.int64)
        kernels.least_costs(ref, ref_starts, hyp, hyp_starts, *FEWEST_ERRORS, costs)
        for cost, ours, theirs in zip(costs.tolist(), np.diff(ref_starts).tolist(), np.diff(hyp_starts).tolist()):
            errors, substitutions = divmod(cost, FEWEST_ERRORS.gap)
            deletions = (errors - substitutions + ours - theirs) // 2
            yield Counts(ours, errors - substitutions - deletions, deletions, substitutions)


def jiwer_counts(references: list[list[str]], hypotheses: list[list[str]]) -> Counts:
    """The counts of all pairs by jiwer's Python API (its command drops lines of one character)."""
    import jiwer

    as_they_are = jiwer.Compose([])  # the items are split already: jiwer is to change nothing
    total = Counts()
    for start in range(0, len(references), _PAIRS_PER_CALL):
        part = slice(start, start + _PAIRS_PER_CALL)
        found = jiwer.process_words(references[part], hypotheses[part], as_they_are, as_they_are)
        total += Counts(sum(map(len, references[part])), found.insertions, found.deletions, found.substitutions)
    return total


def pairs(operations: str, reference: Sequence[str],
          hypothesis: Sequence[str]) -> Iterator[tuple[str, str | None, str | None]]:
    """The alignment step by step: (letter; reference word or None; hypothesis word or None)."""
    ours, theirs = iter(reference), iter(hypothesis)
    for letter in operations:
        yield (letter, None if letter in "Ii" else next(ours), None if letter in "Dd" else next(theirs))


def _numbered(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]],
              ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Ids (int32) of all reference items of a call and where each utterance begins (U + 1), the same of the hypotheses."""
    import numpy as np

    for start in range(0, len(references), _PAIRS_PER_CALL):
        ids: defaultdict[str, int] = defaultdict()
        ids.default_factory = ids.__len__
        arrays = []
        for side in (references, hypotheses):
            part = side[start:start + _PAIRS_PER_CALL]
            starts = np.zeros(len(part) + 1, dtype=np.int64)
            np.cumsum([len(items) for items in part], out=starts[1:])
            arrays += [np.fromiter(map(ids.__getitem__, chain.from_iterable(part)), np.int32, int(starts[-1])), starts]
        yield arrays[0], arrays[1], arrays[2], arrays[3]
