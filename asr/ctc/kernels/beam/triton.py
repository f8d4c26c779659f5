"""Prefix beam search: the tokens worth trying at each frame, the search, and the tokens of what it found. See README.md."""

from __future__ import annotations

import triton
import triton.language as tl

from asr.ctc.kernels.beam import language
from asr.ctc.kernels.beam.language import NOTHING

NONE = tl.constexpr(-9218868437227405313)  # not below the key of minus infinity, and below all others


@triton.jit
def _float_key(x):
    """int64 whose upper half is in the order of float32 numbers, the lower half free; zeros are equal."""
    bits = tl.where(x == 0.0, 0.0, x).to(tl.int32, bitcast=True)
    return (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64) << 32


@triton.jit
def _key(score, index, BITS: tl.constexpr):
    """int64 in the order of float64 scores, but for their last BITS bits: there the smaller index is the larger key."""
    bits = tl.where(score == 0.0, 0.0, score).to(tl.int64, bitcast=True)
    ordered = bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF)
    return (ordered | ((1 << BITS) - 1)) - index


@triton.jit
def _log_add(a, b):
    """log(exp(a) + exp(b)); -inf and -inf make -inf."""
    high, low = tl.maximum(a, b), tl.minimum(a, b)
    base = tl.where(high > float("-inf"), high, 0.0)  # so that no -inf is taken from another
    near = low > base - 40.0  # else the sum is the higher in float64
    return tl.where(near, high + tl.log(1.0 + tl.exp(tl.where(near, low - base, 0.0))), high)


@triton.jit
def _child(prefix, token):
    """The hash of a prefix and one more token: 64 bits, mixed as in splitmix64."""
    mixed = (prefix ^ (token.to(tl.int64) + 1)) * 0x1E3779B97F4A7C15
    mixed = (mixed ^ ((mixed >> 29) & 0x7FFFFFFFF)) * 0x3F58476D1CE4E5B9
    return mixed ^ ((mixed >> 32) & 0xFFFFFFFF)


@triton.jit(do_not_specialize=["frames", "blank", "most"])
def shortlist(x, stride_b, stride_t, stride_v, lengths, settings, tokens, scores, listed, allowed, frames, vocabulary, blank, most,
              ROWS: tl.constexpr, BLOCK: tl.constexpr, COUNT: tl.constexpr):
    """The tokens that may begin new prefixes, the loudest first (of equals the first): ROWS frames a program.

    tokens and scores (B, T, COUNT); listed (B, T): how many of these count; allowed (B, T): how many there would be without COUNT.
    ``most``: at each frame; settings[2]: no more than this many nats below the best one.
    """
    utterance = tl.program_id(0)
    length = tl.load(lengths + utterance)
    frame = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    if tl.program_id(1) * ROWS >= length:
        return
    inside = (frame < length)[:, None]
    row = x + utterance.to(tl.int64) * stride_b + frame.to(tl.int64)[:, None] * stride_t
    token = tl.arange(0, BLOCK)[None, :]
    best = tl.full((ROWS, COUNT), NONE, tl.int64)
    loudest = tl.full((ROWS,), float("-inf"), tl.float32)
    for first in range(0, vocabulary, BLOCK):
        score = tl.load(row + (token + first).to(tl.int64) * stride_v, mask=inside & (token + first < vocabulary),
                        other=float("-inf")).to(tl.float32)
        loudest = tl.maximum(loudest, tl.max(score, axis=1))
        fits = (score > float("-inf")) & (token + first != blank)
        key = tl.where(fits, _float_key(score) + (0x7FFFFFFF - token - first), NONE)
        best = tl.topk(tl.reshape(tl.join(best, tl.topk(key, COUNT)), (ROWS, 2 * COUNT)), COUNT)
    bar = loudest.to(tl.float64) - tl.load(settings + 2)
    count = tl.zeros((ROWS,), tl.int32)
    for first in range(0, vocabulary, BLOCK):
        score = tl.load(row + (token + first).to(tl.int64) * stride_v, mask=inside & (token + first < vocabulary),
                        other=float("-inf")).to(tl.float32)
        fits = (score > float("-inf")) & (token + first != blank) & (score.to(tl.float64) >= bar[:, None])
        count += tl.sum(fits.to(tl.int32), axis=1)
    count = tl.minimum(count, most)
    bits = (best >> 32).to(tl.int32)
    score = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.float32, bitcast=True)
    place = (utterance.to(tl.int64) * frames + frame.to(tl.int64))[:, None] * COUNT + tl.arange(0, COUNT)[None, :]
    tl.store(tokens + place, (0x7FFFFFFF - (best & 0x7FFFFFFF)).to(tl.int32), mask=inside)
    tl.store(scores + place, score, mask=inside)
    tl.store(listed + utterance.to(tl.int64) * frames + frame, tl.minimum(count, COUNT), mask=frame < length)
    tl.store(allowed + utterance.to(tl.int64) * frames + frame, count, mask=frame < length)


@triton.jit(do_not_specialize=["frames", "blank_offset", "beam", "initial", "end_of_sentence"])
def search(x, stride_b, stride_t, stride_v, lengths, settings, tokens, scores, listed, allowed, lm, words, parents, symbols, found,
           lasts, sizes, inexact, frames, blank_offset, beam, initial, end_of_sentence,
           MODE: tl.constexpr, STEPS: tl.constexpr, BEAM: tl.constexpr, LIST: tl.constexpr, TILE: tl.constexpr,
           BITS: tl.constexpr):
    """Search utterance b: program b, all its frames.

    settings (6,) float64: blank penalty, beam threshold, token threshold, LM weight, word bonus, and the score above which a blank
    is certain.
    parents and symbols (B, T * BEAM) int32: the prefixes made, by frame and position: what each goes on from (-1: the empty one),
    and with which token. found (B, 3, BEAM) float64: score, log-probability and LM log-probability of the last beam, -inf where
    there is nothing; lasts (B, BEAM): its prefixes; sizes (B, BEAM): their tokens. inexact (B,): whether a token that is not on
    a frame's list might have mattered.
    """
    utterance = tl.program_id(0)
    length = tl.load(lengths + utterance)
    x += utterance.to(tl.int64) * stride_b
    listing = utterance.to(tl.int64) * frames
    parents += listing * BEAM
    symbols += listing * BEAM
    penalty, beam_threshold = tl.load(settings), tl.load(settings + 1)
    lm_weight, bonus, certain = tl.load(settings + 3), tl.load(settings + 4), tl.load(settings + 5)
    never = float("-inf")
    slot = tl.arange(0, BEAM)
    column = tl.arange(0, TILE)[None, :]
    own = tl.zeros((BEAM,), tl.int64) + 0x5851F42D4C957F2D  # a hash of the whole prefix
    parent = tl.zeros((BEAM,), tl.int64)
    node = tl.full((BEAM,), -1, tl.int32)
    token = tl.full((BEAM,), -1, tl.int32)
    size = tl.zeros((BEAM,), tl.int32)
    in_blank = tl.where(slot == 0, 0.0, never).to(tl.float64)
    in_token = tl.full((BEAM,), never, tl.float64)
    mass = in_blank
    lost = tl.zeros((), tl.int32)
    known = language.begin(lm, words, initial, slot == 0, MODE)
    row = x
    for frame in range(0, length):
        raw_blank = tl.load(row + blank_offset).to(tl.float64)
        of_blank = raw_blank - penalty
        if raw_blank > certain:
            mass += of_blank
            in_blank = mass
            in_token = tl.full((BEAM,), never, tl.float64)
        else:
            alive = mass > never
            # The prefixes as they are: by a blank, by their last token again, or from a parent in the beam.
            emission = tl.load(row + token.to(tl.int64) * stride_v, mask=token >= 0, other=never).to(tl.float64)
            is_parent = (own[:, None] == parent[None, :]) & alive[:, None] & (alive & (token >= 0))[None, :]
            source = tl.where(token[:, None] == token[None, :], in_blank[:, None], mass[:, None])
            entering = tl.max(tl.where(is_parent, source, never), axis=0) + emission
            parent_slot = tl.max(tl.where(is_parent, slot[:, None], -1), axis=0)
            next_in_blank = mass + of_blank
            next_in_token = _log_add(in_token + emission, entering)
            next_mass = _log_add(next_in_blank, next_in_token)
            stay = next_mass
            most = mass
            if MODE != NOTHING:
                stay += language.worth(words, known, lm_weight, bonus, MODE)
                most += language.limit(words, known, lm_weight, bonus, MODE)
            most = tl.max(tl.where(alive, most, never), axis=0)
            chosen = tl.sort(tl.where(stay > never, _key(stay, slot, BITS), NONE), descending=True)
            best = tl.max(stay, axis=0)
            # One more token: TILE tokens of the list at a time, while the loudest left could still make it into the beam.
            here = tl.load(listed + listing + frame)
            list_at = (listing + frame) * LIST
            first = tl.zeros((), tl.int32)
            next_loudest = tl.load(scores + list_at, mask=here > 0, other=never).to(tl.float64)
            worst = tl.max(tl.where(slot == beam - 1, chosen, NONE), axis=0)
            while (first < here) & (_key(most + next_loudest, 0, BITS) > worst):
                rank = first + column
                symbol = tl.load(tokens + list_at + rank, mask=rank < here, other=-2)
                louder = tl.load(scores + list_at + rank, mask=rank < here, other=never).to(tl.float64)
                # Which of these prefixes are in the beam: for each prefix a bit for each token of the tile.
                bits = tl.sum(tl.where(token[:, None] == symbol, tl.full((), 1, tl.int64) << column.to(tl.int64), 0), axis=1)
                taken = tl.sum(tl.where(parent_slot[None, :] == slot[:, None], bits[None, :], 0), axis=1)
                fits = alive[:, None] & (rank < here) & (((taken[:, None] >> column.to(tl.int64)) & 1) == 0)
                score = tl.where(symbol == token[:, None], in_blank[:, None], mass[:, None]) + louder
                if MODE != NOTHING:
                    longer = language.extend(lm, words, language.column(known), tl.broadcast_to(symbol, (BEAM, TILE)), fits,
                                             MODE, STEPS)
                    score += language.worth(words, longer, lm_weight, bonus, MODE)
                fits = fits & (score > never)
                score = tl.where(fits, score, never)
                best = tl.maximum(best, tl.max(tl.max(score, axis=1), axis=0))
                key = tl.where(fits, _key(score, BEAM + slot[:, None] * LIST + rank, BITS), NONE)
                tops = tl.topk(tl.reshape(key, (BEAM * TILE,)), BEAM)
                chosen = tl.topk(tl.reshape(tl.join(chosen, tops), (2 * BEAM,)), BEAM)
                worst = tl.max(tl.where(slot == beam - 1, chosen, NONE), axis=0)
                first += TILE
                next_loudest = tl.load(scores + list_at + first, mask=first < here, other=never).to(tl.float64)
            if MODE != NOTHING:  # without a model the list is long enough to hold all that could matter
                quietest = tl.load(scores + list_at + here - 1, mask=here > 0, other=never).to(tl.float64)
                if (tl.load(allowed + listing + frame) > here) & (_key(most + quietest, 0, BITS) > worst):
                    lost += 1
            # The next beam in the order of the candidates: those that stay, then what goes on from each, the loudest first.
            index = tl.where((slot < beam) & (chosen > NONE), ((1 << BITS) - 1) - (chosen & ((1 << BITS) - 1)), 1 << BITS)
            index = tl.sort(index.to(tl.int32))
            taken_slot = index < (1 << BITS)
            stays = index < BEAM
            goes_on = taken_slot & (index >= BEAM)
            origin = tl.where(stays, index, tl.where(goes_on, (index - BEAM) // LIST, 0))
            place = list_at + tl.where(goes_on, (index - BEAM) % LIST, 0)
            symbol = tl.load(tokens + place, mask=goes_on, other=-1)
            louder = tl.load(scores + place, mask=goes_on, other=never).to(tl.float64)
            old_token, old_own, old_node = tl.gather(token, origin, 0), tl.gather(own, origin, 0), tl.gather(node, origin, 0)
            by_token = tl.where(symbol == old_token, tl.gather(in_blank, origin, 0), tl.gather(mass, origin, 0)) + louder
            in_blank = tl.where(stays, tl.gather(next_in_blank, origin, 0), never)
            in_token = tl.where(stays, tl.gather(next_in_token, origin, 0), tl.where(goes_on, by_token, never))
            mass = tl.where(stays, tl.gather(next_mass, origin, 0), tl.where(goes_on, by_token, never))
            parent = tl.where(goes_on, old_own, tl.gather(parent, origin, 0))
            own = tl.where(goes_on, _child(old_own, symbol), old_own)
            token = tl.where(goes_on, symbol, old_token)
            size = tl.gather(size, origin, 0) + goes_on.to(tl.int32)
            made = frame * BEAM + slot
            node = tl.where(goes_on, made, old_node)
            tl.store(parents + made, old_node, mask=goes_on)
            tl.store(symbols + made, symbol, mask=goes_on)
            score = mass
            if MODE != NOTHING:
                before = language.pick(known, origin)
                after = language.extend(lm, words, before, symbol, goes_on, MODE, STEPS)
                after = language.settle(lm, words, after, before, goes_on, MODE)
                known = language.choose(goes_on, after, before)
                score += language.worth(words, known, lm_weight, bonus, MODE)
            kept = score >= best - beam_threshold
            mass = tl.where(kept, mass, never)
            in_blank = tl.where(kept, in_blank, never)
            in_token = tl.where(kept, in_token, never)
        row += stride_t
    score, log_prob = mass, tl.zeros((BEAM,), tl.float64)
    if MODE != NOTHING:
        added, log_prob = language.finish(lm, words, known, end_of_sentence, lm_weight, bonus, mass > never, MODE)
        score = tl.where(mass > never, mass + added, never)
    result = found + utterance * 3 * BEAM + slot
    tl.store(result, score)
    tl.store(result + BEAM, mass)
    tl.store(result + 2 * BEAM, log_prob)
    tl.store(lasts + utterance * BEAM + slot, node)
    tl.store(sizes + utterance * BEAM + slot, size)
    tl.store(inexact + utterance, lost)


@triton.jit(do_not_specialize=["hypotheses", "longest"])
def trace(parents, symbols, lasts, sizes, texts, made, hypotheses, longest, COUNT: tl.constexpr):
    """The tokens of prefixes: texts (B, hypotheses, longest) int32, from lasts and sizes (B, hypotheses).

    ``made``: room for the prefixes of one utterance.
    """
    utterance = tl.program_id(0)
    lane = tl.arange(0, COUNT)
    inside = lane < hypotheses
    node = tl.load(lasts + utterance * hypotheses + lane, mask=inside, other=-1)
    place = tl.load(sizes + utterance * hypotheses + lane, mask=inside, other=0) - 1
    offset = utterance.to(tl.int64) * made
    text = texts + (utterance.to(tl.int64) * hypotheses + lane) * longest
    while tl.max(place, axis=0) >= 0:
        more = place >= 0
        tl.store(text + place, tl.load(symbols + offset + node, mask=more, other=0), mask=more)
        node = tl.load(parents + offset + node, mask=more, other=-1)
        place -= 1
