"""A trained classifier: its file, and what it says of items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from asr.classification.config import ClassifyConfig
from asr.classification.dataset import ItemExample, collate
from asr.classification.network import ItemClassifier
from asr.classification.reader import Reader, build_reader
from asr.config import parse_config
from asr.models.storage import load_weights, whole_model, write_model

TASK = "classification"


@dataclass(frozen=True)
class ClassifierModel:
    """A trained classifier's parts, ready for inference."""

    network: ItemClassifier
    readers: list[Reader]
    labels: tuple[str, ...]
    config: ClassifyConfig
    notes: dict[str, str]
    path: str

    @torch.inference_mode()
    def probabilities(self, examples: Sequence[ItemExample]) -> np.ndarray:
        """(N, C) float64 of examples that this model's readers made."""
        batch = collate(examples).to(next(self.network.parameters()).device)
        logits = self.network(batch.inputs, batch.lengths, batch.second, batch.second_lengths)
        return torch.softmax(logits.double(), dim=1).cpu().numpy()


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
