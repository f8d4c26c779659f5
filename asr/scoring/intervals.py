"""Confidence intervals of error rates by the percentile bootstrap (Bisani & Ney, "Bootstrap estimates for confidence
intervals in ASR performance evaluation", ICASSP 2004).

The units (utterances) are drawn with replacement, as many as there are; the error rate of every such replicate is its
errors by its reference words; the interval runs between percentiles of those rates.
"""

from __future__ import annotations

from collections.abc import Sequence

CONFIDENCE = 0.95
REPLICATES = 10_000
SEED = 0
_CELLS = 2_000_000  # weights drawn at once: bounds the memory to 16 MB


def bootstrap_interval(errors: Sequence[int], references: Sequence[int], confidence: float = CONFIDENCE,
                       replicates: int = REPLICATES, seed: int = SEED) -> tuple[float, float]:
    """The interval (low, high) of ``sum(errors) / sum(references)``, as fractions; the same at every call.

    Args:
        errors, references: counts of each unit, of equal length.
        confidence: the coverage aimed at.
        replicates: number of resampled test sets.
        seed: of the draws.

    Units with the same two counts are alike, so how often each *kind* of unit is drawn follows a multinomial law over
    the kinds; drawing that is the same bootstrap, at a cost that does not grow with the number of units. A replicate
    without any reference item has no rate and is left out. Raises ValueError where the references sum to zero.
    """
    import numpy as np

    units = np.column_stack([np.asarray(errors, dtype=np.int64), np.asarray(references, dtype=np.int64)])
    if units[:, 1].sum() <= 0:
        raise ValueError("the error rate of units without a reference item is undefined")
    kinds, how_many = np.unique(units, axis=0, return_counts=True)  # (K, 2), (K,)
    generator = np.random.default_rng(seed)
    totals = []
    step = max(1, _CELLS // len(kinds))
    for start in range(0, replicates, step):
        # (replicates of this step, K) @ (K, 2) -> errors and references of each replicate
        totals.append(generator.multinomial(len(units), how_many / len(units), size=min(step, replicates - start)) @ kinds)
    sums = np.concatenate(totals)
    sums = sums[sums[:, 1] > 0]
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [tail, 100 - tail])
    return float(low), float(high)


def upper_bound_without_errors(references: int, confidence: float = CONFIDENCE) -> float:
    """The largest error rate that still shows no error in ``references`` items with probability ``1 - confidence``.

    The bootstrap of a test without errors is [0, 0], which says nothing of the errors a larger test would show. This
    bound (about 3 / references, the "rule of three") takes errors to be independent.
    """
    return 1 - (1 - confidence) ** (1 / references)
