"""The best token of every frame, and the runs of tokens in that path. See README.md."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit(do_not_specialize=["frames"])
def best_tokens(x, stride_b, stride_t, stride_v, lengths, ids, best, frames, vocabulary,
                ROWS: tl.constexpr, BLOCK: tl.constexpr):
    """ids and best (B, T): the token of highest score, of equals the first, of NaN before all, and its score.

    Program (b, i) takes ROWS frames from ROWS i on, BLOCK tokens at a time.
    """
    utterance = tl.program_id(0)
    length = tl.load(lengths + utterance)
    frame = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    if tl.program_id(1) * ROWS >= length:
        return
    inside = (frame < length)[:, None]
    token = tl.arange(0, BLOCK)[None, :]
    row = x + utterance.to(tl.int64) * stride_b + frame.to(tl.int64)[:, None] * stride_t
    dtype: tl.constexpr = tl.float64 if x.dtype.element_ty == tl.float64 else tl.float32
    top = tl.load(row + token.to(tl.int64) * stride_v, mask=inside & (token < vocabulary), other=float("-inf")).to(dtype)
    at = tl.broadcast_to(token, (ROWS, BLOCK))
    for first in range(BLOCK, vocabulary, BLOCK):
        score = tl.load(row + (token + first).to(tl.int64) * stride_v, mask=inside & (token + first < vocabulary),
                        other=float("-inf")).to(dtype)
        better = (score > top) | ((score != score) & (top == top))
        top = tl.where(better, score, top)
        at = tl.where(better, token + first, at)
    unknown = top != top
    rank = tl.where(unknown, 2, tl.where(top == tl.max(tl.where(unknown, float("-inf"), top), axis=1)[:, None], 1, 0))
    chosen = rank == tl.max(rank, axis=1)[:, None]
    first_of = tl.min(tl.where(chosen, at, 2147483647), axis=1)
    score = tl.max(tl.where(chosen & ~unknown, top, float("-inf")), axis=1)
    score = tl.where(tl.max(rank, axis=1) == 2, float("nan"), score)
    place = utterance.to(tl.int64) * frames + frame
    tl.store(ids + place, first_of, mask=frame < length)
    tl.store(best + place, score, mask=frame < length)


@triton.jit
def _peak(a, a_starts, b, b_starts):
    """The highest since the last start of a run, for two stretches of frames side by side."""
    return tl.where(b_starts != 0, b, tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)), a_starts | b_starts


@triton.jit(do_not_specialize=["frames", "blank"])
def collapse(ids, best, lengths, runs, peaks, counts, scores, frames, blank, BLOCK: tl.constexpr):
    """Merge repeats and drop blanks: program b walks its utterance BLOCK frames at a time.

    runs (B, 3, T) int32: tokens, first frames and ends; peaks (B, T): the highest score of each; counts (B,) of runs; scores (B,)
    float64, the sum of the best path's.
    """
    utterance = tl.program_id(0)
    length = tl.load(lengths + utterance)
    offset = utterance.to(tl.int64) * frames
    ids += offset
    best += offset
    peaks += offset
    tokens = runs + 3 * offset
    starts = tokens + frames
    ends = starts + frames
    count = tl.zeros((), tl.int32)
    total = tl.zeros((), tl.float64)
    held = tl.full((), float("-inf"), best.dtype.element_ty)  # the highest score of the run that reaches into the block
    lane = tl.arange(0, BLOCK)
    for first in range(0, length, BLOCK):
        frame = first + lane
        inside = frame < length
        token = tl.load(ids + frame, mask=inside, other=blank)
        before = tl.load(ids + frame - 1, mask=inside & (frame > 0), other=-1)
        after = tl.load(ids + frame + 1, mask=frame + 1 < length, other=-1)
        score = tl.load(best + frame, mask=inside, other=0.0)
        total += tl.sum(score.to(tl.float64), axis=0)
        begins = inside & (token != before)
        spoken = inside & (token != blank)
        place = count + tl.cumsum((begins & spoken).to(tl.int32), axis=0) - 1
        peak, begun = tl.associative_scan((score, begins.to(tl.int32)), 0, _peak)
        peak = tl.where(begun == 0, tl.maximum(peak, held, propagate_nan=tl.PropagateNan.ALL), peak)
        tl.store(tokens + place, token, mask=begins & spoken)
        tl.store(starts + place, frame, mask=begins & spoken)
        ends_here = spoken & (token != after)
        tl.store(ends + place, frame + 1, mask=ends_here)
        tl.store(peaks + place, peak, mask=ends_here)
        count += tl.sum((begins & spoken).to(tl.int32), axis=0)
        held = tl.sum(tl.where(lane == BLOCK - 1, peak, 0.0), axis=0)
    tl.store(counts + utterance, count)
    tl.store(scores + utterance, total)
