"""Batches by duration: a budget of padded audio seconds, little padding, and an order that is a function of the seed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from asr.errors import DataError

JITTER = 0.03  # relative: how far apart two durations may lie and still change places when a new epoch is planned


class BatchSampler:
    """Plans the batches of every epoch; a ``batch_sampler`` for `torch.utils.data.DataLoader`, yielding (epoch, index).

    ``durations`` in seconds; the padded seconds of a batch (longest x count) stay within ``batch_seconds`` and its count
    within ``max_utterances``; a single utterance longer than the budget is a batch of its own. Utterances are sorted by
    duration with a jitter of 3 % drawn anew for each epoch, cut into batches, and the batches are shuffled. With
    ``shuffle`` off, batches come longest first (what does not fit into memory shows at once), the same in every epoch.
    ``sort_first_epoch``: epoch 0 goes from short to long (SortaGrad: Amodei et al., 2016).

    ``multiple``: batches hold a multiple of so many utterances (all but the last to be cut, and those whose budget is below it), so
    that as many processes get equal parts. ``part``: (number, count) of the process that asks; of every batch it is given its
    share, and the first utterance as a stand-in where that is empty.

    ``epoch`` chooses the plan, ``start`` skips that many of its batches: setting both resumes in the middle of an epoch.
    Raises DataError for durations that are not positive numbers, or a budget that is none.
    """

    def __init__(self, durations: Sequence[float], batch_seconds: float, max_utterances: int, seed: int,
                 shuffle: bool = True, sort_first_epoch: bool = False, multiple: int = 1, part: tuple[int, int] = (0, 1)) -> None:
        self.durations = np.asarray(durations, np.float64)
        self.batch_seconds, self.max_utterances, self.seed = batch_seconds, max_utterances, seed
        self.shuffle, self.sort_first_epoch, self.multiple, self.part = shuffle, sort_first_epoch, multiple, part
        self.epoch, self.start = 0, 0
        self._planned: tuple[int, list[list[int]]] | None = None
        bad = np.flatnonzero(~(np.isfinite(self.durations) & (self.durations > 0)))
        if len(bad):
            raise DataError(f"durations must be above 0 s: number {bad[0]} is {self.durations[bad[0]]} ({len(bad)} in all)")
        if not batch_seconds > 0 or max_utterances < 1:
            raise DataError(f"a batch must hold something: {batch_seconds} s and {max_utterances} utterances were asked for")

    def plan(self, epoch: int) -> list[list[int]]:
        """The batches of an epoch as lists of indices; every index comes once. A pure function of (seed, epoch)."""
        ascending = self.sort_first_epoch and epoch == 0
        generator = np.random.default_rng([self.seed, epoch])
        keys = self.durations
        if self.shuffle and not ascending:
            keys = keys * generator.uniform(1 - JITTER, 1 + JITTER, len(keys))
        order = np.argsort(keys, kind="stable")[::-1]  # longest first: a batch's first fixes about how many it holds
        batches = self._cut(order)
        if ascending:
            return batches[::-1]
        if self.shuffle:
            return [batches[i] for i in generator.permutation(len(batches))]
        return batches

    def shares(self, batch: Sequence[int], count: int) -> list[list[int]]:
        """A batch in ``count`` parts, of which the largest in padded seconds is as small as can be; empty ones come last.

        Longest first, cut into runs: no other way of parting has a smaller largest part, for what is as long as the longest of a
        run costs nothing more there. A batch of ``count`` or more leaves no part empty.
        """
        order = sorted(batch, key=lambda index: -self.durations[index])
        lengths = self.durations[order]
        most = np.arange(1, len(order) + 1)
        low, high = max(lengths[0], lengths.sum() / count * (1 - 1e-9)), lengths[0] * -(-len(order) // count)
        bounds = np.outer(most, lengths)
        bounds = np.unique(bounds[(bounds >= low) & (bounds <= high)])  # the largest part is one of these
        at, end = 0, len(bounds) - 1  # the last one is large enough
        while at < end:
            middle = (at + end) // 2
            at, end = (at, middle) if self._runs(lengths, bounds[middle], count)[-1] == len(order) else (middle + 1, end)
        cuts = self._runs(lengths, bounds[at], count)
        return [order[start:stop] for start, stop in zip([0, *cuts], cuts)]

    @staticmethod
    def _runs(lengths: np.ndarray, bound: float, count: int) -> list[int]:
        """Where runs end that are as long as the bound allows, and leave one for each that follows."""
        ends, at = [], 0
        for number in range(count):
            left = len(lengths) - at
            fits = int(bound / lengths[at] * (1 + 1e-12)) if left else 0
            at += min(left, max(1, min(fits, left - (count - number - 1))))
            ends.append(at)
        return ends

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        epoch = self.epoch
        number, count = self.part
        for batch in self._current()[self.start:]:
            mine = batch if count == 1 else self.shares(batch, count)[number] or batch[:1]
            yield [(epoch, index) for index in mine]

    def __len__(self) -> int:
        return max(0, len(self._current()) - self.start)

    def _current(self) -> list[list[int]]:
        if self._planned is None or self._planned[0] != self.epoch:
            self._planned = self.epoch, self.plan(self.epoch)
        return self._planned[1]

    def _cut(self, order: np.ndarray) -> list[list[int]]:
        """Cut the order into runs, each as long as the budgets allow."""
        lengths = self.durations[order]
        counts = np.arange(1, self.max_utterances + 1)
        batches, at = [], 0
        while at < len(order):
            # Padded seconds of the first 1, 2, ... utterances from here; they grow, so the budget is kept up to one point.
            padded = np.maximum.accumulate(lengths[at:at + self.max_utterances]) * counts[:len(order) - at]
            count = max(1, int(np.searchsorted(padded, self.batch_seconds, side="right")))
            if self.multiple < count < len(order) - at:
                count -= count % self.multiple
            batches.append(order[at:at + count].tolist())
            at += count
        return batches
