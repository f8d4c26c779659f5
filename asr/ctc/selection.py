"""Choosing the best of many, compiled. Of equals the first is the better, so a search gives the same result every time."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

NEVER = -math.inf
SORTED = 64  # tokens that are worth sorting

# What may be in the next beam: what it is chosen by, its log-probability, the position in the beam that it comes from, the token
# it adds (or STAY) and the word which that completes.
CANDIDATE = np.dtype([("score", np.float64), ("mass", np.float64), ("source", np.int32), ("token", np.int32),
                      ("word", np.int32)], align=True)


@njit(cache=True, nogil=True)
def nth_largest(values, count, nth):
    """The ``nth`` (from 1) largest of the first ``count`` values, which are put in another order (Hoare's quickselect)."""
    low, high, target = np.int64(0), count - 1, nth - 1
    while low < high:
        pivot = values[(low + high) >> 1]
        left, right = low, high
        while left <= right:
            while values[left] > pivot:
                left += 1
            while values[right] < pivot:
                right -= 1
            if left <= right:
                values[left], values[right] = values[right], values[left]
                left += 1
                right -= 1
        if target <= right:
            high = right
        elif target >= left:
            low = left
        else:
            break
    return values[target]


@njit(cache=True, nogil=True)
def keep_best(candidates, count, most, scratch):
    """Cut the first ``count`` candidates to the ``most`` best, in their order: how many are left, and the score of the worst.

    Where they are fewer than ``most``, none is cut, and that score is minus infinity: one more would be welcome.
    """
    if count < most:
        return count, NEVER
    for index in range(count):
        scratch[index] = candidates[index].score
    bar = nth_largest(scratch, count, most)
    equals = most
    for index in range(count):
        equals -= candidates[index].score > bar
    kept = np.int64(0)
    for index in range(count):
        score = candidates[index].score
        if score > bar or (score == bar and equals > 0):
            equals -= score == bar
            candidates[kept] = candidates[index]
            kept += 1
    return kept, bar


@njit(cache=True, nogil=True)
def choose_tokens(emissions, blank, most, threshold, chosen, scratch):
    """Write the tokens that may extend a prefix, the blank not among them (of equals, the first): how many."""
    best = NEVER
    for token in range(len(emissions)):
        best = max(best, emissions[token])
    bar = best - threshold
    count = np.int64(0)
    for token in range(len(emissions)):
        if token != blank and emissions[token] >= bar and emissions[token] > NEVER:
            chosen[count] = token
            scratch[count] = emissions[token]
            count += 1
    if count <= most:
        return count
    bar = nth_largest(scratch, count, most)
    equals = most
    for index in range(count):
        equals -= emissions[chosen[index]] > bar
    kept = np.int64(0)
    for index in range(count):
        token = chosen[index]
        if emissions[token] > bar or (emissions[token] == bar and equals > 0):
            equals -= emissions[token] == bar
            chosen[kept] = token
            kept += 1
    return kept


@njit(cache=True, nogil=True)
def sort_hopeful(emissions, chosen, bar):
    """Move the chosen tokens above the bar to the front, from the loudest on if they are SORTED or fewer.

    Returns how many they are, and the loudest's emission.
    """
    count, loudest = np.int64(0), NEVER
    for token in chosen:
        if emissions[token] > bar:
            chosen[count] = token
            count += 1
            loudest = max(loudest, emissions[token])
    if count <= SORTED:
        for index in range(1, count):
            token, place = chosen[index], index
            while place > 0 and emissions[chosen[place - 1]] < emissions[token]:
                chosen[place] = chosen[place - 1]
                place -= 1
            chosen[place] = token
    return count, loudest
