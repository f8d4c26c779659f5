"""Items for training: examples by (epoch, index), and padded batches of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from asr.classification.reader import Reader
from asr.classification.table import ItemTable
from asr.corpus import TensorBatch

HELD_BYTES = 1 << 30
"""Items as read are kept in memory up to this much; the rest is read again in every epoch."""

Arrays = tuple[np.ndarray, ...]


@dataclass(frozen=True)
class ItemExample:
    """One item: the frames of each input, (T, ...), and the number of its class (-1 where it is not known)."""

    id: str
    inputs: Arrays
    label: int


@dataclass(frozen=True)
class ItemBatch(TensorBatch):
    """Examples padded to one shape.

    ``inputs`` (B, T, ...) float32, or int64 for texts, zeros after ``lengths`` (B,) int64; ``second`` and its lengths where an item
    has two inputs; ``labels`` (B,) int64.
    """

    inputs: Tensor
    lengths: Tensor
    labels: Tensor
    second: Tensor | None = None
    second_lengths: Tensor | None = None


class ItemDataset:
    """A table's items; map-style, an item is asked for as (epoch, index).

    What augmentation draws is a function of (seed, epoch, index) alone. ``held`` are items as read, or None for those to be read
    again; ``augment`` is for training.
    """

    def __init__(self, table: ItemTable, readers: Sequence[Reader], labels: Sequence[str], held: Sequence[Arrays | None],
                 seed: int = 0, augment: bool = False) -> None:
        numbers = {label: number for number, label in enumerate(labels)}
        self.items, self.readers, self.held, self.seed, self.augment = table.items, readers, held, seed, augment
        self.labels = [numbers.get(item.label or "", -1) for item in table.items]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, key: tuple[int, int]) -> ItemExample:
        epoch, index = key
        arrays = self.held[index] or read_item(self.readers, self.items[index].sources)
        rng = np.random.default_rng([self.seed, epoch, index]) if self.augment else None
        return ItemExample(self.items[index].id, tuple(reader.make(array, rng) for reader, array in zip(self.readers, arrays)),
                           self.labels[index])


def read_item(readers: Sequence[Reader], sources: Sequence[str]) -> Arrays:
    """Every input of an item, as read. Raises AsrError for what cannot be read."""
    return tuple(reader.read(source) for reader, source in zip(readers, sources))


def collate(examples: Sequence[ItemExample]) -> ItemBatch:
    """Pad examples with zeros into a batch."""
    padded = [_pad([example.inputs[number] for example in examples]) for number in range(len(examples[0].inputs))]
    (inputs, lengths), (second, second_lengths) = padded[0], padded[1] if len(padded) > 1 else (None, None)
    return ItemBatch([example.id for example in examples], inputs, lengths,
                     torch.tensor([example.label for example in examples], dtype=torch.int64), second, second_lengths)


def _pad(arrays: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """(T, ...) each -> (B, longest T, ...), (B,). Words have different numbers of n-grams: these are padded as well."""
    lengths = torch.tensor([len(array) for array in arrays], dtype=torch.int64)
    shape = np.max([array.shape for array in arrays], axis=0)
    batch = np.zeros((len(arrays), max(1, shape[0]), *shape[1:]), arrays[0].dtype)  # convolutions want a frame, be it padding
    for row, array in zip(batch, arrays):
        row[tuple(slice(size) for size in array.shape)] = array
    return torch.from_numpy(batch), lengths
