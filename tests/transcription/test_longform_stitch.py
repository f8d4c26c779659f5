"""Windows put together: no token twice, none lost, whatever the windows make of their edges; and stretches cut between words."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import LETTERS, SENTENCES

from asr.ctc import greedy
from asr.text import BpeTokenizer, CharTokenizer
from asr.transcription.longform_stitch import Stretch, between_words, seam

GRID, SUBSAMPLING, VOCAB = 160, 2, 6


def emissions(path: np.ndarray, rng: np.random.Generator, vocab: int = VOCAB, sure: float = 6.0) -> torch.Tensor:
    """Log-probabilities (T, V) that say a path of tokens, with some noise."""
    logits = 0.5 * rng.standard_normal((len(path), vocab))
    logits[np.arange(len(path)), path] += sure
    return torch.log_softmax(torch.from_numpy(logits).float(), dim=1)


def spoken(rng: np.random.Generator, frames: int, density: float) -> np.ndarray:
    """A path of frames: tokens of one to three frames, the same token never without a blank between."""
    path = np.zeros(frames, np.int64)
    at = 0
    while at < frames:
        if rng.random() < density:
            hold = int(rng.integers(1, 4))
            path[at:at + hold] = rng.integers(1, VOCAB)
            at += hold
        at += 1
    return path


def tokens(log_probs: torch.Tensor) -> list[int]:
    return greedy(log_probs[None], torch.tensor([len(log_probs)]))[0].tokens


def stretch(log_probs: torch.Tensor, first: int) -> Stretch:
    features = torch.arange(first * SUBSAMPLING, (first + len(log_probs)) * SUBSAMPLING).float()[:, None]
    return Stretch(first * GRID, log_probs, features, len(log_probs) * GRID)


@given(st.integers(0, 10**6), st.floats(0.1, 0.6))
@settings(deadline=None, max_examples=80)
def test_joined_windows_say_what_the_whole_says(seed, density):
    rng = np.random.default_rng(seed)
    path = spoken(rng, 400, density)
    whole: Stretch | None = None
    for first in range(0, 301, 75):
        own = path[first:first + 100].copy()
        for edge in (slice(0, 6), slice(-6, None)):  # at its edges a window hears wrong
            if 0 < first + (0 if edge.start == 0 else 100) < 400:
                own[edge] = rng.integers(0, VOCAB, 6)
        window = stretch(emissions(own, rng), first)
        whole = window if whole is None else whole.joined(window, GRID, SUBSAMPLING)
    assert tokens(whole.log_probs) == tokens(emissions(path, rng))
    assert whole.features[:, 0].tolist() == list(range(800)) and whole.samples == 400 * GRID


@pytest.mark.parametrize("shift", [-3, -1, 0, 1, 3])
@pytest.mark.parametrize("at", range(6, 40, 3))
def test_a_word_that_straddles_the_seam_is_neither_cut_nor_doubled(at, shift):
    """Both windows hear one word of five tokens, the second some frames off."""
    left, right = np.zeros(50, np.int64), np.zeros(50, np.int64)
    for index, token in enumerate([1, 2, 3, 2, 4]):
        left[at - 6 + 3 * index:at - 4 + 3 * index] = token
        first = max(0, at - 6 + 3 * index + shift)
        right[first:first + 2] = token
    rng = np.random.default_rng(at)
    cut = seam(emissions(left, rng), emissions(right, rng))
    joined = np.concatenate([left[:cut], right[cut:]])
    assert 50 // 4 <= cut < 50 - 50 // 4
    assert tokens(emissions(joined, rng)) == [1, 2, 3, 2, 4]


def test_seam_of_almost_nothing():
    quiet = emissions(np.zeros(9, np.int64), np.random.default_rng(0), sure=50)
    assert seam(quiet[:0], quiet[:0]) == 0 and seam(quiet[:1], quiet[:1]) == 0 and seam(quiet, quiet) in (4, 5)
    impossible = torch.full((9, VOCAB), -torch.inf)
    assert 0 <= seam(impossible, impossible) < 9


@pytest.mark.parametrize("tokenizer", [CharTokenizer(LETTERS), BpeTokenizer.train(SENTENCES, 30)], ids=["char", "bpe"])
def test_a_stretch_is_divided_between_words(tokenizer):
    rng = np.random.default_rng(3)
    for count in (3, 9, 20):
        words = rng.choice(["cat", "dog", "hill", "mat", "sat"], count)
        path = [0] * 4
        for token in tokenizer.encode(" ".join(words)):
            path += [token] + [0] * int(rng.integers(1, 6))
        log_probs = emissions(np.array(path), rng, tokenizer.vocab_size, 20.0)
        assert len(path) // 2 <= between_words(log_probs, tokenizer, len(path) - 3) <= len(path) - 3
        left, right = stretch(log_probs, 7).divided(tokenizer, GRID, SUBSAMPLING, 3)
        assert [word for half in (left, right) for word in tokenizer.decode(tokens(half.log_probs)).split()] == list(words)
        assert right.start == left.start + left.samples and left.samples + right.samples == len(path) * GRID
        assert len(left.features) == len(left.log_probs) * SUBSAMPLING
    silent = emissions(np.zeros(10, np.int64), rng, tokenizer.vocab_size, 20.0)
    assert between_words(silent, tokenizer, 9) in range(5, 10) and between_words(silent, tokenizer, 2) == 2
    one = torch.log_softmax(30 * torch.eye(tokenizer.vocab_size)[[tokenizer.encode("cat")[0]] * 9], dim=1)
    assert between_words(one, tokenizer, 7) == 7  # nowhere between words: where it must
