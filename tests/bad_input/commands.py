"""Commands over a small corpus that a test may spoil."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tones import RATE

CONFIG = f"""
features: {{sample_rate: {RATE}, num_mel_bins: 12, cmvn: utterance}}
model: {{conv: {{layers: [{{channels: 4, stride: [2, 2]}}]}}, rnn: {{hidden: 8, layers: 1}}}}
training: {{epochs: 1, batch_seconds: 4, workers: 0, threads: 1, average_best: 1, schedule: {{warmup_steps: 2}}}}
"""


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def train(corpus: Path, *more: object) -> list[object]:
    return ["train", "--config", corpus / "c.yaml", "--train", corpus / "train", "--dev", corpus / "dev", "--exp",
            corpus / "exp", "--device", "cpu", *more]


def decode(corpus: Path, *more: object) -> list[object]:
    return ["decode", "--model", corpus / "model.safetensors", "--data", corpus / "train", "--out", corpus / "out", "--device",
            "cpu", *more]


def transcribe(corpus: Path, *inputs: object) -> list[object]:
    return ["transcribe", "--model", corpus / "model.safetensors", "--device", "cpu", *inputs]


def features(corpus: Path, *more: object) -> list[object]:
    return ["features", corpus / "train", "--config", corpus / "c.yaml", *more]


def wavs(data: Path) -> list[Path]:
    return sorted((data / "wav").iterdir())


def untidy(folder: Path) -> list[Path]:
    """Temporary files that a command left behind."""
    return [path for path in folder.rglob("*") if path.name.endswith(".tmp") or path.name.startswith(".decode")]
