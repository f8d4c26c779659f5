"""Named, versioned normalisers: what is done to a text before tokens are made of it or errors are counted in it.

A name and version always mean the same change of text, so a score that states them can be repeated. Change what a
normaliser does, and its version must go up. Every normaliser is idempotent: applying it twice changes nothing more.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from asr.errors import UsageError

_APOSTROPHES = "'\u2019\u02bc"  # typewriter, typographic, modifier letter


@dataclass(frozen=True)
class Normalizer:
    """A change of text with a name, a version and one line that says what it does; call it on a text."""

    name: str
    version: int
    summary: str
    apply: Callable[[str], str]

    def __call__(self, text: str) -> str:
        return self.apply(text)

    def __str__(self) -> str:
        return f"{self.name} (version {self.version})"


def _none(text: str) -> str:
    return text


def _nfc(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _basic(text: str) -> str:
    # NFKC of the folded text once more: folding can take a composed character apart (U+01F0, for one).
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    last = len(folded) - 1
    kept = []
    for index, character in enumerate(folded):
        if character in _APOSTROPHES:
            inside = 0 < index < last and _in_word(folded[index - 1]) and _in_word(folded[index + 1])
            kept.append("'" if inside else " ")
        else:
            kept.append(" " if _is_punctuation(character) else character)
    return " ".join("".join(kept).split())


@lru_cache(maxsize=65536)
def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


@lru_cache(maxsize=65536)
def _in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM" and character not in _APOSTROPHES


NORMALIZERS: dict[str, Normalizer] = {
    normalizer.name: normalizer
    for normalizer in (
        Normalizer("none", 1, "the text as it stands", _none),
        Normalizer("nfc", 1, "Unicode NFC; runs of whitespace become one space", _nfc),
        Normalizer("basic", 1, "Unicode NFKC, case folded, punctuation (but not apostrophes within words) becomes a space, "
                               "runs of whitespace become one space", _basic),
    )
}


def get_normalizer(name: str) -> Normalizer:
    """The normaliser of this name; raises UsageError that lists the known ones."""
    if name in NORMALIZERS:
        return NORMALIZERS[name]
    close = difflib.get_close_matches(name, NORMALIZERS, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"unknown normaliser {name!r}; {hint}known: {', '.join(NORMALIZERS)}")


def normalize(text: str, name: str = "none") -> str:
    """Apply the named normaliser to a text."""
    return get_normalizer(name)(text)
