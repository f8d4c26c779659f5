"""Alignment, as a part of ctc_gpu.py."""

from __future__ import annotations

import sys

import gpu_clock as clock
import torch
from torch import Tensor

from asr.ctc import align
from asr.ctc.kernels.align.launch import best_paths, plan

SHAPES = [(1000, 32, 32, 100), (1000, 32, 1000, 100), (1500, 64, 5000, 200), (3000, 8, 32, 1000)]
GOAL = 50.0  # times the loop over torchaudio's forced_align, at the first shape


def made(frames: int, batch: int, vocabulary: int, labels: int, device: str = "cuda", seed: int = 0) -> tuple[Tensor, ...]:
    """log_probs (B, T, V), lengths, targets (B, L), counts; lengths and targets int32."""
    generator = torch.Generator(device).manual_seed(seed)
    log_probs = torch.randn(batch, frames, vocabulary, generator=generator, device=device).mul_(3).log_softmax(-1)
    targets = torch.randint(1, vocabulary, (batch, labels), generator=generator, device=device, dtype=torch.int32)
    sizes, counts = (torch.full((batch,), number, device=device, dtype=torch.int32) for number in (frames, labels))
    return log_probs, sizes, targets, counts


def kernel(case: tuple[Tensor, ...]) -> Tensor:
    log_probs, sizes, targets, counts = case
    return best_paths(log_probs, sizes, targets, counts, 0)[0]


def torchaudio_loop(case: tuple[Tensor, ...]) -> list[Tensor]:
    from torchaudio.functional import forced_align

    log_probs, _, targets, _ = case
    return [forced_align(log_probs[row:row + 1], targets[row:row + 1])[0] for row in range(len(targets))]


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"align: {message}")


def compare(name: str, case: tuple[Tensor, ...]) -> None:
    """Ours here and on the CPU: the same path in every frame."""
    ours = align(*case, frames=True, backend="triton")
    theirs = align(*(one.cpu() for one in case), frames=True, backend="cpu")
    for row, (found, expected) in enumerate(zip(ours, theirs)):
        check(found.frames.tolist() == expected.frames.tolist() and found.score == expected.score,
              f"{name}: utterance {row} has another path than on the CPU")
    print(f"align {name}: the paths of the CPU, in every frame")


def against_torchaudio(name: str, case: tuple[Tensor, ...]) -> None:
    """Ours and torchaudio's loop: paths of the same score. Where several are best, each may take another."""
    ours = align(*case, frames=True, backend="triton")
    for row, (found, theirs) in enumerate(zip(ours, torchaudio_loop(case))):
        mine, other = (case[0][row].double().cpu().gather(1, torch.as_tensor(path).reshape(-1, 1).long().cpu()).sum()
                       for path in (found.frames, theirs))
        check(abs(mine - other) <= 1e-6 * abs(other), f"{name}: utterance {row} has a path of another score than torchaudio's")
    print(f"align {name}: paths of the score of torchaudio's")


def interpreted() -> None:
    compare("T=100 B=1 V=32 L=30, interpreted", made(100, 1, 32, 30, device="cpu"))


def tiny() -> None:
    for labels in (3, 40, 600):
        kernel(made(labels + 70, 2, 9, labels))
    log_probs, sizes, targets, counts = made(700, 1, 9, 600)
    best_paths(log_probs, sizes, targets, counts, 0, cut=plan(700, 600, 1, whole=0))


def correct() -> None:
    for shape in SHAPES:
        case = made(*shape)
        name = "T={} B={} V={} L={}".format(*shape)
        compare(name, case)
        against_torchaudio(name, case)
        first = kernel(case)
        check(all(torch.equal(kernel(case), first) for _ in range(19)), "two runs differ")
    compare("an hour, T=90000 V=32 L=40000, in segments", made(90_000, 1, 32, 40_000))


def measure(rounds: int) -> None:
    print("\n| align: T, B, V, L | torchaudio loop us | ours us | ours, graph us | ratio | memory MB |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        cases = [made(*shape, seed=seed) for seed in range(min(8, clock.copies(4 * shape[0] * shape[1] * shape[2])))]
        loop = clock.microseconds(torchaudio_loop, cases, max(3, rounds // 10))
        ours = clock.microseconds(kernel, cases, rounds)
        captured = clock.microseconds(torch.cuda.CUDAGraph.replay, clock.graphs(kernel, cases), rounds)
        memory = clock.extra_bytes(lambda one=cases[0]: kernel(one))
        print("| {}, {}, {}, {} ".format(*shape) +
              f"| {loop:.0f} | {ours:.0f} | {captured:.0f} | {loop / ours:.1f} | {memory / 1e6:.1f} |")
        if shape == SHAPES[0] and loop / ours < GOAL:
            print(f"align: BELOW THE GOAL: {loop / ours:.1f} times torchaudio's loop, goal {GOAL:.0f}")
