"""CTC prefix beam search over one utterance, compiled (Graves, 2012; Hannun et al., 2014).

The beam holds prefixes with the log-probability of all paths of frames that collapse to them, apart for paths that end in blank
and paths that end in the last token. A prefix has one parent, so the only paths that merge are those from a parent in the beam
to a child in the beam; any other extension is a new candidate with one source. Candidates are therefore never looked
up: they go through a buffer of a few beams' size, which is cut to the best whenever it is full, and the worst of those is the
bar that a further extension must be able to pass before its words or its language model are looked at.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from asr.ctc.borrowing import borrow
from asr.ctc.fusion import NO_WORD, completions, extend, worth
from asr.ctc.lookahead import extended_worth, fill
from asr.ctc.prefixes import ENTRY, find_or_make, is_in_beam, log_add, make_prefixes, make_room
from asr.ctc.selection import CANDIDATE, NEVER, SORTED, choose_tokens, keep_best, sort_hopeful

STAY = np.int32(-1)  # in place of a token: the prefix itself
AT_ONCE = 8  # tokens are foretold together in the time of one by itself


class Limits(NamedTuple):
    """How wide to search.

    Attributes:
        beam: prefixes kept at each frame.
        tokens: new prefixes are made with so many tokens of a frame at most,
        token_threshold: and with those at most so many nats below the frame's best.
        beam_threshold: prefixes more nats than this below the best one are dropped.
    """

    beam: int
    tokens: int
    token_threshold: float
    beam_threshold: float


@njit(cache=True, nogil=True)
def stay(rules, nodes, beam, size, emissions, blank_score, taken, frame, candidates):
    """The prefixes of the beam one frame later: by a blank, by their last token again, or from a parent in the beam.

    Writes them as the first candidates. Returns how many are possible, and the best and the worst score.
    """
    nodes, beam, emissions, taken, candidates = borrow((nodes, beam, emissions, taken, candidates))
    count, best, worst = np.int64(0), NEVER, math.inf
    for j in range(size):
        entry = beam[j]
        by_blank, by_token = entry.mass + blank_score, NEVER
        if entry.token >= 0:
            emission = emissions[entry.token]
            by_token = entry.in_token + emission
            i = nodes[nodes[entry.node].parent].where
            if i >= 0:
                parent = beam[i]
                source = parent.in_blank if parent.token == entry.token else parent.mass
                by_token = log_add(by_token, source + emission)
                taken[i, entry.token] = frame
        entry.next_in_blank, entry.next_in_token = by_blank, by_token
        mass = log_add(by_blank, by_token)
        score = mass
        if rules is not None:
            score += nodes[entry.node].worth
        if score > NEVER:
            found = candidates[count]
            found.score, found.mass, found.source, found.token = score, mass, j, STAY
            count += 1
            best, worst = max(best, score), min(worst, score)
    return count, best, worst


@njit(cache=True, nogil=True)
def branch(rules, lm, nodes, table, beam, size, emissions, chosen, passing, limits, known, lent, taken, frame, candidates, scratch,
           count, best, bar):
    """Add the beam's prefixes with one more of the ``chosen`` tokens to the candidates: how many there are then, and the best.

    ``known``: what prefixes (by row) are worth with each token, written to the first time that it is needed.
    """
    law, model = borrow(rules), borrow(lm)
    nodes, table, beam, emissions, chosen = borrow((nodes, table, beam, emissions, chosen))
    passing, known, lent, taken, candidates, scratch = borrow((passing, known, lent, taken, candidates, scratch))
    highest = NEVER
    for i in range(size):
        entry = beam[i]
        entry.limit = entry.mass
        if rules is not None:
            entry.limit += nodes[entry.node].limit if math.isnan(known[entry.row, 0]) else known[entry.row, 0]
        highest = max(highest, entry.limit)
    hopeful, loudest = sort_hopeful(emissions, chosen, bar - highest)
    if hopeful == 0:
        return count, best
    if rules is not None:
        at_once = hopeful * AT_ONCE > known.shape[1] and not law.by_token
    for i in range(size):
        entry = beam[i]
        if rules is not None:
            row = known[entry.row]
            if at_once and math.isnan(row[0]) and entry.limit + loudest > bar:
                fill(law, model, nodes[entry.node], row, lent)
                entry.limit = entry.mass + row[0]
        count_passing = 0  # without a jump for each, which no processor would foresee
        for index in range(hopeful):
            token = chosen[index]
            if entry.limit + emissions[token] <= bar and hopeful <= SORTED:
                break
            score = entry.mass + emissions[token]
            if rules is not None:
                score += row[token]
            passing[count_passing] = token
            count_passing += not score <= bar  # also what is not known yet, NaN
        for index in range(count_passing):
            token = passing[index]
            mass = (entry.in_blank if token == entry.token else entry.mass) + emissions[token]
            score = mass
            if rules is not None:
                if math.isnan(row[token]):
                    row[token] = extended_worth(law, model, nodes[entry.node], token)
                score += row[token]
            if score <= bar or score < best - limits.beam_threshold:
                continue
            in_beam = taken[i, token] == frame
            if rules is not None:
                low, high, plain = completions(law, nodes[entry.node].place, token)
                if high > low:
                    count, best, bar = branch_words(law, model, nodes, table, entry.node, token, mass, in_beam, low, high, plain,
                                                    limits, candidates, scratch, count, best, bar, i)
                    continue
            if not in_beam:
                count, best, bar = add(candidates, scratch, count, best, bar, limits, score, mass, i, token, NO_WORD)
    return count, best


@njit(cache=True, nogil=True, forceinline=True)
def branch_words(rules, lm, nodes, table, node, token, mass, in_beam, low, high, plain, limits, candidates, scratch, count, best,
                 bar, i):
    """Add a prefix with one more token, once for every word it may complete."""
    for choice in range(low - plain, high):
        word = np.int32(choice) if choice >= low else NO_WORD
        if in_beam and is_in_beam(nodes, table, node, token, word):
            continue
        allowed, state = extend(rules, lm, nodes[node], token, word)
        if allowed:
            score = mass + worth(rules, state)
            count, best, bar = add(candidates, scratch, count, best, bar, limits, score, mass, i, token, word)
    return count, best, bar


@njit(cache=True, nogil=True, forceinline=True)
def add(candidates, scratch, count, best, bar, limits, score, mass, i, token, word):
    """Add a candidate that is above the bar; cut them to a beam when the buffer is full: (how many, the best, the bar)."""
    if score > bar and score >= best - limits.beam_threshold:
        found = candidates[count]
        found.score, found.mass, found.source, found.token, found.word = score, mass, i, token, word
        count += 1
        best = max(best, score)
        if count == len(candidates):
            count, bar = keep_best(candidates, count, limits.beam, scratch)
    return count, best, bar


@njit(cache=True, nogil=True)
def renew(rules, lm, nodes, table, made, beam, size, candidates, count, floor, free, free_count, known, following):
    """Write the candidates above the floor to the ``following`` beam: (its size, nodes made, rows free)."""
    law, model = borrow(rules), borrow(lm)
    nodes, table, beam, candidates = borrow((nodes, table, beam, candidates))
    free, known, following = borrow((free, known, following))
    for j in range(size):
        nodes[beam[j].node].where = -1
    kept = np.int64(0)
    for index in range(count):  # those that stay come first
        found = candidates[index]
        if found.token == STAY and found.score >= floor:
            entry = following[kept]
            entry.node, entry.row, entry.token = beam[found.source].node, beam[found.source].row, beam[found.source].token
            entry.in_blank, entry.in_token = beam[found.source].next_in_blank, beam[found.source].next_in_token
            entry.mass = found.mass
            nodes[entry.node].where = kept
            kept += 1
    for j in range(size):
        if nodes[beam[j].node].where < 0:
            free[free_count] = beam[j].row
            free_count += 1
    for index in range(count):
        found = candidates[index]
        if found.token != STAY and found.score >= floor:
            node = find_or_make(law, model, nodes, table, made, beam[found.source].node, found.token, found.word)
            made += node == made
            free_count -= 1
            entry = following[kept]
            entry.node, entry.row, entry.token = node, free[free_count], found.token
            entry.in_blank, entry.in_token, entry.mass = NEVER, found.mass, found.mass
            nodes[node].where = kept
            if rules is not None:
                row = known[entry.row]
                for token in range(len(row)):
                    row[token] = math.nan
            kept += 1
    return kept, made, free_count


@njit(cache=True, nogil=True)
def search(log_probs, certain, blank, blank_penalty, limits, rules, lm):
    """Search one utterance.

    Args:
        log_probs: (T, V) float64.
        certain: (T,) bool, the frames that are taken for blanks without a look at other tokens.
        blank_penalty: taken off the blank's log-probabilities.
        limits: Limits.
        rules, lm: Rules and NgramArrays, or None and None to search by acoustics alone.

    Returns:
        The nodes of all prefixes made, the beam at the end (ENTRY), and its size: 0 where no path of frames is possible.
    """
    beam_size, vocabulary = limits.beam, log_probs.shape[1]
    nodes, table = make_prefixes(rules, lm, min(16 * len(log_probs), 1 << 14) + beam_size + 1)
    made = np.int64(1)
    beam, following = np.zeros(beam_size, ENTRY), np.zeros(beam_size, ENTRY)
    beam[0].token, beam[0].in_token = -1, NEVER  # at first the empty prefix alone, log-probability 0
    size = np.int64(1)
    # What a prefix (by row) is worth with each token, and in the blank's place the largest of these; NaN until it is asked for.
    known = np.full((beam_size, vocabulary) if rules is not None else (1, 1), math.nan)
    free, free_count = np.arange(beam_size, 0, -1) - 1, np.int64(beam_size - 1)
    # The last frame at which the prefix in a position had a child by a token in the beam, so that it is no candidate.
    taken = np.full((beam_size, vocabulary), -1, np.int32)
    candidates = np.zeros(4 * beam_size + 16, CANDIDATE)
    chosen, passing = np.zeros((2, vocabulary), np.int32)
    lent, scratch = np.zeros(vocabulary), np.zeros(max(vocabulary, len(candidates)))
    for frame in range(len(log_probs)):
        emissions = log_probs[frame]
        blank_score = emissions[blank] - blank_penalty
        if certain[frame]:
            for j in range(size):
                beam[j].mass += blank_score
                beam[j].in_blank, beam[j].in_token = beam[j].mass, NEVER
            continue
        count, best, worst = stay(rules, nodes, beam, size, emissions, blank_score, taken, frame, candidates)
        tokens = chosen[:choose_tokens(emissions, blank, limits.tokens, limits.token_threshold, chosen, scratch)]
        count, best = branch(rules, lm, nodes, table, beam, size, emissions, tokens, passing, limits, known, lent, taken, frame,
                             candidates, scratch, count, best, worst if count == beam_size else NEVER)
        count, _ = keep_best(candidates, count, beam_size, scratch)
        if made + count > len(nodes):
            nodes, table, made = make_room(nodes, table, made, beam, size)
        size, made, free_count = renew(rules, lm, nodes, table, made, beam, size, candidates, count, best - limits.beam_threshold,
                                       free, free_count, known, following)
        beam, following = following, beam
    return nodes, beam, size
