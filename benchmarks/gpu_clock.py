"""What the parts of ctc_gpu.py measure with: times by CUDA events, memory, kernels by name."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TypeVar

import torch
from torch.profiler import ProfilerActivity, profile

Input = TypeVar("Input")


def copies(bytes_of_one: int) -> int:
    """How many inputs to rotate through, so that none is still in the cache when its turn comes again."""
    cache = torch.cuda.get_device_properties(0).L2_cache_size
    return max(2, min(64, -(-3 * cache // max(1, bytes_of_one))))


def microseconds(work: Callable[[Input], object], inputs: list[Input], rounds: int) -> float:
    """The median time of one call, launches from Python included: what a training step waits for."""
    for one in inputs[:3]:
        work(one)
    torch.cuda.synchronize()
    found = []
    for index in range(rounds):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        work(inputs[index % len(inputs)])
        end.record()
        end.synchronize()
        found.append(1000 * start.elapsed_time(end))
    return statistics.median(found)


def graphs(work: Callable[[Input], object], inputs: list[Input]) -> list[torch.cuda.CUDAGraph]:
    """The work on each input, captured; replayed, it is the GPU's time alone."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for one in inputs[:2]:
            work(one)  # what is compiled or set up at the first call must not be captured
    torch.cuda.current_stream().wait_stream(stream)
    found = []
    for one in inputs:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work(one)
        found.append(graph)
    return found


def extra_bytes(work: Callable[[], object]) -> int:
    """The peak of memory during the work, above what was there before."""
    work()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    work()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def kernels(work: Callable[[], object]) -> dict[str, float]:
    """Name of each kernel and operator that ran -> microseconds on the device (operators: 0)."""
    work()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
        work()
        torch.cuda.synchronize()
    found: dict[str, float] = {}
    for event in seen.events():
        on_device = event.device_type == torch.autograd.DeviceType.CUDA
        found[event.name] = found.get(event.name, 0.0) + (event.time_range.elapsed_us() if on_device else 0.0)
    return found
