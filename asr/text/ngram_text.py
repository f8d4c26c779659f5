"""The sentences of a text file, as an n-gram model takes them: words or, for fusion at every token, tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from asr.errors import DataError
from asr.text.normalize import get_normalizer
from asr.text.tables import read_lines, read_transcripts, words

if TYPE_CHECKING:
    from asr.text.tokenizer import Tokenizer


def read_sentences(path: str | Path, kaldi: bool = False, normalizer: str = "none") -> Iterator[str]:
    """The lines of a text file, normalised; with ``kaldi``, those of a Kaldi ``text`` file without their ids.

    Raises UsageError where the file cannot be opened, DataError with the line for what is not UTF-8 (or no Kaldi table).
    """
    change = get_normalizer(normalizer)
    lines = iter(read_transcripts(path).values()) if kaldi else (line for _, line in read_lines(path))
    yield from map(change, lines)


def token_sentences(tokenizer: Tokenizer, sentences: Iterator[str]) -> Iterator[str]:
    """Sentences whose words are the tokens, by the names of ``tokenizer.tokens``; DataError for what it cannot write."""
    for number, sentence in enumerate(sentences, start=1):
        try:
            yield " ".join([tokenizer.tokens[token] for token in tokenizer.encode(sentence)])
        except DataError as error:
            raise DataError(f"line {number} of the text: {error}") from None


def read_vocabulary(path: str | Path) -> list[str]:
    """The first word of each line of a file (a list of words, a lexicon, or Kaldi's ``words.txt``), each once.

    Of a ``words.txt``, which has ``<eps>`` in it, symbols that are no words are left out: that one, ``#0`` and the like, ``<UNK>``.
    """
    found = dict.fromkeys(parts[0] for _, line in read_lines(path) if (parts := words(line)))
    if "<eps>" not in found:
        return list(found)
    return [word for word in found if not re.fullmatch(r"<eps>|<UNK>|#\d+", word)]
