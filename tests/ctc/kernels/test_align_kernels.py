"""Alignment on the GPU, interpreted: the paths of the CPU to the last tie and bit, in one piece, in tiles and in segments."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from quick_sorting import quick_sorting  # noqa: F401 a fixture of this module

from asr.ctc import WILDCARD, align
from asr.ctc.align import frames_needed
from asr.ctc.kernels.align.launch import best_paths, plan
from asr.ctc.kernels.align.naive import best_path as plain_path
from asr.ctc.viterbi import best_path
from asr.errors import DataError

pytest.importorskip("triton")


def made(seed, batch, labels, dtype=torch.float32, whole_numbers=False, spare=8):
    """(log_probs, lengths, targets, counts, blank) of ragged utterances; whole numbers tie often."""
    rng = np.random.default_rng(seed)
    vocab = int(rng.integers(2, 6))
    blank = int(rng.integers(0, vocab))
    tokens = [token for token in range(WILDCARD, vocab) if token != blank]
    texts = [rng.choice(tokens, int(rng.integers(0, labels + 1))).tolist() for _ in range(batch)]
    texts[0] = rng.choice(tokens, labels).tolist()
    sizes = [frames_needed(text) + int(rng.integers(0, spare)) for text in texts]
    values = rng.normal(size=(batch, max(*sizes, 1), vocab))
    log_probs = torch.from_numpy(np.round(2 * values) if whole_numbers else values).to(dtype)
    targets = torch.full((batch, max(labels, 1)), 99)
    for row, text in zip(targets, texts):
        row[:len(text)] = torch.tensor(text)
    return log_probs, sizes, targets, list(map(len, texts)), blank


def check(case, cut=None):
    log_probs, sizes, targets, counts, blank = case
    states, along, scores = best_paths(log_probs, torch.tensor(sizes, dtype=torch.int32), targets.int(),
                                       torch.tensor(counts, dtype=torch.int32), blank, cut=cut)
    for index, (size, count) in enumerate(zip(sizes, counts)):
        values = log_probs[index, :size] if log_probs.dtype == torch.float64 else log_probs[index, :size].float()
        text = targets[index, :count]
        if size == 0:
            assert scores[index] == 0
            continue
        path, score = best_path(values.numpy(), text.numpy(), blank, size)
        assert states[index, :size].tolist() == path.tolist()
        assert float(scores[index]) == score
        tokens = [blank if state % 2 == 0 else int(text[state // 2]) for state in path]
        expected = [0.0 if token == WILDCARD else float(values[frame, token]) for frame, token in enumerate(tokens)]
        assert along[index, :size].tolist() == expected


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(0, 7), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
       st.booleans())
def test_the_paths_are_the_cpus(seed, batch, labels, dtype, whole_numbers):
    check(made(seed, batch, labels, dtype, whole_numbers))


@pytest.mark.parametrize("labels", [15, 16, 31, 40])
def test_around_the_width_of_a_program(labels):
    check(made(labels, 1, labels))


@pytest.mark.parametrize(("labels", "tiles", "several", "whole_numbers"), [
    (40, 3, False, True), (34, 3, True, False), (38, 3, True, True), (30, 1, True, True)])
def test_tiles_and_segments_change_nothing(labels, tiles, several, whole_numbers):
    """Sixteen labels a program, or 32 if that is all of them, and backpointers of 32 frames at a time."""
    case = made(labels, 2, labels, whole_numbers=whole_numbers, spare=40)
    cut = plan(case[0].shape[1], labels, 2, 32)
    if several:
        cut = cut._replace(segment=32, segments=-(-case[0].shape[1] // 32), window=min(cut.tiles, 4))
    assert cut.tiles == tiles and (cut.segments > 1) == several
    check(case, cut)


def test_the_kernel_is_the_plain_one():
    for seed in range(4):
        log_probs, sizes, targets, counts, blank = made(seed, 1, 4, torch.float64, whole_numbers=seed % 2 == 0)
        states, _, scores = best_paths(log_probs, torch.tensor(sizes, dtype=torch.int32), targets.int(),
                                       torch.tensor(counts, dtype=torch.int32), blank)
        path, score = plain_path(log_probs[0], targets[0, :counts[0]].tolist(), blank)
        assert (states[0].tolist(), float(scores[0])) == (path, score)


def test_one_utterance_may_be_aligned_with_several_texts():
    log_probs = torch.randn(2, 12, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1, 2], [3, 0], [2, 2]], dtype=torch.int32)
    which, counts = torch.tensor([1, 0, 1], dtype=torch.int32), torch.tensor([2, 1, 2], dtype=torch.int32)
    states, _, _ = best_paths(log_probs, torch.full((3,), 12, dtype=torch.int32), targets, counts, 0, which)
    for row in range(3):
        path, _ = best_path(log_probs[which[row]].numpy(), targets[row, :counts[row]].long().numpy(), 0, 12)
        assert states[row].tolist() == path.tolist()


def test_any_strides():
    case = made(5, 2, 5)
    check((case[0].permute(1, 2, 0).contiguous().permute(2, 0, 1), *case[1:]))  # (B, T, V) -> (T, V, B) in memory


def test_alignments_are_the_cpus():
    log_probs, sizes, targets, counts, blank = made(11, 3, 6)
    ours = align(log_probs, sizes, targets, counts, blank, frames=True, backend="triton")
    theirs = align(log_probs, sizes, targets, counts, blank, frames=True, backend="cpu")
    for found, expected in zip(ours, theirs):
        assert found.frames.tolist() == expected.frames.tolist()
        assert (found.tokens, found.start, found.end) == (expected.tokens, expected.start, expected.end)
        assert (found.score, found.confidence) == (expected.score, expected.confidence)
    assert align(torch.zeros(0, 4, 3), [], torch.zeros(0, 2), [], backend="triton") == []
    assert align(torch.zeros(1, 0, 3), [0], [[]], [0], backend="triton")[0].score == 0


def test_what_cannot_be_is_an_error_here_too():
    log_probs = torch.full((2, 3, 3), -torch.inf)
    log_probs[0], log_probs[1, :, 1] = 0, 0
    with pytest.raises(DataError, match="utterance 1: no path through the text"):
        align(log_probs, [3, 3], [[2], [2]], [1, 1], backend="triton")
    with pytest.raises(DataError, match="utterance 1: its 2 labels need 3 output frames, its audio gives 2"):
        align(log_probs, [3, 2], [[2, 1], [2, 2]], [2, 2], backend="triton")


@pytest.mark.parametrize(("change", "words"), [
    ({"lengths": [3, 4]}, "utterance 1: lengths must be from 0 to 3, not 4"),
    ({"lengths": [-1, 3]}, "utterance 0: lengths must be from 0 to 3, not -1"),
    ({"target_lengths": [1, 5]}, "utterance 1: target_lengths must be from 0 to 1, not 5"),
    ({"targets": [[1], [3]]}, r"targets of utterance 1: no tokens, or the blank: \[3\]"),
    ({"log_probs": torch.tensor([0.0, torch.nan])[:, None, None].expand(2, 3, 3)}, "log_probs of utterance 1 hold NaN"),
    ({"backend": "cuda"}, "backend 'cuda': choose from auto, cpu, triton")])
def test_bad_input_names_the_utterance_before_any_launch(change, words, monkeypatch):
    monkeypatch.setattr(sys.modules["asr.ctc.align"], "best_paths", None)  # as an attribute of asr.ctc it is the function
    arguments = {"log_probs": torch.zeros(2, 3, 3), "lengths": [3, 3], "targets": [[1], [2]], "target_lengths": [1, 1]}
    with pytest.raises(ValueError, match=words):
        align(**({**arguments, "backend": "triton"} | change))


def test_memory_of_an_hour():
    """90,000 frames and 60,000 labels: the backpointers of all of it are 2 GB, those of a segment a hundredth."""
    cut = plan(90_000, 60_000, 1)
    width = cut.tile * cut.tiles
    rows, backpointers = (cut.segments + 1) * 2 * width * 4, cut.segment * cut.window * cut.tile * 7 // 16
    assert cut.segments > 1 and cut.window < cut.tiles
    assert rows + backpointers + 2 * width * cut.segment * 4 // cut.tile < 60e6
    assert plan(1000, 100, 32) == (128, 1, 1024, 1, 1)
