"""Small runs on tones: a network of some thousand weights that learns in seconds."""

from __future__ import annotations

import csv
from pathlib import Path

from tones import RATE

from asr.config import Config, load_config
from asr.training import train

SETTINGS = [f"features.sample_rate={RATE}", "features.num_mel_bins=20", "model.conv.layers=[{channels: 8, stride: [2, 2]}]",
            "model.rnn={hidden: 24, layers: 1}", "training.epochs=2", "training.batch_seconds=8", "training.optimizer.lr=0.01",
            "training.schedule.warmup_steps=5", "training.average_best=2", "training.workers=0", "training.threads=1"]


def settings(*overrides: str) -> Config:
    return load_config(None, [*SETTINGS, *overrides])


def run(corpus: Path, exp: Path, *overrides: str, train_set: str = "train", dev_set: str = "dev") -> Path:
    return train(settings(*overrides), corpus / train_set, corpus / dev_set, exp, device="cpu")


def metrics(exp: Path) -> list[dict[str, float]]:
    with open(exp / "metrics.csv", newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def log(exp: Path) -> str:
    return (exp / "train.log").read_text()
