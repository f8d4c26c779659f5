"""What training and decoding draw from a data directory: examples by (epoch, index), and padded batches of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from asr.corpus.archive import read_matrix
from asr.corpus.datadir import DataDir
from asr.errors import DataError

if TYPE_CHECKING:
    import torch
    from typing_extensions import Self

Transform = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Example:
    """One utterance: ``inputs`` are samples (N,) or features (T, F), float32; ``targets`` (L,) int64."""

    id: str
    speaker: str
    inputs: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class TensorBatch:
    """Items in one batch, of any task: their ids, and in the fields of a subclass tensors whose first axis is theirs."""

    ids: list[str]
    counts: bool = field(default=True, kw_only=True)
    """False for stand-ins: what a process runs that has no part of a batch which several share."""

    def __len__(self) -> int:
        return len(self.ids)

    def tensors(self) -> dict[str, torch.Tensor]:
        """The fields that are tensors, by name."""
        import torch

        return {each.name: value for each in fields(self) if isinstance(value := getattr(self, each.name), torch.Tensor)}

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return replace(self, **{name: value.to(device, non_blocking=True) for name, value in self.tensors().items()})

    def pin_memory(self) -> Self:
        """The same batch in page-locked memory, from which a GPU fetches while it computes."""
        return replace(self, **{name: value.pin_memory() for name, value in self.tensors().items()})


@dataclass(frozen=True)
class Batch(TensorBatch):
    """Examples padded to one shape.

    ``inputs`` (B, N) samples or (B, T, F) features, float32, zeros after ``lengths`` (B,) int64;
    ``targets`` (B, L) int64, zeros after ``target_lengths`` (B,) int64.
    """

    speakers: list[str]
    inputs: torch.Tensor
    lengths: torch.Tensor
    targets: torch.Tensor
    target_lengths: torch.Tensor


class SpeechDataset:
    """Utterances as examples; map-style, for `torch.utils.data.DataLoader(batch_sampler=..., collate_fn=collate)`.

    An item is asked for as (epoch, index). ``transform(samples (N,), generator)`` makes the inputs, augmented samples or
    features; what it draws is a function of (seed, epoch, index) alone, so neither resuming nor the number of workers
    changes it. ``targets`` maps utterance id to token ids (None: no targets, each example's are empty). ``archived``
    reads `feats.scp` in place of audio.
    Raises DataError for an utterance without targets, or with ``archived`` without features; an item whose audio cannot
    be read raises AudioError (archived: DataError) when it is drawn.
    """

    def __init__(self, data: DataDir, sample_rate: int, targets: Mapping[str, Sequence[int]] | None = None,
                 transform: Transform | None = None, seed: int = 0, archived: bool = False) -> None:
        if archived and transform is not None:
            raise DataError("a transform works on waveforms: archived features allow none")
        for what, table in (("targets", targets), ("features", (data.feats or {}) if archived else None)):
            missing = [u.id for u in data.utterances if table is not None and u.id not in table]
            if missing:
                raise DataError(f"{data.path or 'data'}: {len(missing)} utterance(s) without {what}: "
                                + ", ".join(missing[:10]))
        self.data, self.sample_rate, self.transform, self.seed, self.archived = data, sample_rate, transform, seed, archived
        self.targets = None if targets is None else {u.id: np.asarray(targets[u.id], np.int64) for u in data.utterances}

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, key: tuple[int, int]) -> Example:
        epoch, index = key
        utterance = self.data.utterances[index]
        if self.archived:
            inputs = read_matrix((self.data.feats or {})[utterance.id], f"utterance {utterance.id}")
        else:
            inputs = self.data.audio(utterance, self.sample_rate)
            if self.transform is not None:
                inputs = self.transform(inputs, np.random.default_rng([self.seed, epoch, index]))
        targets = np.zeros(0, np.int64) if self.targets is None else self.targets[utterance.id]
        return Example(utterance.id, utterance.speaker, np.asarray(inputs, np.float32), targets)


def collate(examples: Sequence[Example]) -> Batch:
    """Pad examples with zeros into a Batch; the longest gives the shape."""
    import torch

    lengths = [len(example.inputs) for example in examples]
    target_lengths = [len(example.targets) for example in examples]
    inputs = torch.zeros(len(examples), max(lengths), *examples[0].inputs.shape[1:])
    targets = torch.zeros(len(examples), max(target_lengths), dtype=torch.int64)
    for row, example in enumerate(examples):
        inputs[row, :lengths[row]] = torch.from_numpy(example.inputs)
        targets[row, :target_lengths[row]] = torch.from_numpy(example.targets)
    return Batch([e.id for e in examples], [e.speaker for e in examples], inputs, torch.tensor(lengths, dtype=torch.int64),
                 targets, torch.tensor(target_lengths, dtype=torch.int64))


def labels_needed(labels: Sequence[int]) -> int:
    """The fewest output frames on which CTC can write the labels: one each, and a blank between two that are equal."""
    return len(labels) + sum(before == after for before, after in pairwise(labels))


def untrainable(targets: Mapping[str, Sequence[int]], frames: Mapping[str, int]) -> list[tuple[str, int, int]]:
    """(id, frames, labels needed) of each utterance that has fewer output frames than CTC needs, sorted by id."""
    return [(id, frames[id], needed) for id in sorted(targets) if (needed := labels_needed(targets[id])) > frames[id]]
