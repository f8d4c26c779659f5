"""A reader of Praat's long text format, written from its manual and from nothing of ours.

"TextGrid file formats": a text file whose strings are in double quotes, a quote in a string doubled; whatever stands outside
of strings, numbers and <flags> is free comment. So the values alone, in their order, are the file.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import NamedTuple


class Grid(NamedTuple):
    xmin: float
    xmax: float
    tiers: dict[str, list[tuple[float, float, str]]]


def read_textgrid(text: str) -> Grid:
    """The tiers of a TextGrid; raises AssertionError where Praat would refuse it."""
    values = iter([string if string or quoted else number for quoted, string, number in
                   ((match[0].startswith('"'), (match[1] or "").replace('""', '"'), match[2] or match[3])
                    for match in re.finditer(r'"((?:[^"]|"")*)"|(?<![\w\[])(-?\d+(?:\.\d+)?)(?![\w\]])|(<\w+>)', text))])
    assert (next(values), next(values)) == ("ooTextFile", "TextGrid")
    xmin, xmax = float(next(values)), float(next(values))
    assert next(values) == "<exists>" and xmin < xmax
    tiers = {}
    for _ in range(int(next(values))):
        assert next(values) == "IntervalTier"
        name = next(values)
        assert (float(next(values)), float(next(values))) == (xmin, xmax)
        intervals = [(float(next(values)), float(next(values)), next(values)) for _ in range(int(next(values)))]
        assert intervals[0][0] == xmin and intervals[-1][1] == xmax
        assert all(start < end for start, end, _ in intervals)
        assert all(before[1] == after[0] for before, after in pairwise(intervals))
        assert name not in tiers
        tiers[name] = intervals
    assert next(values, None) is None
    return Grid(xmin, xmax, tiers)
