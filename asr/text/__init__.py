"""Text: tokenizers, normalisers, and the tables of transcripts. Imports without torch."""

from asr.text.normalize import NORMALIZERS, Normalizer, get_normalizer, normalize
from asr.text.round_trip import check_round_trip
from asr.text.tables import read_table, read_transcripts
from asr.text.tokenizer import BLANK, BpeTokenizer, CharTokenizer, Tokenizer, build_tokenizer, load_tokenizer

__all__ = ["BLANK", "NORMALIZERS", "BpeTokenizer", "CharTokenizer", "Normalizer", "Tokenizer", "build_tokenizer",
           "check_round_trip", "get_normalizer", "load_tokenizer", "normalize", "read_table", "read_transcripts"]
