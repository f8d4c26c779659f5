"""Texts as numbers: words of the training texts, and hashed n-grams of letters and words beside them.

Hashed n-grams are those of fastText (Bojanowski et al., "Enriching word vectors with subword information", TACL 2017; Joulin et
al., "Bag of tricks for efficient text classification", EACL 2017): an n-gram has no number of its own, its hash chooses one of
few, so that no text is without any. The hash is CRC-32: the same everywhere, and ever.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from asr.classification.config import TextConfig
from asr.errors import DataError
from asr.text import normalize

PADDING, UNKNOWN = 0, 1
_MARKS = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")


class Vocabulary:
    """Which words are known, and how a text becomes numbers.

    ``words`` have the numbers from 2 up, in their order; 0 is padding, 1 any other word. n-grams have numbers of their own,
    from 1 to ``config.buckets``; 0 is none.
    """

    def __init__(self, words: Sequence[str], config: TextConfig) -> None:
        self.words, self.config = list(words), config
        self.numbers = {word: number for number, word in enumerate(self.words, start=UNKNOWN + 1)}
        self._letters = lru_cache(maxsize=200_000)(self._hashed_letters)

    @classmethod
    def build(cls, texts: Iterable[str], config: TextConfig) -> Vocabulary:
        """The words of the training texts that are seen often enough, the most frequent first (ties: in C order)."""
        counts = Counter(word for text in texts for word in split(text, config))
        kept = [word for word, count in counts.items() if count >= config.min_count]
        if not kept:
            raise DataError(f"no word is seen {config.min_count} times in the training texts: lower text.min_count")
        return cls(sorted(kept, key=lambda word: (-counts[word], word)), config)

    def __len__(self) -> int:
        """Numbers of words, padding and the unknown word among them."""
        return len(self.words) + UNKNOWN + 1

    def encode(self, text: str) -> np.ndarray:
        """(T, 1 + K) int64: of each word its number, then those of its n-grams, filled up with zeros; (0, 1) without words."""
        words = split(text, self.config)
        grams = [self._letters(word) for word in words] if self.config.char_ngrams else [()] * len(words)
        for longest in range(2, self.config.word_ngrams + 1):
            for end in range(longest, len(words) + 1):
                grams[end - 1] = (*grams[end - 1], self._hash("w " + " ".join(words[end - longest:end])))
        coded = np.zeros((len(words), 1 + max(map(len, grams), default=0)), np.int64)
        for row, (word, numbers) in enumerate(zip(words, grams)):
            coded[row, 0] = self.numbers.get(word, UNKNOWN)
            coded[row, 1:1 + len(numbers)] = numbers
        return coded

    def state(self) -> dict[str, Any]:
        """What a model file keeps; ``Vocabulary(**state)`` with the configuration reads it back."""
        return {"words": self.words}

    def _hashed_letters(self, word: str) -> tuple[int, ...]:
        """The numbers of the runs of letters of a word, with a mark for its beginning and its end."""
        shortest, longest = self.config.char_ngrams or (1, 0)
        marked = f"<{word}>"
        return tuple(self._hash("c " + marked[start:start + size]) for size in range(shortest, longest + 1)
                     for start in range(len(marked) - size + 1))

    def _hash(self, gram: str) -> int:
        return 1 + zlib.crc32(gram.encode()) % self.config.buckets


def split(text: str, config: TextConfig) -> list[str]:
    """A text as words."""
    text = normalize(text, config.normalizer)
    if config.lowercase:
        text = text.lower()
    return text.split() if config.words == "blanks" else _MARKS.findall(text)


def read_vectors(path: str | Path, vocabulary: Vocabulary, dim: int) -> dict[int, np.ndarray]:
    """Number of a word -> its vector (dim,) float32, of a file in word2vec's or GloVe's text format.

    A line is a word and its numbers; word2vec's first line (how many words, how many numbers) is skipped. Words that the
    vocabulary lacks are passed over, of a word that comes twice the first counts. Raises DataError with the line for one of
    another width, for what is no number, and for a file that has none of the words.
    """
    found: dict[int, np.ndarray] = {}
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line, text in enumerate(file, start=1):
                fields = text.rstrip("\n").rstrip(" ").split(" ")
                if line == 1 and len(fields) == 2:
                    continue
                if len(fields) <= dim:
                    raise DataError(f"{path}:{line}: {len(fields) - 1} numbers, not {dim}; set text.dim to the file's width")
                word = " ".join(fields[:-dim])  # GloVe's largest file has words with blanks in them
                number = vocabulary.numbers.get(word)
                if number is None or number in found:
                    if " " in word and line <= 2:
                        raise DataError(f"{path}:{line}: more than {dim} numbers; set text.dim to the file's width")
                    continue
                try:
                    vector = np.array(fields[-dim:], dtype=np.float32)
                except ValueError as error:
                    raise DataError(f"{path}:{line}: {error}") from None
                if not np.isfinite(vector).all():
                    raise DataError(f"{path}:{line}: a number that is not finite")
                found[number] = vector
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from None
    if not found:
        raise DataError(f"{path}: none of the {len(vocabulary.words)} words of the training texts is in it; is it a file of "
                        "vectors, of this language, in lower case?")
    return found
