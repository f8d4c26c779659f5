"""The best path of a CTC lattice in bounded memory: the kernel of `asr.ctc.align`.

The lattice of a target of L labels has 2 L + 1 states (Graves et al., 2006, 4.1): blank 0, label 0, blank 1, label 1, ...,
blank L. A label is entered from itself, from the blank before it, or from the label before it where the two differ.

Full backpointers need T x (2 L + 1) entries, 21 thousand million for an hour. So the forward pass keeps only its scores,
and of these every ``block``-th frame; the backward pass takes the blocks from the last to the first, computes each again
from the scores kept before it, this time with backpointers, and follows them. Within a block of n frames a path that ends
in label j starts no lower than label j - n, so only that triangle is computed again: the second pass costs T x block
cells, not T x L. The scores, and so the path, are those of the whole lattice, to the last bit.

Cells that no complete path goes through (too early to be reached, too late to end from) are not computed in either pass:
label j has the frames from ``first[j]`` to ``first[j] + slack``, where ``first`` counts one frame a label and one blank
between equal ones, and ``slack`` is the number of frames beyond those that the target needs.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from asr.ctc.align import WILDCARD


@njit(cache=True, nogil=True)
def first_frames(targets: np.ndarray) -> np.ndarray:
    """The earliest frame of each label (L,) int64: one frame a label, and a blank between two equal ones."""
    first = np.empty(len(targets), np.int64)
    for j in range(len(targets)):
        first[j] = j if j == 0 else first[j - 1] + (2 if targets[j] == targets[j - 1] else 1)
    return first


@njit(cache=True, nogil=True)
def _start(row: np.ndarray, targets: np.ndarray, blank: int, slack: int, blanks: np.ndarray, labels: np.ndarray) -> None:
    """Scores at frame 0: the first blank (if a frame can be spared for it) or the first label."""
    blanks[:] = -np.inf
    labels[:] = -np.inf
    if slack > 0 or len(targets) == 0:
        blanks[0] = row[blank]
    if len(targets):
        labels[0] = row[targets[0]]


@njit(cache=True, nogil=True)
def _step(row: np.ndarray, targets: np.ndarray, blank: int, skip: np.ndarray, low: int, high: int,
          blanks: np.ndarray, labels: np.ndarray, new_blanks: np.ndarray, new_labels: np.ndarray) -> None:
    """Scores of labels low..high - 1 and the blanks low..high one frame on; ``row`` (V + 1,) has the wildcard last.

    ``skip[j]``: 0 where label j may follow label j - 1 at once, else -inf.
    """
    if low == 0:
        new_blanks[0] = blanks[0] + row[blank]
        if high > 0:
            stay, enter = labels[0], blanks[0]
            new_labels[0] = (enter if enter > stay else stay) + row[targets[0]]
    # Three plain loops, each of which the compiler turns into vector instructions.
    for j in range(max(low, 1), high):
        stay, enter, jump = labels[j], blanks[j], labels[j - 1] + skip[j]
        best = enter if enter > stay else stay
        new_labels[j] = jump if jump > best else best
    for j in range(max(low, 1), high):
        new_labels[j] += row[targets[j]]
    of_blank = row[blank]
    for j in range(max(low, 1), high + 1):
        stay, leave = blanks[j], labels[j - 1]
        new_blanks[j] = (leave if leave > stay else stay) + of_blank


@njit(cache=True, nogil=True)
def _step_back(row: np.ndarray, targets: np.ndarray, blank: int, skip: np.ndarray, low: int, high: int, bottom: int,
               blanks: np.ndarray, labels: np.ndarray, new_blanks: np.ndarray, new_labels: np.ndarray,
               back: np.ndarray) -> None:
    """`_step` from label ``bottom`` on, that also notes where each score came from.

    ``back[j - bottom]``: bits 0 and 1 for label j: states back (0 itself, 1 the blank, 2 the label before); bit 2 for
    blank j: whether it came from the label before.
    """
    for j in range(max(low, bottom), high + 1):
        code = 0
        if j < high:
            stay, enter = labels[j], blanks[j]
            jump = labels[j - 1] + skip[j] if j > 0 else skip[0]
            best = stay
            if jump > enter and jump > stay:
                best, code = jump, 2
            elif enter > stay:
                best, code = enter, 1
            new_labels[j] = best + row[targets[j]]
        best = blanks[j]
        if j > 0 and labels[j - 1] > best:
            best = labels[j - 1]
            code |= 4
        new_blanks[j] = best + row[blank]
        back[j - bottom] = code


@njit(cache=True, nogil=True)
def _alive(first: np.ndarray, slack: int, frame: int, low: int, high: int) -> tuple[int, int]:
    """Labels low..high - 1 lie on complete paths at this frame; both bounds only grow from frame to frame."""
    while high < len(first) and first[high] <= frame:
        high += 1
    while low < len(first) and first[low] + slack < frame:
        low += 1
    return low, high


@njit(cache=True, nogil=True)
def best_path(log_probs: np.ndarray, targets: np.ndarray, blank: int, block: int) -> tuple[np.ndarray, float]:
    """The best path's state at every frame (T,) int32, and its last score (-inf: there is none).

    log_probs (T, V) float32 or float64, T > 0; scores are kept in its type, in the order of additions of
    ``torchaudio.functional.forced_align``, so that the paths are equal. targets (L,) int64, `WILDCARD` for any sound; the
    frames must suffice for them. Among equal scores the path prefers to stay, then to come from the blank, then from the
    label before; and to end with the last label rather than with the blank.
    """
    frames, vocab = log_probs.shape
    labels_count = len(targets)
    ids = np.where(targets == WILDCARD, vocab, targets).astype(np.uint32)  # unsigned: no test for negative indices
    row = np.zeros(vocab + 1, log_probs.dtype)  # the wildcard's log-probability, 0, stays in the last place
    skip = np.zeros(labels_count + 1, log_probs.dtype)
    skip[0] = -np.inf
    for j in range(1, labels_count):
        if ids[j] == ids[j - 1]:
            skip[j] = -np.inf
    first = first_frames(ids)
    slack = frames - 1 - first[-1] if labels_count else frames
    blanks, labels = np.empty(labels_count + 1, log_probs.dtype), np.empty(labels_count + 1, log_probs.dtype)
    other_blanks, other_labels = np.full_like(blanks, -np.inf), np.full_like(labels, -np.inf)
    row[:vocab] = log_probs[0]
    _start(row, ids, blank, slack, blanks, labels)
    blocks = max(1, (frames - 2) // block + 1)  # block b is the frames b * block + 1 .. (b + 1) * block
    whole = blocks == 1
    kept_blanks = np.empty((0 if whole else blocks, labels_count + 1), log_probs.dtype)
    kept_labels = np.empty((0 if whole else blocks, labels_count + 1), log_probs.dtype)
    back = np.empty((min(block, frames), labels_count + 1 if whole else min(block, labels_count) + 2), np.uint8)
    low, high = _alive(first, slack, 0, 0, 0)
    for frame in range(1, frames):
        if not whole and (frame - 1) % block == 0:
            kept_blanks[(frame - 1) // block] = blanks
            kept_labels[(frame - 1) // block] = labels
        row[:vocab] = log_probs[frame]
        low, high = _alive(first, slack, frame, low, high)
        if whole:
            _step_back(row, ids, blank, skip, low, high, 0, blanks, labels, other_blanks, other_labels, back[frame - 1])
        else:
            _step(row, ids, blank, skip, low, high, blanks, labels, other_blanks, other_labels)
        blanks, labels, other_blanks, other_labels = other_blanks, other_labels, blanks, labels

    at_blank = labels_count == 0 or blanks[labels_count] > labels[labels_count - 1]
    at = labels_count if at_blank else labels_count - 1
    score = blanks[at] if at_blank else labels[at]
    path = np.empty(frames, np.int32)
    for number in range(blocks - 1, -1, -1):
        begin, end = number * block, min((number + 1) * block, frames - 1)
        bottom = 0 if whole else max(0, at - (end - begin))
        if not whole:  # computed again, now with backpointers
            top = min(at + 1, labels_count)
            blanks[bottom:top + 1] = kept_blanks[number, bottom:top + 1]
            labels[bottom:top + 1] = kept_labels[number, bottom:top + 1]
            other_blanks[bottom:top + 1] = -np.inf
            other_labels[bottom:top + 1] = -np.inf
            low, high = 0, 0
            for frame in range(begin + 1, end + 1):
                row[:vocab] = log_probs[frame]
                low, high = _alive(first, slack, frame, low, high)
                _step_back(row, ids, blank, skip, low, min(high, top), bottom, blanks, labels, other_blanks, other_labels,
                           back[frame - begin - 1])
                blanks, labels, other_blanks, other_labels = other_blanks, other_labels, blanks, labels
        for frame in range(end, begin, -1):
            path[frame] = 2 * at + (0 if at_blank else 1)
            code = back[frame - begin - 1, at - bottom]
            if at_blank:
                if code & 4:
                    at, at_blank = at - 1, False
            elif code & 3 == 1:
                at_blank = True
            elif code & 3 == 2:
                at -= 1
    path[0] = 2 * at + (0 if at_blank else 1)
    return path, score
