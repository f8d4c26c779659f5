"""Everything that is settled before the first step: items, classes, what cannot be read, statistics, the network."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr.classification.config import ClassifyConfig
from asr.classification.dataset import HELD_BYTES, Arrays, ItemDataset, read_item
from asr.classification.network import ItemClassifier
from asr.classification.reader import Reader, build_reader
from asr.classification.table import Fault, Item, ItemTable, read_table
from asr.errors import AsrError, DataError

log = logging.getLogger("asr")


@dataclass(frozen=True)
class Part:
    """A table made ready: its items, those kept in memory, and how many frames each has."""

    table: ItemTable
    held: list[Arrays | None]
    lengths: list[int]

    def dataset(self, readers: Sequence[Reader], labels: Sequence[str], seed: int = 0, augment: bool = False) -> ItemDataset:
        return ItemDataset(self.table, readers, labels, self.held, seed, augment)


@dataclass(frozen=True)
class Prepared:
    """What the training loop starts from."""

    config: ClassifyConfig
    labels: tuple[str, ...]
    readers: list[Reader]
    network: ItemClassifier
    train: Part
    dev: Part
    class_weights: torch.Tensor | None

    def fingerprint(self, part: Part) -> str:
        """SHA-256 over a part's items: their ids, texts or names of files, labels and lengths."""
        digest = hashlib.sha256()
        for item, length in zip(part.table.items, part.lengths):
            inputs = [value if source.kind == "text" else os.path.basename(value)
                      for source, value in zip(self.config.inputs, item.sources)]
            digest.update("\t".join([item.id, *inputs, item.label or "", str(length)]).encode() + b"\n")
        return digest.hexdigest()

    def __deepcopy__(self, memo: dict[int, object]) -> Prepared:
        """Itself: averaging copies the task, and must not copy the items with it."""
        return self


def prepare(config: ClassifyConfig, train: str | Path, dev: str | Path | None, skip_bad: bool = False) -> Prepared:
    """Read both tables and every item in them once, fit the readers, build the network.

    Without a dev table the training items take its place, and the last epochs are averaged. Raises UsageError and
    DataError (see `read_table`); DataError also where an item is in both tables, or where there is one class only.
    """
    torch.manual_seed(config.seed)
    table = read_table(train, config, skip_bad=skip_bad)
    labels = tuple(table.labels)
    if len(labels) < 2:
        raise DataError(f"{train}: all {len(table)} items are of one class, {labels[0]!r}; there is nothing to tell apart")
    dev_table = None if dev is None else read_table(dev, config, labels, skip_bad=skip_bad)
    if dev_table is not None:
        seen = {_identity(item, config): item.where for item in table.items}
        shared = [item for item in dev_table.items if _identity(item, config) in seen]
        if shared:
            raise DataError(f"{train} and {dev} share {len(shared)} items (first: {shared[0].where} is "
                            f"{seen[_identity(shared[0], config)]}); dev decides which checkpoint is kept, so train on none of it")
    readers = [build_reader(source, training=True) for source in config.inputs]
    for number, reader in enumerate(readers):
        reader.learn([item.sources[number] for item in table.items])
    part = _read(table, readers, skip_bad)
    order = np.random.default_rng(config.seed).permutation(len(part.table)).tolist()
    for number, reader in enumerate(readers):
        reader.fit(_items(part, reader, number, order))
    dev_part = part if dev_table is None else _read(dev_table, readers, skip_bad)
    torch.manual_seed(config.seed)  # the weights are a function of the seed, whatever was drawn before
    network = ItemClassifier(config, readers, len(labels))
    for line in network.load_vectors(readers):
        log.info("%s", line)
    lost = [label for label in labels if all(item.label != label for item in part.table.items)]
    if lost:
        raise DataError(f"{train}: no item of class {lost[0]!r} is left to train on")
    weights = _weights(config, part.table, labels)
    return Prepared(config, labels, readers, network, part, dev_part, weights)


def _identity(item: Item, config: ClassifyConfig) -> tuple[str, ...]:
    """What makes an item the one it is: its files, whatever it is called; of texts alone the name as well, for a short text may
    rightly come twice."""
    files = tuple(os.path.realpath(path) for source, path in zip(config.inputs, item.sources) if source.kind != "text")
    return files or (item.id, *item.sources)


def _read(table: ItemTable, readers: Sequence[Reader], skip_bad: bool) -> Part:
    """Read every item once: what cannot be read is found now, all of it, and not in the middle of an epoch."""
    held: dict[str, Arrays | None] = {}
    lengths: dict[str, int] = {}
    faults, room = [], HELD_BYTES
    for item in table.items:
        try:
            arrays = read_item(readers, item.sources)
        except AsrError as error:
            faults.append(Fault(item, str(error)))
            continue
        room -= sum(array.nbytes for array in arrays)
        held[item.where] = arrays if room >= 0 else None
        lengths[item.where] = max(1, readers[0].length(arrays[0]))
    table = table.without(faults, skip_bad)
    return Part(table, [held[item.where] for item in table.items], [lengths[item.where] for item in table.items])


def _items(part: Part, reader: Reader, number: int, order: Sequence[int]) -> Iterator[np.ndarray]:
    for index in order:
        held = part.held[index]
        yield held[number] if held else reader.read(part.table.items[index].sources[number])


def _weights(config: ClassifyConfig, table: ItemTable, labels: Sequence[str]) -> torch.Tensor | None:
    """(C,) float32, items / (classes * items of the class), or None where all items count alike."""
    if config.class_weights == "none":
        return None
    counts = [sum(item.label == label for item in table.items) for label in labels]
    return torch.tensor([len(table) / (len(labels) * count) for count in counts])
