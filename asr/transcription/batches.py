"""Batches of near-equal length, so that little of the network's work is padding."""

from __future__ import annotations

from collections.abc import Sequence


def batches_by_length(durations: Sequence[float], batch_seconds: float) -> list[list[int]]:
    """Indices of the items in batches, longest first, so that memory that does not suffice is found at once.

    A batch costs its longest item times its number of items; that stays within ``batch_seconds``, except for a longer
    item, which makes a batch alone. Items of one duration keep their order.
    """
    batches: list[list[int]] = []
    budget = 0
    for index in sorted(range(len(durations)), key=lambda item: -durations[item]):
        if not batches or len(batches[-1]) >= budget:
            batches.append([])
            budget = max(1, int(batch_seconds / max(durations[index], 1e-3)))
        batches[-1].append(index)
    return batches
