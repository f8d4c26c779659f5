"""One training run, from a configuration and two data directories to `model.safetensors`."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, RichProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import load_file

from asr.config import Config, dump_config
from asr.ctc.kernels.common import why_not
from asr.errors import ConfigError, UsageError
from asr.features import FrontEnd, WaveAugment, raw_features
from asr.models import summarize
from asr.models.storage import save_model
from asr.models.timing import TimingModel
from asr.models.timing_fit import timing_of
from asr.system import choose_device, choose_threads, environment, keep_freed_memory, write_text
from asr.text import build_tokenizer, get_normalizer
from asr.training.averaging import average_weights
from asr.training.data import SpeechData
from asr.training.preparation import Prepared, prepare
from asr.training.reports import Report, ResumeCheckpoint, dev_errors, dev_rank, draw_curves, weights_path
from asr.training.task import SpeechTask

log = logging.getLogger("asr")

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def train(config: Config, train_dir: str | Path, dev_dir: str | Path, exp: str | Path, resume: bool = False,
          device: str = "auto", allow_pipes: bool = False) -> Path:
    """Train, and return the path of the model file.

    Leaves in ``exp``: config.yaml, train.log, metrics.csv, curves.png, tensorboard/, checkpoints/ and model.safetensors.
    The same seed on the same machine gives the same bits. With ``resume`` a run that was stopped at any point goes on
    from its last checkpoint and ends with the bits of one that was not; a finished run is left as it is. Raises
    UsageError when ``exp`` holds a run and ``resume`` is not asked for, or another process is at it; ConfigError when
    it was begun with another configuration; DataError and AudioError for data that cannot be trained on.
    """
    exp = Path(exp)
    chosen = choose_device(device)
    _check_config(config, chosen)
    model_path = exp / "model.safetensors"
    with _exclusive(exp):
        if _begin(exp, config, resume) and model_path.exists():
            print(f"{model_path}: this run is finished; nothing to do", file=sys.stderr)
            return model_path
        with _logging(exp / "train.log"):
            _train(config, train_dir, dev_dir, exp, chosen, allow_pipes)
    return model_path


def _train(config: Config, train_dir: str | Path, dev_dir: str | Path, exp: Path, device: torch.device,
           allow_pipes: bool) -> None:
    started = time.monotonic()
    threads = choose_threads(config.training.threads, config.training.workers)
    torch.set_num_threads(threads)
    keep_freed_memory()
    log.info("%s", ", ".join(f"{name} {value}" for name, value in environment().items()))
    log.info("seed %d, device %s, %d threads, %d data workers", config.seed, device, threads, config.training.workers)
    prepared = prepare(config, train_dir, dev_dir, allow_pipes)
    data = SpeechData(prepared)
    total_steps = data.total_steps()
    log.info("train %s: %d utterances, %.2f h; dev %s: %d utterances, %.2f h; %d tokens (%s); %d steps in %d epochs",
             train_dir, len(prepared.train.durations), prepared.train.hours, dev_dir, len(prepared.dev.durations),
             prepared.dev.hours, prepared.tokenizer.vocab_size, prepared.tokenizer.kind, total_steps, config.training.epochs)
    features = config.features
    log.info("network\n%s", summarize(prepared.network, features.frame_shift_ms / 1000, features.frame_length_ms / 1000))

    task = SpeechTask(prepared, total_steps, exp / "nonfinite")
    report = Report(exp, prepared)
    trainer = build_trainer(config, exp, device, report)
    checkpoint = exp / "checkpoints" / "resume.ckpt"
    if checkpoint.exists():
        log.info("resuming from %s", checkpoint)
    trainer.fit(task, datamodule=data, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
    if trainer.interrupted:
        raise KeyboardInterrupt
    _finish(task, data, report, exp, device, started)


def build_trainer(config: Config, exp: Path, device: torch.device, report: Report) -> Trainer:
    """Lightning's loop with everything a run has around it."""
    training = config.training
    callbacks: list[Callback] = [report]  # before the EMA: it must see the averaged weights while dev is measured
    if training.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=training.ema_decay))
    if training.early_stop:
        callbacks.append(EarlyStopping(f"dev_{training.monitor}", patience=training.early_stop, check_finite=False))
    if sys.stderr.isatty():
        callbacks.append(RichProgressBar())
    callbacks.append(ResumeCheckpoint(exp / "checkpoints" / "resume.ckpt", training.checkpoint_steps))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu", devices=1, precision=PRECISIONS[training.precision],
        max_epochs=training.epochs, accumulate_grad_batches=training.accumulate, callbacks=callbacks,
        logger=TensorBoardLogger(exp, name="", version="tensorboard"), log_every_n_steps=10, num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1, enable_model_summary=False, enable_progress_bar=sys.stderr.isatty(),
        use_distributed_sampler=False, deterministic="warn", benchmark=False)


def _finish(task: SpeechTask, data: SpeechData, report: Report, exp: Path, device: torch.device, started: float) -> None:
    """Average the best checkpoints; keep the average or the single best, whichever dev prefers; write the model."""
    config, prepared = task.config, task.prepared
    epochs = sorted(entry["epoch"] for entry in report.best)
    best = report.best[0]["epoch"]
    candidates = {f"epoch {best}": load_file(weights_path(exp, best))}
    if len(epochs) > 1:
        candidates[f"mean of epochs {', '.join(map(str, epochs))}"] = average_weights(weights_path(exp, epoch) for epoch in epochs)
    results = {}
    for name, weights in candidates.items():
        task.network.load_state_dict(weights)
        results[name] = _measure(task, data, device)
        log.info("%s: dev loss %.4f, WER %.2f %%, CER %.2f %%", name, results[name]["dev_loss"], 100 * results[name]["dev_wer"],
                 100 * results[name]["dev_cer"])
    chosen = min(results, key=lambda name: dev_rank(results[name], config.training.monitor))
    task.network.load_state_dict(candidates[chosen])
    notes = {**environment(), "seed": str(config.seed), "weights": chosen, "epochs": str(len(report.rows)),
             "training_data": prepared.fingerprint, "training_hours": f"{prepared.train.hours:.3f}",
             **{name: f"{value:.6g}" for name, value in results[chosen].items()}}
    draw_curves(report.rows, exp / "curves.png")
    timing = _timing(prepared)
    save_model(exp / "model.safetensors", task.network, prepared.frontend, config, prepared.tokenizer, notes, timing)
    log.info("%s: %s; %.0f s in all", exp / "model.safetensors", chosen, time.monotonic() - started)


def _timing(prepared: Prepared) -> TimingModel | None:
    """The model of where words are, from the training data as they are, not augmented."""
    data, frontend, archived = prepared.train.data, prepared.frontend.cpu(), prepared.config.training.archived
    known = {utterance.id: utterance for utterance in data.utterances}
    timing = timing_of(prepared.train.texts, dict(zip(known, prepared.train.durations)),
                       lambda key: raw_features(data, known[key], frontend, archived), prepared.config.features.kind)
    if timing is None:
        log.info("fewer than 20 training utterances are short enough for a timing model: times of words will be the network's")
    return timing


@torch.no_grad()
def _measure(task: SpeechTask, data: SpeechData, device: torch.device) -> dict[str, float]:
    task.to(device).eval()
    task.prepared.frontend.to(device)
    task.on_validation_epoch_start()
    for index, batch in enumerate(data.val_dataloader()):
        task.validation_step(batch.to(device), index)
    return dev_errors(task, task.prepared)


# -------------------------------------------------------------------------------------------- before the run


def _check_config(config: Config, device: torch.device) -> None:
    """Settings that exclude each other or cannot work, found before any work."""
    augment = config.augment
    if config.training.ctc_backend == "triton" and (reason := why_not(device)):
        raise ConfigError(f"training.ctc_backend=triton cannot run here: {reason}; use auto or torch")
    FrontEnd(config.features)
    WaveAugment(augment, config.features.sample_rate)  # looks for the files of noise and rooms
    get_normalizer(config.tokenizer.normalizer)
    if (folder := config.tokenizer.dir) is not None:
        if not (Path(folder) / "tokenizer.json").exists():
            raise ConfigError(f"tokenizer.dir: no tokenizer in {folder}; write one with `asr tokenizer --out {folder}`")
        build_tokenizer((), config.tokenizer)  # reads it: a damaged one, or one of another normaliser, is found now
    if config.training.archived:
        on_audio = [name for name, used in (("speed", augment.speed), ("tempo", augment.tempo), ("vtlp", augment.vtlp),
                                            ("pitch_semitones", augment.pitch_semitones), ("volume_db", augment.volume_db),
                                            ("telephone", augment.telephone), ("noise.probability", augment.noise.probability),
                                            ("reverb.probability", augment.reverb.probability)) if used]
        if on_audio:
            raise ConfigError("training.archived: archives hold features, and "
                              f"{', '.join('augment.' + name for name in on_audio)} work on audio; drop one or the other")


def _begin(exp: Path, config: Config, resume: bool) -> bool:
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
            yield from _differences(begun.get(key), asked.get(key), f"{path}.{key}" if path else str(key))
    elif begun != asked:
        yield f"{path} was {begun!r}, is {asked!r}"


@contextlib.contextmanager
def _exclusive(exp: Path) -> Iterator[None]:
    """One process at a time in a run's folder; what a killed one left half-written is removed."""
    exp.mkdir(parents=True, exist_ok=True)
    with open(exp / ".lock", "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released by the system however the process ends
        except OSError:
            raise UsageError(f"{exp}: another process is training here; wait for it, or choose another --exp") from None
        for leftover in (*exp.glob(".*.tmp"), *exp.glob("checkpoints/.*.tmp")):
            leftover.unlink()
        yield


@contextlib.contextmanager
def _logging(path: Path) -> Iterator[None]:
    """Log lines to standard error and to the run's train.log; the libraries' chatter to neither."""
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
            yield
    finally:
        log.setLevel(level)
        log.propagate = propagate
        for handler in handlers:
            log.removeHandler(handler)
            handler.close()
