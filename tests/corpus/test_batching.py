"""The plan of batches: every index once, budgets kept, little padding, and resuming gives the tail of the same plan."""

from __future__ import annotations

import itertools
import math

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


def smallest(lengths: list[float], count: int) -> float:
    """The padded seconds of the largest part of the best way to part them, of all ways there are."""
    best = math.inf
    for owners in itertools.product(range(count), repeat=len(lengths)):
        parts = [[length for length, owner in zip(lengths, owners) if owner == part] for part in range(count)]
        best = min(best, max(len(part) * max(part, default=0.0) for part in parts))
    return best


@given(lengths=st.lists(st.sampled_from([0.5, 1.0, 1.1, 2.0, 3.7, 4.0]) | st.floats(0.1, 20), min_size=1, max_size=6),
       count=st.integers(1, 3))
def test_the_largest_share_is_the_smallest_there_is(lengths: list[float], count: int) -> None:
    shares = BatchSampler(lengths, 1000, 100, 1).shares(list(range(len(lengths))), count)
    assert len(shares) == count and sorted(index for share in shares for index in share) == list(range(len(lengths)))
    assert sum(map(bool, shares)) == min(count, len(lengths)) and sorted(map(bool, shares), reverse=True) == list(map(bool, shares))
    largest = max(len(share) * max((lengths[index] for index in share), default=0.0) for share in shares)
    assert largest == pytest.approx(smallest(lengths, count))


def test_parts_are_those_of_one_plan_and_an_empty_one_has_a_stand_in() -> None:
    durations = [5.0, 1.0, 2.0, 2.2, 1.1]
    whole = BatchSampler(durations, 5, 100, 3)
    parts = [list(BatchSampler(durations, 5, 100, 3, part=(number, 3))) for number in range(3)]
    for batch, *given_to in zip(whole.plan(0), *parts):
        shares = whole.shares(batch, 3)
        assert given_to == [[(0, index) for index in share or batch[:1]] for share in shares]
    assert [len(batch) for batch in whole.plan(0)] != [3] * len(whole)  # some share was empty


@given(count=st.integers(1, 300), multiple=st.integers(1, 8), seed=st.integers(0, 100))
def test_batches_of_a_multiple(count: int, multiple: int, seed: int) -> None:
    """All but the last to be cut (the shortest utterances), and those whose budget is below it."""
    durations = np.random.default_rng(seed).uniform(1, 15, count)
    plan = BatchSampler(durations.tolist(), 100, 30, seed, multiple=multiple).plan(0)
    assert sorted(index for batch in plan for index in batch) == list(range(count))
    odd = [batch for batch in plan if len(batch) > multiple and len(batch) % multiple]
    assert len(odd) <= 1


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
