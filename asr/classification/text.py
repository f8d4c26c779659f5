"""Texts as inputs: numbers of words and n-grams; their vectors belong to the network (`embedding.py`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from asr.classification.config import InputConfig
from asr.classification.reader import Reader
from asr.classification.vocabulary import UNKNOWN, Vocabulary
from asr.errors import DataError
from asr.text import get_normalizer


class TextReader(Reader):
    """A text as (T, 1 + K) int64, see `Vocabulary.encode`. Training makes words unknown at random (`text.word_dropout`)."""

    vocabulary: Vocabulary

    def __init__(self, config: InputConfig) -> None:
        super().__init__(config)
        get_normalizer(config.text.normalizer)  # an unknown one is wrong use, before any work

    @property
    def shape(self) -> int:
        return self.config.text.dim

    def learn(self, sources: Sequence[str]) -> None:
        self.vocabulary = Vocabulary.build(sources, self.config.text)

    def read(self, source: str) -> np.ndarray:
        coded = self.vocabulary.encode(source)
        if not len(coded):
            raise DataError(f"no word in {source[:60]!r}")
        return coded

    def fit(self, items: Iterable[np.ndarray]) -> None:
        return

    def make(self, item: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        if rng is None or not self.config.text.word_dropout:
            return item
        item, lost = item.copy(), rng.random(len(item)) < self.config.text.word_dropout
        item[lost] = 0
        item[lost, 0] = UNKNOWN
        return item

    def length(self, item: np.ndarray) -> int:
        return len(item)

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {}, self.vocabulary.state()

    def restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        self.vocabulary = Vocabulary(values["words"], self.config.text)
