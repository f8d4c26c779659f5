"""The n-grams of a language model as arrays, one table an order: what ARPA files and the builder make, and lookups need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from asr.text.ngram_query import NgramArrays

BOS = "<s>"
EOS = "</s>"
UNK = "<unk>"


class NgramTable(NamedTuple):
    """The M n-grams of one order, sorted by context and then word.

    Attributes:
        context: (M,) int32: the row, in the table of the order below, of the words before the last; 0 for order 1.
        word: (M,) int32: id of the last word. For order 1 the row is the word id.
        log10_prob: (M,) float32.
        backoff: (M,) float32: log10 backoff weight, 0 where nothing extends the n-gram; of length 0 at the highest order.
    """

    context: np.ndarray
    word: np.ndarray
    log10_prob: np.ndarray
    backoff: np.ndarray


def keys(context: np.ndarray, word: np.ndarray, vocabulary: int) -> np.ndarray:
    """One int64 for each n-gram; ascending as a table is sorted."""
    return context.astype(np.int64) * vocabulary + word


def look_up(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The place of each wanted key among the sorted ``keys``; -1 where it is absent."""
    if not len(keys):
        return np.full(len(wanted), -1, np.int64)
    places = np.searchsorted(keys, wanted)
    places[places == len(keys)] = 0
    return np.where(keys[places] == wanted, places, -1)


def index_tables(tables: Sequence[NgramTable], bos: int, eos: int, unk: int) -> NgramArrays:
    """The tables as arrays for lookups, with the word ids of ``<s>``, ``</s>`` and ``<unk>`` (-1 where there is none)."""
    from asr.text.ngram_query import ENTRY, STATE, NgramArrays, fill

    starts = np.cumsum([0, 1, *(len(table.word) for table in tables)])  # node 0 is empty, starts[n] the first of order n
    states = np.zeros(starts[len(tables)], STATE)
    states["backoff"][1:] = np.concatenate([np.zeros(0, np.float32), *(table.backoff for table in tables[:-1])])
    next_state = _next_states(tables, starts, states)
    unigrams = np.zeros(len(tables[0].word), ENTRY)
    unigrams["log10_prob"] = tables[0].log10_prob
    unigrams["next_state"] = next_state[1:1 + len(unigrams)]
    longer = int(starts[-1] - starts[2])
    table = np.zeros(1 << (longer * 4 // 3).bit_length(), ENTRY)  # at most three quarters full
    for order, ngrams in enumerate(tables[1:], start=2):
        fill(table, starts[order - 1] + ngrams.context, ngrams.word, ngrams.log10_prob, next_state[starts[order]:starts[order + 1]])
    return NgramArrays(len(tables), bos, eos, unk, unigrams, table, states)


def _next_states(tables: Sequence[NgramTable], starts: np.ndarray, states: np.ndarray) -> np.ndarray:
    """The state after each node, and (filled in) the suffix of each state.

    A node that nothing extends, with backoff weight 1, gives what its suffix gives: the state after it is its suffix.
    """
    matters = states["backoff"] != 0
    for order, table in enumerate(tables[1:], start=1):
        matters[starts[order] + table.context] = True
    nearest = np.zeros(starts[-1], np.int32)  # the longest proper suffix that is an n-gram, as a node
    next_state = np.zeros(starts[-1], np.int32)
    known: list[np.ndarray] = []
    for order, table in enumerate(tables, start=1):
        nodes = np.arange(starts[order], starts[order + 1])
        if order > 1:
            nearest[nodes] = _suffixes(starts[order - 1] + table.context, table.word, nearest, known, starts)
        next_state[nodes] = next_state[nearest[nodes]]
        if order < len(tables):
            next_state[nodes] = np.where(matters[nodes], nodes, next_state[nodes])
            known.append(keys(table.context, table.word, len(tables[0].word)))
    states["suffix"] = next_state[nearest[:len(states)]]
    return next_state


def _suffixes(context: np.ndarray, word: np.ndarray, nearest: np.ndarray, known: Sequence[np.ndarray],
              starts: np.ndarray) -> np.ndarray:
    """The node of the longest n-gram (suffix of the context, word), for n-grams given by context node and word.

    ``known`` are the sorted keys of the orders below theirs.
    """
    found = 1 + word.astype(np.int64)  # the word alone, unless something longer is found
    pending = np.arange(len(word))
    suffix = nearest[context].astype(np.int64)
    for order in range(len(known), 1, -1):  # of the n-gram sought, from long to short
        fits = np.flatnonzero((suffix[pending] >= starts[order - 1]) & (suffix[pending] < starts[order]))
        rows = pending[fits]
        places = look_up(known[order - 1], keys(suffix[rows] - starts[order - 1], word[rows], len(known[0])))
        there = places >= 0
        found[rows[there]] = starts[order] + places[there]
        suffix[rows[~there]] = nearest[suffix[rows[~there]]]
        pending = np.delete(pending, fits[there])
    return found
