"""Viterbi in a left-to-right hidden Markov model with diagonal Gaussians: the kernel of `asr.models.timing`."""

from __future__ import annotations

import numpy as np
from numba import njit

NO_PATH = -1e30  # scores are float64: those of an hour reach ten millions
FARTHEST = 254  # states a path may pass over at once, so that a backpointer is one byte


# The order of the sum is left to the compiler: eight terms at a time, where one after another waits for each addition.
@njit(cache=True, nogil=True, fastmath={"reassoc", "contract"})
def _log_density(x: np.ndarray, mean: np.ndarray, precision: np.ndarray, constant: float) -> float:
    total = constant
    for d in range(len(x)):
        z = x[d] - mean[d]
        total -= np.float32(0.5) * z * z * precision[d]
    return total


@njit(cache=True, nogil=True)
def best_states(x: np.ndarray, mean: np.ndarray, precision: np.ndarray, constant: np.ndarray, units: np.ndarray,
                skip: np.ndarray, opens: np.ndarray, closes: np.ndarray, first: np.ndarray, past: np.ndarray,
                pull: float) -> np.ndarray:
    """The most probable state of each frame, (T,) int32; empty where there is no path.

    x (T, D) float32, T > 0; Gaussians mean, precision (N, D), constant (N,) float32; ``units`` (S,) which Gaussian a state
    has. A path stays or goes on by a state; it may pass over state s, and other such states beside it, at the cost of
    ``skip[s]`` (0 or less; -inf: not at all). State s may have the frames opens[s]..closes[s] - 1 only; both never fall
    from state to state. A frame costs ``pull`` for each frame that it lies before first[s] or after past[s] - 1.
    Transitions cost nothing: where speech is fast or slow is for the frames to say.
    Memory: a byte for each frame and state within the bounds.
    """
    frames, count = len(x), len(units)
    lows, highs = np.empty(frames, np.int64), np.empty(frames, np.int64)
    offsets = np.empty(frames + 1, np.int64)
    offsets[0] = low = high = 0
    for t in range(frames):
        while low < count and closes[low] <= t:
            low += 1
        while high < count and opens[high] <= t:
            high += 1
        lows[t], highs[t] = low, high
        offsets[t + 1] = offsets[t] + max(0, high - low)
    back = np.empty(offsets[frames], np.uint8)
    scores, new = np.full(count, NO_PATH), np.full(count, NO_PATH)
    density, stamp = np.empty(len(mean), np.float32), np.full(len(mean), -1)

    for t in range(frames):
        low, high = lows[t], highs[t]
        before_low, before_high = (lows[t - 1], highs[t - 1]) if t else (0, 0)
        arriving, steps = NO_PATH, 0  # the best way into state s from those before it, and how many states it goes on by
        for s in range(before_low, high):
            if t == 0:
                direct = 0.0 if s == 0 else NO_PATH
            else:
                direct = scores[s - 1] if before_low < s <= before_high else NO_PATH
            if s > before_low:
                arriving += skip[s - 1]
            steps += 1
            if direct >= arriving or steps > FARTHEST:
                arriving, steps = direct, 1
            if s < low:
                continue
            unit = units[s]
            if stamp[unit] != t:
                stamp[unit] = t
                density[unit] = _log_density(x[t], mean[unit], precision[unit], constant[unit])
            stay = scores[s] if t and s < before_high else NO_PATH
            new[s] = max(stay, arriving) + density[unit] - pull * max(0, first[s] - t, t + 1 - past[s])
            back[offsets[t] + s - low] = 0 if stay >= arriving else steps
        scores, new = new, scores

    best, at, rest = NO_PATH, -1, 0.0
    for s in range(count - 1, lows[frames - 1] - 1, -1):
        if s < highs[frames - 1] and scores[s] + rest > best:
            best, at = scores[s] + rest, s
        rest += skip[s]
    if best <= NO_PATH / 2:
        return np.empty(0, np.int32)
    path = np.empty(frames, np.int32)
    for t in range(frames - 1, -1, -1):
        path[t] = at
        at -= back[offsets[t] + at - lows[t]]
    return path


@njit(cache=True, nogil=True)
def gather(x: np.ndarray, units: np.ndarray, count: np.ndarray, first: np.ndarray, second: np.ndarray) -> None:
    """Add each frame of x (T, D) to the sums of its unit (T,): count (N,), first and second (N, D) float64."""
    for t in range(len(x)):
        unit = units[t]
        count[unit] += 1
        for d in range(x.shape[1]):
            first[unit, d] += x[t, d]
            second[unit, d] += np.float64(x[t, d]) * x[t, d]
