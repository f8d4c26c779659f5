"""Launches of beam search, for `offline.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from unittest import mock

import torch

from asr.ctc import BeamSearch
from asr.ctc.kernels.beam.launch import Settings, decode
from asr.ctc.kernels.beam.tables import NOTHING, Tables, build_tables
from asr.text import CharTokenizer, build_ngram

SENTENCES = ["ab a b", "b ab ab", "a a ba b"] * 3


def launches() -> Iterator[tuple[str, Callable[[], object]]]:
    tokenizer = CharTokenizer("ab ")
    words = BeamSearch(lm=build_ngram(SENTENCES, order=3), tokenizer=tokenizer)
    spelled = [" ".join("<space>" if letter == " " else letter for letter in line) for line in SENTENCES]
    tokens = BeamSearch(lm=build_ngram(spelled, order=3), lm_unit="token", tokenizer=tokenizer)
    plain = Tables(NOTHING, (), (), 0, 0, 0)
    for beam, vocabulary in ((16, 32), (32, 1000)):
        yield f"beam {beam}, {vocabulary} tokens", lambda b=beam, v=vocabulary: _decode(b, v, plain)
    for name, search in (("words", words), ("tokens", tokens)):
        tables = build_tables(search._rules, search._lm, torch.device("cpu"))
        yield f"beam 16, {name}", lambda t=tables: _decode(16, 32, t)


def _decode(beam: int, vocabulary: int, tables: Tables) -> None:
    # Nothing runs, so scratch memory is read as it was made: ones are lengths and numbers that fit.
    with mock.patch.object(torch.Tensor, "new_empty", torch.Tensor.new_ones):
        decode(torch.zeros(2, 40, vocabulary), torch.ones(2, dtype=torch.int32),
               Settings(beam, 4, 0, 1 << 31 - 1, float("inf"), float("inf"), 0.0, 0.0, 0.5, 0.0), tables)
