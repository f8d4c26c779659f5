"""The end of a prefix beam search: prefixes as whole utterances, compiled."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from asr.ctc.fusion import NEVER, NO_WORD, end, endings

FAINT = 1e-250  # far below what float64 adds to anything, and far above what it cannot hold


@njit(cache=True, nogil=True)
def finish(rules, lm, nodes, beam):
    """The prefixes of the last beam as whole utterances, once for every word that may be their last.

    Returns node (M,) int32, last word (M,) int32, log-probability (M,), worth (M,) and LM log-probability (M,) float64, in the
    beam's order; nothing where a closed lexicon lets none of them end.
    """
    many = 0
    for entry in beam:
        low, high, plain = endings(rules, nodes[entry.node].place)
        many += high - low + plain
    last, words, found = np.empty(many, np.int32), np.empty(many, np.int32), np.empty((3, many))
    at = 0
    for entry in beam:
        node = nodes[entry.node]
        low, high, plain = endings(rules, node.place)
        for choice in range(low - plain, high):
            last[at], words[at] = entry.node, np.int32(choice) if choice >= low else NO_WORD
            found[0, at] = entry.mass
            found[1, at], found[2, at] = end(rules, lm, node, words[at])
            at += 1
    return last, words, found[0], found[1], found[2]


@njit(cache=True, nogil=True)
def cut(rules, nodes, beam):
    """The beginning, up to its last whole word, of the best prefix of a beam: its node."""
    best = beam[0]
    for entry in beam:
        if entry.mass + nodes[entry.node].worth > best.mass + nodes[best.node].worth:
            best = entry
    node = best.node
    while True:
        low, high, plain = endings(rules, nodes[node].place)
        if high > low or plain:
            return node
        node = nodes[node].parent


@njit(cache=True, nogil=True)
def sum_paths(probabilities, columns, apart):
    """Natural logarithm of the probability of all paths of frames that collapse to a target (Graves et al., 2006, 4.1).

    Not in logarithms, each sum of which costs an exponential: a path that is at some frame less probable than another
    beginning of the target by more than `FAINT` is not counted. Minus infinity where none is left.

    Args:
        probabilities: (T, K) float64, of the blank, in column 0, and of the tokens of the target.
        columns: (L,) int64, the column of each token of the target.
        apart: (L,) float64, 1 where a token may follow the one before it without a blank, else 0.
    """
    count = len(columns)
    in_blank, in_token = np.zeros(count + 1), np.zeros(count + 1)  # after so many tokens, the last ending in a blank or not
    in_blank[0] = 1.0
    low, high = 0, 0  # the places with a probability to speak of: few beside those of an hour
    scale, total = 1.0, 0.0
    for frame in range(len(probabilities)):
        row = probabilities[frame]
        total += math.log(scale)
        by, scale = 1.0 / scale, 0.0
        low, high = max(low, count + 1 + frame - len(probabilities)), min(high + 1, count)  # from lower, the end is out of reach
        if low > high:
            return NEVER
        for place in range(high, low - 1, -1):  # downwards, so that the place before is still that of the last frame
            by_token = 0.0
            if place > 0:
                entered = in_blank[place - 1] + apart[place - 1] * in_token[place - 1]
                by_token = (in_token[place] + entered) * row[columns[place - 1]] * by
            in_blank[place] = (in_blank[place] + in_token[place]) * row[0] * by
            in_token[place] = by_token
            scale = max(scale, in_blank[place] + by_token)
        if scale < FAINT:
            return NEVER
        while in_blank[low] + in_token[low] < FAINT * scale:
            in_blank[low] = in_token[low] = 0.0
            low += 1
        while in_blank[high] + in_token[high] < FAINT * scale:
            in_blank[high] = in_token[high] = 0.0
            high -= 1
    last = in_blank[count] + in_token[count]
    return total + math.log(last) if last > 0.0 else NEVER
