"""Batches of near-equal length."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from asr.transcription.batches import batches_by_length


@given(durations=st.lists(st.floats(0, 30), max_size=40), budget=st.floats(0.5, 100))
def test_batches_hold_every_item_once_within_the_budget(durations, budget):
    batches = batches_by_length(durations, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(durations)))
    for batch in batches:
        longest = max(durations[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget * (1 + 1e-9) or longest < 1e-3
    lengths = [durations[index] for batch in batches for index in batch]
    assert lengths == sorted(lengths, reverse=True)
