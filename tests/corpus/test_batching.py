"""The plan of batches: every index once, budgets kept, little padding, and resuming gives the tail of the same plan."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.corpus import BatchSampler
from asr.errors import DataError


@given(durations=st.lists(st.floats(0.01, 300), max_size=200), batch_seconds=st.floats(1, 200),
       max_utterances=st.integers(1, 40), seed=st.integers(0, 2**31), epoch=st.integers(0, 20), shuffle=st.booleans(),
       sort_first=st.booleans(), start=st.integers(0, 300))
def test_plan(durations: list[float], batch_seconds: float, max_utterances: int, seed: int, epoch: int, shuffle: bool,
              sort_first: bool, start: int) -> None:
    sampler = BatchSampler(durations, batch_seconds, max_utterances, seed, shuffle, sort_first)
    plan = sampler.plan(epoch)
    assert sorted(index for batch in plan for index in batch) == list(range(len(durations)))
    for batch in plan:
        assert 1 <= len(batch) <= max_utterances
        assert len(batch) == 1 or max(durations[i] for i in batch) * len(batch) <= batch_seconds
    # A pure function of (seed, epoch): what was asked before changes nothing.
    other = BatchSampler(durations, batch_seconds, max_utterances, seed, shuffle, sort_first)
    other.plan(epoch + 1)
    list(other)
    assert other.plan(epoch) == plan
    # Resuming in the middle gives the tail.
    other.epoch, other.start = epoch, start
    assert list(other) == [[(epoch, index) for index in batch] for batch in plan][start:]
    assert len(other) == max(0, len(plan) - start)
    if sort_first and epoch == 0:
        longest = [max(durations[i] for i in batch) for batch in plan]
        assert longest == sorted(longest)


@pytest.mark.parametrize("count", [300, 1000, 20000])
def test_padding_of_uniform_durations_is_below_8_percent(count: int) -> None:
    for seed in range(5):
        durations = np.random.default_rng(seed).uniform(1, 15, count)
        sampler = BatchSampler(durations.tolist(), 120, 64, seed)
        for epoch in range(3):
            padded = sum(durations[batch].max() * len(batch) for batch in sampler.plan(epoch))
            assert 1 - durations.sum() / padded < 0.08


def test_epochs_differ_in_their_batches_and_in_their_order() -> None:
    durations = np.random.default_rng(0).uniform(1, 15, 500).tolist()
    sampler = BatchSampler(durations, 60, 64, seed=1)
    first, second = ({frozenset(batch) for batch in sampler.plan(epoch)} for epoch in (0, 1))
    assert len(first & second) < len(first) / 2
    lengths = [durations[batch[0]] for batch in sampler.plan(0)]
    assert lengths != sorted(lengths)
    assert sampler.plan(0) != BatchSampler(durations, 60, 64, seed=2).plan(0)


def test_without_shuffling_the_longest_come_first_in_every_epoch() -> None:
    durations = np.random.default_rng(0).uniform(1, 15, 100).tolist()
    sampler = BatchSampler(durations, 60, 64, seed=1, shuffle=False)
    flat = [durations[index] for batch in sampler.plan(0) for index in batch]
    assert flat == sorted(durations, reverse=True)
    assert sampler.plan(0) == sampler.plan(7)


def test_a_longer_utterance_is_alone() -> None:
    assert sorted(map(sorted, BatchSampler([500.0, 1.0, 1.0], 10, 8, seed=0).plan(0))) == [[0], [1, 2]]


@pytest.mark.parametrize(("durations", "seconds", "most"), [([1.0, 0.0], 10, 8), ([float("nan")], 10, 8), ([-1.0], 10, 8),
                                                            ([1.0], 0, 8), ([1.0], 10, 0)])
def test_what_cannot_be_planned(durations: list[float], seconds: float, most: int) -> None:
    with pytest.raises(DataError, match=r"durations must be above 0|must hold something"):
        BatchSampler(durations, seconds, most, seed=0)
