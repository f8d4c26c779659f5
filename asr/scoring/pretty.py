"""Alignments for people: columns of reference, hypothesis and operation, aligned on a terminal in any script."""

from __future__ import annotations

import unicodedata

from asr.scoring.align import ERRORS
from asr.scoring.scores import UtteranceScore

_COLUMNS = 110  # a longer alignment goes on in a further block


def display_width(text: str) -> int:
    """Columns a text takes on a terminal: 2 for East Asian wide characters, 0 for marks and format characters."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def pretty(utterance: UtteranceScore, columns: int = _COLUMNS) -> str:
    """The alignment of one utterance as text.

    ::

        utt1 (speaker a): 2 errors / 3 words
        REF: the *** cat sat
        HYP: the bat on  sat
        OPS:     I   S

    Stars stand where one side has no word; an operation is S (substitution), D (deletion) or I (insertion). An optional
    word that sclite's rules forgive has stars on the other side and no operation.
    """
    speaker = f" (speaker {utterance.speaker})" if utterance.speaker is not None else ""
    lines = [f"{utterance.id}{speaker}: {_plural(utterance.words.errors, 'error')} / "
             f"{_plural(utterance.words.reference, 'word')}"]
    rows: tuple[list[str], list[str], list[str]] = ([], [], [])
    used = 0
    for letter, ours, theirs in utterance.pairs():
        width = max(1, *(display_width(word) for word in (ours, theirs) if word is not None))  # 1: the operation's letter
        if used and used + width > columns:
            lines += _block(rows)
            rows, used = ([], [], []), 0
        used += width + 1
        for row, word in zip(rows, (ours, theirs, letter if letter in ERRORS else "")):
            text = "*" * width if word is None else word
            row.append(text + " " * (width - display_width(text)))
    if rows[0]:
        lines += _block(rows)
    return "\n".join(lines) + "\n"


def _block(rows: tuple[list[str], list[str], list[str]]) -> list[str]:
    return [f"{name}: {' '.join(row)}".rstrip() for name, row in zip(("REF", "HYP", "OPS"), rows)]


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
