"""`training.batch_seconds: auto`: the largest batch that memory holds, found before the first step and then written down.

Real steps (losses, backward) on the longest utterance, so many times over; the numbers grow, and none is tried that would not fit
if memory grew in proportion, as that of a network does. Weights, statistics and random numbers are afterwards as they were.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from asr.corpus import collate
from asr.errors import ConfigError
from asr.training.data import SpeechData
from asr.training.processes import gathered, place
from asr.training.speech import SpeechTask

log = logging.getLogger("asr")

SHARE = {"cpu": 0.7, "cuda": 0.9}
"""Of the memory that is free, what a step may take: on the CPU data workers and others live there too."""
CACHED = 2  # steps that are measured: the first makes what the library keeps


def probe_batch_seconds(task: SpeechTask, data: SpeechData, device: torch.device) -> float:
    """Padded seconds of the largest safe batch, of all processes together: the smallest that any of them finds, times their number.

    Never more than `training.max_utterances` of the longest utterance. Raises ConfigError where not even one fits.
    """
    began = time.monotonic()
    _, processes = place()
    index = int(data.sampler.durations.argmax())
    longest = float(data.sampler.durations[index])
    most = -(-min(task.config.training.max_utterances, len(data.sampler.durations)) // processes)
    network = task.network
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    later = 4 * parameters * (2 + bool(task.config.training.ema_decay))  # the optimizer's state, and an average of the weights
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            task.to(device).train()
            task.on_fit_start()
            before, free = memory(device)
            limit = before + int(SHARE[device.type] * free) - later
            count, tried = largest(lambda count: _peak(task, data, index, count, device), before, limit, most)
    finally:
        network.load_state_dict(kept)
        network.zero_grad(set_to_none=True)
        task.to("cpu")
        task.on_fit_start()
    if not count:
        raise ConfigError(f"training.batch_seconds: auto: a step with the longest utterance alone ({longest:.1f} s) takes "
                          f"{_gigabytes(max(tried.values()) - before)}, and {_gigabytes(limit - before)} are free for it: leave "
                          "such utterances out, choose a smaller network, or find a larger machine")
    found = min(gathered(count)) * longest * processes
    measured = ", ".join(f"{number}: {_gigabytes(peak - before)}" for number, peak in tried.items())
    log.info("batch_seconds auto: %.1f s, %d utterances as long as the longest (%.1f s) for each of %d process(es), at most %d; "
             "measured %s of %s; %.0f s", found, round(found / longest / processes), longest, processes, most, measured,
             _gigabytes(limit - before), time.monotonic() - began)
    return round(found + 0.0005, 3)


def largest(measure: Callable[[int], int], before: int, limit: int, most: int) -> tuple[int, dict[int, int]]:
    """The largest count up to ``most`` whose peak of memory was measured and is within the limit (0: not even one), and all peaks.

    ``measure(count)`` runs it and returns the peak in bytes, of which ``before`` were taken already; a MemoryError says that it did
    not fit. A count is tried only if it fits by proportion to the last one, and is at most twice that.
    """
    count, good, tried = 1, 0, {}
    while count > good:
        try:
            tried[count] = measure(count)
        except (MemoryError, torch.OutOfMemoryError):
            tried[count] = max(limit, *tried.values(), before) + 1
        if tried[count] > limit:
            break
        good = count
        each = max(1, tried[good] - before) / good
        count = min(most, 2 * good, max(good, int((limit - before) / each)))
    return good, tried


def _peak(task: SpeechTask, data: SpeechData, index: int, count: int, device: torch.device) -> int:
    """Bytes at the peak of a training step on ``count`` times an utterance, as slow as augmentation may make it."""
    augment = task.config.augment
    slowest = min((1.0, *augment.speed)) * min((1.0, *(augment.tempo or ())))
    example = data.train_set[(0, index)]
    frames = int(np.ceil(len(example.inputs) / slowest))
    example = replace(example, inputs=np.resize(example.inputs, (frames, *example.inputs.shape[1:])))
    batch = collate([example] * count).to(device)
    dtype = {"bf16": torch.bfloat16, "16": torch.float16}.get(task.config.training.precision)
    _forget_peak(device)
    for _ in range(CACHED):
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            losses, labels = task.losses(batch, torch.Generator().manual_seed(0))
        (losses.sum() / labels).backward()
        task.network.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        peak = torch.cuda.max_memory_reserved(device)
        torch.cuda.empty_cache()
        return peak
    return _status("VmHWM")


def memory(device: torch.device) -> tuple[int, int]:
    """Bytes that this process holds on the device, and bytes that are free for it: on a CPU its part of what the machine and the
    control groups leave, among the processes of the run that are here."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return torch.cuda.memory_reserved(device), free
    with open("/proc/meminfo", encoding="ascii") as file:
        rows = {line.split(":")[0]: 1024 * int(line.split()[1]) for line in file if line.endswith("kB\n")}
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if place()[1] > 1 else 1
    return _status("VmRSS"), min(rows["MemAvailable"], *_group_room()) // here


def _group_room(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> list[int]:
    """Bytes to the limit of each control group (v2, v1) that this process is in; one that is not there or has none is left out."""
    room = [2**62]
    try:
        lines = Path(own).read_text(encoding="ascii").splitlines()
    except OSError:
        return room
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top, names = (Path(root), ("memory.max", "memory.current")) if not kinds else (
            Path(root, "memory"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
        # In a container the path is often that of the host, and the group itself is mounted at the top.
        for folder in {top, top / path.lstrip("/")}:
            try:
                limit, used = ((folder / name).read_text(encoding="ascii").strip() for name in names)
            except OSError:
                continue
            if limit.isdigit():
                room.append(max(0, int(limit) - int(used)))
    return room


def _status(name: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith(name + ":"))


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM counts anew; proc(5)


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"
