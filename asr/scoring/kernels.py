"""The dynamic programming of alignment, compiled by numba: over lists of words, over characters, over small networks.

Costs and the way that ties are broken are sclite's (NIST's SCTK), so that with its weights the alignments are its own:
a pair (correct or substituted) where it costs no more than the two others, else a deletion where that is cheaper than an
insertion, else the insertion. Imported by the functions that need it: numba takes half a second to load.
"""

from __future__ import annotations

import numpy as np
from numba import njit

CELLS = 1 << 24
"""Steps of a path kept at a time (16 MB). A longer pair is walked in blocks of rows from the end, each computed again."""

_CORRECT, _SUBSTITUTION, _DELETION, _INSERTION = 67, 83, 68, 73  # the letters C, S, D, I


@njit(cache=True, nogil=True)
def _fill(ref, hyp, first, past, row, substitution, gap, steps):
    """Move ``row``, the costs (m + 1) after ``first`` reference words, to those after ``past``; note every step taken."""
    width = len(hyp)
    for i in range(first, past):
        word = ref[i]
        diagonal = row[0]
        row[0] += gap
        place = (i - first) * width
        for j in range(width):
            above = row[j + 1]
            pair = diagonal if word == hyp[j] else diagonal + substitution
            deletion = above + gap
            insertion = row[j] + gap
            diagonal = above
            if pair <= deletion and pair <= insertion:
                row[j + 1] = pair
                steps[place + j] = 0
            elif deletion < insertion:
                row[j + 1] = deletion
                steps[place + j] = 1
            else:
                row[j + 1] = insertion
                steps[place + j] = 2


@njit(cache=True, nogil=True)
def _align_one(ref, hyp, substitution, gap, operations, end, steps, counts):
    """Align two lists of word ids; the operations' letters end before ``operations[end]``. Returns how many there are."""
    n, m = len(ref), len(hyp)
    rows = max(1, len(steps) // max(1, m))
    blocks = max(1, (n + rows - 1) // rows)
    row = np.arange(m + 1, dtype=np.int64) * gap
    starts = np.empty((blocks, m + 1), dtype=np.int64)  # the costs at the first row of each block
    for block in range(blocks):
        starts[block] = row
        _fill(ref, hyp, block * rows, min(n, (block + 1) * rows), row, substitution, gap, steps)
    i, j, place = n, m, end
    for block in range(blocks - 1, -1, -1):
        first = block * rows
        if block < blocks - 1:
            row[:] = starts[block]
            _fill(ref, hyp, first, first + rows, row, substitution, gap, steps)
        while i > first or (first == 0 and j > 0):
            if i == 0:
                step = 2
            elif j == 0:
                step = 1
            else:
                step = steps[(i - 1 - first) * m + j - 1]
            place -= 1
            if step == 0:
                i -= 1
                j -= 1
                if ref[i] == hyp[j]:
                    operations[place] = _CORRECT
                else:
                    operations[place] = _SUBSTITUTION
                    counts[0] += 1
            elif step == 1:
                i -= 1
                operations[place] = _DELETION
                counts[1] += 1
            else:
                j -= 1
                operations[place] = _INSERTION
                counts[2] += 1
    return end - place


@njit(cache=True, nogil=True)
def align_pairs(ref, ref_starts, hyp, hyp_starts, substitution, gap, operations, lengths, counts, steps):
    """Align many pairs.

    ``ref``, ``hyp``: word ids (int32) of all utterances one after the other, ``*_starts`` (U + 1) where each begins;
    ``substitution``, ``gap``: what an error costs; ``steps``: working space (uint8), of the longest hypothesis at least.
    Filled: ``operations`` (uint8), where those of utterance u end at ``ref_starts[u + 1] + hyp_starts[u + 1]``, ``lengths``
    (U), how many they are, and ``counts`` (U, 3): substitutions, deletions, insertions.
    """
    for u in range(len(ref_starts) - 1):
        lengths[u] = _align_one(ref[ref_starts[u]:ref_starts[u + 1]], hyp[hyp_starts[u]:hyp_starts[u + 1]], substitution,
                                gap, operations, ref_starts[u + 1] + hyp_starts[u + 1], steps, counts[u])


@njit(cache=True, nogil=True)
def _least_cost(ref, hyp, substitution, gap, band):
    """The cost of the best alignment that never has more than ``band`` items of one side ahead of the other."""
    n, m = len(ref), len(hyp)
    row = np.arange(m + 1, dtype=np.int64) * gap
    beyond = (n + m + 1) * gap
    for i in range(1, n + 1):
        low, high = max(1, i - band), min(m, i + band)
        if low > 1:
            diagonal, left = row[low - 1], beyond
        else:
            diagonal, left = row[0], i * gap
            row[0] = left
        word = ref[i - 1]
        for j in range(low, high + 1):
            above = row[j] if j < i + band else beyond
            best = diagonal if word == hyp[j - 1] else diagonal + substitution
            left = min(best, min(above, left) + gap)
            row[j] = left
            diagonal = above
    return row[m]


@njit(cache=True, nogil=True)
def least_costs(ref, ref_starts, hyp, hyp_starts, substitution, gap, costs):
    """The cost (U) of the best alignment of each pair, without the alignment; arguments as for `align_pairs`.

    What both begin or end with is correct in some best alignment, and is left out. An alignment whose one side is ever
    ``band`` items ahead has at least that many gaps: a cost below that within the band is the least there is (Ukkonen).
    """
    for u in range(len(ref_starts) - 1):
        first, last = ref_starts[u], ref_starts[u + 1]
        begin, end = hyp_starts[u], hyp_starts[u + 1]
        while first < last and begin < end and ref[first] == hyp[begin]:
            first += 1
            begin += 1
        while first < last and begin < end and ref[last - 1] == hyp[end - 1]:
            last -= 1
            end -= 1
        n, m = last - first, end - begin
        band = abs(n - m) + 8
        cost = _least_cost(ref[first:last], hyp[begin:end], substitution, gap, band)
        while cost > band * gap and band < max(n, m):
            band *= 2
            cost = _least_cost(ref[first:last], hyp[begin:end], substitution, gap, band)
        costs[u] = cost


@njit(cache=True, nogil=True)
def align_networks(a_words, a_gaps, a_links, a_starts, a_ends, b_words, b_gaps, b_links, b_starts, b_ends):
    """The cheapest way through two networks of words at once (sclite's ``Network_dpalign``).

    Arcs are numbered so that a word comes after those before it; arc 0 is an empty head. ``*_words`` (A): word ids, 0 for
    the null word; ``*_gaps`` (A) float32: the cost of the arc with nothing beside it; ``*_links[starts[k]:starts[k + 1]]``:
    the arcs before arc k; ``*_ends``: the arcs that end the network. Returns the path backwards, (steps, 2) int32: an arc of
    each, -1 where there is none. Costs add up in float32, as in sclite, so that ties fall as they do there.
    """
    cost = np.empty((len(a_words), len(b_words)), dtype=np.float32)
    back_a = np.full((len(a_words), len(b_words)), -1, dtype=np.int32)
    back_b = np.full((len(a_words), len(b_words)), -1, dtype=np.int32)
    cost[0, 0] = 0.0
    infinity = np.float32(np.inf)
    for a in range(len(a_words)):
        for b in range(len(b_words)):
            if a == 0 and b == 0:
                continue
            deletion, insertion, pair = infinity, infinity, infinity
            before_a, before_b, both_a, both_b = -1, -1, -1, -1
            if a > 0:
                for link in range(a_starts[a], a_starts[a + 1]):
                    if cost[a_links[link], b] < deletion:
                        deletion, before_a = cost[a_links[link], b], a_links[link]
                deletion += a_gaps[a]
            if b > 0:
                for link in range(b_starts[b], b_starts[b + 1]):
                    if cost[a, b_links[link]] < insertion:
                        insertion, before_b = cost[a, b_links[link]], b_links[link]
                insertion += b_gaps[b]
            if a > 0 and b > 0:
                for link in range(a_starts[a], a_starts[a + 1]):
                    for other in range(b_starts[b], b_starts[b + 1]):
                        if cost[a_links[link], b_links[other]] < pair:
                            pair, both_a, both_b = cost[a_links[link], b_links[other]], a_links[link], b_links[other]
                if a_words[a] == 0 and b_words[b] == 0:
                    pair += np.float32(1.0)
                elif a_words[a] != b_words[b]:
                    pair += np.float32(4.0)
            if pair <= deletion and pair <= insertion:
                cost[a, b], back_a[a, b], back_b[a, b] = pair, both_a, both_b
            elif deletion < insertion:
                cost[a, b], back_a[a, b], back_b[a, b] = deletion, before_a, b
            else:
                cost[a, b], back_a[a, b], back_b[a, b] = insertion, a, before_b
    a, b = a_ends[0], b_ends[0]
    for end in a_ends:
        for other in b_ends:
            if cost[end, other] < cost[a, b]:
                a, b = end, other
    path = np.empty((len(a_words) + len(b_words), 2), dtype=np.int32)
    steps = 0
    while a > 0 or b > 0:
        next_a, next_b = back_a[a, b], back_b[a, b]
        path[steps, 0] = -1 if next_a == a else a
        path[steps, 1] = -1 if next_b == b else b
        steps += 1
        a, b = next_a, next_b
    return path[:steps]
