"""Batches for Lightning: a loader whose every draw is a function of (seed, epoch, position), so it resumes exactly."""

from __future__ import annotations

import copy
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from asr.config import AugmentConfig, LoopConfig
from asr.corpus import BatchSampler, SpeechDataset, TensorBatch, collate
from asr.features import FrontEnd, WaveAugment
from asr.training.preparation import Part, Prepared
from asr.training.processes import place

Collate = Callable[[Sequence[Any]], TensorBatch]


class RawFeatures:
    """What a data worker makes of an utterance: augmented samples, then features as yet without normalisation.

    Here and not in the training step, so that the worker's core makes features while the network's core trains.
    """

    def __init__(self, frontend: FrontEnd, augment: AugmentConfig | None) -> None:
        # A copy of its own, on the CPU: the front-end of the task may move to another device.
        self.extractor = copy.deepcopy(frontend.extractor).train(augment is not None)
        self.augment = None if augment is None else WaveAugment(augment, frontend.sample_rate)
        self.vtlp = None if augment is None else augment.vtlp

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(N,) float32 in [-1, 1] -> (T, F) float32; no frames for less than a window."""
        if self.augment is not None:
            samples = self.augment(samples, rng)
        warp, dither = None, None
        if self.vtlp is not None:
            # Steps of a hundredth: the extractor makes one filterbank for each factor it meets, and keeps it.
            warp = torch.tensor([round(rng.uniform(*self.vtlp), 2)])
        if self.extractor.training and self.extractor.config.dither:
            dither = torch.Generator().manual_seed(int(rng.integers(2**63)))
        features, _ = self.extractor(torch.from_numpy(samples).unsqueeze(0), torch.tensor([len(samples)]), warp, dither)
        return features[0].numpy()


class EpochLoader:
    """One epoch's batches, from any position on, of a loader whose workers live as long as the run.

    Of several processes each has its share of every batch; all are at the same place in the same plan.
    Workers started anew for every epoch would cost a fork, a wait for the first batch, and a copy of every page of memory
    that the network then writes.
    """

    def __init__(self, loader: DataLoader, sampler: BatchSampler, epoch: int, collate: Collate):
        self.loader, self.sampler, self.epoch, self.collate = loader, sampler, epoch, collate
        self.sizes = [len(batch) for batch in sampler.plan(epoch)]
        self.taken = 0

    def __len__(self) -> int:
        """Batches of the whole epoch, those taken before a resume included: Lightning counts them so."""
        return len(self.sizes)

    def __iter__(self) -> Iterator[TensorBatch]:
        # Lightning makes an iterator before it is needed; as this one is a generator, work starts with the first batch.
        self.sampler.epoch, self.sampler.start = self.epoch, self.taken
        for examples in self.loader:
            # Padded here, not by the worker: arrays come through a pipe in half the time that handing over tensors takes.
            batch = self.collate(examples)
            if self.sampler.part[0] >= self.sizes[self.taken]:  # fewer items than processes
                batch = replace(batch, counts=False)
            self.taken += 1
            yield batch.pin_memory() if torch.cuda.is_available() else batch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["epoch"] == self.epoch:
            self.taken = state["taken"]


def _one_thread(worker: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the loop may have a handler of its own
    torch.set_num_threads(1)  # beside the network's threads, a second one in a worker only makes both wait


class TaskData(LightningDataModule):
    """Training batches, shuffled anew each epoch, and dev batches, of any task.

    A part is a map-style dataset, asked for as (epoch, index), and the size of each of its items: seconds of audio, frames, or one.
    Items of like size share a batch, whose padded size stays within ``budget`` and whose count within ``most``. ``collate``
    makes a `TensorBatch` of examples; what a worker hands over is the examples. Of several processes, each has its share of every
    training batch, and of the dev batches every so many-th, so each dev item is measured once.
    """

    def __init__(self, train: tuple[Any, Sequence[float]], dev: tuple[Any, Sequence[float]], collate: Collate, seed: int,
                 training: LoopConfig, budget: float = math.inf, most: int = 64, sort_first_epoch: bool = False):
        super().__init__()
        (self.train_set, sizes), (self.dev_set, dev_sizes) = train, dev
        self.collate, self.training = collate, training
        self.sampler = BatchSampler(sizes, budget, most, seed, sort_first_epoch=sort_first_epoch,
                                    multiple=training.batch_multiple, part=place())
        self.dev_sampler = BatchSampler(dev_sizes, budget, most, seed, shuffle=False)
        self.loader = DataLoader(self.train_set, batch_sampler=self.sampler, collate_fn=list, num_workers=training.workers,
                                 worker_init_fn=_one_thread, prefetch_factor=4 if training.workers else None,
                                 persistent_workers=training.workers > 0)

    def total_steps(self) -> int:
        """Optimizer steps of the whole run: the number of batches varies a little with each epoch's shuffling."""
        return sum(-(-len(self.sampler.plan(epoch)) // self.training.accumulate) for epoch in range(self.training.epochs))

    def train_dataloader(self) -> EpochLoader:
        return EpochLoader(self.loader, self.sampler, self.trainer.current_epoch, self.collate)

    def teardown(self, stage: str) -> None:
        self.loader._iterator = None  # ends the workers, which would otherwise wait until the loader is collected

    def val_dataloader(self) -> DataLoader:
        number, count = place()
        batches = list(self.dev_sampler)
        mine = batches[number::count]
        # A process without a batch runs one all the same: Lightning leaves out a loader that is empty, and the others would wait.
        collate = self.collate if mine else lambda examples: replace(self.collate(examples), counts=False)
        return DataLoader(self.dev_set, batch_sampler=mine or batches[:1], collate_fn=collate)

    def idle(self) -> float:
        """The part of the processes' time that they wait for the slowest of a step, in padded size, over the first epoch."""
        _, count = place()
        sizes, slowest, total = self.sampler.durations, 0.0, 0.0
        for batch in self.sampler.plan(0):
            costs = [len(share) * max(sizes[share], default=0.0) for share in self.sampler.shares(batch, count)]
            slowest, total = slowest + max(costs), total + sum(costs)
        return 1 - total / (count * slowest)


class SpeechData(TaskData):
    """Utterances by duration, in training augmented; inputs are raw features."""

    def __init__(self, prepared: Prepared):
        self.prepared = prepared
        config, training = prepared.config, prepared.config.training
        super().__init__((self._dataset(prepared.train, config.augment), prepared.train.durations),
                         (self._dataset(prepared.dev, None), prepared.dev.durations), collate, config.seed, training,
                         training.batch_seconds, training.max_utterances, training.sort_first_epoch)

    def _dataset(self, part: Part, augment: AugmentConfig | None) -> SpeechDataset:
        config, archived = self.prepared.config, self.prepared.config.training.archived
        transform = None if archived else RawFeatures(self.prepared.frontend, augment)
        return SpeechDataset(part.data, config.features.sample_rate, part.targets, transform, config.seed, archived)
