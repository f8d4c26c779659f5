"""What a run writes while it trains: metrics.csv, curves.png, sample answers, the best weights, the checkpoint."""

from __future__ import annotations

import csv
import io
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, EarlyStopping
from lightning.pytorch.plugins.io import TorchCheckpointIO

from asr.models.storage import save_tensors
from asr.system import atomic_path, write_text
from asr.training.processes import first
from asr.training.task import Task

log = logging.getLogger("asr")


class Report(Callback):
    """At the end of each epoch: dev error, a line in the log and in metrics.csv, the curves, and the best weights.

    The rows live in the checkpoint, and the file is written from them: a resumed run leaves the file of a whole one.
    """

    def __init__(self, exp: Path, average_best: int, monitor: str):
        self.exp, self.average_best, self.monitor = exp, average_best, monitor
        self.rows: list[dict[str, float]] = []
        self.best: list[dict[str, Any]] = []
        self.started = self.drawn = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rows, self.best = state["rows"], state["best"]

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._remove_others()
        self.started = time.monotonic()

    def on_fit_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._remove_others()

    def on_validation_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        if trainer.sanity_checking or not isinstance(task, Task):
            return
        errors = dev_errors(task)
        row = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step,
               "lr": trainer.optimizers[0].param_groups[0]["lr"], "train_loss": task.train_loss(),
               **errors, "seconds": round(time.monotonic() - self.started, 3)}
        task.log_dict({name: row[name] for name in ("train_loss", *errors)})
        self.rows.append(row)
        self._keep_best(task, row)
        if first():
            self._write(task)
        log.info("epoch %3d  step %6d  train loss %.4f  %s  %.1f s", row["epoch"], row["step"], row["train_loss"],
                 in_words(task, errors), row["seconds"])
        for line in task.samples():
            log.info("    %s", line)

    def _keep_best(self, task: Task, row: dict[str, float]) -> None:
        """Keep the weights of the best epochs (with an EMA: its weights, which are in place while dev is measured).

        Best on dev; without dev items, the last ones.
        """
        entry = {"epoch": int(row["epoch"]), "key": dev_rank(row, self.monitor) if task.has_dev else [-row["epoch"]]}
        self.best = sorted([*self.best, entry], key=lambda found: (*found["key"], found["epoch"]))[: self.average_best]
        if first() and entry in self.best:
            save_tensors(weights_path(self.exp, entry["epoch"]), task.network.state_dict())

    def _remove_others(self) -> None:
        """Remove the weights that are no longer among the best: behind the checkpoint that says so. A run that goes on from the one
        before it needs them, should the epoch in between be ranked otherwise (on another machine, with other processes)."""
        kept = [weights_path(self.exp, entry["epoch"]) for entry in self.best]
        for path in (self.exp / "checkpoints").glob("epoch-*.safetensors"):
            if first() and path not in kept:
                path.unlink()

    def _write(self, task: Task) -> None:
        table, columns = io.StringIO(), list(self.rows[0])
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{row[name]:.6g}" for name in columns} for row in self.rows)
        write_text(self.exp / "metrics.csv", table.getvalue())
        if time.monotonic() - self.drawn > 60:  # a picture costs up to half a second: not after every short epoch
            draw_curves(self.rows, task, self.exp / "curves.png")
            self.drawn = time.monotonic()


class ResumeCheckpoint(Checkpoint):
    """`checkpoints/resume.ckpt`: replaced whole every so many steps, and after each epoch.

    A subclass of Lightning's Checkpoint, so it runs after every other callback and saves what they have settled. Never written
    between the batches of one step (`training.accumulate`): their gradients are not in it.
    """

    def __init__(self, path: Path, every_steps: int):
        self.path, self.every_steps = path, every_steps
        self.saved = -1

    def on_train_start(self, trainer: Trainer, task: LightningModule) -> None:
        self.saved = trainer.global_step  # what was begun from is there already; the next batch need not end a step
        stopping = (callback for callback in trainer.callbacks if isinstance(callback, EarlyStopping))
        if any(callback.wait_count >= callback.patience for callback in stopping):
            trainer.should_stop = True  # of a run that was killed behind its last epoch: a checkpoint does not hold this

    def on_train_batch_end(self, trainer: Trainer, task: LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every_steps == 0 and trainer.global_step != self.saved and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        if first():
            with atomic_path(self.path) as temporary:
                trainer.save_checkpoint(temporary)
        else:  # the first one writes; all of them give what they have to the state, and meet
            trainer.save_checkpoint(self.path)
        self.saved = trainer.global_step


class CheckpointFile(TorchCheckpointIO):
    """Writes a checkpoint to the name that it is given.

    Lightning's own goes by way of a file in /tmp: that must hold it as well, keeps it when the process is killed meanwhile, and is
    the one that an error of the run's disk then names.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()  # torch makes errors of its own of what a full disk says
        torch.save(checkpoint, content)
        Path(path).write_bytes(content.getbuffer())


def dev_errors(task: Task) -> dict[str, float]:
    """What was measured on dev, by all processes: ``dev_loss`` and the task's metrics, each with ``dev_`` before its name."""
    task.join_measures()
    return {f"dev_{name}": value for name, value in task.measured().items()}


def in_words(task: Task, errors: dict[str, float]) -> str:
    """`dev loss 0.0312  WER   1.25 %  CER   0.50 %`"""
    measured = (metric(errors[f"dev_{name}"]) for name, metric in task.metrics.items())
    return "  ".join([f"dev loss {errors['dev_loss']:.4f}", *measured])


def dev_rank(errors: dict[str, float], monitor: str) -> list[float]:
    """What the best on dev has least of: the monitored error, then the loss.

    Equal errors are told apart by the loss, as on a small dev set many epochs make the same few. An error that is NaN (the
    loss where no transcript fits its frames) is the worst there is: compared as it stands, it would be whatever came first.
    """
    return [math.inf if math.isnan(error) else error for error in (errors[f"dev_{monitor}"], errors["dev_loss"])]


def weights_path(exp: Path, epoch: int) -> Path:
    return exp / "checkpoints" / f"epoch-{epoch:04d}.safetensors"


def draw_curves(rows: list[dict[str, float]], task: Task, path: Path) -> None:
    """Losses, dev errors and learning rate over the epochs, as one picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    losses, errors = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in rows]
    losses.plot(epochs, [row["train_loss"] for row in rows], label="train (augmented)", color="#7a869a")
    losses.plot(epochs, [row["dev_loss"] for row in rows], label="dev", color="#1f5fa8")
    losses.set(xlabel="epoch", ylabel=task.loss_label, title="Loss")
    if min(min(row["train_loss"], row["dev_loss"]) for row in rows) > 0:  # of quantiles and the like it need not be
        losses.set_yscale("log")
    losses.legend(frameon=False)
    percent = all(metric.percent for metric in task.metrics.values())
    for (name, metric), color in zip(task.metrics.items(), ("#b3392f", "#d99a2b", "#4a7a4c", "#6d5a8c")):
        errors.plot(epochs, [(100 if percent else 1) * row[f"dev_{name}"] for row in rows], label=metric.label, color=color)
    errors.set(xlabel="epoch", ylabel=f"dev error{' (%)' if percent else ''}", title="Error on dev", ylim=(0, None))
    errors.legend(frameon=False, loc="upper right")
    rate = errors.twinx()
    rate.plot(epochs, [row["lr"] for row in rows], color="#9aa5b1", linestyle=":", linewidth=1)
    rate.set(ylabel="learning rate (dotted)", ylim=(0, None))
    for axes in (losses, errors):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=130)
