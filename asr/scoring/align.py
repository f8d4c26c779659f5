"""Minimum-edit alignment of one utterance's reference with its hypothesis, through jiwer's Python API, and its counts.

Each pair is aligned on its own; insertions, deletions and substitutions all cost 1. Where several alignments have the
fewest errors, their sum is certain but their division into the three is jiwer's (rapidfuzz's) choice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jiwer import AlignmentChunk

# jiwer numbers the words of a call in one table: calls of this many pairs keep that table, and memory, small.
_PAIRS_PER_CALL = 20_000

CORRECT, SUBSTITUTION, DELETION, INSERTION = "C", "S", "D", "I"
_LETTER = {"equal": CORRECT, "substitute": SUBSTITUTION, "delete": DELETION, "insert": INSERTION}


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
    def rate(self) -> float | None:
        """Errors by reference items, as a fraction (it can exceed 1); None, undefined, where the reference holds none."""
        return self.errors / self.reference if self.reference else None

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.reference + other.reference, self.insertions + other.insertions,
                      self.deletions + other.deletions, self.substitutions + other.substitutions)

    def kaldi(self, name: str) -> str:
        """Kaldi's line: ``%WER 1.33 [ 4 / 300, 0 ins, 1 del, 3 sub ]``."""
        percent = f"{100 * self.rate:.2f}" if self.rate is not None else "undefined"
        return (f"%{name} {percent} [ {self.errors} / {self.reference}, {self.insertions} ins, "
                f"{self.deletions} del, {self.substitutions} sub ]")


def align(references: Sequence[Sequence[str]], hypotheses: Sequence[Sequence[str]]) -> Iterator[list[AlignmentChunk]]:
    """The alignment of each reference (a list of words, or of characters) with the hypothesis at the same place."""
    import jiwer

    as_they_are = jiwer.Compose([])  # the items are split already: jiwer is to change nothing
    for start in range(0, len(references), _PAIRS_PER_CALL):
        part = slice(start, start + _PAIRS_PER_CALL)
        yield from jiwer.process_words([list(items) for items in references[part]],
                                       [list(items) for items in hypotheses[part]], as_they_are, as_they_are).alignments


def count(reference_items: int, chunks: Sequence[AlignmentChunk]) -> Counts:
    """The counts of one alignment."""
    insertions = deletions = substitutions = 0
    for chunk in chunks:
        if chunk.type == "substitute":
            substitutions += chunk.ref_end_idx - chunk.ref_start_idx
        elif chunk.type == "delete":
            deletions += chunk.ref_end_idx - chunk.ref_start_idx
        elif chunk.type == "insert":
            insertions += chunk.hyp_end_idx - chunk.hyp_start_idx
    return Counts(reference_items, insertions, deletions, substitutions)


def pairs(reference: Sequence[str], hypothesis: Sequence[str],
          chunks: Sequence[AlignmentChunk]) -> Iterator[tuple[str, str | None, str | None]]:
    """The alignment item by item: (``C``, ``S``, ``D`` or ``I``; reference item or None; hypothesis item or None)."""
    for chunk in chunks:
        letter = _LETTER[chunk.type]
        if letter == DELETION:
            yield from ((letter, item, None) for item in reference[chunk.ref_start_idx : chunk.ref_end_idx])
        elif letter == INSERTION:
            yield from ((letter, None, item) for item in hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx])
        else:
            for ours, theirs in zip(reference[chunk.ref_start_idx : chunk.ref_end_idx],
                                    hypothesis[chunk.hyp_start_idx : chunk.hyp_end_idx]):
                yield letter, ours, theirs
