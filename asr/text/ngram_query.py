"""Looking n-grams up, compiled: what a beam search calls in its inner loop.

A state is a number for the longest context that can matter: an n-gram below the highest order that longer ones extend, or
that has a backoff weight. State 0 is the empty context. Where the n-gram of a state and a word is absent, its probability
is the backoff weight of the state by the probability after the state's suffix (Katz, 1987): the same in all tools that
read ARPA files.

n-grams of two words or more are in a hash table, open addressing with linear probing, and an entry has all that its
n-gram gives: a word that is found costs one look into memory. (Binary search among the n-grams of one context took 7 times
as long with 100,000 n-grams.)

Imports numba, so no module that is to be light imports this one at its top.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

MISSING_UNK = -100.0  # log10 probability of an unknown word where the model has no <unk>: KenLM's

ENTRY = np.dtype([("key", np.int64), ("log10_prob", np.float32), ("next_state", np.int32)])
STATE = np.dtype([("backoff", np.float32), ("suffix", np.int32)])
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio: multiplicative hashing (Knuth, section 6.4)


class NgramArrays(NamedTuple):
    """A language model of V words and S states as arrays that numba takes.

    Attributes:
        order: words in the longest n-gram.
        bos, eos, unk: word ids of ``<s>``, ``</s>`` and ``<unk>``; ``unk`` is -1 where the model has none.
        unigrams: (V,) ENTRY, by word id: log10 probability of the word after nothing, and the state it leads to.
        table: (C,) ENTRY, C a power of 2: the longer n-grams, by state and word (``key``; 0 where the entry is empty).
        states: (S,) STATE: log10 backoff weight, and the state of the longest suffix that is one; both 0 for state 0.
    """

    order: int
    bos: int
    eos: int
    unk: int
    unigrams: np.ndarray
    table: np.ndarray
    states: np.ndarray


@njit(cache=True, nogil=True)
def initial_state(arrays):
    """The state at the beginning of a sentence, after ``<s>``: int32. State 0 is that of no context at all."""
    return arrays.unigrams[arrays.bos].next_state


@njit(cache=True, nogil=True)
def advance(arrays, state, word):
    """Append a word: (log10 probability of the word after ``state``: float64, the state after it: int32).

    ``word`` is a word id, or -1 for a word that the model does not know: it counts as ``<unk>``, and where the model has
    no ``<unk>``, its log10 probability is -100 (and the backoff weights), as in KenLM.
    """
    if word < 0:
        word = arrays.unk
    total = 0.0
    while state != 0:
        if word >= 0:
            place = _find(arrays.table, state, word)
            if arrays.table[place].key != 0:
                return total + arrays.table[place].log10_prob, arrays.table[place].next_state
        total += arrays.states[state].backoff
        state = arrays.states[state].suffix
    if word < 0:
        return total + MISSING_UNK, np.int32(0)
    return total + arrays.unigrams[word].log10_prob, arrays.unigrams[word].next_state


@njit(cache=True, nogil=True)
def _find(table, state, word):
    """The place of (state, word) in the table, or the empty one where it would stand."""
    key = (np.int64(state) << 32) | np.int64(word)
    mask = len(table) - 1
    # The high bits of the product are the well mixed ones; the table is far below 2^31 entries.
    place = np.int64((np.uint64(key) * _GOLDEN) >> np.uint64(32)) & mask
    while table[place].key != 0 and table[place].key != key:
        place = (place + 1) & mask
    return place


@njit(cache=True, nogil=True)
def fill(table, states, words, log10_probs, next_states):
    """Enter n-grams, given as arrays (M,) of state before, word, log10 probability and state after, into the table."""
    for row in range(len(words)):
        place = _find(table, states[row], words[row])
        table[place].key = (np.int64(states[row]) << 32) | np.int64(words[row])
        table[place].log10_prob = log10_probs[row]
        table[place].next_state = next_states[row]


@njit(cache=True, nogil=True)
def score_words(arrays, words, offsets, bos, eos):
    """Log10 probabilities of the words of many sentences.

    Args:
        words: (W,) int32: word ids of all sentences, one after the other; -1 for unknown words.
        offsets: (M + 1,) int64: sentence m is words[offsets[m]:offsets[m + 1]].
        bos: whether a sentence begins after ``<s>``, or after nothing.
        eos: whether ``</s>`` is scored as well.

    Returns:
        (W,) float64 of the words, and (M,) float64 of the ``</s>`` (0 where they are not scored).
    """
    of_words = np.zeros(len(words))
    of_ends = np.zeros(len(offsets) - 1)
    for sentence in range(len(offsets) - 1):
        state = initial_state(arrays) if bos else np.int32(0)
        for position in range(offsets[sentence], offsets[sentence + 1]):
            of_words[position], state = advance(arrays, state, words[position])
        if eos:
            of_ends[sentence], _ = advance(arrays, state, arrays.eos)
    return of_words, of_ends
