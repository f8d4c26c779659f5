"""Batches over several processes: padding, and how long they wait for each other, beside torch's DistributedSampler.

    python benchmarks/sharding.py --durations data/librispeech/train_960/utt2dur
    python benchmarks/sharding.py --durations CORPUS/LibriSpeech/train-clean-100 --utterances 281241

`--durations`: a file with a number of seconds at the end of every line (utt2dur), or a folder, of whose audio files the headers
are read. With `--utterances` so many are drawn with a seed from the distribution of those given, its quantiles joined by straight
lines (with plain replacement, a few durations would come again and again, and batches of equals have no padding). A step costs a
process the padded seconds of its part, and it is idle while the slowest of the step works.

ours      `BatchSampler`, whose batches are of all processes together, with `training.batch_multiple` of their number, and parted
          by its `shares`; and the same with `batch_multiple` 1.
random    `DistributedSampler` over the utterances in random order, and batches of as many as ours hold on average.
buckets   utterances sorted by duration, cut into batches of that many, and `DistributedSampler` over these in random order.

Exit status 1 when some utterance is not in exactly one part of an epoch, or ours is idle for 3 % or more.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from torch.utils.data import DistributedSampler

from asr import audio
from asr.corpus import BatchSampler

EPOCHS = 3
Parts = list[list[list[int]]]
"""Of every step, of every process: the utterances."""


def read_durations(path: Path) -> np.ndarray:
    """Seconds, sorted."""
    if path.is_dir():
        found = [audio.probe(file).duration for file in path.rglob("*") if file.suffix in (".flac", ".wav")]
    else:
        found = [float(line.split()[-1]) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return np.sort(np.asarray(found))


def ours(durations: np.ndarray, processes: int, seconds: float, most: int, multiple: int, epoch: int) -> Parts:
    sampler = BatchSampler(durations, processes * seconds, processes * most, seed=1, multiple=multiple)
    return [sampler.shares(batch, processes) for batch in sampler.plan(epoch)]


def distributed(count: int, processes: int, epoch: int) -> list[list[int]]:
    """What torch gives each process of ``count`` things."""
    given = []
    for number in range(processes):
        sampler = DistributedSampler(range(count), processes, number, shuffle=True, seed=1)  # type: ignore[arg-type]
        sampler.set_epoch(epoch)
        given.append(list(sampler))
    return given


def random_order(durations: np.ndarray, processes: int, size: int, epoch: int) -> Parts:
    given = distributed(len(durations), processes, epoch)
    return [[each[at:at + size] for each in given] for at in range(0, len(given[0]), size)]


def buckets(durations: np.ndarray, processes: int, size: int, epoch: int) -> Parts:
    order = np.argsort(durations, kind="stable").tolist()
    batches = [order[at:at + size] for at in range(0, len(order), size)]
    return [[batches[index] for index in step] for step in zip(*distributed(len(batches), processes, epoch))]


def measure(durations: np.ndarray, parts: Parts) -> tuple[float, float]:
    """The part of padded seconds that is padding, and the part of the processes' time that is waiting."""
    costs = np.array([[len(part) * durations[part].max() if part else 0.0 for part in step] for step in parts])
    real = sum(durations[part].sum() for step in parts for part in step if part)
    return 1 - real / costs.sum(), 1 - costs.sum() / (costs.shape[1] * costs.max(axis=1).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--durations", required=True, type=Path, help="utt2dur, or a folder of audio files")
    parser.add_argument("--utterances", type=int, help="draw so many from the distribution of the durations")
    parser.add_argument("--seed", type=int, default=1, help="of that draw")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=240.0, help="padded seconds for each process")
    parser.add_argument("--most", type=int, default=64, help="utterances for each process")
    arguments = parser.parse_args()

    given = durations = read_durations(arguments.durations)
    if arguments.utterances:
        at = np.random.default_rng(arguments.seed).uniform(0, 1, arguments.utterances)
        durations = np.interp(at, np.linspace(0, 1, len(given)), given)
    print(f"{len(durations)} utterances{f' drawn from {len(given)} (seed {arguments.seed})' if arguments.utterances else ''}: "
          f"{durations.sum() / 3600:.1f} h, {durations.min():.2f} to {durations.max():.2f} s, mean {durations.mean():.2f} s, "
          f"median {np.median(durations):.2f} s; {arguments.processes} processes, {arguments.seconds:g} s and at most "
          f"{arguments.most} utterances each; mean of {EPOCHS} epochs")
    count, seconds, most = arguments.processes, arguments.seconds, arguments.most
    size = round(len(durations) / count / len(ours(durations, count, seconds, most, count, 0)))
    good = True
    for name, plan in (
            (f"ours, batch_multiple {count}", lambda epoch: ours(durations, count, seconds, most, count, epoch)),
            ("ours, batch_multiple 1", lambda epoch: ours(durations, count, seconds, most, 1, epoch)),
            (f"random order, batches of {size}", lambda epoch: random_order(durations, count, size, epoch)),
            (f"sorted buckets, batches of {size}", lambda epoch: buckets(durations, count, size, epoch))):
        plans = [plan(epoch) for epoch in range(EPOCHS)]
        padding, idle = np.mean([measure(durations, parts) for parts in plans], axis=0)
        times = np.bincount([index for step in plans[0] for part in step for index in part], minlength=len(durations))
        useful = (1 - padding) * (1 - idle)
        print(f"{name}: padding {100 * padding:.2f} %, idle {100 * idle:.2f} %, useful {100 * useful:.1f} % of all time; "
              f"{len(plans[0])} steps; {int((times > 1).sum())} utterances come twice in an epoch, "
              f"{int((times == 0).sum())} not at all")
        if name.startswith("ours"):
            good &= bool((times == 1).all())
        if name.endswith(f"multiple {count}"):
            good &= idle < 0.03
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
