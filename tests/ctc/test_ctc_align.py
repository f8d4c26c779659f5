"""Forced alignment against every path counted out, against torchaudio, and in blocks against whole."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.ctc import WILDCARD, Alignment, align
from asr.ctc.align import block_size, frames_needed
from asr.ctc.viterbi import best_path
from asr.errors import DataError


def collapsed(path: tuple[int, ...], blank: int) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token != blank]


def best_by_hand(log_probs: np.ndarray, targets: list[int], blank: int) -> float:
    """The score of the best of all paths (T, V) that write the targets; a wildcard is one token more, at 0."""
    frames, vocab = log_probs.shape
    extended = np.concatenate([log_probs, np.zeros((frames, 1))], axis=1)
    wanted = [vocab if token == WILDCARD else token for token in targets]
    scores = [extended[np.arange(frames), path].sum() for path in itertools.product(range(vocab + 1), repeat=frames)
              if collapsed(path, blank) == wanted]
    return max(scores, default=-np.inf)


def aligned(log_probs: np.ndarray, targets: list[int], blank: int = 0) -> Alignment:
    return align(log_probs[None], [len(log_probs)], [targets], [len(targets)], blank, frames=True)[0]


def emissions(frames: int, vocab: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(frames, vocab, generator=generator, dtype=torch.float64)).log_softmax(-1).to(dtype)


def long_targets(frames: int, labels: int, vocab: int, seed: int) -> list[int]:
    found = np.random.default_rng(seed).integers(1, vocab, labels).tolist()
    assert frames_needed(found) <= frames
    return found


@st.composite
def cases(draw):
    """Log-probabilities (T, V), targets that fit, and a blank at any place; values with many ties among them."""
    vocab, blank = draw(st.integers(2, 3)), 0
    blank = draw(st.integers(0, vocab - 1))
    targets = draw(st.lists(st.sampled_from([token for token in range(-1, vocab) if token != blank]), max_size=4))
    frames = draw(st.integers(max(1, frames_needed(targets)), 6)) if frames_needed(targets) <= 6 else frames_needed(targets)
    values = draw(st.lists(st.one_of(st.integers(-3, 0).map(float), st.floats(-9, 0)), min_size=frames * vocab,
                           max_size=frames * vocab))
    return np.array(values).reshape(frames, vocab), targets, blank


@given(cases())
def test_no_path_is_better(case):
    log_probs, targets, blank = case
    found = aligned(log_probs, targets, blank)
    assert found.score == pytest.approx(best_by_hand(log_probs, targets, blank), abs=1e-9)
    # The path writes the targets, has the score it says, and the spans are those of the path.
    assert collapsed(tuple(found.frames.tolist()), blank) == targets == found.tokens
    known = np.flatnonzero(found.frames != WILDCARD)
    assert log_probs[known, found.frames[known]].sum() == pytest.approx(found.score, abs=1e-9)
    spans = [(token, at[0], at[-1] + 1) for token, group in itertools.groupby(enumerate(found.frames), lambda item: item[1])
             if token != blank for at in [[frame for frame, _ in group]]]
    assert spans == list(zip(found.tokens, found.start, found.end))
    for token, start, end, confidence in zip(found.tokens, found.start, found.end, found.confidence):
        assert confidence == (1 if token == WILDCARD else pytest.approx(np.exp(log_probs[start:end, token].max())))


@given(cases(), st.integers(1, 7))
def test_blocks_change_nothing(case, block):
    log_probs, targets, blank = case
    whole = best_path(log_probs, np.array(targets, np.int64), blank, len(log_probs))
    parts = best_path(log_probs, np.array(targets, np.int64), blank, block)
    assert whole[0].tolist() == parts[0].tolist() and whole[1] == parts[1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("frames", "labels", "vocab"), [(1, 1, 2), (9, 4, 3), (50, 12, 5), (200, 90, 3), (1500, 300, 30)])
def test_the_path_is_torchaudios(dtype, frames, labels, vocab):
    functional = pytest.importorskip("torchaudio.functional")
    for seed in range(5):
        log_probs, targets = emissions(frames, vocab, seed, dtype), long_targets(frames, labels, vocab, seed)
        path, _ = functional.forced_align(log_probs[None], torch.tensor([targets]))
        assert aligned(log_probs.numpy(), targets).frames.tolist() == path[0].tolist()


def test_the_path_is_torchaudios_in_a_long_recording():
    """13 minutes at 40 ms; the lattice has 2e8 cells. In float64: float32 has ties there, see the next test."""
    functional = pytest.importorskip("torchaudio.functional")
    log_probs, targets = emissions(20_000, 30, 1), long_targets(20_000, 5_000, 30, 1)
    path, _ = functional.forced_align(log_probs[None], torch.tensor([targets]))
    assert aligned(log_probs.numpy(), targets).frames.tolist() == path[0].tolist()


def test_where_paths_tie_ours_is_never_the_worse():
    """torchaudio stays with a token where the two ways into it tie, although both are better; whole numbers tie often."""
    functional = pytest.importorskip("torchaudio.functional")
    equal = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        targets = rng.integers(1, 4, rng.integers(1, 7))
        frames = frames_needed(targets.tolist()) + int(rng.integers(0, 8))
        log_probs = np.round(2 * rng.normal(size=(frames, 4)))
        path = functional.forced_align(torch.tensor(log_probs)[None], torch.tensor(targets)[None])[0][0].numpy()
        ours = aligned(log_probs, targets.tolist())
        assert ours.score >= log_probs[np.arange(frames), path].sum()
        equal += ours.frames.tolist() == path.tolist()
    assert 250 < equal < 300


def test_a_batch_is_its_utterances_one_by_one():
    lengths, targets = [40, 1, 25, 0, 12, 7], [[1, 2, 2, 3], [4], [], [], [3, WILDCARD, 1], [2, 2, 2]]
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(6, 40, 5, generator=generator).log_softmax(-1)
    padded = [row + [9] * (4 - len(row)) for row in targets]  # what lies past a target is not looked at
    for threads in (1, 4):
        batch = align(log_probs, torch.tensor(lengths), torch.tensor(padded), [len(row) for row in targets], frames=True,
                      threads=threads)
        for row, found in enumerate(batch):
            alone = aligned(log_probs[row, :lengths[row]].numpy(), targets[row])
            assert found.frames.tolist() == alone.frames.tolist() and found.score == alone.score
            assert (found.start, found.end, found.confidence) == (alone.start, alone.end, alone.confidence)
    assert align(log_probs, lengths, padded, list(map(len, targets)))[0].frames is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    log_probs = emissions(30, 5, 0).to(dtype)
    assert aligned(log_probs, [1, 2, 3]).score == aligned(log_probs.float().numpy(), [1, 2, 3]).score


def test_nothing_to_write_is_blanks():
    log_probs = emissions(5, 3, 0).numpy()
    found = aligned(log_probs, [])
    assert found.tokens == [] and found.frames.tolist() == [0] * 5 and found.score == pytest.approx(log_probs[:, 0].sum())
    assert aligned(np.zeros((0, 3)), []).score == 0
    assert align(torch.zeros(0, 4, 3), [], torch.zeros(0, 2), []) == []


def planted(path: list[int], vocab: int, posterior: float = 0.9) -> np.ndarray:
    probs = np.full((len(path), vocab), (1 - posterior) / (vocab - 1))
    probs[np.arange(len(path)), path] = posterior
    return np.log(probs)


@pytest.mark.parametrize(("targets", "spans"), [
    ([WILDCARD, 1, 2], [(0, 7), (7, 8), (9, 10)]),  # it also takes the frame that the 1 can do without
    ([3, 4, WILDCARD], [(0, 2), (3, 4), (4, 10)]),
    ([3, WILDCARD, 2], [(0, 1), (1, 9), (9, 10)]),
    ([WILDCARD, 4, WILDCARD], [(0, 3), (3, 4), (4, 10)])])
def test_a_wildcard_takes_what_is_not_in_the_text(targets, spans):
    #                  0  1  2  3  4  5  6  7  8  9
    log_probs = planted([3, 3, 0, 4, 0, 0, 1, 1, 0, 2], 5)
    found = aligned(log_probs, targets)
    assert list(zip(found.start, found.end)) == spans


def test_a_wildcard_is_torchaudios_star():
    """torchaudio adds a token of log-probability 0 to the emissions, and aligns with that."""
    functional = pytest.importorskip("torchaudio.functional")
    for seed in range(20):
        log_probs = emissions(40, 6, seed)
        starred = torch.cat([log_probs, torch.zeros(40, 1)], dim=1)
        path, _ = functional.forced_align(starred[None], torch.tensor([[6, 2, 3, 6, 1, 6]]))
        found = aligned(log_probs.numpy(), [WILDCARD, 2, 3, WILDCARD, 1, WILDCARD])
        assert np.where(found.frames == WILDCARD, 6, found.frames).tolist() == path[0].tolist()


def test_text_longer_than_the_audio_gives_both_numbers():
    log_probs = torch.zeros(3, 9, 4)
    with pytest.raises(DataError) as error:
        align(log_probs, [9, 3, 0], [[1, 2, 3], [1, 1, 2], [2, 0, 0]], [3, 3, 1])
    assert str(error.value) == ("text longer than the audio allows: utterance 1: its 3 labels need 4 output frames, its audio "
                                "gives 3; utterance 2: its 1 labels need 1 output frames, its audio gives 0")
    with pytest.raises(DataError, match="its 3 labels need 5 output frames, its audio gives 4"):
        align(log_probs[:1], [4], [[1, 1, 1]], [3])


def test_a_path_that_cannot_be_is_an_error():
    log_probs = np.full((1, 3, 3), -np.inf)
    log_probs[:, :, 1] = 0
    with pytest.raises(DataError, match="utterance 0: no path through the text has a probability above zero"):
        align(log_probs, [3], [[2]], [1])


@pytest.mark.parametrize(("change", "words"), [
    ({"log_probs": torch.zeros(9, 4)}, "log_probs must be"), ({"lengths": [9, 9]}, "for 1 utterances"),
    ({"targets": [1]}, "for 1 utterances"), ({"lengths": [10]}, "lengths must be from 0 to 9"),
    ({"target_lengths": [3]}, "target_lengths must be from 0 to 2"), ({"targets": [[1, 0]]}, r"or the blank: \[0\]"),
    ({"targets": [[1, 4]]}, r"no tokens, or the blank: \[4\]"), ({"targets": [[1, -2]]}, r"\[-2\]"), ({"blank": 4}, "blank 4"),
    ({"log_probs": torch.full((1, 9, 4), float("nan"))}, "hold NaN"),
    ({"log_probs": torch.full((1, 9, 4), torch.inf)}, "plus infinity"),
    ({"log_probs": torch.zeros(1, 9, 4).long()}, "a floating type, not torch.int64"), ({"lengths": [8.5]}, "lengths must be whole"),
    ({"targets": [[1.0, 2.0]]}, "targets must be whole"), ({"target_lengths": [True]}, "target_lengths must be whole")])
def test_what_does_not_fit_is_refused(change, words):
    arguments = {"log_probs": torch.zeros(1, 9, 4), "lengths": [9], "targets": [[1, 2]], "target_lengths": [2]}
    with pytest.raises(ValueError, match=words):
        align(**(arguments | change))


def test_memory_grows_slower_than_the_lattice():
    """20 minutes of text: the backpointers of the whole lattice are 240 MB, and what is kept of it here a few."""
    code = """if True:
        import re, numpy as np
        from pathlib import Path
        from asr.ctc.align import block_size
        from asr.ctc.viterbi import best_path
        # Not getrusage's, which begins with that of the process that started this one.
        peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
        log_probs = np.random.default_rng(0).normal(size=(30_000, 30)).astype(np.float32)
        targets = np.arange(8_000) % 29 + 1
        best_path(log_probs[:9], targets[:3], 0, 4)
        before = peak()
        path, _ = best_path(log_probs, targets, 0, block_size(30_000, 8_000))
        assert path[-1] >= 2 * 8_000 - 1
        print(peak() - before)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 30


@pytest.mark.parametrize(("frames", "labels"), [(90_000, 60_000), (180_000, 60_000), (360_000, 36_000)])
def test_an_hour_keeps_little(frames, labels):
    block = block_size(frames, labels)
    assert (frames / block + 1) * 8 * (labels + 1) + block * (block + 2) < 100e6
    assert block_size(250, 60) == 250 and block_size(0, 0) == 1
