"""Batches for Lightning: a loader whose every draw is a function of (seed, epoch, position), so it resumes exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from asr.corpus import Batch, BatchSampler, SpeechDataset, collate
from asr.features import WaveAugment
from asr.training.preparation import Part, Prepared


class EpochLoader:
    """One epoch's batches, from any position on.

    Lightning makes an iterator before it is needed; as this one is a generator, workers start with the first batch.
    """

    def __init__(self, dataset: SpeechDataset, sampler: BatchSampler, epoch: int, workers: int):
        self.dataset, self.sampler, self.epoch, self.workers = dataset, sampler, epoch, workers
        self.size = len(sampler.plan(epoch))
        self.taken = 0

    def __len__(self) -> int:
        """Batches of the whole epoch, those taken before a resume included: Lightning counts them so."""
        return self.size

    def __iter__(self) -> Iterator[Batch]:
        self.sampler.epoch, self.sampler.start = self.epoch, self.taken
        loader = DataLoader(self.dataset, batch_sampler=self.sampler, collate_fn=collate, num_workers=self.workers,
                            worker_init_fn=_one_thread, pin_memory=torch.cuda.is_available(),
                            prefetch_factor=4 if self.workers else None)
        batches = iter(loader)
        for batch in batches:
            self.taken += 1
            if self.taken == self.size:
                next(batches, None)  # Lightning asks for no more: end the workers here, not whenever they are collected
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "taken": self.taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["epoch"] == self.epoch:
            self.taken = state["taken"]


def _one_thread(worker: int) -> None:
    torch.set_num_threads(1)  # beside the network's threads, a second one in a worker only makes both wait


class SpeechData(LightningDataModule):
    """Training batches by duration, shuffled and augmented; dev batches sorted, plain."""

    def __init__(self, prepared: Prepared):
        super().__init__()
        self.prepared = prepared
        config, training = prepared.config, prepared.config.training
        augment = None if training.archived else WaveAugment(config.augment, config.features.sample_rate)
        self.train_set = self._dataset(prepared.train, augment)
        self.dev_set = self._dataset(prepared.dev, None)
        self.sampler = BatchSampler(prepared.train.durations, training.batch_seconds, training.max_utterances, config.seed,
                                    sort_first_epoch=training.sort_first_epoch)
        self.dev_sampler = BatchSampler(prepared.dev.durations, training.batch_seconds, training.max_utterances, shuffle=False,
                                        seed=config.seed)

    def _dataset(self, part: Part, augment: WaveAugment | None) -> SpeechDataset:
        config = self.prepared.config
        return SpeechDataset(part.data, config.features.sample_rate, part.targets, augment, config.seed,
                             archived=config.training.archived)

    def total_steps(self) -> int:
        """Optimizer steps of the whole run: the number of batches varies a little with each epoch's shuffling."""
        training = self.prepared.config.training
        return sum(-(-len(self.sampler.plan(epoch)) // training.accumulate) for epoch in range(training.epochs))

    def train_dataloader(self) -> EpochLoader:
        return EpochLoader(self.train_set, self.sampler, self.trainer.current_epoch, self.prepared.config.training.workers)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.dev_set, batch_sampler=self.dev_sampler, collate_fn=collate)
