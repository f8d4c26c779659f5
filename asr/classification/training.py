"""Training a classifier: a configuration and tables of items to `model.safetensors`."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from asr.classification.config import ClassifyConfig
from asr.classification.dataset import collate
from asr.classification.model import save_classifier
from asr.classification.preparation import prepare
from asr.classification.task import ClassifyTask
from asr.models.summary import encoder_rows, parameters, table
from asr.system import choose_device
from asr.training.data import TaskData
from asr.training.loop import check_without_dev, run_training

log = logging.getLogger("asr")


def train(config: ClassifyConfig, train_table: str | Path, dev_table: str | Path | None, exp: str | Path, resume: bool = False,
          device: str = "auto", skip_bad: bool = False) -> Path:
    """Train a classifier, and return the path of the model file; see `training.loop.run_training` for what a run is.

    Raises what that raises, and DataError for items that cannot be used, all of them at once; with ``skip_bad`` they are named in
    the log, counted and left out.
    """
    if dev_table is None:
        check_without_dev(config.training)

    def build(exp: Path, device: torch.device) -> tuple[ClassifyTask, TaskData]:
        prepared = prepare(config, train_table, dev_table, skip_bad)
        parts = [(part.dataset(prepared.readers, prepared.labels, config.seed, augment), part.lengths)
                 for part, augment in ((prepared.train, True), (prepared.dev, False))]
        data = TaskData(parts[0], parts[1], collate, config.seed, config.training, most=config.training.batch_size)
        total_steps = data.total_steps()
        log.info("train %s: %d items of %d classes; dev %s: %d items; %d steps in %d epochs", train_table,
                 len(prepared.train.table), len(prepared.labels), dev_table or "(none: the training items)",
                 len(prepared.dev.table), total_steps, config.training.epochs)
        encoder = prepared.network.classifier.encoder
        frames = sorted(prepared.train.lengths)[len(prepared.train.lengths) // 2]
        rows = [(f"vectors {number}", f"({frames}, {reader.shape})", parameters(embedding))
                for number, (embedding, reader) in enumerate(zip(prepared.network.embeddings, prepared.readers), start=1)
                if parameters(embedding)]
        log.info("network, for %d frames\n%s", frames,
                 "\n".join(table([*rows, *encoder_rows(encoder, frames)], parameters(prepared.network))))
        return ClassifyTask(prepared, total_steps, exp / "nonfinite"), data

    return run_training(config, exp, choose_device(device), build, _save, resume)


def _save(task: ClassifyTask, notes: dict[str, str], path: Path) -> None:
    prepared = task.prepared
    notes |= {"training_data": prepared.fingerprint(prepared.train), "training_items": str(len(prepared.train.table)),
              "skipped": str(prepared.train.table.skipped), "parameters": str(parameters(task.network))}
    save_classifier(path, prepared.network, prepared.config, prepared.labels, prepared.readers, notes)
