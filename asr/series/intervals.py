"""How sure a score of overlapping windows is: the bootstrap over blocks of neighbouring windows.

Windows that overlap share targets, and errors of neighbours are alike: drawn one by one they would promise far too much.
So whole blocks of windows that follow each other are drawn, from a circle (Politis and Romano, "A circular block-resampling
procedure for stationary data", 1992), each as long as the windows' targets overlap. Percentiles are moved outwards where
blocks are few, as for the error rates of speech (`asr.scoring.intervals`). With fewer than about ten blocks the interval is a
hint, no more: the number of blocks is written beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asr.scoring.intervals import outer_tail
from asr.series.metrics import Errors

CONFIDENCE = 0.95
REPLICATES = 1000
SEED = 0
_CELLS = 4_000_000  # weights at once: bounds the memory to 32 MB
MINIMUM = 24  # windows in a block at least: errors one step ahead do not overlap, and yet come in spells


@dataclass(frozen=True)
class Draws:
    """Replicates of N windows: blocks of `length` that begin at ``starts`` (R, blocks) on a circle, the last one cut to fit."""

    windows: int
    length: int
    starts: np.ndarray

    @property
    def blocks(self) -> int:
        """How many blocks fill the set."""
        return self.starts.shape[1]

    def weights(self, first: int = 0, last: int | None = None) -> np.ndarray:
        """(replicates ``first`` to ``last``, N) float64: how often each window is drawn."""
        starts = self.starts[first:last]
        lengths = np.full(self.blocks, self.length)
        lengths[-1] = self.windows - self.length * (self.blocks - 1)  # so that a replicate has as many windows as the set
        ends = starts + lengths
        round_the_circle = ends > self.windows
        # +1 where a block begins and -1 behind its end, summed along the windows: how many blocks cover each.
        steps = np.zeros((len(starts), self.windows + 1))
        rows = np.arange(len(starts))[:, None]
        np.add.at(steps, (rows, starts), 1.0)
        np.add.at(steps, (rows, np.where(round_the_circle, ends - self.windows, ends)), -1.0)
        steps[:, 0] += round_the_circle.sum(axis=1)
        return np.cumsum(steps[:, :self.windows], axis=1)

    def totals(self, errors: Errors) -> list[Errors]:
        """The sums of each replicate: as many `Errors` of one window."""
        found, size = [], max(1, _CELLS // self.windows)
        for first in range(0, len(self.starts), size):
            weights = self.weights(first, first + size)
            sums, loss, covered = (None if part is None else np.tensordot(weights, part, axes=1)
                                   for part in (errors.sums, errors.pinball, errors.covered))
            found += [Errors(sums[r:r + 1], errors.centre, errors.quantiles, None if loss is None else loss[r:r + 1],
                             None if covered is None else covered[r:r + 1]) for r in range(len(weights))]
        return found

    def interval(self, replicates: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
        """(low, high) of what each replicate gave: a metric of it, or the difference of two forecasters' metrics.

        A replicate of which it is undefined (NaN) is left out; NaN where there is no other.
        """
        defined = np.asarray(replicates)[~np.isnan(replicates)]
        if len(defined) == 0:
            return float("nan"), float("nan")
        tail = 100 * outer_tail((1 - confidence) / 2, self.blocks)
        low, high = np.percentile(defined, [tail, 100 - tail])
        return float(low), float(high)


def draw_blocks(windows: int, horizon: int, replicates: int = REPLICATES, seed: int = SEED) -> Draws:
    """Replicates of ``windows`` windows that follow each other row by row, with ``horizon`` rows of targets each.

    The same at every call. Blocks are `max(horizon, 24)` windows long, and no longer than the whole.
    """
    length = min(windows, max(horizon, MINIMUM))
    return Draws(windows, length, np.random.default_rng(seed).integers(windows, size=(replicates, -(-windows // length))))
