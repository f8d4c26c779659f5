"""Text without case and punctuation, and what languages have of their own in both."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

_APOSTROPHES = "'\u2019\u02bc"  # typewriter, typographic, modifier letter
_SPACELESS = re.compile("([\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303c\u3040-\u30ff\u31f0-\u31ff"
                        "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff])")


def plain(text: str, fold: Callable[[str], str] = str.casefold, apostrophes: bool = True) -> str:
    """Unicode NFKC, case folded, punctuation as spaces, one space between words.

    ``apostrophes``: keep one within a word, between two letters or digits; without, it parts words as other punctuation.
    """
    # NFKC of the folded text once more: folding can take a composed character apart (U+01F0, for one).
    folded = unicodedata.normalize("NFKC", fold(unicodedata.normalize("NFKC", text)))
    last = len(folded) - 1
    kept = []
    for index, character in enumerate(folded):
        if character in _APOSTROPHES and apostrophes:
            inside = 0 < index < last and _in_word(folded[index - 1]) and _in_word(folded[index + 1])
            kept.append("'" if inside else " ")
        else:
            kept.append(" " if _is_punctuation(character) or character in _APOSTROPHES else character)
    return " ".join("".join(kept).split())


def german(text: str) -> str:
    """`plain`, but sharp s is a letter of its own."""
    return plain(text, str.lower)


def turkish(text: str) -> str:
    """`plain`, but I is the capital of dotless i and i has a capital with a dot (also Azerbaijani)."""
    return plain(text, lambda folded: folded.replace("\u0130", "i").replace("I", "\u0131").casefold())


def french(text: str) -> str:
    """`plain`, but an apostrophe ends a word: l'eau is two words (also Italian)."""
    return plain(text, apostrophes=False)


def arabic(text: str) -> str:
    """`plain`, without vowel signs and the stretching tatweel."""
    return plain(_without(plain(text), r"[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed]"))


def hebrew(text: str) -> str:
    """`plain`, without vowel points and accents."""
    return plain(_without(plain(text), r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"))


def chinese(text: str) -> str:
    """`plain`, but each Han character and each kana is a word (also Japanese): words are not parted there in writing."""
    return plain(_SPACELESS.sub(r" \1 ", plain(text)))  # once more: an apostrophe beside such a word is within none now


def _without(text: str, marks: str) -> str:
    return re.sub(marks, "", text)


@lru_cache(maxsize=65536)
def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character).startswith("P")


@lru_cache(maxsize=65536)
def _in_word(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM" and character not in _APOSTROPHES
