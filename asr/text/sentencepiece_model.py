"""SentencePiece as we use it: byte-pair encoding that changes no text, trained in memory, the same way every time."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

WORD_START = "\u2581"  # written for the space before a word
NEVER_KNOWN = "\u2585"  # SentencePiece keeps this one for itself: no text it learns from may hold it


class VocabularyError(Exception):
    """The vocabulary size asked for is outside what the text supports; ``limit`` is the nearest size it does."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"nearest possible size is {limit}")
        self.limit = limit


def train_bpe(texts: Sequence[str], size: int) -> bytes:
    """A serialised model of ``size`` pieces, the first of them SentencePiece's unknown piece.

    Sorted texts, one thread and no sampling make the model a function of the set of texts alone. Raises VocabularyError.
    """
    import sentencepiece

    written = io.BytesIO()
    usable = sorted(text for text in texts if NEVER_KNOWN not in text and "\0" not in text)  # it would skip these itself
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(usable), model_writer=written, model_type="bpe", vocab_size=size,
            character_coverage=1.0, byte_fallback=False, normalization_rule_name="identity",
            # The unknown piece is named so that no text can hold it: a literal "<unk>" in a transcript stays text.
            unk_id=0, bos_id=-1, eos_id=-1, pad_id=-1, unk_piece=f"<unk{NEVER_KNOWN}>",
            max_sentence_length=1 << 30,  # the default drops lines above 4,192 bytes
            input_sentence_size=0, shuffle_input_sentence=False, num_threads=1, minloglevel=2)
    except RuntimeError as error:
        limit = _nearest_size(str(error))
        if limit is None:
            raise
        raise VocabularyError(limit) from None
    return written.getvalue()


def load(model: bytes) -> SentencePieceProcessor:
    """The processor of a serialised model; raises ValueError where it is not one."""
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.load_from_serialized_proto(model)
    except RuntimeError as error:
        raise ValueError(f"not a SentencePiece model ({' '.join(str(error).split())})") from None
    return processor


def _nearest_size(message: str) -> int | None:
    """The size SentencePiece's complaint allows: the largest if too many were asked for, the smallest if too few."""
    if found := re.search(r"Vocabulary size too high .* <= (\d+)", message):
        return int(found[1])
    if found := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        return int(found[1])
    return None
