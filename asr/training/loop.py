"""One training run of any task, from a configuration to `model.safetensors`: everything that is alike for all of them."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_file

from asr.config import LoopConfig, dump_config
from asr.errors import AsrError, ConfigError, UsageError
from asr.system import choose_threads, crowding, environment, exclusive, keep_freed_memory, usable_cores, write_text
from asr.training.averaging import average_weights
from asr.training.data import TaskData
from asr.training.processes import agreed, begun, first, gathered, place, restarted, stoppable, together, trainer_options
from asr.training.reports import CheckpointFile, Report, ResumeCheckpoint, dev_errors, dev_rank, draw_curves, in_words, weights_path
from asr.training.task import Task

log = logging.getLogger("asr")

IDLE = 0.03  # of the processes' time: from here on the log says what to do
PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def check_without_dev(training: LoopConfig) -> None:
    """Raise ConfigError for what only dev items can decide, in a run that has none."""
    for name, asked in (("early_stop", training.early_stop > 0), ("schedule.name=plateau", training.schedule.name == "plateau")):
        if asked:
            raise ConfigError(f"training.{name}: without dev items there is nothing to go by; give --dev, or leave it out")


class RunConfig(Protocol):
    """What the loop reads of a configuration; the rest of the tree is the task's own."""

    seed: int
    training: LoopConfig


def run_training(config: RunConfig, exp: str | Path, device: torch.device,
                 build: Callable[[Path, torch.device], tuple[Task, TaskData]],
                 save: Callable[[Task, dict[str, str], Path], None], resume: bool = False) -> Path:
    """Train, and return the path of the model file.

    ``build(exp, device)`` makes the task and its data, once the run's folder is ours and its log is open; ``save(task, notes,
    path)`` writes the model file, with the best weights in place. Leaves in ``exp``: config.yaml, train.log, metrics.csv,
    curves.png, tensorboard/, checkpoints/ and model.safetensors. The same seed on the same machine gives the same bits. With
    ``resume`` a run that was stopped at any point goes on from its last checkpoint and ends with the bits of one that was not; a
    finished run is left as it is. Started by torchrun, the run is that of all its processes: the first writes the files, each
    trains on its share of every batch, and dev is measured once, in parts. Raises UsageError when ``exp`` holds a run and
    ``resume`` is not asked for, or another process is at it; ConfigError when it was begun with another configuration or other
    data; AsrError when a process is lost. SIGTERM ends the process with status 143, KeyboardInterrupt goes on to the caller.
    """
    if config.training.precision == "16" and device.type == "cpu":
        raise ConfigError("training.precision: 16 is for CUDA; take bf16 or 32")
    exp = Path(exp)
    model_path = exp / "model.safetensors"
    with contextlib.ExitStack() as held:
        device = held.enter_context(together(device))

        def finished() -> bool:
            held.enter_context(alone(exp))
            there = _begin(exp, config, restarted(exp) or resume)
            begun(exp)
            if not (there and model_path.exists()):
                return False
            print(f"{model_path}: this run is finished; nothing to do", file=sys.stderr)
            return True

        if agreed(finished):
            return model_path
        with _logging(exp / "train.log"), stoppable():
            started, worked = time.monotonic(), time.process_time()
            torch.set_num_threads(choose_threads(config.training.threads, config.training.workers))
            keep_freed_memory()
            log.info("%s", ", ".join(f"{name} {value}" for name, value in environment().items()))
            log.info("seed %d, device %s, %d threads, %d data workers", config.seed, device, torch.get_num_threads(),
                     config.training.workers)
            _warn_of_others(device)
            if (count := place()[1]) > 1:
                log.info("%d processes, each with these threads and data workers; batches are of all of them together", count)
            torch.manual_seed(config.seed)
            task, data = build(exp, device)
            _compare(task, data)
            _fit(config, task, data, exp, device, save)
            log.info("%s: %.0f s in all, %.0f s of processor time", model_path, time.monotonic() - started,
                     time.process_time() - worked)
    return model_path


def _fit(config: RunConfig, task: Task, data: TaskData, exp: Path, device: torch.device,
         save: Callable[[Task, dict[str, str], Path], None]) -> None:
    report = Report(exp, config.training.average_best, config.training.monitor)
    trainer = build_trainer(config.training, exp, device, report)
    checkpoint = exp / "checkpoints" / "resume.ckpt"
    resumed = agreed(checkpoint.exists)
    if resumed:
        agreed(lambda: _same_data(checkpoint, task))
        log.info("resuming from %s", checkpoint)
    try:
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint if resumed else None, weights_only=True)
    except SystemExit as ended:
        if not isinstance(ended.__context__, KeyboardInterrupt):
            raise
        raise KeyboardInterrupt from None  # Lightning has made an exit of it, with the status of a failure
    notes = _settle(config, task, data, report, exp, device)
    if first():
        draw_curves(report.rows, task, exp / "curves.png")
        save(task, notes, exp / "model.safetensors")


def _same_data(checkpoint: Path, task: Task) -> None:
    """Raise ConfigError when the run to resume was begun with other data: its batches and the meaning of its outputs are theirs."""
    begun = torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True).get("data")
    if begun is None:
        log.warning("%s does not say which data it was begun with: whether they are the same cannot be told", checkpoint)
    elif changed := sorted(_differences(begun, task.trained_on)):
        raise ConfigError(f"{checkpoint.parent.parent}: was begun with other data, and cannot be resumed with these: "
                          f"{'; '.join(changed)}; give the data it was begun with, or choose another --exp")


def _compare(task: Task, data: TaskData) -> None:
    """Of several processes: do all see the same data? And say what they will wait for each other."""
    weights = (value.cpu().numpy() for value in task.network.state_dict().values())
    seen = hashlib.sha256()
    for array in (data.sampler.durations, data.dev_sampler.durations, *weights):
        seen.update(array.tobytes())
    others = [number for number, found in enumerate(gathered(seen.hexdigest())) if found != seen.hexdigest()]
    if others:
        raise AsrError(f"process {place()[0]} has other data or other first weights than process {others[0]}: give all processes "
                       "the same files, and the same versions of everything")
    count = place()[1]
    if count > 1 and (idle := data.idle()) > IDLE:
        log.warning("%.0f %% of the processes' time is waiting for the slowest: training.batch_multiple=%d evens batches out, and "
                    "larger batches (training.batch_seconds, training.max_utterances) make shares more alike", 100 * idle, count)


def build_trainer(training: LoopConfig, exp: Path, device: torch.device, report: Report) -> Trainer:
    """Lightning's loop with everything a run has around it."""
    callbacks: list[Callback] = [report]  # before the EMA: it must see the averaged weights while dev is measured
    if training.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=training.ema_decay))
    if training.early_stop:
        callbacks.append(EarlyStopping(f"dev_{report.monitor}", patience=training.early_stop, check_finite=False))
    if sys.stderr.isatty() and first():
        callbacks.append(RichProgressBar())
    callbacks.append(ResumeCheckpoint(exp / "checkpoints" / "resume.ckpt", training.checkpoint_steps))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu", precision=PRECISIONS[training.precision],
        **trainer_options(CheckpointFile()), max_epochs=training.epochs, accumulate_grad_batches=training.accumulate,
        callbacks=callbacks, logger=TensorBoardLogger(exp, name="", version="tensorboard"), log_every_n_steps=10,
        num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1, enable_model_summary=False, enable_progress_bar=sys.stderr.isatty() and first(),
        use_distributed_sampler=False, deterministic="warn", benchmark=False)


def _settle(config: RunConfig, task: Task, data: TaskData, report: Report, exp: Path, device: torch.device) -> dict[str, str]:
    """Average the best checkpoints; put the average or the single best in place, whichever dev prefers; notes on all of it.

    Without dev items the average of the last ones is taken unasked.
    """
    epochs = sorted(entry["epoch"] for entry in report.best)
    best = report.best[0]["epoch"]
    candidates = {f"epoch {best}": load_file(weights_path(exp, best))}
    if len(epochs) > 1:
        mean = average_weights(weights_path(exp, epoch) for epoch in epochs)
        candidates = (candidates if task.has_dev else {}) | {f"mean of epochs {', '.join(map(str, epochs))}": mean}
    results = {}
    for name, weights in candidates.items():
        task.network.load_state_dict(weights)
        results[name] = _measure(task, data, device)
        log.info("%s: %s", name, in_words(task, results[name]))
    chosen = min(results, key=lambda name: dev_rank(results[name], report.monitor))
    task.network.load_state_dict(candidates[chosen])
    log.info("%s it is", chosen)
    return {**environment(), "seed": str(config.seed), "weights": chosen, "epochs": str(len(report.rows)),
            **{name: f"{value:.6g}" for name, value in results[chosen].items()}}


@torch.no_grad()
def _measure(task: Task, data: TaskData, device: torch.device) -> dict[str, float]:
    task.to(device).eval()
    task.on_fit_start()  # parts of it that are no modules of its own follow to the device
    task.begin_measuring()
    for index, batch in enumerate(data.val_dataloader()):
        if batch.counts:
            task.validation_step(batch.to(device), index)
    return dev_errors(task)


# -------------------------------------------------------------------------------------------- before the run


def _warn_of_others(device: torch.device) -> None:
    """Say so where threads would have to share their cores: at each barrier all wait for the one that has none."""
    threads = torch.get_num_threads()
    if device.type == "cpu" and place()[1] == 1 and (busy := crowding(threads)):
        log.warning("other processes keep %.1f of %d cores busy: %d threads wait for one another there, and can be many times "
                    "slower than one; set OMP_NUM_THREADS=1 or training.threads=1", busy, usable_cores(), threads)


def _begin(exp: Path, config: RunConfig, resume: bool) -> bool:
    """Write config.yaml for a new run, or check that the one to resume is this one; true when there was one.

    A run that stopped before its first checkpoint (data that cannot be trained on, say) has nothing to lose or resume.
    """
    path = exp / "config.yaml"
    if not path.exists() or not any((exp / name).exists() for name in ("checkpoints/resume.ckpt", "model.safetensors")):
        write_text(path, dump_config(config))
        return False
    if not resume:
        raise UsageError(f"{exp}: holds a run already; go on with --resume, or choose another --exp")
    begun, asked = (yaml.safe_load(text) for text in (path.read_text(encoding="utf-8"), dump_config(config)))
    changed = sorted(_differences(begun, asked))
    if changed:
        raise ConfigError(f"{exp}: was begun with another configuration, and cannot be resumed with this one: "
                          f"{'; '.join(changed)}; choose another --exp")
    return True


def _differences(begun: object, asked: object, path: str = "") -> Iterator[str]:
    if isinstance(begun, dict) and isinstance(asked, dict):
        for key in begun.keys() | asked.keys():
            if asked.get(key) == "auto" and isinstance(begun.get(key), float):
                continue  # what was found then holds now
            yield from _differences(begun.get(key), asked.get(key), f"{path}.{key}" if path else str(key))
    elif begun != asked:
        yield f"{path} was {begun!r}, is {asked!r}"


@contextlib.contextmanager
def alone(exp: Path) -> Iterator[None]:
    """One process at a time in a run's folder; what a killed one left half-written is removed."""
    exp.mkdir(parents=True, exist_ok=True)
    with exclusive(exp / ".lock", "training here", "wait for it, end it, or choose another --exp") as lock:
        # Data workers are forks of this process: should it be killed, they must not hold the lock until they notice.
        os.register_at_fork(after_in_child=lock.close)
        for leftover in (*exp.glob(".*.tmp"), *exp.glob("checkpoints/.*.tmp")):
            leftover.unlink()
        yield


@contextlib.contextmanager
def _logging(path: Path) -> Iterator[None]:
    """Log lines of the first process to standard error and to the run's train.log; the libraries' chatter to neither."""
    handlers: list[logging.Handler] = [logging.NullHandler()]
    if first():
        handlers = [logging.StreamHandler(), logging.FileHandler(path, encoding="utf-8")]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(message)s", "%Y-%m-%d %H:%M:%S"))
        log.addHandler(handler)
    level, propagate = log.level, log.propagate
    log.setLevel(logging.INFO)
    log.propagate = False
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message="find_unused_parameters=True was specified")  # see Processes
            yield
    finally:
        log.setLevel(level)
        log.propagate = propagate
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
