"""A training step: audio hours an hour, where the time goes, memory, bf16, compiled; beside the network of deepspeech.pytorch.

    OMP_NUM_THREADS=1 python benchmarks/training_step.py                          # on the CPU
    python benchmarks/training_step.py --device cuda --hidden 1024 --layers 5 --batches 32 64 128

Both networks have two convolutions (41 x 11 and 21 x 11, 32 channels) over a spectrogram of 161 bins and bidirectional recurrent
layers; ours joins the directions, theirs adds them, and the width of ours is the one that comes nearest to their number of
parameters. First both are shown to learn: a loss that is finite on the same batch, and that falls along the gradient by what the
gradient's norm says (`--tolerance`). Then they take turns with forward, CTC loss, backward and AdamW on the same batches:
utterances of one length to 80 % of it, letters at 12 a second.

parts     Seconds of a step of ours in features (a data worker's work, there in parallel), network, CTC, backward, optimizer.
memory    Peak over what weights and optimizer take, by utterances in a batch; on the CPU each in a process of its own.
bf16      The same step of both under autocast.
compile   With `--compile`: the convolutions through `torch.compile` (packed recurrence is not compiled).

Exit status 1 where a network does not learn, or the sizes differ by more than 1 %.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import torch
from deepspeech import DeepSpeech
from memory import high_water
from torch import Tensor, nn

from asr.config import ModelConfig, parse_config
from asr.corpus import Batch
from asr.ctc import ctc_loss
from asr.features import Spectrogram
from asr.models import build_model
from asr.system import keep_freed_memory

BINS, VOCAB, RATE, FRAMES_A_SECOND = 161, 29, 16000, 100
Kind = Callable[[nn.Module, Batch], Tensor]


def our_network(hidden: int, layers: int, cell: str) -> nn.Module:
    conv = [{"channels": 32, "kernel": [11, 41], "stride": [2, 2]}, {"channels": 32, "kernel": [11, 21], "stride": [1, 2]}]
    tree = {"conv": {"layers": conv, "activation": "hardtanh"},
            "rnn": {"cell": cell, "hidden": hidden, "layers": layers, "norm": "batch"}}
    return build_model(parse_config(tree, root=ModelConfig), BINS, VOCAB)


def size_of(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def nearest(target: int, layers: int, cell: str) -> nn.Module:
    """Our network with the width that comes nearest to so many parameters."""
    low, high = 8, 4096
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if size_of(our_network(middle, layers, cell)) < target else (low, middle)
    return min((our_network(width, layers, cell) for width in (low - 1, low)), key=lambda found: abs(size_of(found) - target))


def make_batch(count: int, seconds: float, seed: int = 1) -> Batch:
    """Utterances from the longest on, of so many seconds down to 80 % of that: normalised features, random letters."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.linspace(seconds, 0.8 * seconds, count).mul(FRAMES_A_SECOND).long()
    labels = (lengths * 12) // FRAMES_A_SECOND
    inputs = torch.randn(count, int(lengths[0]), BINS, generator=generator)
    for row, length in zip(inputs, lengths.tolist()):
        row[length:] = 0
    targets = torch.randint(1, VOCAB, (count, int(labels[0])), generator=generator)
    return Batch([str(row) for row in range(count)], [""] * count, inputs, lengths, targets, labels)


def our_loss(network: nn.Module, batch: Batch) -> Tensor:
    logits, lengths = network(batch.inputs, batch.lengths)
    return ctc_loss(logits.transpose(0, 1), batch.targets, lengths, batch.target_lengths, reduction="sum",  # (B, T, V) -> (T, B, V)
                    validate=not logits.is_cuda) / batch.target_lengths.sum()


def their_loss(network: nn.Module, batch: Batch) -> Tensor:
    logits, lengths = network(batch.inputs, batch.lengths)
    log_probs = logits.transpose(0, 1).float().log_softmax(2)  # (B, T, V) -> (T, B, V)
    losses = nn.functional.ctc_loss(log_probs, batch.targets, lengths, batch.target_lengths, reduction="sum")
    return losses / batch.target_lengths.sum()


def learns(network: nn.Module, loss_of: Kind, batch: Batch, name: str, tolerance: float) -> bool:
    """Whether the loss falls along the gradient as it says: by step x norm², to first order."""
    network = copy.deepcopy(network).train()
    before = loss_of(network, batch)
    before.backward()
    norm = sum(float(parameter.grad.double().square().sum()) for parameter in network.parameters()) ** 0.5
    wanted = 0.01 * abs(float(before.detach()))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.sub_(parameter.grad, alpha=wanted / norm**2)
    fallen = float(before.detach()) - float(loss_of(network, batch).detach())
    print(f"{name}: {size_of(network)} parameters, loss {float(before.detach()):.4f} nats a label, norm of the gradient "
          f"{norm:.4f}; along it the loss falls by {fallen:.4f}, {wanted:.4f} to first order")
    return abs(fallen - wanted) < tolerance * wanted


class Stepper:
    """A network with AdamW: a step a call, on the batch given."""

    def __init__(self, network: nn.Module, loss_of: Kind, device: str, bf16: bool = False):
        self.network, self.loss_of, self.device, self.bf16 = network.to(device).train(), loss_of, device, bf16
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, fused=True)

    def __call__(self, batch: Batch) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device, torch.bfloat16, enabled=self.bf16):
            loss = self.loss_of(self.network, batch)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        self.optimizer.step()


def seconds_of(run: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(runs: dict[str, Callable[[], object]], device: str, repeats: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(repeats + 1):
        for name, run in runs.items():
            taken = seconds_of(run, device)
            if turn:  # the first warms up
                times[name].append(taken)
    return times


def parts(stepper: Stepper, batch: Batch, seconds: float, repeats: int) -> Iterator[tuple[str, float]]:
    """Median seconds of each part of a step of ours."""
    device, network = stepper.device, stepper.network
    spectrogram, samples = Spectrogram(sample_rate=RATE), torch.randn(len(batch), int(seconds * RATE)) * 0.1
    sizes = batch.lengths.cpu() * (RATE // FRAMES_A_SECOND)
    logits, lengths = network(batch.inputs, batch.lengths)
    leaf = logits.detach().requires_grad_()

    def ctc() -> None:
        loss = ctc_loss(leaf.transpose(0, 1), batch.targets, lengths, batch.target_lengths, reduction="sum",  # -> (T, B, V)
                        validate=not leaf.is_cuda)
        torch.autograd.grad(loss, leaf)

    gradient = torch.randn_like(logits)
    whole = in_turns({"features": lambda: spectrogram(samples, sizes), "forward": lambda: network(batch.inputs, batch.lengths),
                      "CTC": ctc, "forward and backward": lambda: network(batch.inputs, batch.lengths)[0].backward(gradient),
                      "optimizer": stepper.optimizer.step}, device, repeats)
    yield from ((name, statistics.median(times)) for name, times in whole.items())


def peak(name: str, width: int, layers: int, cell: str, count: int, seconds: float) -> int:
    """Bytes that two steps add to a process's peak, in this process."""
    network, loss_of = (our_network(width, layers, cell), our_loss) if name == "ours" else (
        DeepSpeech(BINS, width, layers, VOCAB, cell), their_loss)
    stepper, batch = Stepper(network, loss_of, "cpu"), make_batch(count, seconds)
    stepper(make_batch(1, 1.0))
    before = high_water()
    stepper(batch)
    stepper(batch)
    return high_water() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--hidden", type=int, default=256, help="of the peer; ours is made as large")
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--cell", choices=["gru", "lstm"], default="gru")
    parser.add_argument("--seconds", type=float, default=10.0, help="the longest utterance of a batch")
    parser.add_argument("--batches", type=int, nargs="+", default=[8, 16], help="utterances in a batch")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="our convolutions compiled, too")
    parser.add_argument("--tolerance", type=float, default=0.2)
    arguments = parser.parse_args()
    device, seconds = arguments.device, arguments.seconds
    keep_freed_memory()
    torch.manual_seed(1)
    theirs = DeepSpeech(BINS, arguments.hidden, arguments.layers, VOCAB, arguments.cell)
    ours = nearest(size_of(theirs), arguments.layers, arguments.cell)
    width = ours.config.rnn.hidden
    small = make_batch(4, 3.0)
    good = all([learns(ours, our_loss, small, "ours", arguments.tolerance),
                learns(theirs, their_loss, small, "deepspeech.pytorch", arguments.tolerance)])
    if not good or abs(size_of(ours) / size_of(theirs) - 1) > 0.01:
        print("not equal: no times are taken", file=sys.stderr)
        sys.exit(1)

    steppers = {"ours": Stepper(ours, our_loss, device), "deepspeech.pytorch": Stepper(theirs, their_loss, device),
                "ours, bf16": Stepper(copy.deepcopy(ours), our_loss, device, bf16=True),
               "deepspeech.pytorch, bf16": Stepper(copy.deepcopy(theirs), their_loss, device, bf16=True)}
    if arguments.compile:
        compiled = copy.deepcopy(ours)
        compiled.encoder.conv.compile(dynamic=True)
        steppers["ours, convolutions compiled"] = Stepper(compiled, our_loss, device)
    threads = f"{torch.get_num_threads()} thread(s)" if device == "cpu" else torch.cuda.get_device_name()
    for count in arguments.batches:
        batch = make_batch(count, seconds).to(device)
        audio = float(batch.lengths.sum()) / FRAMES_A_SECOND
        times = in_turns({name: (lambda step=step, batch=batch: step(batch)) for name, step in steppers.items()}, device,
                         arguments.repeats)
        reference = statistics.median(times["deepspeech.pytorch"])
        for name, taken in times.items():
            median = statistics.median(taken)
            print(f"{count} x {seconds:g} s, {device}, {threads}: {name}: a step {median:.3f} s "
                  f"({min(taken):.3f}-{max(taken):.3f}), {audio / median:.0f} audio hours an hour, "
                  f"{reference / median:.2f} times as fast as deepspeech.pytorch")
        found = dict(parts(steppers["ours"], batch, seconds, arguments.repeats))
        print(f"{count} x {seconds:g} s, parts of ours: " + ", ".join(f"{name} {value:.3f} s" for name, value in found.items()))
    if device == "cpu":
        with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
            for count in arguments.batches:
                both = [pool.submit(peak, name, size, arguments.layers, arguments.cell, count, seconds).result()
                        for name, size in (("ours", width), ("theirs", arguments.hidden))]
                print(f"{count} x {seconds:g} s, memory of a step: ours {both[0] / 1e6:.0f} MB, "
                      f"deepspeech.pytorch {both[1] / 1e6:.0f} MB")
    else:
        for count in arguments.batches:
            for name, step in steppers.items():
                torch.cuda.empty_cache()
                before = torch.cuda.memory_allocated()
                torch.cuda.reset_peak_memory_stats()
                step(make_batch(count, seconds).to(device))
                used = torch.cuda.max_memory_allocated() - before
                print(f"{count} x {seconds:g} s, memory of a step: {name} {used / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
