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
MINIMUM = 24  # windows in a block at least: errors one step ahead do not overlap, and yet come in spells


@dataclass(frozen=True)
class Draws:
    """Which windows each replicate has: ``weights`` (R, N) say how often, ``blocks`` how many blocks fill the set."""

    weights: np.ndarray
    blocks: int

    def totals(self, errors: Errors) -> list[Errors]:
        """The sums of each replicate: as many `Errors` of one window."""
        sums, loss, covered = (None if part is None else np.tensordot(self.weights, part, axes=1)
                               for part in (errors.sums, errors.pinball, errors.covered))
        return [Errors(sums[r:r + 1], errors.centre, errors.quantiles, None if loss is None else loss[r:r + 1],
                       None if covered is None else covered[r:r + 1]) for r in range(len(self.weights))]

    def interval(self, replicates: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
        """(low, high) of what each replicate gave: a metric of it, or the difference of two forecasters' metrics."""
        tail = 100 * outer_tail((1 - confidence) / 2, self.blocks)
        low, high = np.nanpercentile(replicates, [tail, 100 - tail])
        return float(low), float(high)


def draw_blocks(windows: int, horizon: int, replicates: int = REPLICATES, seed: int = SEED) -> Draws:
    """Replicates of ``windows`` windows that follow each other row by row, with ``horizon`` rows of targets each.

    The same at every call. Blocks are `max(horizon, 24)` windows long, and no longer than the whole.
    """
    length = min(windows, max(horizon, MINIMUM))
    blocks = -(-windows // length)
    starts = np.random.default_rng(seed).integers(windows, size=(replicates, blocks))
    weights = np.zeros((replicates, windows + 1))
    # +1 where a block begins and -1 behind its end, summed along the circle: how many blocks cover a window.
    last = windows - length * (blocks - 1)  # the last block is cut, so that every replicate has as many windows as the set
    lengths = np.full(blocks, length)
    lengths[-1] = last
    ends = starts + lengths
    rows = np.arange(replicates)[:, None]
    np.add.at(weights, (rows, starts), 1.0)
    np.add.at(weights, (rows, np.where(ends > windows, ends - windows, ends)), -1.0)
    weights[:, 0] += (ends > windows).sum(axis=1)
    return Draws(np.cumsum(weights[:, :windows], axis=1), blocks)
