"""Greedy decoding: planted paths come back; the batch changes nothing."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.ctc import beam_search, greedy
from asr.errors import DataError, UsageError


@given(st.lists(st.lists(st.integers(0, 4), max_size=12), min_size=1, max_size=4))
def test_a_planted_path_is_recovered(paths):
    longest = max(map(len, paths))
    torch.manual_seed(0)
    logits = torch.randn(len(paths), longest, 5)
    for row, path in enumerate(paths):
        for frame, token in enumerate(path):
            logits[row, frame, token] += 20
    log_probs = logits.log_softmax(-1)
    for row, (path, found) in enumerate(zip(paths, greedy(log_probs, torch.tensor([len(path) for path in paths])))):
        runs, start = [], 0
        for token, group in itertools.groupby(path):
            size = len(list(group))
            if token:
                runs.append((token, start, start + size))
            start += size
        assert found.tokens == [token for token, _, _ in runs]
        assert found.frames == [start for _, start, _ in runs]
        assert found.ends == [end for _, _, end in runs]
        assert math.isclose(found.score, sum(float(log_probs[row, t, token]) for t, token in enumerate(path)), abs_tol=1e-4)
        for confidence, (token, start, end) in zip(found.confidence, runs):
            assert math.isclose(confidence, float(log_probs[row, start:end, token].exp().max()), rel_tol=1e-5)


@pytest.mark.parametrize("decode", [greedy, lambda *batch: [found[0] for found in beam_search(*batch)]], ids=["greedy", "beam"])
def test_any_floating_type_and_any_layout_will_do(decode):
    log_probs, lengths = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1)).log_softmax(-1), torch.tensor([9, 7])
    expected = [hypothesis.tokens for hypothesis in decode(log_probs, lengths)]
    mirrored = log_probs.numpy()[:, ::-1].copy()[:, ::-1]
    for other in (log_probs.double(), log_probs.half(), log_probs.bfloat16(), log_probs.clone().requires_grad_(), mirrored,
                  log_probs.transpose(0, 1).contiguous().transpose(0, 1), log_probs.numpy().astype(np.float16),
                  log_probs.tolist()):  # (B, T, V) -> (T, B, V) -> (B, T, V)
        for sizes in (lengths, lengths.int(), lengths.numpy(), lengths.tolist()):
            assert [hypothesis.tokens for hypothesis in decode(other, sizes)] == expected
    assert decode(torch.zeros(0, 0, 3), []) == []
    assert [hypothesis.tokens for hypothesis in decode(torch.zeros(1, 3, 1), [3])] == [[]]


@pytest.mark.parametrize("decode", [greedy, beam_search])
@pytest.mark.parametrize(("log_probs", "lengths", "error", "message"), [
    (torch.zeros(2, 3), [2], UsageError, r"expected log_probs \(B, T, V\)"),
    (torch.zeros(1, 2, 3), [2.0], UsageError, "whole lengths"),
    (torch.zeros(1, 2, 3), [2, 2], UsageError, r"int64 \(2,\)"), (torch.zeros(1, 2, 3), [True], UsageError, "bool"),
    (torch.zeros(1, 2, 3), [3], UsageError, "lengths from 3 to 3, but log_probs has 2 frames"),
    (torch.zeros(1, 2, 3), [-1], UsageError, "lengths from -1 to -1"),
    (torch.zeros(1, 2, 0), [2], UsageError, "the blank is 0, but there are 0 tokens"),
    ("text", [2], UsageError, "expected log_probs"),
    (torch.zeros(1, 2, 3).long(), [2], UsageError, "a floating type, got torch.int64"),
    (torch.zeros(1, 2, 3).cfloat(), [2], UsageError, "a floating type, got torch.complex64"),
    (torch.tensor([[[0.0, -1.0], [0.0, math.nan]]]), [2], DataError,
     "utterance 0 of the batch: its log-probability of token 1 at frame 1 is nan; the network's output is not finite"),
    (torch.tensor([[[0.0, math.inf], [0.0, -1.0]]]), [2], DataError, "of token 1 at frame 0 is inf")])
def test_what_is_no_batch_is_refused(decode, log_probs, lengths, error, message):
    with pytest.raises(error, match=message):
        decode(log_probs, lengths)


@pytest.mark.parametrize("decode", [greedy, beam_search])
def test_what_is_past_a_length_is_not_looked_at(decode):
    log_probs = torch.tensor([[[0.0, -1.0], [math.nan, math.inf]]])
    assert decode(log_probs, [1]) == decode(log_probs[:, :1], [1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("decode", [greedy, beam_search])
def test_a_batch_on_the_gpu(decode):
    log_probs, lengths = torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(1)).log_softmax(-1), torch.tensor([9, 7])
    assert decode(log_probs.cuda(), lengths.cuda()) == decode(log_probs, lengths)


def test_no_frames_is_no_tokens():
    assert greedy(torch.zeros(1, 0, 3), torch.tensor([0]))[0].tokens == []
