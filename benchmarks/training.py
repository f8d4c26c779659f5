"""Training: padding of the batches, what the loop costs beside the network, our CPU GRU and large convolutions against torch's.

    python benchmarks/training.py                                       # all of it, the network of the recipe `commands`
    python benchmarks/training.py --parts overhead --minutes 30 --repeats 5
    python benchmarks/training.py --parts overhead --config recipes/fsdd/conf/crnn.yaml --set training.precision=bf16

padding   The part of a batch's frames that are padding, for durations uniform from 1 to 15 s and 120 s a batch.
overhead  An epoch of `asr train` as users run it (audio read, augmented and made features of by data workers, CMVN,
          SpecAugment, optimizer, logging, dev, checkpoint) against a loop that does only forward, CTC loss and backward of the same
          network on the same batches of ready features. First both run without augmentation and dropout and with a
          learning rate that moves nothing: losses of every step and gradients of the first must be equal. Then they take
          turns, epoch by epoch, on the same threads.
gru       A bidirectional layer, forward and backward on packed frames: asr/models/gru.py against torch.nn.GRU, after
          outputs and every gradient were found equal.
conv      A layer with a kernel of 11 x 21 and of 11 x 11, forward and backward: asr/models/large_conv.py against torch's, after the
          same. The second is below what a network takes it for.

Speeds are the median of the repeats, with the fastest and slowest; a first, uncounted one warms up. Exit status 1 when
the two sides differ, or padding is 8 % of frames or more.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils.rnn import pack_sequence

from asr import audio
from asr.config import Config, load_config
from asr.corpus import Batch, BatchSampler, DataDir, Utterance, collate
from asr.ctc import ctc_loss
from asr.models.gru import packed_gru
from asr.models.large_conv import large_conv2d
from asr.system import choose_threads, keep_freed_memory
from asr.training.data import SpeechData
from asr.training.loop import build_trainer
from asr.training.preparation import Prepared, prepare
from asr.training.reports import Report
from asr.training.speech import SpeechTask

SHORTEST, LONGEST, LETTERS_A_SECOND = 1.0, 15.0, 10
PLAIN = ["augment={}", "model.dropout=0", "model.rnn.dropout=0", "model.conv.dropout=0", "training.gradient_clip=0",
         "training.optimizer={name: sgd, lr: 1.0e-30, momentum: 0, weight_decay: 0}", "training.ema_decay=0",
         "training.schedule={name: constant, warmup_steps: 0}", "training.early_stop=0", "training.epochs=1"]

Ready = list[tuple[Tensor, Batch]]
"""Normalised features (B, T, F) of every batch, and the batch."""
PARTS = ["padding", "overhead", "gru", "conv"]


# ---------------------------------------------------------------------------------------------------- padding


def padding(batch_seconds: float, max_utterances: int) -> bool:
    """Print the padding for corpora of several sizes, mean of five epochs; whether all are below 8 %."""
    good = True
    for count in (300, 1000, 10_000):
        durations = np.random.default_rng(count).uniform(SHORTEST, LONGEST, count)
        sampler = BatchSampler(durations, batch_seconds, max_utterances, seed=1)
        shares = []
        for epoch in range(5):
            plan = sampler.plan(epoch)
            padded = sum(durations[batch].max() * len(batch) for batch in plan)
            shares.append(1 - durations.sum() / padded)
        print(f"padding, {count} utterances of {SHORTEST:g}-{LONGEST:g} s, {batch_seconds:g} s a batch: "
              f"{100 * np.mean(shares):.2f} % of frames ({len(plan)} batches)")
        good &= float(np.mean(shares)) < 0.08
    return good


# --------------------------------------------------------------------------------------------------- overhead


def speech_shaped_noise(seconds: float, rate: int, rng: np.random.Generator) -> np.ndarray:
    """(N,) float32: noise that falls by 6 dB an octave, its loudness moving like syllables."""
    size = round(seconds * rate)
    spectrum = np.fft.rfft(rng.standard_normal(size))
    shaped = np.fft.irfft(spectrum / np.maximum(1.0, np.fft.rfftfreq(size, 1 / rate) / 200), size)
    syllables = np.clip(np.sin(2 * np.pi * 4 * np.arange(size) / rate + rng.uniform(0, 6)), 0.02, 1)
    return (0.3 * shaped * syllables / np.abs(shaped).max()).astype(np.float32)


def make_corpus(path: Path, seconds: float, rate: int, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    found: list[Utterance] = []
    wav: dict[str, str] = {}
    while seconds > 0:
        name, duration = f"s{len(found) % 4}-{seed}-{len(found):05d}", rng.uniform(SHORTEST, min(LONGEST, max(seconds, 2.0)))
        wav[name] = str(path / f"{name}.wav")
        audio.write(wav[name], speech_shaped_noise(duration, rate, rng), rate)
        letters = "".join(rng.choice(list("abcdefghijklmnopqrstuvwxyz"), int(duration * LETTERS_A_SECOND)))
        text = " ".join(letters[start:start + 5] for start in range(0, len(letters), 5))
        found.append(Utterance(id=name, recording=name, speaker=name.split("-", maxsplit=1)[0], text=text))
        seconds -= duration
    DataDir.from_utterances(found, wav).save(path)
    return path


def ready_batches(prepared: Prepared, data: SpeechData, epoch: int) -> Ready:
    made = []
    for plan in data.sampler.plan(epoch):
        batch = collate([data.train_set[(epoch, index)] for index in plan])
        made.append((prepared.frontend.normalize(batch.inputs, batch.lengths), batch))
    return made


def bare_epoch(network: torch.nn.Module, ready: Ready, precision: str) -> list[float]:
    """Forward, CTC loss and backward of every batch; the losses per label. Gradients of the last batch stay."""
    losses = []
    for features, batch in ready:
        network.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            logits, lengths = network(features, batch.lengths)
        loss = ctc_loss(logits.transpose(0, 1), batch.targets, lengths, batch.target_lengths,  # (B, T, V) -> (T, B, V)
                        reduction="sum") / batch.target_lengths.sum()
        loss.backward()
        losses.append(loss.detach())
    return [float(loss) for loss in losses]


class Watched(SpeechTask):
    """Keeps the loss of every step, and the gradients of the first."""

    def __init__(self, *given: Any):
        super().__init__(*given)
        self.seen: list[float] = []
        self.first: dict[str, Tensor] = {}

    def training_step(self, batch: Batch, index: int) -> Tensor | None:
        loss = super().training_step(batch, index)
        self.seen.append(float("nan") if loss is None else float(loss.detach()))
        return loss

    def configure_gradient_clipping(self, *given: Any, **more: Any) -> None:
        if not self.first:
            self.first = {name: parameter.grad.clone() for name, parameter in self.network.named_parameters()}
        super().configure_gradient_clipping(*given, **more)


class Turns(Callback):
    """Before every epoch of the real loop, the same batches in the bare one; seconds of both."""

    def __init__(self, prepared: Prepared, data: SpeechData):
        self.prepared, self.data = prepared, data
        self.network = copy.deepcopy(prepared.network).train()
        self.bare: list[float] = []
        self.real: list[float] = []
        self.started = 0.0

    def on_train_epoch_start(self, trainer: Trainer, task: LightningModule) -> None:
        self._stop()
        ready = ready_batches(self.prepared, self.data, trainer.current_epoch)
        start = time.perf_counter()
        bare_epoch(self.network, ready, self.prepared.config.training.precision)
        self.bare.append(time.perf_counter() - start)
        self.started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, task: LightningModule) -> None:
        self._stop()

    def _stop(self) -> None:
        if self.started:
            self.real.append(time.perf_counter() - self.started)


def fit(config: Config, corpus: Path, exp: Path, task_type: type[SpeechTask], turns: bool) -> tuple[SpeechTask, SpeechData, Any]:
    """The loop of `asr train`, with its callbacks, without its last step (the averaging)."""
    prepared = prepare(config, corpus / "train", corpus / "dev")
    data = SpeechData(prepared)
    task = task_type(prepared, data.total_steps(), exp / "nonfinite")
    before = copy.deepcopy(prepared.network)
    report = Report(exp, config.training.average_best, config.training.monitor)
    trainer = build_trainer(config.training, exp, torch.device("cpu"), report)
    watch = Turns(prepared, data) if turns else None
    if watch:
        trainer.callbacks.append(watch)
    trainer.fit(task, datamodule=data)
    return task, data, watch or before


def overhead(config_path: str, overrides: list[str], minutes: float, repeats: int) -> bool:
    """Prove that both loops compute the same, then time them; False when they do not."""
    plain = load_config(config_path, [*overrides, *PLAIN])
    config = load_config(config_path, [*overrides, f"training.epochs={repeats + 1}"])
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder)
        make_corpus(corpus / "train", 60 * minutes, config.features.sample_rate, 1)
        make_corpus(corpus / "dev", 4.0, config.features.sample_rate, 2)

        task, data, network = fit(plain, corpus, corpus / "plain", Watched, turns=False)
        ready = ready_batches(task.prepared, data, 0)
        network.train()
        bare_epoch(network, ready[:1], plain.training.precision)
        gradient = max(float((parameter.grad - task.first[name]).abs().max() / task.first[name].abs().max().clamp(min=1e-12))
                       for name, parameter in network.named_parameters())
        losses = np.array(bare_epoch(network, ready, plain.training.precision))
        difference = np.abs(losses - np.array(task.seen)).max() / np.abs(losses).max()
        print(f"overhead, equality: {len(losses)} steps, largest relative difference of a loss {difference:.1e}, "
              f"of a gradient of the first step {gradient:.1e}")
        if not (difference < 1e-5 and gradient < 1e-4):
            print("not equal: no times are taken", file=sys.stderr)
            return False

        _, _, turns = fit(config, corpus, corpus / "timed", SpeechTask, turns=True)
    bare, real = turns.bare[1:], turns.real[1:]
    ratios = [theirs / ours for theirs, ours in zip(real, bare)]
    print(f"overhead, {minutes:g} min of audio, {len(losses)} steps, {torch.get_num_threads()} thread(s), "
          f"{config.training.workers} data worker(s): an epoch of training {spread(real, 's')}, "
          f"forward and backward alone {spread(bare, 's')}; "
          f"more wall time: {100 * (statistics.median(ratios) - 1):.1f} % "
          f"({100 * (min(ratios) - 1):.1f} to {100 * (max(ratios) - 1):.1f})")
    return True


def spread(times: list[float], unit: str, scale: float = 1.0) -> str:
    """Median, fastest and slowest."""
    return f"{scale * statistics.median(times):.2f} {unit} ({scale * min(times):.2f}-{scale * max(times):.2f})"


# --------------------------------------------------------------------------------------------------------- gru


def gru(repeats: int, inputs: int = 256, hidden: int = 128, batch_seconds: float = 100.0, frame_rate: float = 50.0) -> bool:
    """Batches of short and of long utterances; whether outputs and gradients agree."""
    torch.manual_seed(1)
    good = True
    for seconds in (2.0, 8.0, 14.0):
        layer = torch.nn.GRU(inputs, hidden, bidirectional=True)
        count = int(batch_seconds / seconds)
        lengths = [int(frame_rate * seconds * (1 - 0.03 * index / count)) for index in range(count)]
        frames = pack_sequence([torch.randn(length, inputs) for length in lengths])
        frames = frames._replace(data=frames.data.requires_grad_())
        weight = torch.randn(len(frames.data), 2 * hidden)

        def step(run: Callable[[], Tensor], frames: Any = frames, layer: Any = layer, weight: Tensor = weight) -> list[Tensor]:
            frames.data.grad = None
            layer.zero_grad(set_to_none=True)
            output = run()
            (output * weight).sum().backward()
            return [output.detach(), frames.data.grad, *(parameter.grad for parameter in layer.parameters())]

        def ours(frames: Any = frames, layer: Any = layer) -> Tensor:
            return packed_gru(frames, layer).data

        def theirs(frames: Any = frames, layer: Any = layer) -> Tensor:
            return layer(frames)[0].data

        difference = max(float((mine - other).abs().max() / other.abs().max()) for mine, other in zip(step(ours), step(theirs)))
        good &= difference < 1e-4
        times: dict[Callable[[], Tensor], list[float]] = {ours: [], theirs: []}
        for _ in range(repeats):
            for run, taken in times.items():
                start = time.perf_counter()
                step(run)
                taken.append(time.perf_counter() - start)
        ratio = statistics.median(times[theirs]) / statistics.median(times[ours])
        print(f"gru, {count} x {seconds:g} s, {torch.get_num_threads()} thread(s): ours {spread(times[ours], 'ms', 1e3)}, "
              f"torch {spread(times[theirs], 'ms', 1e3)}, ratio {ratio:.2f}; largest relative difference {difference:.1e}")
    return good


def conv(repeats: int, batch: int = 4, frames: int = 300) -> bool:
    """Large kernels; whether outputs and gradients agree."""
    torch.manual_seed(1)
    good = True
    for kernel, (channels, bins, stride) in itertools.product(((11, 21), (11, 11)), ((32, 40, 2), (64, 20, 1))):
        inputs = torch.randn(batch, channels, frames, bins, requires_grad=True)
        weights = torch.randn(channels, channels, *kernel, requires_grad=True)
        padding = (kernel[0] // 2, kernel[1] // 2)
        runs = {"ours": lambda x=inputs, w=weights, s=stride, p=padding: large_conv2d(x, w, None, s, p),
                "torch": lambda x=inputs, w=weights, s=stride, p=padding: F.conv2d(x, w, None, (1, s), p)}
        found, times = {}, {name: [] for name in runs}
        for turn in range(repeats + 1):
            for name, run in runs.items():
                inputs.grad = weights.grad = None
                start = time.perf_counter()
                output = run()
                output.sum().backward()
                if turn:
                    times[name].append(time.perf_counter() - start)
                else:
                    found[name] = [output.detach(), inputs.grad, weights.grad]
        difference = max(float((mine - theirs).abs().max() / theirs.abs().max())
                         for mine, theirs in zip(found["ours"], found["torch"], strict=True))
        good &= difference < 1e-4
        ratio = statistics.median(times["torch"]) / statistics.median(times["ours"])
        print(f"conv, {kernel[0]} x {kernel[1]}, {channels} channels, {bins} bins, stride {stride}, "
              f"{torch.get_num_threads()} thread(s): ours {spread(times['ours'], 'ms', 1e3)}, "
              f"torch {spread(times['torch'], 'ms', 1e3)}, ratio {ratio:.2f}; largest relative difference {difference:.1e}")
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--config", default="recipes/commands/conf/crnn.yaml", help="of the network to train")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key of it")
    parser.add_argument("--threads", type=int, default=0, help="of the network; 0: as `asr train` chooses")
    parser.add_argument("--workers", type=int, help="data workers; the configuration's if absent")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training audio")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()

    overrides = [*arguments.set, *([] if arguments.workers is None else [f"training.workers={arguments.workers}"])]
    config = load_config(arguments.config, overrides)
    torch.set_num_threads(choose_threads(arguments.threads, config.training.workers))
    keep_freed_memory()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    good = True
    if "padding" in arguments.parts:
        good &= padding(120.0, config.training.max_utterances)
    if "overhead" in arguments.parts:
        good &= overhead(arguments.config, overrides, arguments.minutes, arguments.repeats)
    if "gru" in arguments.parts:
        good &= gru(arguments.repeats)
    if "conv" in arguments.parts:
        good &= conv(arguments.repeats)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
