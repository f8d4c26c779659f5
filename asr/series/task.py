"""Training a forecaster: windows as items, one step, and what is measured on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from asr.corpus import TensorBatch
from asr.series.config import ForecastConfig
from asr.series.forecaster import Forecaster
from asr.series.windows import Windows
from asr.training.data import TaskData
from asr.training.task import Metric, Task


@dataclass(frozen=True)
class WindowBatch(TensorBatch):
    """B windows, float32, in units of the network: ``inputs`` (B, L, C), ``covariates`` (B, L + horizon, K), ``targets`` (B, S, C),
    and ``known`` (B, S, C), one where a target was observed, else zero (and the target too)."""

    inputs: Tensor
    covariates: Tensor
    targets: Tensor
    known: Tensor


class WindowDataset:
    """The windows of a part as items, asked for as (epoch, index): the origin, and what belongs to it.

    With ``stride`` an epoch has every so many-th window, from a place that is drawn for each epoch from (seed, epoch); without a
    seed from the first one on, the same in every epoch.
    """

    def __init__(self, windows: Windows, part: str, stride: int = 1, seed: int | None = None):
        self.origins, self.stride, self.seed = windows.origins(part), min(stride, len(windows.origins(part))), seed
        self.lookback, self.ahead, self.offsets = windows.lookback, windows.horizon, windows.offsets
        self.values = windows.scaled.astype(np.float32)
        self.observed = windows.series.observed
        self.covariates = windows.covariates.astype(np.float32)

    def __len__(self) -> int:
        """Windows of an epoch: as many from every place it may begin at."""
        return len(self.origins) // self.stride

    def __getitem__(self, item: tuple[int, int]) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(epoch, index) -> origin, inputs (L, C), covariates (L + horizon, K), targets (S, C), known (S, C)."""
        epoch, index = item
        start = 0 if self.seed is None else int(np.random.default_rng([self.seed, epoch]).integers(self.stride))
        origin = int(self.origins[index * self.stride + start])
        rows = origin + self.offsets
        known = self.observed[rows]
        return (origin, self.values[origin - self.lookback:origin], self.covariates[origin - self.lookback:origin + self.ahead],
                np.where(known, self.values[rows], 0).astype(np.float32), known.astype(np.float32))


def collate(examples: Sequence[tuple[int, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]) -> WindowBatch:
    """Examples of `WindowDataset` as a batch; its ids name the first row after the inputs, counted from 1."""
    origins, *arrays = zip(*examples)
    return WindowBatch([f"row {origin + 1}" for origin in origins], *(torch.from_numpy(np.stack(part)) for part in arrays))


def window_data(windows: Windows, config: ForecastConfig) -> TaskData:
    """Training and validation windows in batches."""
    training = config.training
    train = WindowDataset(windows, "train", training.stride, config.seed)
    dev = WindowDataset(windows, "validation", training.validation_stride)
    sized = [(part, np.ones(len(part))) for part in (train, dev)]
    return TaskData(*sized, collate, config.seed, training, most=training.batch_size)


class ForecastTask(Task):
    """The loss over the observed targets of a window; on validation squared and absolute errors."""

    metrics: ClassVar[dict[str, Metric]] = {"mse": Metric("MSE", percent=False), "mae": Metric("MAE", percent=False)}
    loss_label: ClassVar[str] = "loss per value"
    measures: ClassVar[tuple[str, ...]] = ("sums",)

    def __init__(self, network: Forecaster, config: ForecastConfig, windows: Windows, total_steps: int, dump_dir: Path):
        super().__init__(network, config.seed, config.training, total_steps, dump_dir)
        self.config, self.windows = config, windows
        self.trained_on = {"rows": seen_rows(windows)}
        unit = windows.scaler.scale if config.forecast.units == "original" else np.ones(len(windows.series.names))
        self.unit = torch.from_numpy(unit.astype(np.float32))
        self.sums = [0.0, 0.0, 0.0, 0.0]

    def losses(self, batch: WindowBatch, generator: torch.Generator) -> tuple[Tensor, int]:
        """The summed loss of each window, (B,) float32, and the number of observed targets in the batch."""
        outputs = self.network(batch.inputs, batch.covariates).float()
        return self._losses(outputs, batch), int(batch.known.sum())

    def _losses(self, outputs: Tensor, batch: WindowBatch) -> Tensor:
        each = value_losses(outputs, batch.targets, self.config.forecast.loss, self.config.forecast.quantiles)
        return (each * batch.known).sum(dim=(1, 2))

    # -------------------------------------------------------------------------------------------- validation

    def begin_measuring(self) -> None:
        self.sums = [0.0, 0.0, 0.0, 0.0]

    def validation_step(self, batch: WindowBatch, index: int) -> None:
        outputs = self.network(batch.inputs, batch.covariates).float()
        wrong = (point_of(outputs, self.config.forecast.quantiles) - batch.targets) * batch.known * self.unit.to(outputs.device)
        found = (self._losses(outputs, batch).sum(), wrong.square().sum(dtype=torch.float64), wrong.abs().sum(dtype=torch.float64),
                 batch.known.sum())
        self.sums = [total + float(value.detach()) for total, value in zip(self.sums, found)]

    def measured(self) -> dict[str, float]:
        """Loss, MSE and MAE per observed target; the last two in `forecast.units`."""
        loss, squares, absolute, count = self.sums
        return {"loss": loss / count, "mse": squares / count, "mae": absolute / count}


def seen_rows(windows: Windows) -> str:
    """The rows of training and validation in words, with a digest of what they hold; those behind them are not looked at."""
    series, last = windows.series, windows.bounds["validation"][1]
    digest = sha256(repr((series.names, windows.bounds["train"], windows.bounds["validation"])).encode())
    for array in (series.values, series.observed, series.covariates):
        digest.update(array[:last].tobytes())
    return f"{last} rows of {len(series.names)} series ({digest.hexdigest()[:12]})"


def value_losses(outputs: Tensor, targets: Tensor, loss: str, quantiles: Sequence[float]) -> Tensor:
    """outputs (B, S, C, Q), targets (B, S, C) -> the loss of every value (B, S, C): pinball with ``quantiles``, else ``loss``.

    The pinball loss is Koenker and Bassett's (1978), doubled, so that of the median alone is the absolute error.
    """
    if quantiles:
        levels = outputs.new_tensor(quantiles)
        low = targets.unsqueeze(3) - outputs
        return 2 * torch.maximum(levels * low, (levels - 1) * low).mean(dim=3)
    wrong = outputs.squeeze(3) - targets
    if loss == "huber":
        return torch.nn.functional.huber_loss(wrong, torch.zeros_like(wrong), reduction="none")
    return wrong.square() if loss == "mse" else wrong.abs()


def point_of(outputs: Tensor, quantiles: Sequence[float]) -> Tensor:
    """(B, S, C, Q) -> (B, S, C): the median of the quantiles, put in order where they cross, or the one output there is."""
    return outputs.sort(dim=3).values[..., list(quantiles).index(0.5)] if quantiles else outputs[..., 0]
