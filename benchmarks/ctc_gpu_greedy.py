"""Greedy decoding, as a part of ctc_gpu.py."""

from __future__ import annotations

import sys

import gpu_clock as clock
import torch
from torch import Tensor

from asr.ctc import greedy
from asr.ctc.kernels.greedy.launch import Runs, decode

SHAPES = [(1000, 32, 32), (1000, 32, 1000), (1500, 64, 5000)]
GOAL = 0.7  # of the time it takes to copy the same bytes once, at 1000 tokens and more


def made(frames: int, batch: int, vocabulary: int, device: str = "cuda", seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator(device).manual_seed(seed)
    log_probs = torch.randn(batch, frames, vocabulary, generator=generator, device=device).mul_(3).log_softmax(-1)
    return log_probs, torch.full((batch,), frames, device=device, dtype=torch.int32)


def kernel(case: tuple[Tensor, Tensor]) -> Runs:
    return decode(*case, 0)


def check(condition: bool, message: str) -> None:
    if not condition:
        sys.exit(f"greedy: {message}")


def compare(name: str, case: tuple[Tensor, Tensor]) -> None:
    ours, theirs = greedy(*case, backend="triton"), greedy(case[0].cpu(), case[1].cpu(), backend="cpu")
    for row, (found, expected) in enumerate(zip(ours, theirs)):
        same = (found.tokens, found.frames, found.ends, found.confidence) == \
            (expected.tokens, expected.frames, expected.ends, expected.confidence)
        check(same and abs(found.score - expected.score) < 1e-6, f"{name}: utterance {row} is another than on the CPU")
    print(f"greedy {name}: the tokens, times and scores of the CPU")


def interpreted() -> None:
    compare("T=100 B=2 V=500, interpreted", made(100, 2, 500, device="cpu"))


def tiny() -> None:
    for vocabulary in (3, 500, 2500):
        kernel(made(9, 2, vocabulary))


def correct() -> None:
    for shape in SHAPES:
        case = made(*shape)
        compare("T={} B={} V={}".format(*shape), case)
        first = greedy(*case, backend="triton")
        check(all(greedy(*case, backend="triton") == first for _ in range(19)), "two runs differ")


def measure(rounds: int) -> None:
    print("\n| greedy: T, B, V | torch max us | read once us | ours us | ours, graph us | of one read |\n|---|---|---|---|---|---|")
    for shape in SHAPES:
        size = 4 * shape[0] * shape[1] * shape[2]
        cases = [made(*shape, seed=seed) for seed in range(min(8, clock.copies(size)))]
        maximum = clock.microseconds(lambda one: one[0].max(dim=-1), cases, rounds)
        target = torch.empty_like(cases[0][0])
        read = clock.microseconds(lambda one, target=target: target.copy_(one[0]), cases, rounds) / 2  # a copy reads and writes
        ours = clock.microseconds(kernel, cases, rounds)
        captured = clock.microseconds(torch.cuda.CUDAGraph.replay, clock.graphs(kernel, cases), rounds)
        print("| {}, {}, {} ".format(*shape) +
              f"| {maximum:.0f} | {read:.0f} | {ours:.0f} | {captured:.0f} | {read / captured:.0%} |")
        if shape[2] >= 1000 and read / captured < GOAL:
            print(f"greedy: BELOW THE GOAL: {read / captured:.0%} of the bandwidth of one read, goal {GOAL:.0%}")
