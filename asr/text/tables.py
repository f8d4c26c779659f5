"""Kaldi's tables of text: one line an utterance, its id first, the rest after it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from asr.errors import DataError, UsageError

_WHITESPACE = " \t\n\r\f\v"  # Kaldi splits at these; other Unicode spaces are part of a word
_RUNS = re.compile(f"[{_WHITESPACE}]+")
_OTHERS = re.compile(f"[{_WHITESPACE[1:]}]")


def read_transcripts(path: str | Path) -> dict[str, str]:
    """A Kaldi ``text`` file as id -> words with one space between them ("" for an id alone), in the file's order.

    Raises UsageError where the file cannot be opened, and DataError with the line for an empty line, an id that
    appeared before, or text that is not UTF-8.
    """
    return {key: " ".join(words(rest)) for key, rest in read_table(path).items()}


def read_table(path: str | Path) -> dict[str, str]:
    """Any Kaldi table (``utt2spk``, ``text`` ...) as key -> the rest of its line; errors as for ``read_transcripts``."""
    table: dict[str, str] = {}
    for number, line in read_lines(path):
        key, *rest = _RUNS.split(line.strip(_WHITESPACE), maxsplit=1)
        if not key:
            raise DataError(f"{path}:{number}: empty line; expected an id, then its value")
        if key in table:
            raise DataError(f"{path}:{number}: {key} appears a second time; each id may have one line")
        table[key] = rest[0] if rest else ""
    return table


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers, from 1; only a newline ends a line, and a byte-order mark is skipped."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read: {error.strerror}") from None
    lines = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    for number, line in enumerate(lines, start=1):
        try:
            yield number, line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"{path}:{number}: not UTF-8 (byte {error.start + 1} of the line); convert it with "
                            f"`iconv -t UTF-8`") from None


def words(text: str) -> list[str]:
    """The words of a transcript, as Kaldi splits it."""
    if _OTHERS.search(text) is None:  # the usual case, several times as fast
        return [word for word in text.split(" ") if word]
    return [word for word in _RUNS.split(text) if word]
