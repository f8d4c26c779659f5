"""A training task: what one step does, the schedule it follows, and what the loop asks of whatever is trained."""

from __future__ import annotations

import contextlib
import io
import logging
import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from asr.config import LoopConfig, OptimizerConfig, ScheduleConfig
from asr.corpus import TensorBatch
from asr.errors import AsrError
from asr.models.norm import shared_batch
from asr.system import atomic_open
from asr.training.processes import first, gathered, place, summed

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

    It gives `losses`, `begin_measuring`, `validation_step` and `measured`, and names its metrics and its data; the loop does the
    rest. Every random number of a step is drawn from (seed, number of the batch), never from what ran before it; with the same
    holding for the data, a run resumed from a checkpoint takes the steps of a run that never stopped. Of several processes each
    takes its share of a batch, and the step is that of the whole: losses are divided by the labels of all, and batch norm sees the
    frames of all; dropout and masks are drawn from the number of the process as well. What it holds beside the network should
    answer ``copy.deepcopy`` with itself: averaging (EMA) copies the task, and must not copy a corpus with it.
    """

    metrics: ClassVar[dict[str, Metric]] = {}
    """What `measured` gives beside the loss, by name; `training.monitor` is one of these names, or ``loss``."""
    loss_label: ClassVar[str] = "loss"
    """The loss in words, for the curves."""
    trained_on: dict[str, str]
    """What the data are, by name, in words that end in a digest of what the steps depend on: a run is not resumed with others."""
    has_dev: bool = True
    """Whether dev items are others than those trained on; where they are not, they choose nothing, and the last epochs count."""
    measures: ClassVar[tuple[str, ...]]
    """The attributes in which `validation_step` collects. Over several processes dicts are joined, lists added item by item, and
    the rest (numbers, arrays) added."""

    def __init__(self, network: nn.Module, seed: int, training: LoopConfig, total_steps: int, dump_dir: Path):
        super().__init__()
        self.network = network  # alone: what is averaged and checkpointed is what is trained
        self.seed, self.training_config, self.total_steps, self.dump_dir = seed, training, total_steps, dump_dir
        self.batches = 0
        self.nonfinite_in_a_row = 0
        self.kept = 0  # batches since the last step whose loss was finite
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
        """The mean loss per label of the batch, or nothing to learn (no step) when a loss is not finite.

        DDP takes the mean of the processes' gradients; each loss is multiplied by their number, so it is the sum.
        """
        generator = self._seed()
        processes = place()[1]
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        with shared_batch(batch.counts) if processes > 1 else contextlib.nullcontext():
            losses, count = self.losses(batch, generator)
        if not batch.counts:
            losses, count = losses.nan_to_num(0.0, 0.0, 0.0) * 0.0, 0
        labels, bad = summed(count, float(not torch.isfinite(losses).all()), device=losses.device)
        if bad:
            for buffer, value in zip(self.network.buffers(), statistics):
                buffer.copy_(value)  # batch norm's running statistics have seen what no step may come of
            self._skip(batch, losses.detach())
            # Of several processes each must give DDP a gradient, of zero, for those that a step has already gathered to be added.
            return None if processes == 1 else 0.0 * sum(parameter.sum() for parameter in self.network.parameters())
        count = int(labels)
        loss = losses.sum() / max(1, count)
        self.kept += 1
        self.loss_sum += summed(float(loss.detach()), device=losses.device)[0] * count
        self.loss_count += count
        return loss * processes

    def _seed(self) -> torch.Generator:
        """Seed dropout and hand out the generator of this batch's augmentation."""
        number, count = place()
        drawn_from = [self.seed, self.batches] if count == 1 else [self.seed, self.batches, count, number]
        seed = int(np.random.SeedSequence(drawn_from).generate_state(1)[0])
        self.batches += 1
        torch.manual_seed(seed)
        return torch.Generator().manual_seed(seed + 1)

    def _skip(self, batch: TensorBatch, losses: Tensor) -> None:
        """Name the items, save the batch, and count it."""
        finite = torch.isfinite(losses).tolist()
        names = [name for name, good in zip(batch.ids, finite) if not good]
        found = gathered((names, self._save(batch, losses) if names else None))
        if first():
            log.warning("batch %d: loss is not finite for %s; step skipped, batch saved as %s", self.batches,
                        ", ".join(name for names, _ in found for name in names), ", ".join(path for _, path in found if path))
        self._count_nonfinite(f"batch {self.batches}, {next(names[0] for names, _ in found if names)}")

    def _save(self, batch: TensorBatch, losses: Tensor) -> str:
        number, count = place()
        path = self.dump_dir / f"batch-{self.batches:08d}{f'-process{number}' if count > 1 else ''}.pt"
        content = io.BytesIO()  # in memory first: torch's own writer tells a full disk in words nobody understands
        tensors = {name: value.cpu() for name, value in batch.tensors().items()}
        torch.save({"ids": batch.ids, **tensors, "losses": losses.cpu()}, content)
        with atomic_open(path, binary=True) as file:
            file.write(content.getvalue())
        return str(path)

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
        if place()[1] > 1 and not self.kept:
            optimizer.zero_grad(set_to_none=True)  # the zeros that DDP was given
        self.kept = 0
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
        checkpoint["processes"], checkpoint["data"] = place()[1], self.trained_on

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, value in checkpoint["task"].items():
            setattr(self, name, value)
        before, now = checkpoint.get("processes", 1), place()[1]
        if before != now:
            log.warning("this run had %d process(es) and goes on with %d: the steps are the same up to rounding, the bits are not",
                        before, now)

    def train_loss(self) -> float:
        """The mean loss per label since the last call."""
        mean = self.loss_sum / self.loss_count if self.loss_count else math.nan
        self.loss_sum, self.loss_count = 0.0, 0
        return mean

    def join_measures(self) -> None:
        """What each process has measured on its part of dev becomes, in all of them, what all have."""
        parts = gathered({name: getattr(self, name) for name in self.measures})
        for name in self.measures:
            setattr(self, name, reduce(_joined, (part[name] for part in parts)))

    def on_validation_epoch_start(self) -> None:
        self.begin_measuring()

    def on_train_epoch_end(self) -> None:
        """The plateau's step: before the checkpoint of this epoch, which a resumed run goes on from."""
        if self.training_config.schedule.name == "plateau":
            self.lr_schedulers().step(self.trainer.callback_metrics["dev_loss"])

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Lightning's own steps; the plateau's would come after the checkpoint, and not at all in an epoch that was resumed."""
        if self.training_config.schedule.name != "plateau":
            scheduler.step()

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


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        return one | other
    return [mine + theirs for mine, theirs in zip(one, other)] if isinstance(one, list) else one + other


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
