"""A training task: what one step does, the schedule it follows, and what the loop asks of whatever is trained."""

from __future__ import annotations

import io
import logging
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from asr.config import LoopConfig, OptimizerConfig, ScheduleConfig
from asr.corpus import TensorBatch
from asr.errors import AsrError
from asr.system import atomic_open

log = logging.getLogger("asr")


@dataclass(frozen=True)
class Metric:
    """An error measured on dev beside the loss, less is better: how it is called, and whether it is a part of one."""

    label: str
    percent: bool = True

    def __call__(self, value: float) -> str:
        return f"{self.label} {100 * value:6.2f} %" if self.percent else f"{self.label} {value:.4f}"


class Task(LightningModule, ABC):
    """A network, a loss and what is measured on dev; a subclass says which.

    It gives `losses`, `begin_measuring`, `validation_step` and `measured`, and names its metrics; the loop does the rest. Every
    random number of a step is drawn from (seed, number of the batch), never from what ran before it; with the same holding for
    the data, a run resumed from a checkpoint takes the steps of a run that never stopped. What it holds beside the network
    should answer ``copy.deepcopy`` with itself: averaging (EMA) copies the task, and must not copy a corpus with it.
    """

    metrics: ClassVar[dict[str, Metric]] = {}
    """What `measured` gives beside the loss, by name; `training.monitor` is one of these names, or ``loss``."""
    loss_label: ClassVar[str] = "loss"
    """The loss in words, for the curves."""

    def __init__(self, network: nn.Module, seed: int, training: LoopConfig, total_steps: int, dump_dir: Path):
        super().__init__()
        self.network = network  # alone: what is averaged and checkpointed is what is trained
        self.seed, self.training_config, self.total_steps, self.dump_dir = seed, training, total_steps, dump_dir
        self.batches = 0
        self.nonfinite_in_a_row = 0
        self.loss_sum, self.loss_count = 0.0, 0

    # ------------------------------------------------------------------------------------ what a subclass says

    @abstractmethod
    def losses(self, batch: Any, generator: torch.Generator) -> tuple[Tensor, int]:
        """Losses (B,) float32 of the items, and how many labels (values, items) they are the sums over."""

    @abstractmethod
    def begin_measuring(self) -> None:
        """Forget what was measured; `validation_step` follows for each dev batch, then `measured`."""

    @abstractmethod
    def measured(self) -> dict[str, float]:
        """``loss`` and each of `metrics` over the dev batches seen."""

    def samples(self) -> list[str]:
        """Lines for the log: what was answered for some dev items."""
        return []

    # ------------------------------------------------------------------------------------------------ training

    def training_step(self, batch: TensorBatch, index: int) -> Tensor | None:
        """The mean loss per label of the batch, or None (no step) when a loss is not finite."""
        generator = self._seed()
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        losses, count = self.losses(batch, generator)
        if not torch.isfinite(losses).all():
            for buffer, value in zip(self.network.buffers(), statistics):
                buffer.copy_(value)  # batch norm's running statistics have seen what no step may come of
            self._skip(batch, losses.detach())
            return None
        loss = losses.sum() / max(1, count)
        self.loss_sum += float(loss.detach()) * count
        self.loss_count += count
        return loss

    def _seed(self) -> torch.Generator:
        """Seed dropout and hand out the generator of this batch's augmentation."""
        seed = int(np.random.SeedSequence([self.seed, self.batches]).generate_state(1)[0])
        self.batches += 1
        torch.manual_seed(seed)
        return torch.Generator().manual_seed(seed + 1)

    def _skip(self, batch: TensorBatch, losses: Tensor) -> None:
        """Name the items, save the batch, and count it."""
        finite = torch.isfinite(losses).tolist()
        names = [name for name, good in zip(batch.ids, finite) if not good]
        path = self.dump_dir / f"batch-{self.batches:08d}.pt"
        content = io.BytesIO()  # in memory first: torch's own writer tells a full disk in words nobody understands
        tensors = {name: value.cpu() for name, value in batch.tensors().items()}
        torch.save({"ids": batch.ids, **tensors, "losses": losses.cpu()}, content)
        with atomic_open(path, binary=True) as file:
            file.write(content.getvalue())
        log.warning("batch %d: loss is not finite for %s; step skipped, batch saved as %s", self.batches, ", ".join(names), path)
        self._count_nonfinite(f"batch {self.batches}, {names[0]}")

    def _count_nonfinite(self, last: str) -> None:
        """After too many in a row, with no step taken in between, stop the run."""
        self.nonfinite_in_a_row += 1
        if self.nonfinite_in_a_row >= self.training_config.nonfinite_limit:
            saved = f"look at {self.dump_dir}, " if self.dump_dir.exists() else ""  # batches are saved for their loss alone
            raise AsrError(f"{self.nonfinite_in_a_row} steps in a row had a non-finite loss or gradient (last: {last}); the "
                           f"network has diverged or the data are wrong: {saved}lower training.optimizer.lr, "
                           "raise training.schedule.warmup_steps, or use training.precision=32")

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None,
                                    gradient_clip_algorithm: Any = None) -> None:
        """Clip to the largest norm; a gradient that is not finite takes no step (fp16's scaler sees to its own)."""
        if all(parameter.grad is None for parameter in self.network.parameters()):
            return  # every batch of this step was skipped, and counted, for its loss
        limit = self.training_config.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit or math.inf)
        if torch.isfinite(norm):
            self.nonfinite_in_a_row = 0
        elif self.training_config.precision != "16":
            log.warning("batch %d: gradient is not finite; step skipped", self.batches)
            optimizer.zero_grad(set_to_none=True)
            self._count_nonfinite(f"batch {self.batches}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["task"] = {"batches": self.batches, "nonfinite_in_a_row": self.nonfinite_in_a_row,
                              "loss_sum": self.loss_sum, "loss_count": self.loss_count}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, value in checkpoint["task"].items():
            setattr(self, name, value)

    def train_loss(self) -> float:
        """The mean loss per label since the last call."""
        mean = self.loss_sum / self.loss_count if self.loss_count else math.nan
        self.loss_sum, self.loss_count = 0.0, 0
        return mean

    def on_validation_epoch_start(self) -> None:
        self.begin_measuring()

    # ------------------------------------------------------------------------------------------ optimisation

    def configure_optimizers(self) -> Any:
        training = self.training_config
        # A fused step goes over the weights once; with fp16 it would hide the unscaled gradients from the clipping.
        optimizer = build_optimizer(self.network, training.optimizer, fused=training.precision != "16")
        if training.schedule.name == "plateau":
            plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=training.schedule.patience)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "dev_loss", "interval": "epoch"}}
        factor = lambda step: schedule_factor(training.schedule, step, self.total_steps)  # noqa: E731
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def build_optimizer(network: torch.nn.Module, config: OptimizerConfig, fused: bool = True) -> torch.optim.Optimizer:
    """The optimizer; weight decay is for matrices alone, never for biases and norms."""
    named = list(network.named_parameters())
    matrices = [parameter for name, parameter in named if parameter.dim() > 1 and ".norm." not in name]
    others = [parameter for name, parameter in named if parameter.dim() <= 1 or ".norm." in name]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if config.name == "sgd":
        return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0, fused=fused)
    kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[config.name]
    return kind(groups, lr=config.lr, betas=config.betas, fused=fused)


def schedule_factor(config: ScheduleConfig, step: int, total: int) -> float:
    """The learning rate of a step as a part of its peak: linear warm-up, then the schedule's decay.

    ``noam`` is the inverse square root of Vaswani et al. (2017), scaled to peak at 1 when the warm-up ends.
    """
    warmup = min(config.warmup_steps, max(0, total - 1))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if config.name == "noam":
        return math.sqrt(max(1, warmup) / max(1, step))
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    if config.name == "linear":
        return 1 - (1 - config.final_fraction) * progress
    if config.name == "cosine":
        return config.final_fraction + (1 - config.final_fraction) * 0.5 * (1 + math.cos(math.pi * progress))
    return 1.0
