"""Batches of items through a recogniser: reading, network and search at the same time, memory bounded by what is on the way.

A few threads work on a batch each, from waveforms to words; others read what comes next. All of the heavy work (decoding of
audio, resampling, the network's kernels, the compiled search) runs without Python's lock, so the cores are shared out by
batches. That scales better than threads within the kernels of a recurrent network, and no result depends on their number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from asr import audio
from asr.errors import AsrError, AudioError, UsageError
from asr.system import choose_threads
from asr.transcription.batches import batches_by_length
from asr.transcription.longform import LIMITS, transcribe_long, transcribe_long_array
from asr.transcription.recognizer import Recognizer, checked_samples
from asr.transcription.result import Result
from asr.transcription.sources import Item, printable
from asr.transcription.survey import Fault, as_ready, survey

READERS = 2
AHEAD = 2  # batches that are read before a thread is free for them
CUDA_WORKERS = 3  # one reads results back and searches, one feeds the device, one prepares
WINDOW = 2048  # items of an endless stream that are sorted by length together
WINDOW_BATCHES = 16  # arrays come with their samples, so of them only so many batches are
TROUBLE = (AsrError, RuntimeError, MemoryError)
"""What one item can do to its batch: samples that make no finite number, memory that does not suffice."""
Loaded = tuple[np.ndarray, float]
"""Samples (N,) float32 at the model's rate, and the seconds of the audio they come from."""


class Unread:
    """A long file, whose samples are read as they are needed."""


UNREAD = Unread()


@dataclass(frozen=True)
class Batch:
    """Items that are transcribed together."""

    number: int
    items: list[Item]


class Executor(Protocol):
    """What transcribes batches."""

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Result | str]]]:
        """Each batch as it is done, with a result or the reason why there is none of every item.

        ``batches`` is drawn from when there is room for one, in the thread of the caller.
        """


class Local:
    """This process: ``workers`` threads (0: as many as the cores, four at most; on CUDA three)."""

    def __init__(self, recognizer: Recognizer, workers: int = 0) -> None:
        if workers < 0:
            raise UsageError(f"{workers} workers: must be 1 or more, or 0 for as many as the machine suggests")
        self.recognizer = recognizer
        on_cpu = recognizer.model.device.type == "cpu"
        self.workers = workers or (choose_threads() if on_cpu else CUDA_WORKERS)

    def run(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, list[Result | str]]]:
        """See `Executor`."""
        with one_thread_each(), ThreadPoolExecutor(READERS, "read") as readers, ThreadPoolExecutor(self.workers, "network") as pool:
            loading = ((batch, readers.submit(load_batch, self.recognizer, batch.items)) for batch in batches)
            with contextlib.closing(as_ready(pool, self._work, loading, self.workers + AHEAD)) as done:
                for (batch, _), outcomes in done:
                    yield batch, outcomes

    def _work(self, task: tuple[Batch, Future[list[Loaded | Unread | str]]]) -> list[Result | str]:
        batch, loaded = task
        return transcribe_loaded(self.recognizer, batch.items, loaded.result())


def is_long(seconds: float) -> bool:
    """Whether a recording is cut at its silences before it is transcribed, and so goes alone."""
    return seconds > LIMITS.longest


def plan_batches(items: Sequence[Item], batch_seconds: float) -> list[list[Item]]:
    """Items in batches of near-equal length, the longest first; long recordings alone."""
    short = [item for item in items if not is_long(item.duration)]
    batches = [[short[index] for index in batch] for batch in batches_by_length([item.duration for item in short], batch_seconds)]
    return [[item] for item in sorted(items, key=lambda item: -item.duration) if is_long(item.duration)] + batches


def transcribe_batch(recognizer: Recognizer, items: Sequence[Item]) -> list[Result | str]:
    """Read and transcribe items together: of each its result, or why there is none."""
    return transcribe_loaded(recognizer, items, load_batch(recognizer, items))


def load_batch(recognizer: Recognizer, items: Sequence[Item]) -> list[Loaded | Unread | str]:
    """The samples of items at the model's rate, or why they cannot be read."""
    if len(items) == 1 and items[0].whole and is_long(items[0].duration):
        return [UNREAD]
    return [_load(item, recognizer.sample_rate) for item in items]


def transcribe_loaded(recognizer: Recognizer, items: Sequence[Item],
                      loaded: Sequence[Loaded | Unread | str]) -> list[Result | str]:
    """Items that have been read -> results; one that cannot be transcribed takes no other with it."""
    if len(items) == 1 and not isinstance(loaded[0], str) and is_long(items[0].duration):
        return [_transcribe_long(recognizer, items[0], loaded[0])]
    readable = [index for index, each in enumerate(loaded) if not isinstance(each, str)]
    outcomes: list[Result | str] = [each if isinstance(each, str) else "" for each in loaded]
    if not readable:
        return outcomes
    try:
        results = recognizer.transcribe_batch(*zip(*(loaded[index] for index in readable)))
    except TROUBLE as error:
        if len(items) == 1:
            return [f"{items[0].shown}: cannot transcribe: {error}"]
        return [each if isinstance(each, str) else transcribe_loaded(recognizer, [item], [each])[0]
                for item, each in zip(items, loaded)]
    for index, result in zip(readable, results):
        outcomes[index] = result
    return outcomes


def transcribe_stream(executor: Executor, items: Iterable[Item], batch_seconds: float) -> Iterator[tuple[Item, Result | str]]:
    """Transcribe items as they are drawn, sorted by length within windows; yield each as it is done."""
    if not batch_seconds > 0:
        raise UsageError(f"batch_seconds must be above zero, not {batch_seconds:g}")
    faults: list[Fault] = []

    def batches() -> Iterator[Batch]:
        number = 0
        for window in _windows(items, WINDOW_BATCHES * batch_seconds):
            found = [item for item in window if not isinstance(item.source, str)]
            for group in survey(item for item in window if isinstance(item.source, str)):
                faults.extend(each for each in group if isinstance(each, Fault))
                found += [each for each in group if isinstance(each, Item)]
            for batch in plan_batches(sorted(found, key=lambda item: item.index), batch_seconds):
                yield Batch(number, batch)
                number += 1

    with contextlib.closing(executor.run(batches())) as done:
        for batch, outcomes in done:
            while faults:
                yield faults.pop(0)
            yield from zip(batch.items, outcomes)
    yield from faults


def _transcribe_long(recognizer: Recognizer, item: Item, loaded: Loaded | Unread) -> Result | str:
    try:
        if not isinstance(loaded, Unread):
            return transcribe_long_array(recognizer, loaded[0], recognizer.sample_rate)
        result = transcribe_long(recognizer, str(item.source), item.channel)
        item.check_unchanged()
        return result
    except AudioError as error:
        return printable(str(error))
    except TROUBLE as error:
        return f"{item.shown}: cannot transcribe: {error}"


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """torch's kernels use one thread: the cores are taken by batches, and sums do not depend on how they are shared out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _load(item: Item, sample_rate: int) -> Loaded | str:
    try:
        samples, rate = item.read()
        if rate is None:
            return checked_samples(samples, item.shown), len(samples) / sample_rate
        return audio.resample(samples, rate, sample_rate), len(samples) / rate
    except UsageError:
        raise
    except AsrError as error:
        return printable(str(error))
    except (OSError, RuntimeError, MemoryError) as error:
        return f"{item.shown}: cannot read: {error}"


def _windows(items: Iterable[Item], seconds: float) -> Iterator[list[Item]]:
    window: list[Item] = []
    held = 0.0
    for item in items:
        window.append(item)
        held += item.duration
        if len(window) == WINDOW or held >= seconds:
            yield window
            window, held = [], 0.0
    if window:
        yield window
