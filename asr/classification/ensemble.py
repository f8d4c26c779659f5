"""Trained classifiers that decide together: the mean of their probabilities.

Networks of other seeds, or of another build, err on other items; their mean mostly errs less than they do one by one (Hansen and
Salamon, "Neural network ensembles", IEEE PAMI 12, 1990; the mean of probabilities is the sum rule of Kittler et al., "On combining
classifiers", IEEE PAMI 20, 1998).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr.classification.config import ClassifyConfig
from asr.classification.dataset import ItemExample
from asr.classification.model import ClassifierModel, load_classifier
from asr.classification.predictions import Predictions
from asr.classification.table import Fault, Item, ItemTable, shown
from asr.errors import AsrError, ModelError, UsageError

BATCH = 64
BATCH_VALUES = 1 << 24
"""64 recordings of half a minute, as 80 bands; what a network makes of so much takes some hundred megabytes."""

Models = str | Path | Sequence[str | Path]
Progress = Callable[[Iterable[Item]], Iterable[Item]]
Shared = tuple[ItemExample, ...]  # an item, as each member is given it


@dataclass(frozen=True)
class Ensemble:
    """One classifier or several, of the same classes in the same order and of items with the same columns."""

    members: tuple[ClassifierModel, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return self.members[0].labels

    @property
    def config(self) -> ClassifyConfig:
        """The first one's: all read a table alike."""
        return self.members[0].config

    def predict(self, table: ItemTable, skip_bad: bool = False, progress: Progress | None = None) -> tuple[Predictions, ItemTable]:
        """Probabilities of every item of a table, and the table less what could not be read; what one member cannot read is in no
        result.

        ``progress`` wraps the iterable of items (`asr.cli.progress`). Raises DataError that names every item that cannot be read,
        unless they are to be skipped.
        """
        faults: list[Fault] = []
        chances = [np.zeros((0, len(self.labels)))]
        items: Iterable[Item] = table.items if progress is None else progress(table.items)
        for batch in in_batches(self._examples(items, faults)):
            chances.append(np.mean([member.probabilities(own) for member, own in zip(self.members, zip(*batch))], axis=0))
        kept = table.without(faults, skip_bad)
        labels = [item.label for item in kept.items]
        known = [label for label in labels if label is not None]
        return Predictions([item.id for item in kept.items], self.labels, np.concatenate(chances),
                           known if len(known) == len(labels) else None, kept.groups), kept

    def _examples(self, items: Iterable[Item], faults: list[Fault]) -> Iterator[Shared]:
        """What each member is given of an item. An input that members read alike is read once: decoding a video takes longer than
        a network does."""
        members = [member.readers for member in self.members]
        alike = [[next(first for first in readers if first.reads_as(reader)) for reader in readers] for readers in zip(*members)]
        for item in items:
            try:
                read = [{reader: reader.read(source) for reader in dict.fromkeys(readers)}
                        for readers, source in zip(alike, item.sources)]
            except AsrError as error:
                faults.append(Fault(item, str(error)))
                continue
            yield tuple(ItemExample(item.id, tuple(reader.make(read[place][alike[place][number]])
                                                   for place, reader in enumerate(readers)), -1)
                        for number, readers in enumerate(members))


def in_batches(items: Iterable[Shared]) -> Iterator[list[Shared]]:
    """Items in their order: at most BATCH together, of at most BATCH_VALUES numbers once they are padded. An item of more is alone,
    so that one long recording does not make as much of every short one beside it."""
    batch: list[Shared] = []
    largest: list[np.ndarray] = []
    for item in items:
        shapes = [np.array(array.shape) for example in item for array in example.inputs]
        padded = [np.maximum(*pair) for pair in zip(shapes, largest)] if batch else shapes
        if batch and (len(batch) == BATCH or (len(batch) + 1) * max(map(_values, padded)) > BATCH_VALUES):
            yield batch
            batch, padded = [], shapes
        batch.append(item)
        largest = padded
    if batch:
        yield batch


def _values(shape: np.ndarray) -> int:
    """Of frames (T, ...). A narrow one counts as 64: the layers above it are as wide, whatever goes in."""
    return int(shape[0] * max(64, np.prod(shape[1:])))


def load_ensemble(models: Models, device: str | torch.device = "cpu") -> Ensemble:
    """Read one model file or several.

    Raises UsageError for none and for one that is named twice, ModelError as `load_classifier` does and for models that cannot
    decide together: of other classes than the first, or of items with other columns.
    """
    paths = [models] if isinstance(models, str | Path) else list(models)
    if not paths:
        raise UsageError("no model is named")
    seen: set[Path] = set()
    for path in paths:
        if Path(path).resolve() in seen:
            raise UsageError(f"{path}: named twice, and would count double; name each model once")
        seen.add(Path(path).resolve())
    members = tuple(load_classifier(path, device) for path in paths)
    first = members[0]
    for other in members[1:]:
        if other.labels != first.labels:
            raise ModelError(f"{other.path}: its classes ({shown(other.labels)}) are not those of {first.path} "
                             f"({shown(first.labels)}): they cannot decide together")
        if _columns(other) != _columns(first):
            raise ModelError(f"{other.path}: it wants items of {_columns(other)}, {first.path} of {_columns(first)}: they cannot "
                             "decide together")
    return Ensemble(members)


def _columns(member: ClassifierModel) -> str:
    """What a member reads of a table, as text."""
    columns = member.config.table
    inputs = ", ".join(f"{source.kind} in column {source.source!r}" for source in member.config.inputs)
    return f"{inputs} (id {columns.id!r}, label {columns.label!r}, group {columns.group!r})"
