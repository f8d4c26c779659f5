"""Greedy decoding: planted paths come back; the batch changes nothing."""

from __future__ import annotations

import itertools
import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.ctc import greedy


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


def test_no_frames_is_no_tokens():
    assert greedy(torch.zeros(1, 0, 3), torch.tensor([0]))[0].tokens == []
