"""The training task: cross-entropy, and what is measured on dev."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from asr.classification.dataset import ItemBatch
from asr.classification.metrics import macro_f1
from asr.classification.preparation import Prepared
from asr.training.task import Metric, Task


class ClassifyTask(Task):
    """The classifier, with label smoothing and weights of classes where the configuration has them (in training alone)."""

    metrics: ClassVar[dict[str, Metric]] = {"error": Metric("error"), "f1_error": Metric("1 - macro F1")}
    loss_label: ClassVar[str] = "cross-entropy (nats)"
    measures: ClassVar[tuple[str, ...]] = ("confusion", "dev_loss_sum")

    def __init__(self, prepared: Prepared, total_steps: int, dump_dir: Path) -> None:
        super().__init__(prepared.network, prepared.config.seed, prepared.config.training, total_steps, dump_dir)
        self.prepared = prepared
        self.trained_on = {name: f"{len(part.table)} items ({prepared.fingerprint(part)[:12]})"
                           for name, part in (("train", prepared.train), ("dev", prepared.dev))}
        self.has_dev = prepared.dev is not prepared.train
        self.begin_measuring()

    def losses(self, batch: ItemBatch, generator: torch.Generator) -> tuple[Tensor, int]:
        inputs, second = self.prepared.readers[0].mask(batch.inputs, batch.lengths, generator), batch.second
        if second is not None and batch.second_lengths is not None:
            second = self.prepared.readers[1].mask(second, batch.second_lengths, generator)
        logits = self.network(inputs, batch.lengths, second, batch.second_lengths).float()
        losses = functional.cross_entropy(logits, batch.labels, reduction="none",
                                          label_smoothing=self.prepared.config.label_smoothing)
        if self.prepared.class_weights is not None:
            losses = losses * self.prepared.class_weights.to(losses.device)[batch.labels]
        return losses, len(batch)

    def begin_measuring(self) -> None:
        classes = len(self.prepared.labels)
        self.confusion, self.dev_loss_sum = np.zeros((classes, classes), np.int64), 0.0

    def validation_step(self, batch: ItemBatch, index: int) -> None:
        logits = self.network(batch.inputs, batch.lengths, batch.second, batch.second_lengths).float()
        self.dev_loss_sum += float(functional.cross_entropy(logits, batch.labels, reduction="sum"))
        np.add.at(self.confusion, (batch.labels.cpu().numpy(), logits.argmax(dim=1).cpu().numpy()), 1)

    def measured(self) -> dict[str, float]:
        items = int(self.confusion.sum())
        return {"loss": self.dev_loss_sum / items, "error": 1 - int(np.trace(self.confusion)) / items,
                "f1_error": 1 - float(macro_f1(self.confusion))}
