"""The training task: what one step does, and the schedule it follows."""

from __future__ import annotations

import io
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from asr.config import OptimizerConfig, ScheduleConfig
from asr.corpus import Batch
from asr.ctc import ctc_loss, greedy
from asr.errors import AsrError
from asr.features import SpecAugment
from asr.system import atomic_open
from asr.training.preparation import Prepared

log = logging.getLogger("asr")


class SpeechTask(LightningModule):
    """Normalisation and masking of raw features, network, CTC loss.

    Every random number of a step is drawn from (seed, number of the batch), never from what ran before it; with the
    same holding for the data, a run resumed from a checkpoint takes the steps of a run that never stopped.
    """

    def __init__(self, prepared: Prepared, total_steps: int, dump_dir: Path):
        super().__init__()
        self.prepared, self.config, self.total_steps, self.dump_dir = prepared, prepared.config, total_steps, dump_dir
        self.network = prepared.network  # alone: what is averaged and checkpointed is what is trained
        self.spec_augment = SpecAugment(self.config.augment.spec_augment)
        self.batches = 0
        self.nonfinite_in_a_row = 0
        self.loss_sum, self.label_sum = 0.0, 0
        self.hypotheses: dict[str, str] = {}
        self.dev_loss_sum, self.dev_label_sum = 0.0, 0

    def on_fit_start(self) -> None:
        self.prepared.frontend.to(self.device)

    # ------------------------------------------------------------------------------------------------ training

    def training_step(self, batch: Batch, index: int) -> Tensor | None:
        """The mean loss per label of the batch, or None (no step) when a loss is not finite."""
        generator = self._seed()
        with torch.no_grad():
            features = self.spec_augment(self._features(batch, self.prepared.train.speaker_stats), batch.lengths, generator)
        statistics = [buffer.clone() for buffer in self.network.buffers()]
        losses = self._losses(features, batch)
        if not torch.isfinite(losses).all():
            for buffer, value in zip(self.network.buffers(), statistics):
                buffer.copy_(value)  # batch norm's running statistics have seen what no step may come of
            self._skip(batch, losses.detach())
            return None
        labels = int(batch.target_lengths.sum())
        loss = losses.sum() / max(1, labels)
        self.loss_sum += float(loss.detach()) * labels
        self.label_sum += labels
        return loss

    def _seed(self) -> torch.Generator:
        """Seed dropout and hand out the generator of this batch's augmentation."""
        seed = int(np.random.SeedSequence([self.config.seed, self.batches]).generate_state(1)[0])
        self.batches += 1
        torch.manual_seed(seed)
        return torch.Generator().manual_seed(seed + 1)

    def _features(self, batch: Batch, speaker_stats: dict[str, np.ndarray]) -> Tensor:
        """The batch's features, (B, T, F), normalised."""
        stats = None
        if speaker_stats:
            stats = torch.from_numpy(np.stack([speaker_stats[speaker] for speaker in batch.speakers])).to(batch.inputs)
        return self.prepared.frontend.normalize(batch.inputs, batch.lengths, stats)

    def _losses(self, features: Tensor, batch: Batch) -> Tensor:
        """Negative log-likelihood of each utterance, (B,) float32."""
        return self._ctc(*self.network(features, batch.lengths), batch)

    def _ctc(self, logits: Tensor, lengths: Tensor, batch: Batch) -> Tensor:
        """Losses (B,) of logits (B, T, V)."""
        logits = logits.transpose(0, 1)  # (B, T, V) -> (T, B, V)
        # The labels are our tokenizer's; on a GPU another look at them would wait for all that is queued there.
        return ctc_loss(logits, batch.targets, lengths, batch.target_lengths, reduction="none",
                        backend=self.config.training.ctc_backend, validate=not logits.is_cuda)

    def _skip(self, batch: Batch, losses: Tensor) -> None:
        """Name the utterances, save the batch, and count it."""
        finite = torch.isfinite(losses).tolist()
        names = [name for name, good in zip(batch.ids, finite) if not good]
        path = self.dump_dir / f"batch-{self.batches:08d}.pt"
        content = io.BytesIO()  # in memory first: torch's own writer tells a full disk in words nobody understands
        torch.save({"ids": batch.ids, "inputs": batch.inputs.cpu(), "lengths": batch.lengths.cpu(),
                    "targets": batch.targets.cpu(), "target_lengths": batch.target_lengths.cpu(),
                    "losses": losses.cpu()}, content)
        with atomic_open(path, binary=True) as file:
            file.write(content.getvalue())
        log.warning("batch %d: loss is not finite for %s; step skipped, batch saved as %s", self.batches, ", ".join(names), path)
        self._count_nonfinite(f"batch {self.batches}, {names[0]}")

    def _count_nonfinite(self, last: str) -> None:
        """After too many in a row, with no step taken in between, stop the run."""
        self.nonfinite_in_a_row += 1
        if self.nonfinite_in_a_row >= self.config.training.nonfinite_limit:
            saved = f"look at {self.dump_dir}, " if self.dump_dir.exists() else ""  # batches are saved for their loss alone
            raise AsrError(f"{self.nonfinite_in_a_row} steps in a row had a non-finite loss or gradient (last: {last}); the "
                           f"network has diverged or the data are wrong: {saved}lower training.optimizer.lr, "
                           "raise training.schedule.warmup_steps, or use training.precision=32")

    def configure_gradient_clipping(self, optimizer: Any, gradient_clip_val: Any = None,
                                    gradient_clip_algorithm: Any = None) -> None:
        """Clip to the largest norm; a gradient that is not finite takes no step (fp16's scaler sees to its own)."""
        if all(parameter.grad is None for parameter in self.network.parameters()):
            return  # every batch of this step was skipped, and counted, for its loss
        limit = self.config.training.gradient_clip
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), limit or math.inf)
        if torch.isfinite(norm):
            self.nonfinite_in_a_row = 0
        elif self.config.training.precision != "16":
            log.warning("batch %d: gradient is not finite; step skipped", self.batches)
            optimizer.zero_grad(set_to_none=True)
            self._count_nonfinite(f"batch {self.batches}")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["task"] = {"batches": self.batches, "nonfinite_in_a_row": self.nonfinite_in_a_row,
                              "loss_sum": self.loss_sum, "label_sum": self.label_sum}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        for name, value in checkpoint["task"].items():
            setattr(self, name, value)

    def train_loss(self) -> float:
        """The mean loss per label since the last call."""
        mean = self.loss_sum / self.label_sum if self.label_sum else math.nan
        self.loss_sum, self.label_sum = 0.0, 0
        return mean

    # -------------------------------------------------------------------------------------------------- dev

    def on_validation_epoch_start(self) -> None:
        self.hypotheses, self.dev_loss_sum, self.dev_label_sum = {}, 0.0, 0

    def validation_step(self, batch: Batch, index: int) -> None:
        features = self._features(batch, self.prepared.dev.speaker_stats)
        logits, lengths = self.network(features, batch.lengths)
        losses = self._ctc(logits, lengths, batch)
        fits = torch.isfinite(losses)  # a transcript longer than its frames has no likelihood; its errors still count
        self.dev_loss_sum += float(losses[fits].sum())
        self.dev_label_sum += int(batch.target_lengths[fits].sum())
        log_probs = torch.log_softmax(logits.float(), dim=-1).nan_to_num(-math.inf)  # an overflow of fp16 is heard as nothing
        for name, hypothesis in zip(batch.ids, greedy(log_probs, lengths)):
            self.hypotheses[name] = self.prepared.tokenizer.decode(hypothesis.tokens)

    def dev_loss(self) -> float:
        return self.dev_loss_sum / self.dev_label_sum if self.dev_label_sum else math.nan

    # ------------------------------------------------------------------------------------------ optimisation

    def configure_optimizers(self) -> Any:
        training = self.config.training
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
