# ruff: noqa: RUF005 (in a kernel a tuple grows by addition)
"""N-gram lookups and word bookkeeping as parts of the search kernel. Imports triton: only `triton.py` may import this.

What `asr.text.ngram_query.advance` and `asr.ctc.fusion` do, for many prefixes at once. ``lm`` and ``words`` are the tuples of
`tables.py`; ``known`` is a tuple of what a beam knows of its prefixes beside the acoustics, its layout under `TOKENS` and `WORDS`.
"""

from __future__ import annotations

import triton
import triton.language as tl

NOTHING = tl.constexpr(0)  # known = ()
TOKENS = tl.constexpr(1)  # known = (LM state, log-probability, tokens)
WORDS = tl.constexpr(2)
# known = (LM state before the word being spelled, log-probability, words, place in the lexicon;
#          log-probability and state once the word has ended here; what an unknown word would add in its place, and after it)
LN10 = tl.constexpr(2.302585092994045684)
GOLDEN = tl.constexpr(-7046029254386353131)  # 0x9E3779B97F4A7C15: the hash of asr.text.ngram_query
ROOT, OUTSIDE = tl.constexpr(0), tl.constexpr(-1)
STARTS, SPELLS = tl.constexpr(1), tl.constexpr(2)


@triton.jit
def _place(state, word, mask):
    return (((state.to(tl.int64) << 32) | word.to(tl.int64)) * GOLDEN >> 32) & mask


@triton.jit
def advance(lm, state, word, wanted):
    """Natural log-probability of a word after a state, and the state after it, where ``wanted``; a word of -1 is unknown."""
    table, states, unigrams, mask, unknown, missing = lm
    word = tl.where(word < 0, unknown, word)
    exists = word >= 0
    safe = tl.maximum(word, 0)
    total = tl.zeros(word.shape, tl.float64)
    after = tl.zeros(word.shape, tl.int32)
    found = word != word
    state = state + after  # as many as there are words
    looking = wanted & (state != 0)
    place = _place(state, safe, mask)
    while tl.sum(looking.to(tl.int32)) > 0:
        # An entry's parts and the state's are asked for together: a step waits for memory once.
        entry, context = table + 4 * place, states + 2 * state
        its_word, its_state = tl.load(entry, mask=looking & exists, other=0), tl.load(entry + 1, mask=looking & exists, other=0)
        log10_prob = tl.load(entry + 2, mask=looking & exists, other=0).to(tl.float32, bitcast=True)
        following = tl.load(entry + 3, mask=looking & exists, other=0)
        backoff = tl.load(context, mask=looking, other=0).to(tl.float32, bitcast=True)
        suffix = tl.load(context + 1, mask=looking, other=0)
        hit = looking & exists & (its_word == safe) & (its_state == state)
        miss = looking & (its_word == 0) & (its_state == 0)
        total += tl.where(hit, log10_prob, tl.where(miss, backoff, 0.0)).to(tl.float64)
        after = tl.where(hit, following, after)
        found = found | hit
        state = tl.where(miss, suffix, state)
        place = tl.where(miss, _place(state, safe, mask), (place + 1) & mask)
        looking = looking & ~hit & (state != 0)
    rest = wanted & ~found
    log10_prob = tl.load(unigrams + 4 * safe + 2, mask=rest & exists, other=0).to(tl.float32, bitcast=True)
    total += tl.where(rest, tl.where(exists, log10_prob, missing), 0.0).to(tl.float64)
    after = tl.where(rest, tl.load(unigrams + 4 * safe + 3, mask=rest & exists, other=0), after)
    return total * LN10, after


@triton.jit
def begin(lm, words, initial, at_root, MODE: tl.constexpr):
    """What is known of the empty prefix, in every position of the beam."""
    known = ()
    if MODE != NOTHING:
        state = tl.where(at_root, initial, initial)
        nothing = tl.zeros(state.shape, tl.float64)
        none = tl.zeros(state.shape, tl.int32)
        if MODE == TOKENS:
            known = (state, nothing, none)
        else:
            unknown, _ = advance(lm, state, none - 1, at_root)
            known = (state, nothing, none, none, nothing, state, unknown, unknown)
    return known


@triton.jit
def pick(known, source):
    """What is known of the prefixes in other positions."""
    picked = ()
    for index in tl.static_range(len(known)):
        picked = picked + (tl.gather(known[index], source, 0),)
    return picked


@triton.jit
def choose(condition, known, others):
    chosen = ()
    for index in tl.static_range(len(known)):
        chosen = chosen + (tl.where(condition, known[index], others[index]),)
    return chosen


@triton.jit
def column(known):
    """As columns, to meet rows of tokens."""
    columns = ()
    for index in tl.static_range(len(known)):
        columns = columns + (known[index][:, None],)
    return columns


@triton.jit
def worth(words, known, lm_weight, bonus, MODE: tl.constexpr):
    """What prefixes are worth beside their acoustics, unfinished words included (`asr.ctc.fusion.worth`)."""
    if MODE == TOKENS:
        return lm_weight * known[1] + bonus * known[2]
    else:
        return lm_weight * (known[1] + tl.load(words[0] + known[3] + 1)) + bonus * known[2]


@triton.jit
def limit(words, known, lm_weight, bonus, MODE: tl.constexpr):
    """The most that prefixes can be worth after one more token, as `asr.ctc.fusion.settle` bounds it."""
    if MODE == TOKENS:
        return lm_weight * known[1] + tl.maximum(bonus, 0.0) + bonus * known[2]
    else:
        best = lm_weight * (known[1] + tl.load(words[0] + known[3] + 1))
        best = tl.maximum(best, lm_weight * (known[1] + tl.where(known[3] == OUTSIDE, 0.0, known[6])))
        best = tl.where(known[3] == ROOT, best, tl.maximum(best, lm_weight * known[4] + bonus))
        return best + bonus * known[2]


@triton.jit
def extend(lm, words, known, token, wanted, MODE: tl.constexpr, STEPS: tl.constexpr):
    """What is known of prefixes after one more token, but for what `settle` adds; token ids where ``wanted``."""
    if MODE == TOKENS:
        word = tl.load(words[0] + token, mask=wanted, other=-1)
        found, state = advance(lm, known[0], word, wanted)
        return (state, known[1] + found, known[2] + 1)
    else:
        flags, places, arcs = words[1], words[2], words[3]
        state, log_prob, count, place = known[0], known[1], known[2], known[3]
        flag = tl.load(flags + token, mask=wanted, other=0)
        ends = wanted & ((flag & STARTS) != 0) & (place != ROOT)
        state = tl.where(ends, known[5], state)
        log_prob = tl.where(ends, known[4], log_prob)
        count = tl.where(ends, count + 1, count)
        place = tl.where(ends, ROOT, place)
        unknown = tl.where(ends, known[7], known[6])
        spells = wanted & ((flag & SPELLS) != 0) & (place != OUTSIDE)
        low = tl.load(places + 2 * place, mask=spells, other=0)
        end = tl.load(places + 2 * place + 2, mask=spells, other=0)
        high = end
        for _ in range(STEPS):
            middle = (low + high) >> 1
            open_ = spells & (low < high)
            below = open_ & (tl.load(arcs + 2 * middle, mask=open_, other=0) < token)
            low = tl.where(below, middle + 1, low)
            high = tl.where(open_ & ~below, middle, high)
        there = spells & (low < end)
        there = there & (tl.load(arcs + 2 * low, mask=there, other=-1) == token)
        target = tl.load(arcs + 2 * low + 1, mask=there, other=OUTSIDE)
        place = tl.where(spells, target, place)
        log_prob = tl.where(spells & ~there, log_prob + unknown, log_prob)  # it leaves the lexicon: an unknown word, counted now
        return (state, log_prob, count, place, log_prob, state, unknown, unknown)


@triton.jit
def settle(lm, words, known, before, wanted, MODE: tl.constexpr):
    """Fill in, where ``wanted``, the state after leaving the lexicon, and how the word being spelled would end.

    ``before``: what was known before the token.
    """
    if MODE == WORDS:
        state, log_prob, place = known[0], known[1], known[3]
        unknown = tl.zeros(state.shape, tl.int32) - 1
        lost = wanted & (place == OUTSIDE) & ((before[3] != OUTSIDE) | (known[2] > before[2]))
        _, outside = advance(lm, state, unknown, lost)
        state = tl.where(lost, outside, state)
        spelling = wanted & (place > ROOT)
        low = tl.load(words[2] + 2 * place + 1, mask=spelling, other=0)
        whole = spelling & (low < tl.load(words[2] + 2 * place + 3, mask=spelling, other=0))
        found, after = advance(lm, state, tl.load(words[4] + low, mask=whole, other=-1), spelling)
        done = tl.where(spelling, log_prob + found, log_prob)
        done_state = tl.where(spelling, after, state)
        fresh = wanted & (place != ROOT)
        after_unknown, _ = advance(lm, done_state, unknown, fresh)
        known = (state, log_prob, known[2], place, done, done_state, known[6], tl.where(fresh, after_unknown, known[6]))
    return known


@triton.jit
def finish(lm, words, known, end_of_sentence, lm_weight, bonus, wanted, MODE: tl.constexpr):
    """Worth and LM log-probability of prefixes as whole utterances (`asr.ctc.fusion.end`)."""
    state, log_prob, count = known[0], known[1], known[2]
    if MODE == WORDS:
        ends = known[3] != ROOT
        state, log_prob = tl.where(ends, known[5], state), tl.where(ends, known[4], log_prob)
        count = tl.where(ends, count + 1, count)
    found, _ = advance(lm, state, tl.zeros(state.shape, tl.int32) + end_of_sentence, wanted)
    log_prob += found
    return lm_weight * log_prob + bonus * count, log_prob
