"""n-gram language models: probabilities of sentences, and perplexity.

    >>> from asr.text import build_ngram
    >>> lm = build_ngram(["the cat sat", "the cat ran", "the dog sat"] * 4, order=2)
    >>> lm.score("the cat sat") > lm.score("cat the sat")
    True
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr.errors import DataError, UsageError
from asr.text.arpa import read_arpa, write_arpa
from asr.text.ngram_tables import BOS, EOS, UNK, NgramTable, index_tables
from asr.text.tables import words as words_of

if TYPE_CHECKING:
    from asr.text.ngram_query import NgramArrays


@dataclass(frozen=True)
class Perplexity:
    """How well a model foretells a text. Every sentence has an end, which is foretold as words are.

    Attributes:
        sentences: lines of the text.
        words: words and sentence ends: what the perplexities are means over.
        unknown: words that the model does not know.
        log10_prob: of all words and sentence ends.
        log10_prob_known: without the unknown words' own.
    """

    sentences: int
    words: int
    unknown: int
    log10_prob: float
    log10_prob_known: float

    @property
    def perplexity(self) -> float:
        """Unknown words counted, with the probability of ``<unk>``: comparable only between models of one vocabulary."""
        return _power_of_ten(-self.log10_prob / self.words)

    @property
    def perplexity_known(self) -> float:
        """Over known words and sentence ends alone."""
        return _power_of_ten(-self.log10_prob_known / (self.words - self.unknown))


class NgramLM:
    """A backoff n-gram model, as an ARPA file holds it. Logarithms are to the base 10.

    Attributes:
        words: every word by id, ``<s>``, ``</s>`` and, where there is one, ``<unk>`` included.
        index: word -> id.
        tables: the n-grams of each order, from 1 up.
        bos, eos: ids of ``<s>`` and ``</s>``.
        unk: id of ``<unk>`` (or ``<UNK>``); -1 where the model has none. An unknown word then has log10 probability -100.
    """

    def __init__(self, words: Sequence[str], tables: Sequence[NgramTable]) -> None:
        self.words = list(words)
        self.tables = list(tables)
        self.index = {word: index for index, word in enumerate(self.words)}
        self.bos, self.eos = self.index[BOS], self.index[EOS]
        self.unk = self.index.get(UNK, self.index.get(UNK.upper(), -1))

    @classmethod
    def load(cls, path: str | Path) -> NgramLM:
        """Read an ARPA file, gzipped or not.

        Raises UsageError where it cannot be opened, and DataError with file and line where it is not as it should be.
        """
        return cls(*read_arpa(path))

    def save(self, path: str | Path) -> None:
        """Write an ARPA file, whole or not at all; gzipped where the name ends in ``.gz``."""
        write_arpa(path, self.words, self.tables)

    @property
    def order(self) -> int:
        """Words in the longest n-gram."""
        return len(self.tables)

    @cached_property
    def arrays(self) -> NgramArrays:
        """The model as arrays, for the compiled functions of ``asr.text.ngram_query``."""
        return index_tables(self.tables, self.bos, self.eos, self.unk)

    def encode(self, sentence: str) -> np.ndarray:
        """Word ids of a sentence, int32; -1 for words that the model does not know."""
        return np.array([self.index.get(word, -1) for word in words_of(sentence)], np.int32)

    def score(self, sentence: str, bos: bool = True, eos: bool = True) -> float:
        """Log10 probability of a sentence, which is words with spaces between them.

        Args:
            bos: it is a whole sentence from its beginning: its first word follows ``<s>``, else nothing.
            eos: it is one to its end: the probability of ``</s>`` is counted.
        """
        from asr.text.ngram_query import score_words

        ids = self.encode(sentence)
        words, ends = score_words(self.arrays, ids, np.array([0, len(ids)]), bos, eos)
        return float(words.sum() + ends.sum())

    def perplexity(self, sentences: Iterable[str]) -> Perplexity:
        """The perplexity of a text of one sentence a line; an empty line is an empty sentence.

        Raises DataError if there is no line or one that marks its own ends, UsageError for one text in place of lines.
        """
        from asr.text.ngram_query import score_words

        refuse_text(sentences, "sentences")
        encoded = [self.encode(sentence) for sentence in sentences]
        if not encoded:
            raise DataError("perplexity is undefined: the text has no line")
        ids, bounds = np.concatenate(encoded), np.cumsum([0, *map(len, encoded)])
        if len(marks := np.flatnonzero((ids == self.bos) | (ids == self.eos))):
            raise marked_ends(int(np.searchsorted(bounds, marks[0], side="right")))
        words, ends = score_words(self.arrays, ids, bounds, True, True)
        unknown = (ids < 0) | (ids == self.unk)
        total = float(words.sum() + ends.sum())
        return Perplexity(len(ends), len(words) + len(ends), int(unknown.sum()), total, total - float(words[unknown].sum()))


def refuse_text(lines: object, name: str) -> None:
    """Refuse a text where lines are expected: its letters would be taken for lines. Raises UsageError."""
    if isinstance(lines, (str, bytes)):
        raise UsageError(f"{name}: expected lines, a list or an open file, not one text; write `text.splitlines()` or "
                         "`open(path)`")


def marked_ends(number: int) -> DataError:
    """What to raise for a line of a text that marks where its sentence begins or ends."""
    return DataError(f"line {number} of the text holds {BOS} or {EOS}, which mark the ends of sentences and are added to every "
                     "line; remove them")


def _power_of_ten(exponent: float) -> float:
    return 10 ** exponent if exponent < sys.float_info.max_10_exp else math.inf
