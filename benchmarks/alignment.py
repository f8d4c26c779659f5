"""Forced alignment: ours against torchaudio's, then an hour of it, in time and memory.

    python benchmarks/alignment.py              # a minute
    python benchmarks/alignment.py --whole      # the hour also with all backpointers at once: 6 GB

First both sides must give the same path, in float64; then both are timed in turn on one thread, and the best round of each
counts. torchaudio keeps frames x states bytes, and cannot hold the hour.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from memory import high_water
from torchaudio.functional import forced_align

from asr.ctc import align
from asr.ctc.align import block_size, frames_needed
from asr.ctc.viterbi import best_path

VOCAB = 30
ROUNDS = 3


def made(frames: int, labels: int, dtype: torch.dtype, seed: int = 1) -> tuple[torch.Tensor, list[int]]:
    """Log-probabilities (1, T, V) that light up a text of so many labels, spread over the frames, amid noise."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(1, VOCAB, labels).tolist()
    if frames_needed(targets) > frames:
        sys.exit(f"{labels} labels do not fit {frames} frames")
    logits = rng.standard_normal((frames, VOCAB), np.float32)
    logits[:, 0] += 3
    logits[np.sort(rng.choice(frames, labels, replace=False)), targets] += 7
    return torch.from_numpy(logits).to(dtype).log_softmax(-1)[None], targets


def best_of(work: Callable[[], object]) -> float:
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        work()
        found.append(time.perf_counter() - started)
    return min(found)


def against_torchaudio(frames: int, labels: int) -> None:
    log_probs, targets = made(frames, labels, torch.float64)
    ours = align(log_probs, [frames], [targets], [labels], frames=True)[0].frames
    theirs = forced_align(log_probs, torch.tensor([targets]))[0][0].numpy()
    if ours.tolist() != theirs.tolist():
        sys.exit(f"{frames} frames, {labels} labels: the paths differ in {int((ours != theirs).sum())} frames")
    log_probs = log_probs.float()
    mine = best_of(lambda: align(log_probs, [frames], [targets], [labels]))
    other = best_of(lambda: forced_align(log_probs, torch.tensor([targets])))
    print(f"{frames} frames, {labels} labels: equal path; ours {1e3 * mine:.1f} ms, torchaudio {1e3 * other:.1f} ms, "
          f"ratio {other / mine:.2f}", flush=True)


def an_hour(frames: int, labels: int) -> tuple[float, float, float]:
    """Seconds of an alignment, and the peak of this process's memory before and after it in MB."""
    log_probs, targets = made(frames, labels, torch.float32)
    align(log_probs[:, :9], [9], [targets[:2]], [2])
    before = high_water() / 2**20
    started = time.perf_counter()
    align(log_probs, [frames], [targets], [labels])
    return time.perf_counter() - started, before, high_water() / 2**20


def same_hour(frames: int, labels: int, whole: bool) -> str:
    """The same path with blocks of another size and, ``whole``, with none."""
    log_probs, targets = made(frames, labels, torch.float32)
    emissions, ids = log_probs[0].numpy(), np.array(targets)
    ours, _ = best_path(emissions, ids, 0, block_size(frames, labels))
    blocks = {"blocks of another size": 3 * block_size(frames, labels)} | ({"no blocks": frames} if whole else {})
    for name, block in blocks.items():
        if not np.array_equal(ours, best_path(emissions, ids, 0, block)[0]):
            sys.exit(f"an hour of {frames} frames: another path with {name}")
    return " and with ".join(blocks)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--whole", action="store_true", help="compare the hour with all backpointers at once too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    align(torch.zeros(1, 3, 3), [3], [[1]], [1])  # compiles
    align(torch.zeros(1, 3, 3, dtype=torch.float64), [3], [[1]], [1])
    for frames, labels in ((250, 60), (2_000, 400), (20_000, 5_000)):
        against_torchaudio(frames, labels)
    for frames, labels in ((90_000, 60_000), (180_000, 60_000)):
        equal = same_hour(frames, labels, options.whole)
        with multiprocessing.get_context("spawn").Pool(1) as fresh:  # the peak of a process's memory never falls
            seconds, before, after = fresh.apply(an_hour, (frames, labels))
        print(f"an hour of {frames} frames, {labels} labels, {VOCAB} tokens: equal path with {equal}; {seconds:.1f} s, peak memory "
              f"{after:.0f} MB, {after - before:.0f} MB more than before", flush=True)


if __name__ == "__main__":
    main()
