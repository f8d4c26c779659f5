"""What a prefix would be worth with one more token, and a word with its best ending; compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from asr.ctc.fusion import (
    LN10,
    NEVER,
    NO_WORD,
    OUTSIDE,
    ROOT,
    UNKNOWN,
    complete,
    completions,
    endings,
    extend,
    hear,
    worth,
)
from asr.text.ngram_query import advance


@njit(cache=True, nogil=True, forceinline=True)
def extended_worth(rules, lm, node, token):
    """What a prefix is worth after one more token, with the word that suits it best; minus infinity where none may end there."""
    low, high, plain = completions(rules, node.place, token)
    best = NEVER
    for word in range(low - plain, high):
        allowed, after = extend(rules, lm, node, token, np.int32(word) if word >= low else NO_WORD)
        if allowed:
            best = max(best, worth(rules, after))
    return best


@njit(cache=True, nogil=True, forceinline=True)
def fill(rules, lm, node, row, lent):
    """`extended_worth` for every token at once, to ``row`` (V,), and to ``row[0]``, the blank's place, what none of them exceeds.

    For language models over words alone. ``lent`` (V,) is written to.
    """
    tokens, places, arcs, lm_weight, place = rules.tokens, rules.places, rules.arcs, rules.lm_weight, node.place
    base = rules.word_bonus * node.units + node.kept
    best = NEVER if rules.closed and place != OUTSIDE else lm_weight * (node.log_prob + node.unknown) + base
    for token in range(len(row)):
        row[token] = best
    if place != OUTSIDE:
        for arc in range(places[place].first_arc, places[place + 1].first_arc):
            value = lm_weight * (node.log_prob + places[arcs[arc].target].smear) + base
            row[arcs[arc].token] = value
            best = max(best, value)
    if place == ROOT:
        for token in rules.starting:
            if tokens[token].from_root == ROOT:  # a space after a space, or before all
                row[token] = node.worth
        best = max(best, node.worth)
    if rules.hearing:
        best = max(best, _lend(rules, node.hot, row))
    if place != ROOT:
        best = max(best, _fill_starting(rules, lm, node, row, lent))
    row[0] = best


@njit(cache=True, nogil=True, forceinline=True)
def _fill_starting(rules, lm, node, row, lent):
    """`fill` for the tokens that complete a word: what none of them exceeds."""
    tokens, places, starting, lm_weight = rules.tokens, rules.places, rules.starting, rules.lm_weight
    if not rules.implicit:  # none of these tokens can go on with the word
        for token in starting:
            row[token] = NEVER
    hot = rules.hot_states[node.hot].at_boundary
    potential, heard = rules.hot_states[hot].potential, not rules.hearing
    best = NEVER
    low, high, plain = endings(rules, node.place)
    for word in range(low - plain, high):
        lm_state, _, _, units, log_prob, kept = complete(rules, lm, node, np.int32(word) if word >= low else NO_WORD)
        base = rules.word_bonus * units + kept
        unknown = math.nan
        for token in starting:
            target = tokens[token].from_root
            if target != OUTSIDE:
                value = lm_weight * (log_prob + places[target].smear) + base
            elif rules.closed:
                continue
            else:
                if math.isnan(unknown):
                    unknown = LN10 * advance(lm, lm_state, UNKNOWN)[0]
                value = lm_weight * (log_prob + unknown) + base
            if target == ROOT:
                value += potential
            elif rules.hearing:
                if not heard:
                    heard = True
                    for other in range(len(lent)):
                        lent[other] = 0.0
                    _lend(rules, hot, lent)
                value += lent[token]
            row[token] = max(row[token], value)
            best = max(best, value)
    return best


@njit(cache=True, nogil=True, forceinline=True)
def _lend(rules, state, row):
    """Add to each token what it earns by the hotwords' automaton: the gain on entering the next state, and its potential. Returns
    the largest of those that earn something."""
    states, arcs = rules.hot_states, rules.hot_arcs
    suffix, best = state, NEVER
    while True:  # the arcs of a state, then those of its suffixes that it lacks
        for arc in range(states[suffix].first_arc, states[suffix + 1].first_arc):
            token, target = arcs[arc].token, arcs[arc].target
            if suffix == state or hear(states, arcs, state, token) == target:
                row[token] += states[target].gain + states[target].potential
                best = max(best, row[token])
        if suffix == 0:
            return best
        suffix = states[suffix].fail


@njit(cache=True, nogil=True)
def smear(lm, places, parents, words):
    """Write the ``smear`` of places: unigram log-probabilities of words, each place with the best of those it leads to."""
    for place in range(len(places)):
        places[place].smear = NEVER
    for place in range(len(parents) - 1, 0, -1):  # children come after their parents
        for position in range(places[place].first_word, places[place + 1].first_word):
            found, _ = advance(lm, np.int32(0), words[position].lm_word)
            places[place].smear = max(places[place].smear, LN10 * found)
        places[parents[place]].smear = max(places[parents[place]].smear, places[place].smear)
    places[0].smear = places[len(places) - 1].smear = 0.0
