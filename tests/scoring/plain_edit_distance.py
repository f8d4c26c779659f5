"""A second, independent way to count: edit distance by plain dynamic programming, and the text it came from."""

from __future__ import annotations

from collections.abc import Sequence


def edit_distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions that turn the hypothesis into the reference."""
    row = list(range(len(hypothesis) + 1))
    for number, ours in enumerate(reference, start=1):
        above, row[0] = row[0], number
        for column, theirs in enumerate(hypothesis, start=1):
            best = min(above + (ours != theirs), row[column] + 1, row[column - 1] + 1)
            above, row[column] = row[column], best
    return row[-1]
