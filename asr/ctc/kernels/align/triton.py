# ruff: noqa: RUF005 (in a kernel a tuple grows by addition)
"""Viterbi through CTC lattices: forward with packed backpointers, maps of 32 frames, and paths from those. See README.md.

Lane k has label k and blank k, the blank before it. A path's state is 2 k on blank k and 2 k + 1 on label k, so that a
backpointer is how many states back the path comes from: 0, 1 or 2.
"""

from __future__ import annotations

import triton
import triton.language as tl

CHUNK = tl.constexpr(32)  # frames of a map
GROUP = tl.constexpr(16)  # frames of a word of backpointers, and whose emissions are asked for before they are needed


@triton.jit
def _emissions(x, frame, last, stride_t, offsets, known, blank_offset, dtype: tl.constexpr):
    """Log-probabilities of the labels (0 where not ``known``) and of the blank at GROUP frames from ``frame`` on."""
    labels, blanks = (), ()
    for i in tl.static_range(GROUP):
        row = x + tl.minimum(frame + i, last).to(tl.int64) * stride_t
        labels = labels + (tl.load(row + offsets, mask=known, other=0.0).to(dtype),)
        blanks = blanks + (tl.load(row + blank_offset).to(dtype),)
    return labels, blanks


@triton.jit
def _entering(column, place, hears, size):
    """Scores of the label left of a tile at GROUP frames from ``place`` in the segment on, minus infinity where there is none."""
    found = ()
    for i in tl.static_range(GROUP):
        found = found + (tl.load(column + place + i, mask=hears & (place + i < size), other=float("-inf")),)
    return found


@triton.jit
def _arrival(at, rows, length, count, segment, size, width, segments, alignment):
    """The state in which the path leaves a segment, and its score if that is its end (else 0).

    ``at`` (A,): where the path enters the segment after this one; ``rows``: see `forward`.
    """
    score = tl.zeros((), rows.dtype.element_ty)
    if length <= (segment + 1) * size:
        row = rows + (alignment.to(tl.int64) * (segments + 1) + segment + 1) * 2 * width
        state = 2 * count
        score = tl.load(row + count)
        label = tl.load(row + width + tl.maximum(count - 1, 0))
        if (count > 0) & (label >= score):
            state = 2 * count - 1
            score = label
    else:
        state = tl.load(at + alignment)
    return state, score


@triton.jit
def _first_tile(at, rows, length, count, segment, size, TILE: tl.constexpr, width, segments, alignment):
    """The tile of the lowest label from which a path of one segment can reach the state in which it leaves it."""
    state, _ = _arrival(at, rows, length, count, segment, size, width, segments, alignment)
    return tl.maximum(state // 2 - size, 0) // TILE


@triton.jit(do_not_specialize=["diagonal", "first_segment", "segments", "blank_offset"])
def forward(x, stride_b, stride_t, stride_v, which, lengths, targets, stride_target, counts, rows, columns, at,
            label_words, blank_words, diagonal, first_segment, size, segments, width, lanes, blank_offset,
            TILE: tl.constexpr, TILED: tl.constexpr, WINDOW: tl.constexpr, KEEP: tl.constexpr):
    """Scores of TILE lanes over one segment of ``size`` frames: program (alignment, i) takes tile i and segment ``diagonal - i``.

    x: log-probabilities, utterance ``which[a]`` of them for alignment a; lengths, counts (A,): frames and labels;
    targets (A, L): labels, -1 for the wildcard.
    rows (A, segments + 1, 2, width): scores of blanks and labels; those before a segment are read (but for segment 0) and
    those after it written. columns (A, 2, tiles, size): TILED, the scores of each tile's last label, by parity of the segment.
    label_words (A, size / 16, lanes) int32 and blank_words, int16, KEEP: backpointers of 16 frames, two bits and one bit each.
    WINDOW: only of the tiles up to the one in which the path leaves the segment.
    """
    alignment, i = tl.program_id(0), tl.program_id(1)
    segment = first_segment + diagonal - i
    tile = i
    length, count = tl.load(lengths + alignment), tl.load(counts + alignment)
    if WINDOW:
        segment = first_segment
        if segment * size < length:
            tile = i + _first_tile(at, rows, length, count, segment, size, TILE, width, segments, alignment)
        if i != diagonal:
            return
    begin = segment * size
    if (segment < 0) | (segment >= segments) | (begin >= length) | (tile * TILE > count):
        return
    end = tl.minimum(begin + size, length)
    dtype: tl.constexpr = rows.dtype.element_ty
    never = float("-inf")
    lane = tl.arange(0, TILE)
    k = tile * TILE + lane
    target = targets + alignment.to(tl.int64) * stride_target
    label = tl.load(target + k, mask=k < count, other=-1)
    before = tl.load(target + k - 1, mask=(k > 0) & (k < count), other=-1)
    jumps = (k > 0) & (label != before)
    known = (k < count) & (label >= 0)
    offsets = label.to(tl.int64) * stride_v
    x += tl.load(which + alignment).to(tl.int64) * stride_b
    row = rows + (alignment.to(tl.int64) * (segments + 1) + segment) * 2 * width + k
    if segment == 0:  # before all frames, a path is on the first blank
        in_blank = tl.where(k == 0, 0.0, never).to(dtype)
        in_label = tl.full((TILE,), never, dtype)
    else:
        in_blank, in_label = tl.load(row), tl.load(row + width)
    tiles = width // TILE
    column = columns + ((alignment.to(tl.int64) * 2 + segment % 2) * tiles + tile) * size
    word = alignment.to(tl.int64) * (size // GROUP) * lanes + i * TILE + lane
    label_word, blank_word = label_words + word, blank_words + word
    left = tl.maximum(lane - 1, 0)
    last = length - 1
    labels, blanks = _emissions(x, begin, last, stride_t, offsets, known, blank_offset, dtype)
    if TILED:
        entering = _entering(column - size, 0, i > 0, size)
    whole = begin + (end - begin + CHUNK - 1) // CHUNK * CHUNK  # the words of a chunk are read together
    for group in range(begin, whole, GROUP):
        next_labels, next_blanks = _emissions(x, group + GROUP, last, stride_t, offsets, known, blank_offset, dtype)
        if TILED:
            next_entering = _entering(column - size, group + GROUP - begin, i > 0, size)
        of_labels = tl.zeros((TILE,), tl.int32)
        of_blanks = tl.zeros((TILE,), tl.int32)
        for j in tl.static_range(GROUP):
            live = group + j < end
            previous = tl.gather(in_label, left, 0)
            if TILED:
                tl.store(column + (group + j - begin) + 0 * lane, in_label, mask=(lane == TILE - 1) & live)
                previous = tl.where(lane == 0, entering[j], previous)
            else:
                previous = tl.where(lane == 0, never, previous)
            jump = tl.where(jumps, previous, never)
            back = tl.where((jump > in_blank) & (jump > in_label), 2, tl.where(in_blank > in_label, 1, 0))
            leaves = previous > in_blank
            if KEEP:
                of_labels |= tl.where(live, back, 0) << (2 * j)
                of_blanks |= (leaves & live).to(tl.int32) << j
            best = tl.maximum(tl.maximum(in_label, in_blank), jump) + labels[j]
            in_blank = tl.where(live, tl.where(leaves, previous, in_blank) + blanks[j], in_blank)
            in_label = tl.where(live, best, in_label)
        if KEEP:
            tl.store(label_word, of_labels)
            tl.store(blank_word, of_blanks.to(tl.int16))
            label_word += lanes
            blank_word += lanes
        labels, blanks = next_labels, next_blanks
        if TILED:
            entering = next_entering
    if not WINDOW:
        tl.store(row + 2 * width, in_blank)
        tl.store(row + 3 * width, in_label)


@triton.jit
def _back(label_word, blank_word, frame, stride, lane, state, live):
    """How many states back the path comes from that is in ``state``, of lane ``lane`` of the words, at a frame of a chunk."""
    odd = state % 2 == 1
    place = frame // GROUP * stride + lane
    of_label = tl.load(label_word + place, mask=live & odd, other=0) >> (2 * (frame % GROUP))
    of_blank = tl.load(blank_word + place, mask=live & ~odd, other=0).to(tl.int32) >> (frame % GROUP)
    return tl.where(odd, of_label & 3, of_blank & 1)


@triton.jit(do_not_specialize=["segment", "segments"])
def maps(lengths, counts, rows, at, label_words, blank_words, shifts, segment, size, segments, width, lanes,
         BLOCK: tl.constexpr, TILE: tl.constexpr, WINDOW: tl.constexpr):
    """Where the paths through one chunk of frames come from: program (alignment, chunk, block of BLOCK states).

    shifts (A, size / 32, 2 * lanes) int8: for each state after the chunk, how many states lower it was before.
    """
    alignment, chunk = tl.program_id(0), tl.program_id(1)
    length, count = tl.load(lengths + alignment), tl.load(counts + alignment)
    if segment * size + chunk * CHUNK >= length:
        return
    first = 0
    if WINDOW:
        first = _first_tile(at, rows, length, count, segment, size, TILE, width, segments, alignment) * TILE
    states = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    live = (states < 2 * lanes) & (states // 2 + first <= count)
    chunks = alignment.to(tl.int64) * (size // CHUNK) + chunk
    word = chunks * (CHUNK // GROUP) * lanes
    now = states
    for i in range(CHUNK):
        now -= _back(label_words + word, blank_words + word, CHUNK - 1 - i, lanes, now // 2, now, live)
    tl.store(shifts + chunks * 2 * lanes + states, (states - now).to(tl.int8), mask=live)


@triton.jit(do_not_specialize=["frames", "segment", "segments", "blank"])
def walk(x, stride_b, stride_t, stride_v, which, lengths, targets, stride_target, counts, rows, at, before, label_words,
         blank_words, shifts,
         states, along, scores, frames, segment, size, segments, width, lanes, blank,
         TILE: tl.constexpr, WINDOW: tl.constexpr):
    """The path's states through one chunk of frames, from the end by the maps of later chunks: program (alignment, chunk).

    states (A, frames) int32; along (A, frames): the log-probability of each; scores (A,): of the path's end; before (A,): where
    the path enters the segment.
    """
    alignment, chunk = tl.program_id(0), tl.program_id(1)
    length, count = tl.load(lengths + alignment), tl.load(counts + alignment)
    begin = segment * size
    if begin + chunk * CHUNK >= length:
        return
    last = (tl.minimum(length - begin, size) - 1) // CHUNK
    state, score = _arrival(at, rows, length, count, segment, size, width, segments, alignment)
    if (chunk == last) & (length <= begin + size):
        tl.store(scores + alignment, score)
    first = 0
    if WINDOW:
        first = _first_tile(at, rows, length, count, segment, size, TILE, width, segments, alignment) * TILE
    chunks = alignment.to(tl.int64) * (size // CHUNK)
    for i in range(0, last - chunk):
        later = shifts + (chunks + last - i) * 2 * lanes
        state -= tl.load(later + state - 2 * first).to(tl.int32)
    word = (chunks + chunk) * (CHUNK // GROUP) * lanes
    frame = tl.arange(0, CHUNK)
    path = tl.zeros((CHUNK,), tl.int32)
    for i in range(CHUNK):
        path = tl.where(frame == CHUNK - 1 - i, state, path)
        state -= _back(label_words + word, blank_words + word, CHUNK - 1 - i, lanes, state // 2 - first, state, True)
    if (chunk == 0) & (segment > 0):
        tl.store(before + alignment, state)
    frame += begin + chunk * CHUNK
    inside = frame < length
    label = tl.load(targets + alignment.to(tl.int64) * stride_target + path // 2, mask=inside & (path % 2 == 1), other=0)
    token = tl.where(path % 2 == 1, label, blank)
    x += tl.load(which + alignment).to(tl.int64) * stride_b
    emission = tl.load(x + frame.to(tl.int64) * stride_t + token.to(tl.int64) * stride_v, mask=inside & (token >= 0), other=0.0)
    place = alignment.to(tl.int64) * frames + frame
    tl.store(states + place, path, mask=inside)
    tl.store(along + place, emission.to(along.dtype.element_ty), mask=inside)
