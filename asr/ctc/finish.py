"""The end of a prefix beam search: prefixes as whole utterances, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from asr.ctc.fusion import NEVER, NO_WORD, end, endings
from asr.ctc.prefixes import ENTRY, log_add, trace


@njit(cache=True, nogil=True)
def finish(rules, lm, nodes, beam, size):
    """The prefixes of the last beam as whole utterances, once for every word that may be their last.

    Returns node (M,) int32, last word (M,) int32, log-probability (M,), score (M,) and LM log-probability (M,) float64, in the
    beam's order; nothing where a closed lexicon lets none of them end.
    """
    many = 0
    for j in range(size):
        low, high, plain = endings(rules, nodes[beam[j].node].place)
        many += high - low + plain
    last, words, found = np.empty(many, np.int32), np.empty(many, np.int32), np.empty((3, many))
    at = 0
    for j in range(size):
        node = nodes[beam[j].node]
        low, high, plain = endings(rules, node.place)
        for choice in range(low - plain, high):
            last[at], words[at] = beam[j].node, np.int32(choice) if choice >= low else NO_WORD
            added, log_prob = end(rules, lm, node, words[at])
            found[0, at], found[1, at], found[2, at] = beam[j].mass, beam[j].mass + added, log_prob
            at += 1
    return last, words, found[0], found[1], found[2]


@njit(cache=True, nogil=True)
def finish_cut(log_probs, blank, blank_penalty, rules, lm, nodes, beam, size):
    """As `finish`, where no prefix of the beam ends with a whole word: the best one, cut after its last whole word."""
    best = 0
    for j in range(1, size):
        if beam[j].mass + nodes[beam[j].node].worth > beam[best].mass + nodes[beam[best].node].worth:
            best = j
    node = beam[best].node
    while True:
        low, high, plain = endings(rules, nodes[node].place)
        if high > low or plain:
            break
        node = nodes[node].parent
    cut = np.zeros(1, ENTRY)
    cut[0].node, cut[0].mass = node, log_prob_of(log_probs, trace(nodes, node)[0], blank, blank_penalty)
    return finish(rules, lm, nodes, cut, 1)


@njit(cache=True, nogil=True)
def log_prob_of(log_probs, tokens, blank, blank_penalty):
    """Log-probability of all paths of frames that collapse to the tokens (Graves et al., 2006, 4.1)."""
    in_blank, in_token = np.full(len(tokens) + 1, NEVER), np.full(len(tokens) + 1, NEVER)  # after so many tokens
    in_blank[0] = 0.0
    for emissions in log_probs:
        for count in range(len(tokens), -1, -1):
            by_token = NEVER
            if count > 0:
                token = tokens[count - 1]
                entered = in_blank[count - 1]
                if count == 1 or tokens[count - 2] != token:
                    entered = log_add(entered, in_token[count - 1])
                by_token = log_add(in_token[count], entered) + emissions[token]
            in_blank[count] = log_add(in_blank[count], in_token[count]) + emissions[blank] - blank_penalty
            in_token[count] = by_token
    return log_add(in_blank[-1], in_token[-1])
