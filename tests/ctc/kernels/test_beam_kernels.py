"""Beam search on the GPU, interpreted: the hypotheses of the CPU's search, of the plain one, and of all paths counted out."""

from __future__ import annotations

import functools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_sorting import quick_sorting  # noqa: F401 a fixture of this module

from asr.ctc import BeamSearch, Lexicon
from asr.ctc.kernels.beam import launch
from asr.ctc.kernels.beam.naive import search as plain_search
from asr.ctc.kernels.beam.tables import build_tables
from asr.errors import DataError, UsageError
from asr.text import BpeTokenizer, CharTokenizer, build_ngram

pytest.importorskip("triton")

SENTENCES = ["ab a b", "b ab ab", "a a ba b", "ba ab b a", "aba b a ab", "bb b ba ba aa", "c ab"] * 3
CHARACTERS = CharTokenizer("ab ")


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    """Few extensions at once, so that small beams take several tiles too."""
    decode = launch.decode
    monkeypatch.setattr("asr.ctc.beam.decode", lambda *arguments: decode(*arguments, at_once=16))


def random_log_probs(seed, frames, tokens, sharp=2.0, impossible=0.0):
    """(T, V) float32; entries are minus infinity with probability ``impossible``."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(frames, tokens)) * sharp
    logits[rng.random(logits.shape) < impossible] = -np.inf
    logits[np.isneginf(logits).all(axis=1)] = 0.0
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def check(rows, **options):
    """Utterances (T, V), searched here and on the CPU; what was found."""
    sizes = list(map(len, rows))
    log_probs = torch.zeros(len(rows), max(sizes), rows[0].shape[1])
    for row, values in zip(log_probs, rows):
        row[:len(values)] = torch.from_numpy(values)
    ours, theirs = (BeamSearch(backend=backend, **options)(log_probs, sizes) for backend in ("triton", "cpu"))
    for found, expected in zip(ours, theirs, strict=True):
        assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in expected]
        for one, other in zip(found, expected):
            for name in ("score", "acoustic_score", "lm_score"):
                assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-9)
            assert (one.frames, one.ends) == (other.frames, other.ends)
            assert one.confidence == pytest.approx(other.confidence, rel=1e-6)
    return ours


@functools.cache
def model(order=3, unit="word"):
    lines = SENTENCES if unit == "word" else [" ".join("<space>" if letter == " " else letter for letter in line)
                                              for line in SENTENCES]
    return build_ngram(lines, order=order)


@settings(max_examples=8)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(2, 20), st.integers(1, 8), st.sampled_from([0.5, 2.0, 8.0]))
def test_without_a_language_model(seed, frames, tokens, beam, sharp):
    check([random_log_probs(seed, frames, tokens, sharp)], beam=beam, nbest=beam)


@pytest.mark.parametrize(("seed", "frames", "beam"), [(101, 8, 4), (170, 12, 4), (442, 10, 3)])
def test_a_prefix_that_falls_out_and_comes_back_is_the_same_again(seed, frames, beam):
    """What goes on from it is still in the beam, and its paths reach that."""
    check([random_log_probs(seed, frames, 3, sharp=3.0)], beam=beam, nbest=beam)


def test_thirty_frames():
    check([random_log_probs(9, 30, 12)], beam=8, nbest=8)


def test_a_ragged_batch_with_all_limits():
    rows = [random_log_probs(seed, frames, 6, impossible=0.2) for seed, frames in ((1, 6), (2, 0), (3, 4))]
    check(rows, beam=5, nbest=2, blank=2, blank_penalty=0.4, max_tokens=3, token_threshold=3.0, beam_threshold=4.0, blank_skip=0.5)


@pytest.mark.parametrize("unit", ["word", "token"])
@settings(max_examples=3)
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 12), beam=st.integers(1, 8), weight=st.sampled_from([0.0, 0.7, 2.0]),
       bonus=st.sampled_from([0.0, 0.3, -0.7]))
def test_with_a_language_model(unit, seed, frames, beam, weight, bonus):
    found = check([random_log_probs(seed, frames, 4, sharp=1.0)], beam=beam, nbest=beam, lm=model(unit=unit), lm_unit=unit,
                  tokenizer=CHARACTERS, lm_weight=weight, word_bonus=bonus)
    assert all(hypothesis.lm_score < 0 for hypothesis in found[0])


def test_words_of_pieces():
    """A piece that ends the word before it and spells at once."""
    pieces = BpeTokenizer.train(["ab aba ba ab ab ba aba b a ab aba"] * 3, vocab_size=7)
    for seed in range(3):
        check([random_log_probs(seed, 8, pieces.vocab_size, sharp=1.0)], beam=6, nbest=6, lm=model(), tokenizer=pieces,
              lm_weight=0.7, word_bonus=0.3)


def test_words_are_counted_without_a_model():
    check([random_log_probs(4, 6, 4)], beam=6, nbest=6, word_bonus=1.0, tokenizer=CHARACTERS)


def test_unknown_words_and_models_that_do_not_know_them():
    """Words that leave the lexicon, and a model without <unk>, which gives them log10 -100."""
    lm = model()
    without = type(lm)([word if word != "<unk>" else "zzz" for word in lm.words], lm.tables)
    assert without.unk == -1
    for seed in (5, 6):
        check([random_log_probs(seed, 7, 4, sharp=1.0)], beam=4, nbest=4, lm=without, tokenizer=CHARACTERS, lm_weight=0.1)


def test_a_list_too_short_is_noticed_and_the_cpu_asked(monkeypatch):
    """The model wants a token that is not among the loudest four; the search says so, and the answer is the CPU's."""
    tokenizer = CharTokenizer("abcdefgh ")
    lm = build_ngram(["h h h h", "h h"] * 3, order=2)
    log_probs = random_log_probs(0, 4, 10, sharp=0.3)
    log_probs[:, tokenizer.encode("h")[0]] -= 1.0
    decode, seen = launch.decode, []

    def short(*arguments):
        seen.append(decode(*arguments, listed=4, at_once=16))
        return seen[0]

    monkeypatch.setattr("asr.ctc.beam.decode", short)
    options = {"beam": 4, "lm": lm, "lm_unit": "token", "tokenizer": tokenizer, "lm_weight": 3.0}
    ours, theirs = (BeamSearch(backend=backend, **options)(torch.from_numpy(log_probs)[None], [4]) for backend in ("triton", "cpu"))
    assert int(seen[0].inexact[0]) > 0
    assert ours == theirs


def test_a_wide_beam_sums_all_paths():
    found, = check([random_log_probs(0, 2, 3)], beam=14, nbest=14)
    assert sum(math.exp(hypothesis.score) for hypothesis in found) == pytest.approx(1.0)


@pytest.mark.parametrize("beam", [3, 5])
def test_the_kernel_is_the_plain_one(beam):
    log_probs = random_log_probs(8, 6, 4)
    limits = launch.Settings(beam, beam, 0, 4, math.inf, math.inf, 0.0, 0.0, 0.0, 0.0)
    found = launch.decode(torch.from_numpy(log_probs)[None], torch.tensor([6], dtype=torch.int32), limits,
                          build_tables(None, None, torch.device("cpu")), at_once=16)
    expected = sorted(plain_search(log_probs.astype(float).tolist(), 0, beam), key=lambda entry: -entry[1])
    texts = [tuple(text[:size].tolist()) for text, size in zip(found.tokens[0], found.sizes[0])]
    assert texts == [prefix for prefix, _ in expected]
    assert found.scores[0, 0].tolist() == pytest.approx([mass for _, mass in expected])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_score_counts_the_paths_that_left_the_beam(dtype):
    """So what was found is scored, and sorted, by more than the search itself knew."""
    log_probs = torch.from_numpy(random_log_probs(8, 12, 6, sharp=1.0)).to(dtype)[None]
    search = BeamSearch(beam=4, nbest=4, blank_penalty=0.3, backend="triton")
    (_, scores, *_), = search._search_on_device(log_probs, np.array([12]))
    found, = search(log_probs, [12])
    assert all(hypothesis.score > mass + 1e-3 for hypothesis, mass in zip(found, scores[0]))
    expected, = BeamSearch(beam=4, nbest=4, blank_penalty=0.3, backend="cpu")(log_probs, [12])
    assert found == expected


def test_of_equals_the_first_stays():
    check([np.full((4, 5), math.log(0.2), np.float32)], beam=3, nbest=3)


def test_no_frames_and_no_path():
    impossible = np.zeros((3, 2), np.float32)
    impossible[1] = -np.inf
    found = check([impossible, np.zeros((0, 2), np.float32)], beam=4, nbest=4)
    assert [hypothesis.score for utterance in found for hypothesis in utterance] == [-math.inf, 0.0]
    assert BeamSearch(backend="triton")(torch.zeros(0, 5, 3), []) == []


@pytest.mark.parametrize(("options", "dtype", "what"), [
    ({}, torch.float64, "float64"), ({"beam": 33}, torch.float32, "beams above 32"),
    ({"hotwords": ["ab"], "tokenizer": CHARACTERS}, torch.float32, "hotwords"),
    ({"lexicon": Lexicon.from_words(["ab"], CHARACTERS)}, torch.float32, "a lexicon"),
    ({"beam": 17, "word_bonus": 1.0, "tokenizer": CHARACTERS}, torch.float32, "beams above 16")])
def test_what_the_kernels_do_not_know_goes_to_the_cpu(options, dtype, what, monkeypatch):
    """By itself where the device's tensors would go to kernels (here: as if the CPU were one); asked for, it is an error."""
    log_probs = torch.from_numpy(random_log_probs(0, 5, 4)).to(dtype)[None]
    with pytest.raises(UsageError, match=f"backend triton does not know {what}"):
        BeamSearch(backend="triton", **options)(log_probs, [5])
    monkeypatch.setattr("asr.ctc.beam.takes_kernels", lambda backend, values: True)
    assert BeamSearch(**options)(log_probs, [5]) == BeamSearch(backend="cpu", **options)(log_probs, [5])


def test_bad_input_names_the_utterance_before_any_launch(monkeypatch):
    monkeypatch.setattr("asr.ctc.beam.decode", None)
    log_probs = torch.zeros(2, 3, 4)
    log_probs[1, 2, 1] = torch.nan
    search = BeamSearch(backend="triton")
    with pytest.raises(DataError, match="utterance 1 of the batch: its log-probability of token 1 at frame 2 is nan"):
        search(log_probs, [3, 3])
    with pytest.raises(UsageError, match="lengths from 2 to 4, but log_probs has 3 frames; .* utterance 1"):
        search(log_probs, [2, 4])
    with pytest.raises(ValueError, match="backend 'gpu'"):
        BeamSearch(backend="gpu")(log_probs, [2, 2])
