"""Named, versioned normalisers: what is done to a text before tokens are made of it or errors are counted in it.

A name and version always mean the same change of text, so a score that states them can be repeated. Change what a
normaliser does, and its version must go up. Every normaliser is idempotent: applying it twice changes nothing more.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

from asr.errors import UsageError
from asr.text.english import english
from asr.text.plain import arabic, chinese, french, german, hebrew, plain, turkish


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


NORMALIZERS: dict[str, Normalizer] = {
    normalizer.name: normalizer
    for normalizer in (
        Normalizer("none", 1, "the text as it stands", _none),
        Normalizer("nfc", 1, "Unicode NFC; runs of whitespace become one space", _nfc),
        Normalizer("basic", 1, "Unicode NFKC, case folded, punctuation (but not apostrophes within words) becomes a space, "
                               "runs of whitespace become one space", plain),
        Normalizer("english", 1, "numbers, money, times, symbols and some abbreviations as they are spoken in English, then "
                                 "as basic", english),
        Normalizer("basic-ar", 1, "as basic; Arabic vowel signs and tatweel go", arabic),
        Normalizer("basic-az", 1, "as basic; the capitals of i and dotless i are those of Azerbaijani", turkish),
        Normalizer("basic-de", 1, "as basic; sharp s stays", german),
        Normalizer("basic-fr", 1, "as basic; an apostrophe parts words", french),
        Normalizer("basic-he", 1, "as basic; Hebrew points and accents go", hebrew),
        Normalizer("basic-it", 1, "as basic; an apostrophe parts words", french),
        Normalizer("basic-ja", 2, "as basic; each Han character and each kana is a word", chinese),
        Normalizer("basic-tr", 1, "as basic; the capitals of i and dotless i are those of Turkish", turkish),
        Normalizer("basic-zh", 2, "as basic; each Han character and each kana is a word", chinese),
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
