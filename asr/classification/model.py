"""A trained classifier: its file, and what it says of items."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr.classification.config import ClassifyConfig
from asr.classification.dataset import ItemExample, collate, read_item
from asr.classification.network import ItemClassifier
from asr.classification.predictions import Predictions
from asr.classification.reader import Reader, build_reader
from asr.classification.table import Fault, Item, ItemTable
from asr.config import parse_config
from asr.errors import AsrError
from asr.models.storage import load_weights, whole_model, write_model

BATCH = 64
TASK = "classification"
Progress = Callable[[Iterable[Item]], Iterable[Item]]


@dataclass(frozen=True)
class ClassifierModel:
    """A trained classifier's parts, ready for inference."""

    network: ItemClassifier
    readers: list[Reader]
    labels: tuple[str, ...]
    config: ClassifyConfig
    notes: dict[str, str]
    path: str

    def predict(self, table: ItemTable, skip_bad: bool = False, progress: Progress | None = None) -> tuple[Predictions, ItemTable]:
        """Probabilities of every item of a table, and the table less what could not be read.

        ``progress`` wraps the iterable of items (`asr.cli.progress`). Raises DataError that names every item that cannot be read,
        unless they are to be skipped.
        """
        faults: list[Fault] = []
        chances = [np.zeros((0, len(self.labels)))]
        items: Iterable[Item] = table.items if progress is None else progress(table.items)
        for batch in _in_batches(self._examples(items, faults)):
            chances.append(self._probabilities(batch))
        kept = table.without(faults, skip_bad)
        labels = [item.label for item in kept.items]
        known = [label for label in labels if label is not None]
        return Predictions([item.id for item in kept.items], self.labels, np.concatenate(chances),
                           known if len(known) == len(labels) else None, kept.groups), kept

    def _examples(self, items: Iterable[Item], faults: list[Fault]) -> Iterator[ItemExample]:
        for item in items:
            try:
                arrays = read_item(self.readers, item.sources)
            except AsrError as error:
                faults.append(Fault(item, str(error)))
                continue
            yield ItemExample(item.id, tuple(reader.make(array) for reader, array in zip(self.readers, arrays)), -1)

    @torch.inference_mode()
    def _probabilities(self, examples: Sequence[ItemExample]) -> np.ndarray:
        batch = collate(examples).to(next(self.network.parameters()).device)
        logits = self.network(batch.inputs, batch.lengths, batch.second, batch.second_lengths)
        return torch.softmax(logits.double(), dim=1).cpu().numpy()


def _in_batches(examples: Iterable[ItemExample]) -> Iterator[list[ItemExample]]:
    batch: list[ItemExample] = []
    for example in examples:
        batch.append(example)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def save_classifier(path: str | Path, network: ItemClassifier, config: ClassifyConfig, labels: Sequence[str],
                    readers: Sequence[Reader], notes: dict[str, str]) -> None:
    """Write the model file: weights, labels, vocabularies, statistics and configuration, and nothing else is needed."""
    tensors, values = {}, []
    for number, reader in enumerate(readers):
        arrays, plain = reader.state()
        tensors |= {f"inputs.{number}.{name}": torch.from_numpy(array) for name, array in arrays.items()}
        values.append(plain)
    write_model(path, TASK, network, config, notes, tensors, {"labels": list(labels), "inputs": values})


def load_classifier(path: str | Path, device: str | torch.device = "cpu") -> ClassifierModel:
    """Read a model file; raises ModelError when it is absent, truncated, foreign, or not a classifier."""
    with whole_model(path, TASK) as (metadata, tensors):
        config = parse_config(metadata["config"], f"{path}: configuration", ClassifyConfig)
        readers = [build_reader(source) for source in config.inputs]
        for number, (reader, values) in enumerate(zip(readers, metadata["inputs"], strict=True)):
            prefix = f"inputs.{number}."
            own = [name for name in tensors if name.startswith(prefix)]
            reader.restore({name.removeprefix(prefix): tensors[name].numpy() for name in own}, values)
        labels = tuple(metadata["labels"])
        network = ItemClassifier(config, readers, len(labels))
        load_weights(network, tensors)
    return ClassifierModel(network.to(device).eval(), readers, labels, config, metadata["notes"], str(path))
