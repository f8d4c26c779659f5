"""Words with times as subtitles: which words stand on the screen together, on which lines, from when to when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from asr.transcription.result import Word

LINE = 42  # characters; two lines of at most 42 is the usual guideline (BBC, Netflix)
LINES = 2
LONGEST_S = 7.0
SHORTEST_S = 1.0  # a word of 0.2 s stays this long where nothing follows
PAUSE_S = 1.0  # of silence, which always ends a cue


class Cue(NamedTuple):
    """What is on the screen from ``start`` to ``end`` (seconds, multiples of 0.001): one or two lines."""

    start: float
    end: float
    lines: list[str]


def cues(words: Sequence[Word], duration: float) -> list[Cue]:
    """Cut words into cues of at most two lines of 42 characters and 7 seconds, best where the speaker pauses.

    Where a cue must end before a pause of a second does it, the longest pause in its second half ends it. A cue begins
    with its first word and ends with its last, or a second after it began where there is room before the next and the end
    of the audio (``duration`` seconds). Cues last a millisecond at least and do not overlap. A word of more than 42
    characters is a line of its own and is not cut.
    """
    groups = [group for stretch in stretches(words, PAUSE_S) for group in _cut(stretch)]
    found: list[Cue] = []
    shown = 0  # milliseconds until which the screen is taken
    for index, group in enumerate(groups):
        start = max(round(1000 * group[0].start), shown)
        limit = round(1000 * (groups[index + 1][0].start if index + 1 < len(groups) else max(duration, group[-1].end)))
        end = min(max(round(1000 * group[-1].end), min(start + round(1000 * SHORTEST_S), limit)), start + round(1000 * LONGEST_S))
        shown = max(end, start + 1)
        found.append(Cue(start / 1000, shown / 1000, _lines([word.text for word in group]) or []))
    return found


def stretches(words: Sequence[Word], pause: float) -> list[list[Word]]:
    """Words between silences of at least ``pause`` seconds."""
    found: list[list[Word]] = []
    for word in words:
        if not found or word.start - found[-1][-1].end >= pause:
            found.append([])
        found[-1].append(word)
    return found


def clock(seconds: float, point: str) -> str:
    """``HH:MM:SS`` and milliseconds after ``point``."""
    whole, milliseconds = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{point}{milliseconds:03d}"


def _cut(words: Sequence[Word]) -> list[Sequence[Word]]:
    groups = []
    while words:
        count = 1
        while count < len(words) and words[count].end - words[0].start <= LONGEST_S and _lines(
                [word.text for word in words[:count + 1]]) is not None:
            count += 1
        if count < len(words):
            # The later of equal pauses: fuller cues are fewer.
            count = max(range((count + 1) // 2, count + 1), key=lambda at: (words[at].start - words[at - 1].end, at))
        groups.append(words[:count])
        words = words[count:]
    return groups


def _lines(words: Sequence[str]) -> list[str] | None:
    """The words on one line, or on two of lengths as equal as can be; None where they do not fit."""
    one = " ".join(words)
    if len(one) <= LINE or len(words) == 1:
        return [one]
    pairs = [(" ".join(words[:at]), " ".join(words[at:]), at) for at in range(1, len(words))]
    fitting = [(first, second) for first, second, at in pairs
               if (len(first) <= LINE or at == 1) and (len(second) <= LINE or at == len(words) - 1)]
    return list(min(fitting, key=lambda pair: abs(len(pair[0]) - len(pair[1])))) if fitting else None
