"""The tree of prefixes a search has made, compiled.

A prefix is a node: its parent, its last token, and the word which that token completed, where a lexicon leaves a choice.
Whatever else there is to know of it follows from those, and is computed once. A prefix that fell out of the beam and comes back
is the same node again: prefixes that go on from it may still be in the beam, and know it as their parent.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from asr.ctc.fusion import NODE, begin, extend, settle

# A prefix in the beam: its node; its row of `known`; its last token; log-probabilities of the paths that end in blank, of those
# that end in the last token, and of both; while the next beam is being made, the first two one frame later, and what the prefix
# with a token of probability 1 can score at most.
ENTRY = np.dtype([("node", np.int32), ("row", np.int32), ("token", np.int32), ("in_blank", np.float64),
                  ("in_token", np.float64), ("mass", np.float64), ("next_in_blank", np.float64), ("next_in_token", np.float64),
                  ("limit", np.float64)], align=True)


@njit(cache=True, nogil=True, forceinline=True)
def log_add(a, b):
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    if b - a > -40.0:  # else the sum is a in float64; also where both are -inf, whose difference is no number
        return a + math.log1p(math.exp(b - a))
    return a


@njit(cache=True, nogil=True)
def make_table(size):
    """Room for ``size`` nodes, and the table to find them in by parent, token and word (open addressing)."""
    places = 2
    while places < 2 * size:
        places *= 2
    return np.empty(size, NODE), np.full(places, -1, np.int32)


@njit(cache=True, nogil=True)
def make_prefixes(rules, lm, size):
    """The same, with the empty prefix in it as node 0, alone in the beam."""
    nodes, table = make_table(size)
    nodes[0].parent = nodes[0].token = nodes[0].word = -1
    nodes[0].where = 0
    if rules is not None:
        begin(rules, lm, nodes[0])
    return nodes, table


@njit(cache=True, nogil=True)
def make_room(nodes, table, count, beam, size):
    """Drop the nodes that lead to no prefix of the beam, and give the others more room if they need it: (nodes, table, count).

    So an hour of audio takes the memory of its transcript, not of all that was ever considered.
    """
    number = np.full(count, -1, np.int32)
    for j in range(size):
        node = beam[j].node
        while node >= 0 and number[node] < 0:
            number[node] = 0
            node = nodes[node].parent
    room = np.int64(0)
    for node in range(count):
        if number[node] == 0:
            number[node] = room
            room += 1
    kept, room = room, max(len(nodes), 2 * room + len(beam))
    more_nodes, more_table = make_table(room)
    for node in range(count):
        if number[node] >= 0:
            moved = number[node]
            more_nodes[moved] = nodes[node]
            if moved > 0:
                more_nodes[moved].parent = number[nodes[node].parent]
                place = find_place(more_nodes, more_table, more_nodes[moved].parent, nodes[node].token, nodes[node].word)
                more_table[place] = moved
    for j in range(size):
        beam[j].node = number[beam[j].node]
    return more_nodes, more_table, kept


@njit(cache=True, nogil=True, forceinline=True)
def find_place(nodes, table, parent, token, word):
    """Where in the table the prefix with this parent, token and word is, or would be."""
    mask = len(table) - 1
    place = np.int64(parent) * 73856093 ^ np.int64(token) * 19349663 ^ np.int64(word + 1) * 83492791
    place = (place ^ (place >> 15)) & mask
    while True:
        node = table[place]
        if node < 0 or (nodes[node].parent == parent and nodes[node].token == token and nodes[node].word == word):
            return place
        place = (place + 1) & mask


@njit(cache=True, nogil=True, forceinline=True)
def find_or_make(rules, lm, nodes, table, count, parent, token, word):
    """The node of a prefix, made as node ``count`` if it is new."""
    place = find_place(nodes, table, parent, token, word)
    if table[place] >= 0:
        return table[place]
    table[place] = count
    node = nodes[count]
    node.parent, node.token, node.word = parent, token, word
    if rules is not None:
        _, state = extend(rules, lm, nodes[parent], token, word)
        settle(rules, lm, node, nodes[parent], state)
    return np.int32(count)


@njit(cache=True, nogil=True, forceinline=True)
def is_in_beam(nodes, table, parent, token, word):
    node = table[find_place(nodes, table, parent, token, word)]
    return node >= 0 and nodes[node].where >= 0


@njit(cache=True, nogil=True)
def trace(nodes, node):
    """The tokens of a prefix and the words they completed (each -1 for none), int32."""
    length, at = 0, node
    while nodes[at].parent >= 0:
        at = nodes[at].parent
        length += 1
    tokens, words = np.empty(length, np.int32), np.empty(length, np.int32)
    for position in range(length - 1, -1, -1):
        tokens[position], words[position] = nodes[node].token, nodes[node].word
        node = nodes[node].parent
    return tokens, words
