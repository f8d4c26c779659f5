"""The loss, as a part of ctc_gpu.py: `correct`, `measure`, `tiny`, and `interpreted` for machines without a GPU."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial

import gpu_clock as clock
import torch
import torch.nn.functional as F
from torch import Tensor

from asr.ctc import ctc_loss, ctc_loss_and_gradient_

SHAPES = [(400, 32, 32, 100), (1000, 32, 1000, 100), (250, 128, 500, 60), (1500, 64, 5000, 200)]
FLOOR = {32: 4.0, 1000: 4.0, 500: 4.0, 5000: 3.0}
"""V -> how many times as fast as torch's own kernels we must be; cuDNN: 1.3 times."""


@dataclass
class Batch:
    """Logits (T, B, V) with targets (B, L) and lengths, all on one device."""

    logits: Tensor
    targets: Tensor
    frames: Tensor
    labels: Tensor

    def on(self, logits: Tensor) -> Batch:
        return Batch(logits, self.targets, self.frames, self.labels)


def made(frames: int, batch: int, vocabulary: int, labels: int, dtype: torch.dtype = torch.float32, device: str = "cuda",
         ragged: bool = False, trained: bool = False, seed: int = 0) -> Batch:
    """Random logits and targets; ``trained``: the logits light up each label at its place, and the blank between."""
    generator = torch.Generator(device).manual_seed(seed)
    logits = torch.randn(frames, batch, vocabulary, generator=generator, device=device) * 2
    targets = torch.randint(1, vocabulary, (batch, labels), generator=generator, device=device)
    sizes, counts = (torch.full((batch,), number, device=device) for number in (frames, labels))
    if trained:
        logits[..., 0] += 6
        places = ((torch.arange(labels, device=device) + 0.5) * frames / labels).long()
        logits[places[:, None], torch.arange(batch, device=device), targets.T] += 14  # (B, L) -> (L, B)
    if ragged:
        sizes = torch.randint(0, frames + 1, (batch,), generator=generator, device=device)
        counts = torch.randint(0, labels + 1, (batch,), generator=generator, device=device)
        sizes[0], counts[0] = frames, labels
    return Batch(logits.to(dtype), targets, sizes, counts)


# ----------------------------------------------------------------------------------------------------- both sides


def ours(batch: Batch, backend: str = "triton") -> tuple[Tensor, Tensor]:
    """Losses (B,) and the gradient of their sum."""
    logits = batch.logits.detach().requires_grad_()
    losses = ctc_loss(logits, batch.targets, batch.frames, batch.labels, reduction="none", backend=backend, validate=False)
    return losses.detach(), torch.autograd.grad(losses, logits, torch.ones_like(losses))[0]


def overwritten(batch: Batch) -> Tensor:
    return ctc_loss_and_gradient_(batch.logits, batch.targets, batch.frames, batch.labels, reduction="sum", validate=False)


def native(batch: Batch) -> tuple[Tensor, Tensor]:
    """torch's own kernels: int64 targets keep it from cuDNN."""
    logits = batch.logits.detach().requires_grad_()
    log_probs = torch.log_softmax(logits, -1, dtype=torch.float64 if logits.dtype == torch.float64 else torch.float32)
    losses = F.ctc_loss(log_probs, batch.targets, batch.frames, batch.labels, reduction="none", zero_infinity=True)
    return losses.detach(), torch.autograd.grad(losses, logits, torch.ones_like(losses))[0]


def cudnn(batch: Batch, flat: Tensor, sizes: list[int], counts: list[int]) -> tuple[Tensor, Tensor]:
    """What torch gives to cuDNN: concatenated int32 targets on the host, lengths as lists, all frames."""
    logits = batch.logits.detach().requires_grad_()
    log_probs = torch.log_softmax(logits, -1, dtype=torch.float32)
    losses = F.ctc_loss(log_probs, flat, sizes, counts, reduction="none")
    return losses.detach(), torch.autograd.grad(losses, logits, torch.ones_like(losses))[0]


def exact(batch: Batch) -> tuple[Tensor, Tensor]:
    """float64, four utterances at a time; impossible targets as we define them: infinity, and no gradient."""
    losses, gradients = [], []
    for first in range(0, batch.logits.shape[1], 4):
        part = slice(first, first + 4)
        some = Batch(batch.logits[:, part].double(), batch.targets[part], batch.frames[part], batch.labels[part])
        found = ours(some, backend="torch")
        losses.append(found[0])
        gradients.append(found[1])
    return torch.cat(losses), torch.cat(gradients, 1)


# -------------------------------------------------------------------------------------------------------- correct


def check(condition: bool | Tensor, message: str) -> None:
    if not condition:
        sys.exit(f"loss: {message}")


def errors(found: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> tuple[float, float, float]:
    """Of the losses, the largest relative one; of the gradient, relative in the L2 norm and the largest absolute one."""
    finite = torch.isfinite(expected[0])
    check(torch.equal(finite, torch.isfinite(found[0])), "other losses are infinite than should be")
    apart = (found[0].double() - expected[0])[finite].abs() / expected[0][finite].abs().clamp(min=1)
    difference = found[1].double() - expected[1]
    return float(apart.max()), float(difference.norm() / expected[1].norm()), float(difference.abs().max())


def compare(name: str, batch: Batch) -> None:
    """Ours against float64, beside torch's float32."""
    expected = exact(batch)
    loss, gradient, largest = errors(ours(batch), expected)
    possible = torch.isfinite(expected[0])
    theirs = (native(batch)[1].double() - expected[1])[:, possible].norm() / expected[1].norm()
    print(f"loss {name}: largest relative error of a loss {loss:.1e}; of the gradient {gradient:.1e} (L2), {largest:.1e} "
          f"(absolute), torch's float32 {theirs:.1e} (L2)")
    check(loss < 1e-5 and gradient < 1e-3, f"{name}: too far from float64")
    check(len(batch.logits) < 1000 or gradient < theirs / 5 or gradient < 1e-5, f"{name}: torch is nearer to float64")


def interpreted() -> None:
    """Without a GPU: Triton's interpreter takes about a minute for a thousand frames."""
    for trained in (False, True):
        for frames, vocabulary, labels in ((400, 32, 100), (1000, 1000, 100)):
            compare(f"T={frames} B=1 V={vocabulary} L={labels}{' trained' if trained else ''}, interpreted",
                    made(frames, 1, vocabulary, labels, device="cpu", trained=trained))


def tiny() -> None:
    """Every kind of launch, small; for compute-sanitizer."""
    for labels in (3, 40, 1100):
        batch = made(9, 3, 37, labels, ragged=True)
        ours(batch)
        overwritten(batch)
    wrong = made(9, 3, 37, 5)
    wrong.targets[0, 0], wrong.frames[1], wrong.labels[2] = 10 ** 6, 10 ** 6, 10 ** 6
    losses, _ = ours(wrong)
    check(torch.isnan(losses).all(), "labels and lengths that are wrong must make the loss NaN")


def correct() -> None:
    for shape in SHAPES:
        name = "T={} B={} V={} L={}".format(*shape)
        compare(name, made(*shape))
        compare(f"{name} ragged", made(*shape, ragged=True))
        compare(f"{name} trained", made(*shape, trained=True))
        repeats(name, made(*shape))
        halves(name, made(*shape, dtype=torch.bfloat16, ragged=True))
    for labels in (31, 32, 127, 128, 255, 256, 1023, 1024, 2047, 2048, 4095):
        compare(f"a target of {labels} labels", made(labels + 100, 2, 64, labels))
    compare("a vocabulary of 100003", made(50, 2, 100003, 20))
    many()
    circumstances()


def repeats(name: str, batch: Batch) -> None:
    """Twenty runs, the same bits; the first utterance alone, within 1e-6 of what it is in the batch."""
    torch.use_deterministic_algorithms(True)
    first = ours(batch)
    for _ in range(19):
        check(all(map(torch.equal, ours(batch), first)), f"{name}: two runs differ")
    torch.use_deterministic_algorithms(False)
    alone = ours(Batch(batch.logits[:, :1], batch.targets[:1], batch.frames[:1], batch.labels[:1]))
    check((alone[0] - first[0][:1]).abs() <= 1e-6 * first[0][:1].abs(), f"{name}: alone the loss is another")
    check((alone[1] - first[1][:, :1]).abs().max() <= 1e-6, f"{name}: alone the gradient is another")
    print(f"loss {name}: 20 runs gave the same bits, an utterance alone within 1e-6")


def halves(name: str, batch: Batch) -> None:
    """bfloat16 logits: the loss and gradient of float32, but for one rounding; and the gradient over the logits is the same.

    Not to the bit: a thread has more of the narrower numbers at once, so the softmax is summed in another order.
    """
    losses, gradient = ours(batch)
    single = ours(batch.on(batch.logits.float()))
    check(((losses - single[0]).abs() <= 1e-6 * single[0].abs()).all(), f"{name}: of bfloat16 logits the loss is another")
    rounding = (2 ** -8 + 2 ** -16) * single[1].abs() + 1e-7
    check(((gradient.float() - single[1]).abs() <= rounding).all(), f"{name}: bfloat16 is rounded twice")
    copy = batch.on(batch.logits.clone())
    overwritten(copy)
    off = (copy.logits.float() - gradient.float()).abs() <= 2 ** -7 * gradient.float().abs() + 1e-6
    check(off.all(), f"{name}: the gradient over the logits is another")
    print(f"loss {name} bfloat16: rounded once, and the same over the logits")


def many() -> None:
    """More than 2^31 logits."""
    frames, batch, vocabulary = 1100, 64, 32768
    if torch.cuda.mem_get_info()[0] < 3 * 2 * frames * batch * vocabulary:
        print("loss: not enough memory for more than 2^31 logits; not checked")
        return
    logits = torch.zeros(frames, batch, vocabulary, dtype=torch.bfloat16, device="cuda")
    last = made(frames, 1, vocabulary, 50, dtype=torch.bfloat16)
    logits[:, -1:] = last.logits
    whole = Batch(logits, last.targets.expand(batch, -1), last.frames.expand(batch), last.labels.expand(batch))
    found, alone = ours(whole), ours(last)
    same = torch.equal(found[0][-1:], alone[0]) and torch.equal(found[1][:, -1:], alone[1])
    check(same, "beyond 2^31 logits the answer is another")
    print(f"loss: {logits.numel()} logits, the last utterance as it is alone")


def circumstances() -> None:
    """Another stream, a captured graph, torch.compile, autocast: the same answer."""
    batch = made(200, 8, 100, 30)
    expected = ours(batch)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = ours(batch)
    stream.synchronize()
    check(all(map(torch.equal, found, expected)), "on another stream the answer is another")
    kept: list[tuple[Tensor, Tensor]] = []
    (graph,) = clock.graphs(lambda one: kept.append(ours(one)), [batch])
    kept[-1][1].zero_()
    graph.replay()
    torch.cuda.synchronize()
    check(all(map(torch.equal, kept[-1], expected)), "a captured graph gives another answer")
    weight = torch.randn(100, 100, device="cuda", requires_grad=True)

    def step(logits: Tensor) -> Tensor:
        return ctc_loss(logits @ weight, batch.targets, batch.frames, batch.labels, backend="triton", validate=False)

    (eager,) = torch.autograd.grad(step(batch.logits), weight)
    (compiled,) = torch.autograd.grad(torch.compile(step, fullgraph=True)(batch.logits), weight)
    check((eager - compiled).norm() <= 1e-3 * eager.norm(), "compiled, the gradient is another")
    with torch.autocast("cuda", torch.bfloat16):
        mixed = step(batch.logits)
    check(mixed.dtype == torch.float32 and abs(float(mixed / step(batch.logits)) - 1) < 0.02, "autocast changes the loss")
    print("loss: the same on another stream, in a captured graph, compiled, and under autocast")


# -------------------------------------------------------------------------------------------------------- measure


def measure(rounds: int) -> None:
    rows = [row(shape, dtype, rounds) for shape in SHAPES for dtype in (torch.float32, torch.bfloat16)]
    print("\n| T, B, V, L | logits | native us | cuDNN us | ours us | ours, graph us | gradient over logits us | native / ours | "
          "cuDNN / ours | extra memory MB | of native's |\n|---|---|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


def row(shape: tuple[int, int, int, int], dtype: torch.dtype, rounds: int) -> str:
    name = "{}, {}, {}, {}".format(*shape)
    first = made(*shape, dtype=dtype)
    number = clock.copies(first.logits.nbytes)
    batches = [first, *(first.on(first.logits.roll(index, 0)) for index in range(1, number))]
    flat, sizes, counts = first.targets.int().cpu().flatten(), first.frames.tolist(), first.labels.tolist()
    theirs = partial(cudnn, flat=flat, sizes=sizes, counts=counts)
    check("aten::_ctc_loss" in clock.kernels(lambda: native(first)), f"{name}: native is not torch's own kernel")
    has_cudnn = "aten::_cudnn_ctc_loss" in clock.kernels(lambda: theirs(first))
    print(f"loss {name} {dtype}: {describe(first)}; cuDNN {'ran' if has_cudnn else 'did not run: torch took its own'}")

    slow = clock.microseconds(native, batches, rounds)
    other = clock.microseconds(theirs, batches, rounds) if has_cudnn else float("nan")
    fast = clock.microseconds(ours, batches, rounds)
    captured = clock.microseconds(torch.cuda.CUDAGraph.replay, clock.graphs(ours, batches[:8]), rounds)
    gradient_bytes = first.logits.nbytes
    memory = clock.extra_bytes(lambda: ours(first)) - gradient_bytes
    memory_native = clock.extra_bytes(lambda: native(first)) - gradient_bytes
    in_place = clock.microseconds(overwritten, batches, rounds)  # last: it leaves gradients in place of logits
    for what, ratio, floor in (("native", slow / fast, FLOOR[shape[2]]), ("cuDNN", other / fast, 1.3)):
        if ratio < floor:
            print(f"loss {name} {dtype}: BELOW THE GOAL against {what}: {ratio:.2f}, goal {floor}")
    times = " | ".join(f"{time:.0f}" for time in (slow, other, fast, captured, in_place))
    return (f"| {name} | {str(dtype).removeprefix('torch.')} | {times} | {slow / fast:.1f} | {other / fast:.1f} | "
            f"{memory / 1e6:.1f} | {memory / memory_native:.0%} |")


def describe(batch: Batch) -> str:
    """Each of our kernels: its time, for the rows of logits the bandwidth, for the recursion the time of a frame."""
    taken = clock.kernels(lambda: ours(batch))
    frames, size = len(batch.logits), batch.logits.nbytes
    parts = [f"{name} {taken[name]:.0f} us ({factor * size / taken[name] / 1e6:.2f} TB/s of logits)"
             for name, factor in (("emit", 1), ("gradient", 2)) if name in taken]
    parts += [f"{name} {taken[name]:.0f} us ({2000 * taken[name] / frames:.0f} ns a frame)"
              for name in ("first_half", "second_half") if name in taken]
    return ", ".join(parts)
