"""The kernels of the CTC loss; README.md derives them, launch.py calls them.

Names: b utterance, t frame, v token, k position in the target. A *lane* of a program holds a blank and the label after it,
so the state of one frame is two vectors: ``blank[k]`` (before label k; the last one is k = count) and ``label[k]``. Scores
are log-probabilities to base 2. Lengths and labels that the tensors do not hold never lead to an access: the lengths are
clipped, such labels have score NaN, and the loss is NaN.
"""

from __future__ import annotations

import triton
import triton.language as tl

from asr.ctc.kernels import common
from asr.ctc.kernels.log2 import log2_add, log2_add3

IMPOSSIBLE = tl.constexpr(common.IMPOSSIBLE)
LOG2_E = tl.constexpr(1.4426950408889634)
LN_2 = tl.constexpr(0.6931471805599453)

# Sizes differ from batch to batch: a kernel made for a multiple of 16 and another for the rest would gain nothing.
SIZES = ["stride_t", "stride_b", "target_stride_b", "target_stride_k", "target_total", "frames", "batch", "vocabulary", "width",
         "longest", "weight_stride", "blank", "out_stride_t", "out_stride_b"]


@triton.jit
def _clipped(lengths, b, limit):
    return tl.minimum(tl.maximum(tl.load(lengths + b), 0), limit).to(tl.int32)


@triton.jit
def _labels(targets, starts, b, k, count, target_stride_b, target_stride_k, target_total, PADDED: tl.constexpr):
    """Labels at positions k of the target of utterance b, -1 outside of it."""
    inside = (k >= 0) & (k < count)
    if PADDED:
        return tl.load(targets + b * target_stride_b + k * target_stride_k, mask=inside, other=-1).to(tl.int32)
    else:
        at = tl.load(starts + b) + k
        return tl.load(targets + at * target_stride_k, mask=inside & (at >= 0) & (at < target_total), other=-1).to(tl.int32)


@triton.jit
def _row(t, b, stride_t, stride_b, ALIGN: tl.constexpr):
    """Where the logits of a frame begin. Strides and vocabulary come in units of ALIGN elements: so the compiler sees that
    every row begins and ends at a multiple of it, and reads sixteen bytes at a time."""
    return (t * stride_t + b * stride_b) * ALIGN


@triton.jit
def _logits(x, v, stride_v, real):
    return tl.load(x + v.to(tl.int64) * stride_v, mask=real, other=float("-inf")).to(tl.float32)


@triton.jit
def _log_softmax(z, norms):
    """To base 2; the largest logit is taken off before the change of base, which would round large logits."""
    top, norm = norms
    return (z - top) * LOG2_E - norm


@triton.jit
def _fill(x, stride_v, vocabulary, value, TILE: tl.constexpr):
    for first in range(0, vocabulary, TILE):
        v = first + tl.arange(0, TILE)
        values = tl.full((TILE,), value, x.dtype.element_ty)
        tl.store(x + v.to(tl.int64) * stride_v, values, mask=v < vocabulary)


# -------------------------------------------------------------------------------------------------------- scores


@triton.jit(do_not_specialize=SIZES)
def emit(logits, stride_t, stride_b, stride_v, targets, starts, target_stride_b, target_stride_k, target_total,
         input_lengths, target_lengths, label_scores, blank_scores, norms, weights, weight_stride, frames, batch, vocabulary,
         width, longest, blank,
         PADDED: tl.constexpr, OVERWRITE: tl.constexpr, LANES: tl.constexpr, TILE: tl.constexpr, ALIGN: tl.constexpr):
    """One frame of one utterance: log-softmax, of which only the target's labels and the blank are kept.

    label_scores (B, T, width) and blank_scores (B, T); norms (B, T, 2): the largest logit, and log2 of the sum of
    exp(logit - largest). OVERWRITE also puts weights[b] * softmax over the logits, zeros in frames past the end.
    """
    t = (tl.program_id(0) // batch).to(tl.int64)
    b = (tl.program_id(0) % batch).to(tl.int64)
    size = _clipped(input_lengths, b, frames)
    vocabulary = vocabulary * ALIGN
    x = logits + _row(t, b, stride_t, stride_b, ALIGN)
    if t < size:
        top = float("-inf")
        total = 0.0
        for first in range(0, vocabulary, TILE):
            v = first + tl.arange(0, TILE)
            z = _logits(x, v, stride_v, v < vocabulary)
            higher = tl.maximum(top, tl.max(z, 0))
            zero = tl.where(higher == float("-inf"), 0.0, higher)  # as long as all logits are -inf their sum is 0, not NaN
            total = total * tl.exp2((top - zero) * LOG2_E) + tl.sum(tl.exp2((z - zero) * LOG2_E), 0)
            top = higher
        norm = tl.log2(total)
        row = b * frames + t
        tl.store(norms + 2 * row, top)
        tl.store(norms + 2 * row + 1, norm)

        k = tl.arange(0, LANES)
        count = _clipped(target_lengths, b, longest)
        label = _labels(targets, starts, b, k, count, target_stride_b, target_stride_k, target_total, PADDED)
        known = (label >= 0) & (label < vocabulary) & (label != blank)
        of_label = _log_softmax(_logits(x, label, stride_v, known), (top, norm))
        of_label = tl.where(known, tl.where(of_label < IMPOSSIBLE, IMPOSSIBLE, of_label), float("nan"))
        tl.store(label_scores + row * width + k, of_label, mask=k < count)
        of_blank = _log_softmax(_logits(x, blank, stride_v, True), (top, norm))
        tl.store(blank_scores + row, tl.where(of_blank < IMPOSSIBLE, IMPOSSIBLE, of_blank))
        if OVERWRITE:
            tl.debug_barrier()  # other threads may still read the labels' logits
            weight = tl.load(weights + b * weight_stride).to(tl.float32)
            for first in range(0, vocabulary, TILE):
                v = first + tl.arange(0, TILE)
                p = tl.exp2(_log_softmax(_logits(x, v, stride_v, v < vocabulary), (top, norm)))
                tl.store(x + v.to(tl.int64) * stride_v, (p * weight).to(x.dtype.element_ty), mask=v < vocabulary)
    elif OVERWRITE:
        _fill(x, stride_v, vocabulary, 0.0, TILE)


# ------------------------------------------------------------------------------------------------------ recursion


@triton.jit
def _lanes(text, b, backward, k, count, PADDED: tl.constexpr):
    """What each lane stands for, and whether the blank between its label and the one before may be skipped.

    Backward in time the target is read from its end, and the recursion is the same.
    """
    targets, starts, target_stride_b, target_stride_k, target_total = text
    blank_at = tl.where(backward, count - k, k)
    label_at = tl.where(backward, count - 1 - k, k)
    before_at = tl.where(backward, label_at + 1, label_at - 1)
    label = _labels(targets, starts, b, label_at, count, target_stride_b, target_stride_k, target_total, PADDED)
    before = _labels(targets, starts, b, before_at, count, target_stride_b, target_stride_k, target_total, PADDED)
    return (blank_at, label_at, k <= count, k < count), (k > 0) & (k < count) & (label != before)


@triton.jit
def _arrivals(blank, label, skip, k, FAST: tl.constexpr):
    """The mass that comes to every blank and label at the next frame, before that frame's own scores."""
    before = tl.gather(label, tl.maximum(k - 1, 0), 0)  # the one value that crosses lanes
    to_blank = log2_add(blank, tl.where(k > 0, before, IMPOSSIBLE), FAST)
    to_label = log2_add3(label, blank, tl.where(skip, before, IMPOSSIBLE), FAST)
    return to_blank, to_label


@triton.jit
def _renormalised(blank, label, offset):
    """The state with its largest value at zero, so that float32 resolves what decides, and the sum of what was taken off."""
    top = tl.max(tl.maximum(blank, label), 0)
    return blank - top, label - top, offset + top.to(tl.float64)


@triton.jit
def _scores(tables, row, width, lanes, more):
    """Blank and label scores of one frame, if there is one more."""
    label_scores, blank_scores = tables
    _, label_at, _, is_label = lanes
    return (tl.load(blank_scores + row, mask=more, other=0.0),
            tl.load(label_scores + row * width + label_at, mask=is_label & more, other=IMPOSSIBLE))


@triton.jit
def _coming_scores(tables, row, forth, width, lanes, more, AHEAD: tl.constexpr):
    """Those of AHEAD frames, read while the ones before them are computed: four take about as long as a load from L2."""
    if AHEAD == 1:
        return (_scores(tables, row, width, lanes, more),)
    else:
        return (_scores(tables, row, width, lanes, more), _scores(tables, row + forth, width, lanes, more),
                _scores(tables, row + 2 * forth, width, lanes, more), _scores(tables, row + 3 * forth, width, lanes, more))


@triton.jit
def _stored(lattice, offsets, row, width, lanes, more):
    """What the other half left of a frame: the state of every blank and label, and its offset."""
    blank_at, label_at, is_blank, is_label = lanes
    return (tl.load(lattice + row * 2 * width + blank_at, mask=is_blank & more, other=IMPOSSIBLE),
            tl.load(lattice + (row * 2 + 1) * width + label_at, mask=is_label & more, other=IMPOSSIBLE),
            tl.load(offsets + row, mask=more, other=0.0))


@triton.jit
def _coming_stored(lattice, offsets, row, forth, width, lanes, more, AHEAD: tl.constexpr):
    if AHEAD == 1:
        return (_stored(lattice, offsets, row, width, lanes, more),)
    else:
        return (_stored(lattice, offsets, row, width, lanes, more), _stored(lattice, offsets, row + forth, width, lanes, more),
                _stored(lattice, offsets, row + 2 * forth, width, lanes, more),
                _stored(lattice, offsets, row + 3 * forth, width, lanes, more))


@triton.jit
def _store(lattice, row, width, lanes, blank, label):
    blank_at, label_at, is_blank, is_label = lanes
    tl.store(lattice + row * 2 * width + blank_at, blank, mask=is_blank)
    tl.store(lattice + (row * 2 + 1) * width + label_at, label, mask=is_label)


@triton.jit(do_not_specialize=SIZES)
def first_half(targets, starts, target_stride_b, target_stride_k, target_total, input_lengths, target_lengths,
               label_scores, blank_scores, lattice, offsets, carry, carry_offsets, order, extents, frames, width, longest,
               PADDED: tl.constexpr, KEEP: tl.constexpr, AHEAD: tl.constexpr, LANES: tl.constexpr, FAST: tl.constexpr):
    """Program (b, 0) goes through the first half of the frames forward in time, (b, 1) through the second half backward.

    carry (B, 2, 2, LANES) and carry_offsets (B, 2) float64: the state in which each half ends. KEEP: also every frame's
    state, its own scores included, as lattice (B, T, 2, width) and offsets (B, T) float64; and a program (b, 2) sorts the
    labels meanwhile: order (B, 2, width), their positions and they themselves, with extents (B, 2), frames and labels.
    """
    b = tl.program_id(0).to(tl.int64)
    size = _clipped(input_lengths, b, frames)
    count = _clipped(target_lengths, b, longest)
    k = tl.arange(0, LANES)
    text = (targets, starts, target_stride_b, target_stride_k, target_total)
    if tl.program_id(1) == 2:
        _sort(text, b, k, count, order + b * 2 * width, width, PADDED)
        tl.store(extents + 2 * b, size)
        tl.store(extents + 2 * b + 1, count)
    else:
        backward = tl.program_id(1) == 1
        lanes, skip = _lanes(text, b, backward, k, count, PADDED)
        tables = (label_scores, blank_scores)
        middle = (size + 1) // 2
        steps = tl.where(backward, size - middle, middle)
        forth = tl.where(backward, -1, 1)
        row = b * frames + tl.where(backward, size - 1, 0)
        # A blank before the first frame, at no cost: what follows it is how every path starts.
        blank = tl.where(k == 0, 0.0, IMPOSSIBLE)
        label = tl.full((LANES,), IMPOSSIBLE, tl.float32)
        offset = tl.full((), 0.0, tl.float64)
        groups = steps // AHEAD
        coming = _coming_scores(tables, row, forth, width, lanes, groups > 0, AHEAD)
        for group in range(0, groups):
            now = coming
            coming = _coming_scores(tables, row + AHEAD * forth, forth, width, lanes, group + 1 < groups, AHEAD)
            for j in tl.static_range(AHEAD):
                to_blank, to_label = _arrivals(blank, label, skip, k, FAST)
                blank, label = to_blank + now[j][0], to_label + now[j][1]
                if KEEP:
                    _store(lattice, row, width, lanes, blank, label)
                    tl.store(offsets + row, offset)
                row += forth
            if group % (8 // AHEAD) == 8 // AHEAD - 1:
                blank, label, offset = _renormalised(blank, label, offset)
        for _ in range(AHEAD * groups, steps):
            own = _scores(tables, row, width, lanes, True)
            to_blank, to_label = _arrivals(blank, label, skip, k, FAST)
            blank, label = to_blank + own[0], to_label + own[1]
            if KEEP:
                _store(lattice, row, width, lanes, blank, label)
                tl.store(offsets + row, offset)
            row += forth
        end = b * 2 + tl.program_id(1)
        tl.store(carry + 2 * end * LANES + k, blank)
        tl.store(carry + (2 * end + 1) * LANES + k, label)
        tl.store(carry_offsets + end, offset)


@triton.jit
def _sort(text, b, k, count, order, width, PADDED: tl.constexpr):
    """Positions in the order of their labels, equal labels in the order of their positions: each counts who comes before it."""
    targets, starts, target_stride_b, target_stride_k, target_total = text
    label = _labels(targets, starts, b, k, count, target_stride_b, target_stride_k, target_total, PADDED)
    rank = tl.zeros_like(k)
    for j in range(0, count):
        other = _labels(targets, starts, b, j, count, target_stride_b, target_stride_k, target_total, PADDED)
        rank += ((other < label) | ((other == label) & (j < k))).to(tl.int32)
    tl.store(order + rank, k, mask=k < count)
    tl.store(order + width + rank, label, mask=k < count)


@triton.jit
def _meet(blank, label, offset, carry, carry_offsets, theirs, skip, k, count, LANES: tl.constexpr, FAST: tl.constexpr):
    """log2 of the probability of the target: one transition from this half's last state into the other half's."""
    to_blank, to_label = _arrivals(blank, label, skip, k, FAST)
    blank = to_blank + tl.load(carry + 2 * theirs * LANES + count - k, mask=k <= count, other=IMPOSSIBLE)
    label = to_label + tl.load(carry + (2 * theirs + 1) * LANES + count - 1 - k, mask=k < count, other=IMPOSSIBLE)
    blank, label, offset = _renormalised(blank, label, offset + tl.load(carry_offsets + theirs))
    return offset + tl.log2(tl.sum(tl.exp2(blank) + tl.exp2(label), 0)).to(tl.float64)


@triton.jit(do_not_specialize=SIZES)
def second_half(targets, starts, target_stride_b, target_stride_k, target_total, input_lengths, target_lengths,
                label_scores, blank_scores, lattice, offsets, carry, carry_offsets, losses, frames, width, longest,
                PADDED: tl.constexpr, KEEP: tl.constexpr, AHEAD: tl.constexpr, LANES: tl.constexpr, FAST: tl.constexpr):
    """losses (B,) where the halves meet; then, with KEEP, each goes on through the other's frames.

    There its own state and the other's, read from the lattice, make the posterior of every state, which takes the other's
    place. Posteriors of a frame add up to 1 but for rounding that all of them share; `gradient` divides by their sum.
    """
    b = tl.program_id(0).to(tl.int64)
    size = _clipped(input_lengths, b, frames)
    count = _clipped(target_lengths, b, longest)
    k = tl.arange(0, LANES)
    backward = tl.program_id(1) == 1
    text = (targets, starts, target_stride_b, target_stride_k, target_total)
    lanes, skip = _lanes(text, b, backward, k, count, PADDED)
    mine = b * 2 + tl.program_id(1)
    blank = tl.load(carry + 2 * mine * LANES + k)
    label = tl.load(carry + (2 * mine + 1) * LANES + k)
    offset = tl.load(carry_offsets + mine)
    log_z = _meet(blank, label, offset, carry, carry_offsets, mine + 1 - 2 * tl.program_id(1), skip, k, count, LANES, FAST)
    impossible = log_z < 0.5 * IMPOSSIBLE
    if tl.program_id(1) == 0:
        fits = (tl.load(input_lengths + b) == size) & (tl.load(target_lengths + b) == count)
        loss = tl.where(impossible, float("inf"), -log_z * LN_2)
        tl.store(losses + b, tl.where(fits, loss, float("nan")).to(tl.float32))
    if KEEP:
        tables = (label_scores, blank_scores)
        middle = (size + 1) // 2
        steps = tl.where(impossible, 0, tl.where(backward, middle, size - middle))
        forth = tl.where(backward, -1, 1)
        row = b * frames + tl.where(backward, middle - 1, middle)
        groups = steps // AHEAD
        coming = _coming_scores(tables, row, forth, width, lanes, groups > 0, AHEAD)
        theirs = _coming_stored(lattice, offsets, row, forth, width, lanes, groups > 0, AHEAD)
        for group in range(0, groups):
            now, other = coming, theirs
            ahead, more = row + AHEAD * forth, group + 1 < groups
            coming = _coming_scores(tables, ahead, forth, width, lanes, more, AHEAD)
            theirs = _coming_stored(lattice, offsets, ahead, forth, width, lanes, more, AHEAD)
            for j in tl.static_range(AHEAD):
                to_blank, to_label = _arrivals(blank, label, skip, k, FAST)
                _store_posteriors(lattice, row, width, lanes, to_blank, to_label, offset - log_z, other[j])
                blank, label = to_blank + now[j][0], to_label + now[j][1]
                row += forth
            if group % (8 // AHEAD) == 8 // AHEAD - 1:
                blank, label, offset = _renormalised(blank, label, offset)
        for _ in range(AHEAD * groups, steps):
            own, left = _scores(tables, row, width, lanes, True), _stored(lattice, offsets, row, width, lanes, True)
            to_blank, to_label = _arrivals(blank, label, skip, k, FAST)
            _store_posteriors(lattice, row, width, lanes, to_blank, to_label, offset - log_z, left)
            blank, label = to_blank + own[0], to_label + own[1]
            row += forth


@triton.jit
def _store_posteriors(lattice, row, width, lanes, to_blank, to_label, offset, other):
    shift = (offset + other[2]).to(tl.float32)
    _store(lattice, row, width, lanes, tl.exp2(to_blank + other[0] + shift), tl.exp2(to_label + other[1] + shift))


# ------------------------------------------------------------------------------------------------------- gradient


@triton.jit
def _add_within(sum_a, starts_a, sum_b, starts_b):
    """Running sums that start anew where a run of equal labels starts."""
    return tl.where(starts_b != 0, sum_b, sum_a + sum_b), starts_a | starts_b


@triton.jit(do_not_specialize=SIZES)
def gradient(logits, stride_t, stride_b, stride_v, out, out_stride_t, out_stride_b, out_stride_v, label_scores, blank_scores,
             norms, lattice, order, extents, losses, weights, weight_stride, frames, batch, vocabulary, width, blank,
             OVERWRITE: tl.constexpr, LANES: tl.constexpr, TILE: tl.constexpr, ALIGN: tl.constexpr):
    """One frame of one utterance: weights[b] * (softmax - posteriors), posteriors of a label's positions added up.

    Zeros in frames past the end and where the loss is infinite, NaN where it is. OVERWRITE: ``out`` already holds
    weights[b] * softmax (from `emit`), so only the target's labels and the blank are written; else the softmax is made from
    ``logits``.
    """
    t = (tl.program_id(0) // batch).to(tl.int64)
    b = (tl.program_id(0) % batch).to(tl.int64)
    vocabulary = vocabulary * ALIGN
    g = out + _row(t, b, out_stride_t, out_stride_b, ALIGN)
    loss = tl.load(losses + b)
    size = tl.load(extents + 2 * b)
    if (t >= size) | (loss == float("inf")):
        _fill(g, out_stride_v, vocabulary, 0.0, TILE)
    elif loss != loss:
        _fill(g, out_stride_v, vocabulary, float("nan"), TILE)
    else:
        row = b * frames + t
        weight = tl.load(weights + b * weight_stride).to(tl.float32)
        k = tl.arange(0, LANES)
        count = tl.load(extents + 2 * b + 1)
        real = k < count
        order += b * 2 * width
        position = tl.load(order + k, mask=real, other=0)
        label = tl.load(order + width + k, mask=real, other=-1)
        begins = label != tl.load(order + width + k - 1, mask=real & (k > 0), other=-1)
        ends = label != tl.load(order + width + k + 1, mask=k + 1 < count, other=-1)
        single = tl.load(lattice + (row * 2 + 1) * width + position, mask=real, other=0.0)
        of_blank = tl.sum(tl.load(lattice + row * 2 * width + k, mask=k <= count, other=0.0), 0)
        share = 1.0 / (of_blank + tl.sum(single, 0))
        of_label, _ = tl.associative_scan((single, begins.to(tl.int32)), 0, _add_within)
        mine = real & ends & (label >= 0) & (label < vocabulary)
        at = label.to(tl.int64)
        if OVERWRITE:
            p = tl.exp2(tl.load(label_scores + row * width + position, mask=mine, other=0.0))
            p_blank = tl.exp2(tl.load(blank_scores + row))
            tl.store(g + blank.to(tl.int64) * out_stride_v, ((p_blank - of_blank * share) * weight).to(g.dtype.element_ty))
        else:
            x = logits + _row(t, b, stride_t, stride_b, ALIGN)
            norm = (tl.load(norms + 2 * row), tl.load(norms + 2 * row + 1))
            for first in range(0, vocabulary, TILE):
                v = first + tl.arange(0, TILE)
                softmax = tl.exp2(_log_softmax(_logits(x, v, stride_v, v < vocabulary), norm))
                softmax = tl.where(v == blank, softmax - of_blank * share, softmax)
                tl.store(g + v.to(tl.int64) * out_stride_v, (softmax * weight).to(g.dtype.element_ty), mask=v < vocabulary)
            p = tl.exp2(_log_softmax(_logits(x, label, stride_v, mine), norm))
            tl.debug_barrier()  # the labels' columns have been written by other threads, and are now written again
        tl.store(g + at * out_stride_v, ((p - of_label * share) * weight).to(g.dtype.element_ty), mask=mine)
