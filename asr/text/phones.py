"""Words to phones by a pronunciation lexicon, and back: tokens that many words share, where there are too few of each word.

A lexicon is Kaldi's ``lexicon.txt``: a line a pronunciation, ``word phone phone ...``. A word may have several; the first is what
a network is trained on, a beam search knows them all. Dictionaries in the CMU form are read too: ``WORD(2)`` is another
pronunciation of WORD, and ``;;;`` before a line and ``#`` behind it begin comments.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from asr.errors import DataError
from asr.text.normalize import get_normalizer
from asr.text.tables import read_lines, words
from asr.text.tokenizer import BLANK, SPACE, UNK, Tokenizer

Pronunciations = Mapping[str, Sequence[Sequence[str]]]
"""Of each word its pronunciations, each a sequence of phones; the first is the usual one."""

_VARIANT = re.compile(r"(.+)\(\d+\)")
_SOUNDS = 0xF0000  # private characters, one a phone


def lexicon_lines(path: str | Path, comments: bool = True) -> Iterator[tuple[int, str, list[str]]]:
    """Of each line of a lexicon its number, the word and how it is spelled (maybe not at all); ``WORD(2)`` after WORD is WORD.

    ``comments``: a part that is ``#`` begins one; not where ``#`` is a token. Raises UsageError where the file cannot be read.
    """
    seen: set[str] = set()
    for number, line in read_lines(path):
        if line.startswith(";;;") or not (parts := words(line)):
            continue
        if comments and "#" in parts[1:]:
            del parts[parts.index("#", 1):]
        word, *spelling = parts
        if (variant := _VARIANT.fullmatch(word)) and variant[1] in seen:
            word = variant[1]
        seen.add(word)
        yield number, word, spelling


def read_pronunciations(path: str | Path) -> dict[str, list[tuple[str, ...]]]:
    """A lexicon as word -> its pronunciations, both in the file's order; a pronunciation that is given twice counts once.

    Raises UsageError where the file cannot be read, DataError for a line without phones, a phone that has the name of a special
    token, or a file without words.
    """
    found: dict[str, list[tuple[str, ...]]] = {}
    for number, word, phones in lexicon_lines(path):
        if not phones:
            raise DataError(f"{path}:{number}: {word} has no pronunciation; expected `word phone phone ...`")
        if special := {BLANK, SPACE, UNK} & set(phones):
            raise DataError(f"{path}:{number}: {min(special)} is a token of its own and can be no phone; name it otherwise")
        known = found.setdefault(word, [])
        if tuple(phones) not in known:
            known.append(tuple(phones))
    if not found:
        raise DataError(f"{path}: no pronunciations; expected lines like `word phone phone ...`")
    return found


class PhoneTokenizer(Tokenizer):
    """One token a phone, and one between words: ``<blank>``, ``<unk>`` if asked for, ``<space>``, then the phones, sorted.

    ``encode`` takes the first pronunciation of each word. ``decode`` gives the word that has a pronunciation, the first of
    those that sound alike, and ``K-AE-T`` where no word has it. With ``unk``, a word that the lexicon does not have is ``<unk>``.

    Attributes:
        pronunciations: of each word its pronunciations as token ids.
    """

    kind = "phone"
    missing = "no pronunciation of"
    cure = "add them to the lexicon, or make the tokenizer with --unk"

    def __init__(self, pronunciations: Pronunciations, unk: bool = False, normalizer: str = "none") -> None:
        special = [BLANK, UNK, SPACE] if unk else [BLANK, SPACE]
        tokens = special + sorted({phone for each in pronunciations.values() for phones in each for phone in phones})
        super().__init__(tokens, [""] * len(tokens), (), unk, normalizer)
        index = {name: number for number, name in enumerate(tokens)}
        self._space = index[SPACE]
        self.pronunciations = {word: [tuple(index[phone] for phone in phones) for phones in each]
                               for word, each in pronunciations.items()}
        self._word_of: dict[tuple[int, ...], str] = {}
        for word, (first, *_) in self.pronunciations.items():
            self._word_of.setdefault(first, word)
        for word, each in self.pronunciations.items():
            for phones in each:
                self._word_of.setdefault(phones, word)
        self.alike = {word: heard for word, (first, *_) in self.pronunciations.items() if (heard := self._word_of[first]) != word}

    @classmethod
    def train(cls, texts: Iterable[str], pronunciations: Pronunciations, unk: bool = False,
              normalizer: str = "none") -> PhoneTokenizer:
        """The tokenizer of a lexicon, whose words are normalised, and composed, as texts are. Of words that sound alike, the one
        that is most frequent in the texts is heard, then the one that comes first in the lexicon.

        Raises DataError where the normaliser leaves no word.
        """
        change = get_normalizer(normalizer)

        def written_words(text: str) -> list[str]:
            return unicodedata.normalize("NFC", change(text)).split()

        known: dict[str, list[Sequence[str]]] = {}
        for word, each in pronunciations.items():
            if len(written := written_words(word)) == 1:
                kept = known.setdefault(written[0], [])
                kept += [phones for phones in each if phones not in kept]
        if not known:
            raise DataError(f"the lexicon has no word that is one after the normaliser {normalizer}")
        count = Counter(word for text in texts for word in written_words(text))
        return cls(dict(sorted(known.items(), key=lambda item: -count[item[0]])), unk, normalizer)

    @classmethod
    def of_lines(cls, lines: Iterable[str], unk: bool, normalizer: str) -> PhoneTokenizer:
        """From the lines that ``state()`` has."""
        pronunciations: dict[str, list[list[str]]] = {}
        for line in lines:
            word, *phones = line.split(" ")
            if not phones:
                raise ValueError(f"{word!r} has no pronunciation")
            pronunciations.setdefault(word, []).append(phones)
        return cls(pronunciations, unk, normalizer)

    def name(self, part: str) -> str:
        return repr(part)

    def sounds(self, token: int) -> str | None:
        if self.tokens[token] == UNK:
            return None
        return "" if token in (0, self._space) else chr(_SOUNDS + token)

    def sounds_of(self, text: str) -> str:
        return " ".join("".join(chr(_SOUNDS + phone) for phone in self._phones(word)) for word in text.split())

    def word_spans(self, ids: Iterable[int]) -> list[tuple[str, int, int]]:
        spans: list[tuple[str, int, int]] = []
        phones: list[tuple[int, int]] = []  # of the word that is going on, each with its position
        for position, token in enumerate((*ids, self._space)):
            if token not in (0, self._space):
                phones.append((position, token))
            elif token and phones:
                sounds = tuple(each for _, each in phones)
                word = self._word_of.get(sounds) or "-".join(self.tokens[each] for each in sounds)
                spans.append((word, phones[0][0], phones[-1][0] + 1))
                phones = []
        return spans

    def _outside(self, prepared: str) -> list[str]:
        return sorted(set(prepared.split()) - self.pronunciations.keys())

    def _ids(self, prepared: str) -> list[int]:
        ids: list[int] = []
        for word in prepared.split():
            if ids:
                ids.append(self._space)
            ids += self._phones(word)
        return ids

    def _phones(self, word: str) -> tuple[int, ...]:
        return self.pronunciations[word][0] if word in self.pronunciations else (1,)  # with unk alone: encode() has checked

    def _lines(self) -> list[str]:
        return [" ".join([word, *(self.tokens[phone] for phone in phones)])
                for word, each in self.pronunciations.items() for phones in each]

    def _state(self) -> dict[str, Any]:
        return {"lexicon": self._lines()}

    def _files(self) -> dict[str, bytes]:
        return {"lexicon.txt": "".join(line + "\n" for line in self._lines()).encode()}
