"""What a prefix is worth beside its acoustics, compiled: lexicon, language model and hotwords, one token at a time."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from asr.text.ngram_query import advance, initial_state

# Constants have the type of the variables they meet: a compiled function is compiled again for every other type.
# Functions are inlined because handing on their dozen arrays takes longer than what they do with them.
ROOT, OUTSIDE = np.int32(0), np.int32(-1)
UNKNOWN = np.int32(-1)  # a word that the language model does not know
NO_WORD = np.int32(-1)  # the choice of a token that completes no word of the lexicon
LN10 = math.log(10)
NEVER = -math.inf

TOKEN = np.dtype([("starts", np.int32), ("from_root", np.int32), ("lm_word", np.int32)], align=True)
PLACE = np.dtype([("first_arc", np.int32), ("first_word", np.int32), ("smear", np.float64)], align=True)
ARC = np.dtype([("token", np.int32), ("target", np.int32)], align=True)
WORD = np.dtype([("word", np.int32), ("lm_word", np.int32)], align=True)
HOT = np.dtype([("first_arc", np.int32), ("fail", np.int32), ("at_boundary", np.int32), ("potential", np.float64),
                ("gain", np.float64), ("reach", np.float64)], align=True)

# A prefix:
#   parent, token: what it is made of; word: what its last token completed, where the lexicon leaves a choice, or NO_WORD
#   where: its position in the beam, or -1
#   lm_state: of the language model, before the word that is being spelled
#   place: in the lexicon; ROOT between words, OUTSIDE in a word that the lexicon does not know
#   hot: state of the hotwords' automaton
#   units: words (token-level fusion: tokens) so far, the one being spelled not counted
#   log_prob: natural logarithm of their probability in the language model
#   kept: boosts of the phrases completed so far
#   unknown: what the language model makes of an unknown word in the place of the one being spelled
#   done, done_state: log_prob and lm_state once the word being spelled has ended here; of several words, the best log_prob
#   worth: with its unfinished word and phrases; limit: an upper bound of that after one more token
NODE = np.dtype([("parent", np.int32), ("token", np.int32), ("word", np.int32), ("where", np.int32),
                 ("lm_state", np.int32), ("place", np.int32), ("hot", np.int32), ("units", np.int32),
                 ("done_state", np.int32), ("log_prob", np.float64), ("kept", np.float64), ("unknown", np.float64),
                 ("done", np.float64), ("worth", np.float64), ("limit", np.float64)], align=True)


class Rules(NamedTuple):
    """Lexicon, weights and hotwords as the compiled search takes them.

    Attributes:
        closed, implicit: as in `Lexicon`.
        by_token: whether the language model's words are tokens.
        hearing: whether there are hotwords.
        hot_start: the state of the hotwords' automaton at the start of an utterance.
        tokens: (V,) TOKEN: whether it ends the word before it; where it leads from the root of the lexicon: OUTSIDE, or ROOT if
            it is only a space; its id in the language model if that is of tokens, else -1.
        starting: the tokens that may follow the end of a word: those that ``starts`` or, if words are implicit, all.
        places: (N + 1,) PLACE: nodes of the trie, and one more that ends the last one's arcs and words and stands for OUTSIDE.
            ``smear`` is the best log-probability of a single word that is spelled through the node, 0 at the root and outside.
        arcs: (A,) ARC, sorted by token within a place.
        words: (W,) WORD, by place: the lexicon's index and the language model's id, -1 for none. What a token completes, the
            ``word`` of a prefix, is a position in this.
        hot_states: (S + 1,) HOT, as in `Hotwords`; the last only ends the arcs of the one before.
        hot_arcs: (H,) ARC.
    """

    closed: bool
    implicit: bool
    by_token: bool
    hearing: bool
    lm_weight: float
    word_bonus: float
    hot_start: int
    tokens: np.ndarray
    starting: np.ndarray
    places: np.ndarray
    arcs: np.ndarray
    words: np.ndarray
    hot_states: np.ndarray
    hot_arcs: np.ndarray


@njit(cache=True, nogil=True)
def begin(rules, lm, node):
    """Settle the empty prefix."""
    node.place = OUTSIDE
    settle(rules, lm, node, node, (initial_state(lm), ROOT, np.int32(rules.hot_start), np.int32(0), 0.0, 0.0))


@njit(cache=True, nogil=True, forceinline=True)
def settle(rules, lm, node, parent, state):
    """Write to a node its state, which is (lm_state, place, hot, units, log_prob, kept), and what follows from it."""
    lm_state, place, hot, units, log_prob, kept = state
    same_word = lm_state == parent.lm_state and parent.place != OUTSIDE
    unknown = parent.unknown
    node.lm_state, node.place, node.hot, node.units, node.log_prob, node.kept = state
    node.unknown, node.done, node.done_state = 0.0, log_prob, lm_state
    if place != OUTSIDE and not rules.by_token:  # a word that left the lexicon was scored when it did
        node.unknown = unknown if same_word else LN10 * advance(lm, lm_state, UNKNOWN)[0]
        if place != ROOT:
            low, high, plain = endings(rules, place)
            node.done = NEVER
            for word in range(low - plain, high):
                found, after = advance(lm, lm_state, rules.words[word].lm_word if word >= low else UNKNOWN)
                if log_prob + LN10 * found > node.done:
                    node.done, node.done_state = log_prob + LN10 * found, after
    node.worth = worth(rules, state)
    # The limit takes it that no word is more probable than 1, nor one that goes on than the best of its beginning.
    best = rules.lm_weight * (log_prob + rules.places[place].smear)
    if rules.by_token:
        best += max(rules.word_bonus, 0.0)
    else:
        if not rules.closed:
            best = max(best, rules.lm_weight * (log_prob + node.unknown))
        if place != ROOT:
            best = max(best, rules.lm_weight * node.done + rules.word_bonus)
    node.limit = best + rules.word_bonus * units + kept + rules.hot_states[hot].reach


@njit(cache=True, nogil=True, forceinline=True)
def follow(arcs, low, high, token):
    """Where a token leads by the arcs from ``low`` to ``high``, or -1; a binary search."""
    end = high
    while low < high:
        middle = (low + high) >> 1
        if arcs[middle].token < token:
            low = middle + 1
        else:
            high = middle
    return arcs[low].target if low < end and arcs[low].token == token else np.int32(-1)


@njit(cache=True, nogil=True, forceinline=True)
def hear(states, arcs, state, token):
    """The state of the hotwords' automaton after what a token spells (the end of a word before it has been heard)."""
    while True:
        found = follow(arcs, states[state].first_arc, states[state + 1].first_arc, token)
        if found >= 0:
            return found
        if state == 0:
            return np.int32(0)
        state = states[state].fail


@njit(cache=True, nogil=True, forceinline=True)
def completions(rules, place, token):
    """The words a token may complete in a place: the range of ``words``, and whether it may also complete none of them."""
    if place <= 0 or not (rules.implicit or rules.tokens[token].starts):
        return np.int64(0), np.int64(0), True
    low, high = np.int64(rules.places[place].first_word), np.int64(rules.places[place + 1].first_word)
    return low, high, rules.implicit or (low == high and not rules.closed)


@njit(cache=True, nogil=True, forceinline=True)
def endings(rules, place):
    """As `completions`, for the end of the utterance."""
    if place <= 0:
        return np.int64(0), np.int64(0), True
    low, high = np.int64(rules.places[place].first_word), np.int64(rules.places[place + 1].first_word)
    return low, high, low == high and not rules.closed


@njit(cache=True, nogil=True, forceinline=True)
def complete(rules, lm, node, word):
    """The state after the word being spelled; ``word`` is NO_WORD for one that is not in the lexicon."""
    lm_state, log_prob, units, hot, kept = node.done_state, node.done, node.units, node.hot, node.kept
    if not rules.by_token:
        if word >= 0 and rules.places[node.place + 1].first_word - rules.places[node.place].first_word > 1:
            found, lm_state = advance(lm, node.lm_state, rules.words[word].lm_word)
            log_prob = node.log_prob + LN10 * found
        units = np.int32(units + 1)
    if rules.hearing:
        hot = rules.hot_states[hot].at_boundary
        kept += rules.hot_states[hot].gain
    return lm_state, ROOT, hot, units, log_prob, kept


@njit(cache=True, nogil=True, forceinline=True)
def extend(rules, lm, node, token, word):
    """The state after a token that completes a word (or NO_WORD): (whether the lexicon allows it, state)."""
    lm_state, place, hot, units, log_prob, kept = node.lm_state, node.place, node.hot, node.units, node.log_prob, node.kept
    if word >= 0 or (rules.tokens[token].starts and place != ROOT):
        lm_state, place, hot, units, log_prob, kept = complete(rules, lm, node, word)
    if rules.by_token:
        found, lm_state = advance(lm, lm_state, rules.tokens[token].lm_word)
        log_prob += LN10 * found
        units = np.int32(units + 1)
    allowed = True
    if rules.tokens[token].from_root != ROOT:  # it is more than a space
        if place != OUTSIDE:
            place = follow(rules.arcs, rules.places[place].first_arc, rules.places[place + 1].first_arc, token)
            if place == OUTSIDE:
                allowed = not rules.closed
                if not rules.by_token:
                    found, lm_state = advance(lm, lm_state, UNKNOWN)
                    log_prob += LN10 * found
        if rules.hearing:
            hot = hear(rules.hot_states, rules.hot_arcs, hot, token)
            kept += rules.hot_states[hot].gain
    return allowed, (lm_state, place, hot, units, log_prob, kept)


@njit(cache=True, nogil=True, forceinline=True)
def worth(rules, state):
    """What a prefix in a state is worth, its unfinished word and phrases included."""
    _, place, hot, units, log_prob, kept = state
    base = rules.word_bonus * units + kept
    return rules.lm_weight * (log_prob + rules.places[place].smear) + base + rules.hot_states[hot].potential


@njit(cache=True, nogil=True)
def end(rules, lm, node, word):
    """(worth, LM log-probability) of a whole utterance: its last word completed, unfinished phrases paid back, ``</s>`` added."""
    lm_state, units, log_prob, kept = node.lm_state, node.units, node.log_prob, node.kept
    if node.place != ROOT:
        lm_state, _, _, units, log_prob, kept = complete(rules, lm, node, word)
    found, _ = advance(lm, lm_state, np.int32(lm.eos))
    log_prob += LN10 * found
    return rules.lm_weight * log_prob + rules.word_bonus * units + kept, log_prob
