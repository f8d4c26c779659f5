"""Greedy decoding on the GPU, interpreted: what the CPU finds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_sorting import quick_sorting  # noqa: F401 a fixture of this module

from asr.ctc import greedy
from asr.ctc.kernels.greedy.launch import decode
from asr.ctc.kernels.greedy.naive import runs
from asr.errors import DataError, UsageError

pytest.importorskip("triton")


def made(seed, frames, vocabulary, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(3, frames, vocabulary, generator=generator)).log_softmax(-1).to(dtype)


def assert_same(log_probs, lengths, blank=0):
    ours, theirs = (greedy(log_probs, lengths, blank, backend) for backend in ("triton", "cpu"))
    for found, expected in zip(ours, theirs, strict=True):
        assert (found.tokens, found.frames, found.ends) == (expected.tokens, expected.frames, expected.ends)
        assert found.confidence == expected.confidence
        assert found.score == pytest.approx(expected.score, rel=1e-12)
        assert (found.acoustic_score, found.lm_score) == (found.score, 0)


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([2, 3, 33]), st.booleans(),
       st.sampled_from([torch.float32, torch.bfloat16, torch.float64]))
def test_what_is_found_is_what_the_cpu_finds(seed, frames, vocabulary, whole_numbers, dtype):
    log_probs = made(seed, frames, vocabulary, dtype)
    assert_same(log_probs.round() if whole_numbers else log_probs, torch.tensor([frames, 0, (frames + 1) // 2]), seed % vocabulary)


def test_more_tokens_than_a_program_sees_at_once():
    assert_same(made(0, 6, 2500), torch.tensor([6, 4, 5]), blank=2499)
    tied = torch.zeros(3, 2, 1500)
    assert greedy(tied, torch.tensor([2, 2, 2]), 1499, "triton")[0].tokens == [0]  # of equals the first


def test_minus_infinity_is_as_on_the_cpu():
    log_probs = made(1, 9, 5)
    log_probs[0, 2] = -torch.inf
    log_probs[2, :, ::2] = -torch.inf
    assert_same(log_probs, torch.tensor([9, 9, 8]))


def test_runs_go_on_from_block_to_block():
    log_probs = torch.full((1, 24, 3), -9.0)
    log_probs[0, 3:21, 1] = torch.linspace(-3, -1, 18)
    lengths = torch.tensor([24], dtype=torch.int32)
    for block in (4, 8, 32):
        found = decode(log_probs, lengths, 0, block)
        assert found.counts.tolist() == [1]
        assert found.runs[0, :, 0].tolist() == [1, 3, 21] and found.peaks[0, 0] == -1


def test_the_kernel_is_the_plain_one():
    log_probs = made(3, 20, 4)
    found = decode(log_probs, torch.tensor([20, 11, 0], dtype=torch.int32), 0)
    for row, size in enumerate((20, 11, 0)):
        spans, peaks, score = runs(log_probs[row, :size], 0)
        count = int(found.counts[row])
        assert found.runs[row, :, :count].T.tolist() == spans
        assert found.peaks[row, :count].tolist() == peaks and float(found.scores[row]) == pytest.approx(score)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
def test_what_is_no_batch_is_refused_with_its_utterance(backend):
    log_probs = made(0, 4, 3)
    with pytest.raises(UsageError, match=r"lengths from 0 to 5, but log_probs has 4 frames; .* utterance 2"):
        greedy(log_probs, torch.tensor([4, 0, 5]), backend=backend)
    with pytest.raises(UsageError, match=r"lengths from -1 to 5, .* utterance 1"):
        greedy(log_probs, torch.tensor([4, -1, 5]), backend=backend)
    with pytest.raises(UsageError, match="the blank is 3, but there are 3 tokens"):
        greedy(log_probs, torch.tensor([4, 4, 4]), 3, backend)
    with pytest.raises(UsageError, match=r"expected log_probs \(B, T, V\)"):
        greedy(log_probs, torch.tensor([4]), backend=backend)


@pytest.mark.parametrize("backend", ["cpu", "triton"])
@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_what_is_not_finite_is_refused_within_a_length_only(backend, wrong):
    log_probs = made(1, 9, 5)
    log_probs[1, 3:6, 2] = wrong
    log_probs[1, 4] = -torch.inf
    with pytest.raises(DataError, match=f"utterance 1 of the batch: its log-probability of token 2 at frame 3 is {wrong}"):
        greedy(log_probs, torch.tensor([9, 4, 8]), backend=backend)
    assert_same(log_probs, torch.tensor([9, 3, 8]))
