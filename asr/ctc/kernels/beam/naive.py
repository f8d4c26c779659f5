"""Prefix beam search, slow and plain: a dictionary of prefixes, with the masses of their paths that end in blank and in a token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Prefix = tuple[int, ...]


def search(log_probs: Sequence[Sequence[float]], blank: int, beam: int,
           worth: Callable[[Prefix], float] = lambda prefix: 0.0) -> list[tuple[Prefix, float]]:
    """The last beam: prefixes and their log-probabilities, from log_probs (T, V). Of equals the first stays: those that were in
    the beam before, then what goes on from each, the loudest token first.

    ``worth``: what a prefix is worth beside its acoustics.
    """
    held: dict[Prefix, tuple[float, float]] = {(): (0.0, -math.inf)}
    for row in log_probs:
        tokens = sorted((token for token in range(len(row)) if token != blank), key=lambda token: -row[token])
        after: dict[Prefix, tuple[float, float]] = {}
        for prefix, (in_blank, in_token) in held.items():
            by_token = in_token + row[prefix[-1]] if prefix else -math.inf
            after[prefix] = (_log_add(in_blank, in_token) + row[blank], by_token)
        for prefix, (in_blank, in_token) in held.items():
            for token in tokens:
                source = in_blank if prefix[-1:] == (token,) else _log_add(in_blank, in_token)
                longer = (*prefix, token)
                of_blank, of_token = after.get(longer, (-math.inf, -math.inf))
                after[longer] = (of_blank, _log_add(of_token, source + row[token]))
        scores = {prefix: _log_add(*masses) + worth(prefix) for prefix, masses in after.items() if max(masses) > -math.inf}
        best = set(sorted(scores, key=lambda prefix: -scores[prefix])[:beam])
        held = {prefix: after[prefix] for prefix in scores if prefix in best}
    return [(prefix, _log_add(*masses)) for prefix, masses in held.items()]


def _log_add(a: float, b: float) -> float:
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high)) if low > -math.inf else high
