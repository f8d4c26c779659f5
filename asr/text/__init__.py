"""Text: tokenizers, normalisers, the tables of transcripts, and n-gram language models.

Imports without torch; language models, and numba with them, load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asr.text.normalize import NORMALIZERS, Normalizer, get_normalizer, normalize
from asr.text.phones import PhoneTokenizer
from asr.text.round_trip import check_round_trip
from asr.text.tables import read_table, read_transcripts
from asr.text.tokenizer import BLANK, BpeTokenizer, CharTokenizer, Tokenizer, build_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from asr.text.kneser_ney import build_ngram
    from asr.text.ngram import NgramLM, Perplexity

__all__ = ["BLANK", "NORMALIZERS", "BpeTokenizer", "CharTokenizer", "NgramLM", "Normalizer", "Perplexity", "PhoneTokenizer",
           "Tokenizer", "build_ngram", "build_tokenizer", "check_round_trip", "get_normalizer", "load_tokenizer", "normalize",
           "read_table", "read_transcripts"]


def __getattr__(name: str) -> Any:
    if name in ("NgramLM", "Perplexity"):
        from asr.text import ngram

        return getattr(ngram, name)
    if name == "build_ngram":
        from asr.text.kneser_ney import build_ngram

        return build_ngram
    raise AttributeError(f"module 'asr.text' has no attribute {name!r}")
