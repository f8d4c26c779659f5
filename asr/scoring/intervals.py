"""Confidence intervals of error rates by the bootstrap (Bisani & Ney, "Bootstrap estimates for confidence intervals in ASR
performance evaluation", ICASSP 2004).

The units (speakers, or utterances) are drawn with replacement, as many as there are; the error rate of every such
replicate is its errors by its reference words; the interval runs between percentiles of those rates.

Of few units the plain percentiles make too short an interval. They are moved outwards as far as Student's t is wider than
the normal law (Hesterberg, "What teachers should know about the bootstrap", The American Statistician 69, 2015): nothing to
speak of from a hundred units on, much with five.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
REPLICATES = 10_000
SEED = 0
_CELLS = 2_000_000  # weights drawn at once: bounds the memory to 16 MB


def bootstrap_interval(errors: Sequence[int], references: Sequence[int], confidence: float = CONFIDENCE,
                       replicates: int = REPLICATES, seed: int = SEED) -> tuple[float, float]:
    """The interval (low, high) of ``sum(errors) / sum(references)``, as fractions; the same at every call.

    Args:
        errors, references: counts of each unit, of equal length. Errors may be negative: a difference of two systems'.
        confidence: the coverage aimed at.
        replicates: number of resampled test sets.
        seed: of the draws.

    Raises ValueError where the references sum to zero. The interval of a single unit is its rate, which says nothing.
    """
    import numpy as np

    rates = draw_rates(errors, references, replicates, seed)
    tail = 100 * outer_tail((1 - confidence) / 2, len(errors))
    low, high = np.percentile(rates, [tail, 100 - tail])
    return float(low), float(high)


def draw_rates(errors: Sequence[float], references: Sequence[float], replicates: int, seed: int) -> np.ndarray:
    """The rate of each replicate, but for those without a reference item; arguments as for `bootstrap_interval`.

    Units with the same two counts are alike, so how often each *kind* of unit is drawn follows a multinomial law over the
    kinds; drawing that is the same bootstrap, at a cost that does not grow with the number of units.
    """
    import numpy as np

    units = np.column_stack([np.asarray(errors, dtype=float), np.asarray(references, dtype=float)])
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
    return sums[:, 0] / sums[:, 1]


def crossed_interval(first: np.ndarray, second: np.ndarray, references: np.ndarray, confidence: float = CONFIDENCE,
                     replicates: int = REPLICATES, seed: int = SEED) -> tuple[float, float]:
    """The interval (low, high) of the first's mean error rate less the second's, on other units and with other runs of both.

    Units are drawn for both systems alike, and runs of each by themselves: the pigeonhole bootstrap of a crossed table (Owen,
    "The pigeonhole bootstrap", Annals of Applied Statistics 1, 2007), which makes an interval rather too wide than too short. One
    run fewer is drawn than there are, so that the variance between few runs does not come out too small (Rao and Wu, "Resampling
    inference with complex survey data", JASA 83, 1988).

    Args:
        first, second: (R, U) and (S, U), errors of each run in each unit. R and S need not be equal. A run is one network on all
            units: where every unit has a network of its own, as with leave-one-out, `bootstrap_interval` has their spread already.
        references: (U,) reference items of each unit.
        confidence, replicates, seed: as for `bootstrap_interval`.

    Raises ValueError where a system has fewer than two runs, of which nothing about others can be told, and where the references
    sum to zero.
    """
    import numpy as np

    if min(len(first), len(second)) < 2:
        raise ValueError("what other runs would do cannot be told of a single one")
    if sum(references) <= 0:
        raise ValueError("the error rate of units without a reference item is undefined")
    generator = np.random.default_rng(seed)
    units = len(references)
    rates = []
    step = max(1, _CELLS // units)
    for start in range(0, replicates, step):
        size = min(step, replicates - start)
        drawn = generator.multinomial(units, np.full(units, 1 / units), size=size)  # (size, U)
        ours, theirs = (generator.multinomial(len(runs) - 1, np.full(len(runs), 1 / len(runs)), size=size) @ runs / (len(runs) - 1)
                        for runs in (first, second))  # (size, U): mean errors of the drawn runs
        sums = drawn @ references
        rates.append(((ours - theirs) * drawn).sum(axis=1)[sums > 0] / sums[sums > 0])
    tail = 100 * outer_tail((1 - confidence) / 2, units)
    low, high = np.percentile(np.concatenate(rates), [tail, 100 - tail])
    return float(low), float(high)


def outer_tail(tail: float, units: int) -> float:
    """The percentile (as a fraction) to read off in place of ``tail``, given how many units were drawn from."""
    from scipy.special import ndtr, stdtrit

    if units < 2:
        return tail
    return float(ndtr(stdtrit(units - 1, tail) * (units / (units - 1)) ** 0.5))


def upper_bound_without_errors(references: int, confidence: float = CONFIDENCE) -> float:
    """The largest error rate that still shows no error in ``references`` items with probability ``1 - confidence``.

    The bootstrap of a test without errors is [0, 0], which says nothing of the errors a larger test would show. This
    bound (about 3 / references, the "rule of three") takes errors to be independent.
    """
    return 1 - (1 - confidence) ** (1 / references)
