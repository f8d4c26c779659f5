"""Training a recogniser: a configuration and two data directories to `model.safetensors`."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import torch

from asr.config import Config, dump_config, load_config
from asr.ctc.kernels.common import why_not
from asr.errors import ConfigError
from asr.features import FrontEnd, WaveAugment, raw_features
from asr.models import summarize
from asr.models.storage import save_model
from asr.models.timing import TimingModel
from asr.models.timing_fit import timing_of
from asr.system import choose_device, write_text
from asr.text import build_tokenizer, get_normalizer
from asr.text.phones import read_pronunciations
from asr.training.data import SpeechData
from asr.training.loop import check_without_dev, run_training
from asr.training.preparation import Prepared, prepare
from asr.training.probe import probe_batch_seconds
from asr.training.processes import agreed
from asr.training.speech import SpeechTask

log = logging.getLogger("asr")


def train(config: Config, train_dir: str | Path, dev_dir: str | Path | None, exp: str | Path, resume: bool = False,
          device: str = "auto", allow_pipes: bool = False) -> Path:
    """Train a recogniser, and return the path of the model file; see `training.loop.run_training` for what a run is.

    Without ``dev_dir`` nothing is chosen: the weights of the last ``training.average_best`` epochs are averaged.
    Raises what that raises, and DataError and AudioError for data that cannot be trained on.
    """
    chosen = choose_device(device)
    _check_config(config, chosen)
    if dev_dir is None:
        check_without_dev(config.training)

    def build(exp: Path, device: torch.device) -> tuple[SpeechTask, SpeechData]:
        prepared = _with_batches(prepare(config, train_dir, dev_dir, allow_pipes), exp, device)
        data = SpeechData(prepared)
        total_steps = data.total_steps()
        log.info("train %s: %d utterances, %.2f h; dev %s: %d utterances, %.2f h; %d tokens (%s); %d steps in %d epochs",
                 train_dir, len(prepared.train.durations), prepared.train.hours,
                 dev_dir or "(none: of the training utterances)", len(prepared.dev.durations),
                 prepared.dev.hours, prepared.tokenizer.vocab_size, prepared.tokenizer.kind, total_steps, config.training.epochs)
        features = config.features
        log.info("network\n%s", summarize(prepared.network, features.frame_shift_ms / 1000, features.frame_length_ms / 1000))
        return SpeechTask(prepared, total_steps, exp / "nonfinite"), data

    return run_training(config, exp, chosen, build, _save, resume)


def _with_batches(prepared: Prepared, exp: Path, device: torch.device) -> Prepared:
    """With a number for `training.batch_seconds`: that of the configuration, that of the run which goes on, or one found now, which
    from here on is in the run's config.yaml."""
    def settle(seconds: object) -> Prepared:
        training = prepared.config.training.model_copy(update={"batch_seconds": seconds})
        return replace(prepared, config=prepared.config.model_copy(update={"training": training}))

    if prepared.config.training.batch_seconds != "auto":
        return prepared
    written = agreed(lambda: load_config(exp / "config.yaml").training.batch_seconds)
    if written != "auto":
        return settle(written)
    trial = settle(max(prepared.train.durations))
    found = settle(probe_batch_seconds(SpeechTask(trial, 1, exp / "nonfinite"), SpeechData(trial), device))
    agreed(lambda: write_text(exp / "config.yaml", dump_config(found.config)))
    return found


def _save(task: SpeechTask, notes: dict[str, str], path: Path) -> None:
    prepared = task.prepared
    notes |= {"training_data": prepared.train.fingerprint, "training_hours": f"{prepared.train.hours:.3f}"}
    save_model(path, task.network, prepared.frontend, prepared.config, prepared.tokenizer, notes, _timing(prepared))


def _timing(prepared: Prepared) -> TimingModel | None:
    """The model of where words are, from the training data as they are, not augmented."""
    data, frontend, archived = prepared.train.data, prepared.frontend.cpu(), prepared.config.training.archived
    known = {utterance.id: utterance for utterance in data.utterances}
    texts = {key: prepared.tokenizer.sounds_of(text) for key, text in prepared.train.texts.items()}
    timing = timing_of(texts, dict(zip(known, prepared.train.durations)),
                       lambda key: raw_features(data, known[key], frontend, archived), prepared.config.features.kind)
    if timing is None:
        log.info("fewer than 20 training utterances are short enough for a timing model: times of words will be the network's")
    return timing


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
    elif config.tokenizer.lexicon is not None:
        read_pronunciations(config.tokenizer.lexicon)
    if config.training.archived:
        on_audio = [name for name, used in (("speed", augment.speed), ("tempo", augment.tempo), ("vtlp", augment.vtlp),
                                            ("pitch_semitones", augment.pitch_semitones), ("volume_db", augment.volume_db),
                                            ("telephone", augment.telephone), ("noise.probability", augment.noise.probability),
                                            ("reverb.probability", augment.reverb.probability)) if used]
        if on_audio:
            raise ConfigError("training.archived: archives hold features, and "
                              f"{', '.join('augment.' + name for name in on_audio)} work on audio; drop one or the other")
