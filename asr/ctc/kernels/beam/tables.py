"""A language model and the words' spellings as tensors for the search kernel: the arrays of the CPU decoder, on a device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from asr.ctc.fusion import Rules
    from asr.text.ngram_query import NgramArrays

NOTHING, TOKENS, WORDS = 0, 1, 2  # as in `language.py`
STARTS, SPELLS = 1, 2


class Tables(NamedTuple):
    """What a search goes by beside the acoustics.

    Attributes:
        mode: NOTHING, a language model of TOKENS, or of WORDS (or words without a model).
        lm, words: the tuples that `language.py` takes apart.
        steps: of the binary search among the arcs of a place.
        initial: the language model's state after ``<s>``.
        eos: its id of ``</s>``.
    """

    mode: int
    lm: tuple[Any, ...]
    words: tuple[Tensor, ...]
    steps: int
    initial: int
    eos: int


def unsupported(rules: Rules | None) -> str:
    """Why the kernel cannot search by these rules, or nothing where it can."""
    if rules is None:
        return ""
    if rules.hearing:
        return "hotwords"
    if rules.closed:
        return "a lexicon"
    if not rules.by_token and len(rules.words) and (rules.implicit or int(np.diff(rules.places["first_word"]).max()) > 1):
        return "words that are spelled alike"
    return ""


def build_tables(rules: Rules | None, lm: NgramArrays | None, device: torch.device) -> Tables:
    """Copy the arrays to the device; ``rules`` must be supported."""
    from asr.ctc.fusion import ROOT
    from asr.text.ngram_query import MISSING_UNK, initial_state

    if rules is None or lm is None:
        return Tables(NOTHING, (), (), 0, 0, 0)
    model = (*(_rows(records, device) for records in (lm.table, lm.states, lm.unigrams)), len(lm.table) - 1, lm.unk, MISSING_UNK)
    initial = int(initial_state(lm))
    if rules.by_token:
        return Tables(TOKENS, model, (_column(rules.tokens["lm_word"], device),), 0, initial, lm.eos)
    smears = torch.from_numpy(np.concatenate([[0.0], rules.places["smear"]])).to(device)  # OUTSIDE, -1, comes first
    flags = STARTS * (rules.tokens["starts"] != 0) + SPELLS * (rules.tokens["from_root"] != ROOT)
    places = np.stack([rules.places["first_arc"], rules.places["first_word"]], axis=1)
    spelled = (smears, _column(flags, device), _column(places, device), _rows(rules.arcs, device),
               _column(rules.words["lm_word"], device))
    widest = int(np.diff(rules.places["first_arc"]).max(initial=0))
    return Tables(WORDS, model, spelled, widest.bit_length(), initial, lm.eos)


def _rows(records: np.ndarray, device: torch.device) -> Tensor:
    """Records as rows of int32 (floats by their bits), so that the parts of one are beside each other in memory; one at least."""
    some = records if len(records) else np.zeros(1, records.dtype)
    return torch.from_numpy(some.view(np.int32).reshape(len(some), -1).copy()).to(device)


def _column(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy((values if len(values) else np.zeros(1)).astype(np.int32)).to(device)
