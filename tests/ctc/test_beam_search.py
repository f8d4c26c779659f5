"""Prefix beam search by acoustics alone: against every path of frames, and against the plain search."""

from __future__ import annotations

import math

import numpy as np
import plain_beam
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from asr.ctc import BeamSearch, beam_search, greedy
from asr.ctc.beam import _log_prob
from asr.errors import UsageError


def random_log_probs(seed, frames, tokens, sharp=2.0, impossible=0.0):
    """(T, V) float64; entries are minus infinity with probability ``impossible``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(frames, tokens)) * sharp
    logits[rng.random(logits.shape) < impossible] = -np.inf
    logits[np.isneginf(logits).all(axis=1)] = 0.0
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def one(log_probs, **options):
    return beam_search(log_probs[None], [len(log_probs)], **options)[0]


def assert_same(found, expected):
    """Hypotheses against (tokens, words, score, log-probability, LM log-probability), the best first."""
    assert [hypothesis.tokens for hypothesis in found] == [entry[0] for entry in expected]
    for hypothesis, (_, _, score, mass, log_prob) in zip(found, expected):
        assert hypothesis.score == pytest.approx(score, abs=1e-9)
        assert hypothesis.acoustic_score == pytest.approx(mass, abs=1e-9)
        assert hypothesis.lm_score == pytest.approx(log_prob, abs=1e-9)


@given(st.integers(0, 10**6), st.integers(0, 5), st.integers(2, 4), st.integers(0, 3), st.sampled_from([0.0, 0.3]),
       st.sampled_from([0.0, 0.7, -0.4]))
@example(1, 1, 2, 0, 0.0, 0.0)
def test_a_beam_wide_enough_gives_every_prefix_its_whole_probability(seed, frames, tokens, blank, impossible, penalty):
    log_probs, blank = random_log_probs(seed, frames, tokens, impossible=impossible), blank % tokens
    expected = plain_beam.finished(plain_beam.enumerate_paths(log_probs, blank, penalty))
    search = BeamSearch(beam=1000, nbest=1000, blank=blank, blank_penalty=penalty)
    found = search(log_probs[None], [frames])[0]
    assert_same(found, expected)
    plain_beam.assert_same_beam(search, log_probs, plain_beam.enumerate_paths(log_probs, blank, penalty))
    if penalty == 0.0:
        assert sum(math.exp(hypothesis.score) for hypothesis in found) == pytest.approx(1.0)


@given(st.integers(0, 10**6), st.integers(1, 25), st.integers(2, 6), st.integers(1, 7), st.sampled_from([0.5, 3.0]),
       st.sampled_from([None, 1, 2]), st.sampled_from([math.inf, 1.5]), st.sampled_from([math.inf, 2.0]),
       st.sampled_from([1.0, 0.6]))
def test_a_narrow_beam_keeps_what_the_plain_search_keeps(seed, frames, tokens, beam, sharp, max_tokens, token_threshold,
                                                         beam_threshold, blank_skip):
    log_probs = random_log_probs(seed, frames, tokens, sharp)
    limits = {"beam": beam, "max_tokens": max_tokens, "token_threshold": token_threshold, "beam_threshold": beam_threshold}
    held = plain_beam.search(log_probs, certain=np.exp(log_probs[:, 0]) > blank_skip, **limits)
    plain_beam.assert_same_beam(BeamSearch(blank_skip=blank_skip, **limits), log_probs, held)
    assert_same(one(log_probs, nbest=beam, blank_skip=blank_skip, **limits), plain_beam.finished(held, log_probs=log_probs))


@pytest.mark.parametrize(("seed", "frames", "beam"), [(101, 8, 4), (170, 12, 4), (271, 13, 4), (442, 10, 3)])
def test_a_prefix_that_falls_out_and_comes_back_is_the_same_again(seed, frames, beam):
    """Found among random cases: a child outlives its parent in the beam, the parent returns, and its paths reach the child."""
    log_probs = random_log_probs(seed, frames, 3, sharp=3.0)
    plain_beam.assert_same_beam(BeamSearch(beam=beam), log_probs, plain_beam.search(log_probs, beam=beam))


@pytest.mark.parametrize(("frames", "tokens", "beam"), [(150, 4, 3), (60, 12, 40), (200, 2, 5)])
def test_long_and_flat(frames, tokens, beam):
    """Far more prefixes than there is room for at first, and far more candidates than the buffer holds."""
    log_probs = random_log_probs(frames, frames, tokens, sharp=0.3)
    plain_beam.assert_same_beam(BeamSearch(beam=beam), log_probs, plain_beam.search(log_probs, beam=beam))


def test_memory_is_that_of_the_transcript():
    """Of some 160,000 prefixes that were made, only those that led to the beam are still there."""
    log_probs = random_log_probs(0, 4000, 12, sharp=0.3)
    nodes, beam = BeamSearch(beam=40)._search(log_probs)
    assert len(beam) == 40 and len(nodes) < 20_000


def test_a_score_counts_the_paths_that_left_the_beam():
    log_probs = random_log_probs(0, 40, 6, sharp=1.0)
    search = BeamSearch(beam=4, nbest=4)
    masses = {tuple(tokens): mass for tokens, mass in plain_beam.final_beam(search, log_probs)}
    found = search(log_probs[None], [40])[0]
    assert all(hypothesis.score > masses[tuple(hypothesis.tokens)] + 1e-3 for hypothesis in found)
    assert [hypothesis.score for hypothesis in found] == sorted((hypothesis.score for hypothesis in found), reverse=True)


@pytest.mark.parametrize(("frames", "tokens", "count", "sharp"), [
    (1, 2, 1, 1.0), (30, 4, 30, 2.0), (2000, 8, 700, 3.0), (3000, 5, 20, 3.0), (400, 3, 390, 5.0)])
def test_the_sum_over_paths_is_torchs(frames, tokens, count, sharp):
    """Also of a text that the frames speak against, and where most of the lattice is out of float64's reach."""
    log_probs = random_log_probs(frames, frames, tokens, sharp)
    target = np.arange(count, dtype=np.int32) % (tokens - 1) + 1 if tokens > 2 else np.ones(count, np.int32)
    expected = plain_beam.exact_log_prob(log_probs, target)
    assert _log_prob(log_probs, target, 0, 0.0) == pytest.approx(expected, rel=1e-9)
    assert _log_prob(log_probs, target, 0, 0.25) < expected or count == frames


def test_a_sum_over_no_paths_is_nought():
    log_probs = random_log_probs(0, 4, 3)
    assert _log_prob(log_probs, np.array([1, 2, 1, 2, 1], np.int32), 0, 0.0) == -math.inf
    assert _log_prob(log_probs, np.array([1, 1, 1], np.int32), 0, 0.0) == -math.inf
    log_probs[2] = -math.inf
    assert _log_prob(log_probs, np.array([1], np.int32), 0, 0.0) == -math.inf
    assert _log_prob(log_probs[:0], np.array([], np.int32), 0, 0.0) == 0.0


def test_of_equals_the_first_stays():
    """All tokens alike: which prefixes survive is a matter of their order alone, and the result the same every time."""
    log_probs = np.full((12, 5), math.log(0.2))
    found = one(log_probs, beam=3, nbest=3)
    assert found == one(log_probs, beam=3, nbest=3)
    assert one(log_probs[:1], beam=3, nbest=3, max_tokens=2)[1].tokens == [1]


def test_a_batch_is_its_utterances():
    """Padding, order and the number of threads change nothing, to the last bit."""
    lengths = [30, 0, 17, 1, 30, 8]
    log_probs = torch.from_numpy(np.stack([random_log_probs(seed, 30, 7) for seed in range(6)])).float()
    alone = [beam_search(row[None, :size], torch.tensor([size]), beam=9, nbest=4)[0] for row, size in zip(log_probs, lengths)]
    threads = torch.get_num_threads()
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            assert beam_search(log_probs, torch.tensor(lengths), beam=9, nbest=4) == alone
    finally:
        torch.set_num_threads(threads)
    assert beam_search(log_probs.numpy(), lengths, beam=9, nbest=4) == alone
    order = [3, 5, 0, 2, 1, 4]
    assert beam_search(log_probs[order], torch.tensor(lengths)[order], beam=9, nbest=4) == [alone[index] for index in order]


def test_the_best_of_a_sure_network_is_greedys_with_its_times_and_confidence():
    torch.manual_seed(0)
    path = torch.tensor([0, 3, 3, 0, 3, 1, 1, 1, 0, 0, 2, 4, 0])
    logits = torch.randn(1, len(path), 5)
    logits[0, torch.arange(len(path)), path] += 15
    log_probs, lengths = logits.log_softmax(-1), torch.tensor([len(path)])
    best, = beam_search(log_probs, lengths)[0]
    expected, = greedy(log_probs, lengths)
    assert (best.tokens, best.frames, best.ends) == (expected.tokens, expected.frames, expected.ends)
    assert best.confidence == pytest.approx(expected.confidence, rel=1e-5)
    assert best.score == best.acoustic_score > expected.score == expected.acoustic_score
    assert (best.lm_score, expected.lm_score, best.words) == (0.0, 0.0, None)


def test_skipped_frames_are_counted_and_cost_no_more_than_their_other_tokens():
    log_probs = random_log_probs(3, 40, 5, sharp=4.0)
    log_probs[::2, 0] = 9.0
    log_probs -= np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    certain = np.exp(log_probs[:, 0]) > 0.99
    search = BeamSearch(beam=20, blank_skip=0.99)
    assert search.skipped(log_probs[None], [40]) == [certain.sum()] and certain.sum() >= 20
    assert search.skipped(log_probs[None], [10]) == [certain[:10].sum()]
    assert BeamSearch().skipped(log_probs[None], [40]) == [0]
    whole, quick = one(log_probs, beam=2000)[0], search(log_probs[None], [40])[0][0]
    assert quick == whole  # the paths that were passed over are counted at the end
    masses = {tuple(tokens): mass for tokens, mass in plain_beam.final_beam(search, log_probs)}
    lost = math.exp(whole.score) - math.exp(masses[tuple(quick.tokens)])
    assert 0 < lost < (1 - np.exp(log_probs[certain, 0])).sum()


def test_no_frames_and_no_path():
    assert one(np.zeros((0, 3)))[0].score == 0.0 and one(np.zeros((0, 3)))[0].tokens == []
    impossible = np.zeros((3, 2))
    impossible[1] = -np.inf
    best, = one(impossible, nbest=5)
    assert (best.tokens, best.score) == ([], -math.inf)


@pytest.mark.parametrize(("change", "message"), [
    ({"beam": 0}, "beam is 0"), ({"beam": 2.5}, "a whole number from 1"), ({"nbest": 0}, "nbest"),
    ({"beam": "9"}, "from 1 to 1,000,000"), ({"beam": 10**9}, "beam is 1000000000"),
    ({"beam_threshold": None}, "beam_threshold is None"),
    ({"lm_weight": 1e308}, "a number from 0 to 1,000,000"), ({"blank_penalty": -1e308}, "blank_penalty"),
    ({"lm_weight": "1"}, "lm_weight is '1'"), ({"blank": -1}, "blank is -1"), ({"blank": "a"}, "blank is 'a'"),
    ({"lm": "lm.arpa"}, "`NgramLM.load"), ({"lexicon": ["word"]}, "`Lexicon.from_words"),
    ({"max_tokens": 0}, "max_tokens"), ({"token_threshold": -1}, "token_threshold"),
    ({"beam_threshold": math.nan}, "beam_threshold"), ({"blank_skip": -0.1}, "blank_skip"), ({"lm_weight": -1}, "lm_weight"),
    ({"word_bonus": math.inf}, "word_bonus"), ({"blank_penalty": math.nan}, "blank_penalty"),
    ({"lm_unit": "letter"}, "choose word or token"), ({"blank": 3}, "the blank is 3, but there are 3 tokens"),
    ({"word_bonus": 1.0}, "give `tokenizer`"), ({"hotwords": "one"}, "not one text"), ({"hotwords": ["one"]}, "give `tokenizer`")])
def test_wrong_options_are_refused(change, message):
    with pytest.raises(UsageError, match=message):
        beam_search(np.zeros((1, 2, 3)), [2], **change)
