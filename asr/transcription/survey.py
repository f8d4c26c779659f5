"""A first look at the items: how long each is and, for jobs that keep a ledger, what it contains."""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from itertools import chain
from typing import NamedTuple, TypeVar

from asr import audio
from asr.errors import AudioError
from asr.transcription.sources import Item, by_source, one_word, printable
from asr.transcription.writers import channel_label

THREADS = 8  # they wait for disks; decoding of headers and hashing run without Python's lock
AT_ONCE = 16  # files a thread looks at before it says so: handing over one at a time costs as much as looking
SETTLED_S = 2.0  # a file that changed less long ago may change again without its times showing it

Task = TypeVar("Task")
Made = TypeVar("Made")


class Seen(NamedTuple):
    """What is known of a file; it is believed again as long as the first four are the file's."""

    size: int
    changed: int
    status_changed: int
    inode: int
    content: str
    """SHA-256; empty where it was not asked for."""
    seconds: float
    channels: int


class Fault(NamedTuple):
    """An item that cannot be transcribed, and why."""

    item: Item
    error: str


def survey(items: Iterable[Item], apart: bool = False, hashed: bool = False, known: Mapping[str, Seen] | None = None,
           note: Callable[[str, Seen], None] | None = None) -> Iterator[list[Item | Fault]]:
    """Look at the items in background threads; yield them source by source, as they come, with durations and hashes.

    ``apart``: a file becomes one item a channel. ``hashed``: read all of each file for its SHA-256, unless ``known`` (by
    absolute path) has it and the file has not been touched since; ``note`` is told of what may be believed the next time.
    """
    groups = by_source(items)
    keys = list(groups)

    def look(key: str) -> tuple[Seen | None, str]:
        item = groups[key][0]
        try:
            return look_at(item, hashed, (known or {}).get(os.path.abspath(str(item.source)))), ""
        except AudioError as error:
            return None, printable(str(error))

    def look_at_some(some: list[str]) -> list[tuple[str, Seen | None, str]]:
        return [(key, *look(key)) for key in some]

    parts = (keys[first:first + AT_ONCE] for first in range(0, len(keys), AT_ONCE))
    with ThreadPoolExecutor(THREADS, "survey") as pool:
        for key, seen, error in chain.from_iterable(done for _, done in as_ready(pool, look_at_some, parts, 2 * THREADS)):
            group = groups[key]
            if seen is None:
                yield [Fault(item, error) for item in group]
                continue
            yield [part for item in group for part in _settled(item, seen, apart)]
            if note is not None and hashed and not group[0].command and time.time_ns() - max(
                    seen.changed, seen.status_changed) > SETTLED_S * 1e9:
                note(os.path.abspath(str(group[0].source)), seen)


def look_at(item: Item, hashed: bool, known: Seen | None = None) -> Seen:
    """Size, times, hash, length and channels of an item's source. Raises AudioError."""
    if item.command:
        assert isinstance(item.source, str)
        seconds = item.duration
        if not seconds:
            samples, rate = audio.read_pipe(item.source, channel=0)
            seconds = len(samples) / rate
        return Seen(0, 0, 0, 0, hashlib.sha256(item.source.encode("utf-8", "surrogateescape")).hexdigest(), seconds, 1)
    path = str(item.source)
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise AudioError(f"{item.shown}: cannot read: it is no ordinary file; pipe its audio into `asr transcribe -`")
        times = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
        if known is not None and known[:4] == times:
            return known
        info, content = audio.identify(path) if hashed else (audio.probe(path), "")
        return Seen(*times, content, info.duration, info.channels)
    except OSError as error:
        raise AudioError(f"{item.shown}: cannot read: {error.strerror}") from None


def as_ready(pool: ThreadPoolExecutor, work: Callable[[Task], Made], tasks: Iterable[Task],
             ahead: int) -> Iterator[tuple[Task, Made]]:
    """Work on tasks in a pool, at most ``ahead`` of them at a time; yield each with its result as it comes.

    ``tasks`` is drawn from in this thread, when there is room. What is not begun when the caller stops is not done.
    """
    source = iter(tasks)
    running: dict[Future[Made], Task] = {}
    try:
        more = True
        while more or running:
            while more and len(running) < ahead:
                try:
                    task = next(source)
                except StopIteration:
                    more = False
                    break
                running[pool.submit(work, task)] = task
            if running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
    finally:
        for future in running:
            future.cancel()


def _settled(item: Item, seen: Seen, apart: bool) -> Iterator[Item | Fault]:
    length = seen.seconds if item.end is None else min(item.end, seen.seconds)
    if item.command:
        length = seen.seconds + item.start
    stamp = None if item.command or not seen.content else (seen.size, seen.changed)
    found = replace(item, duration=max(0.0, length - item.start), content=seen.content, stamp=stamp)
    if not apart or item.command:
        yield replace(found, digest=_digest(found)) if seen.content else found
        return
    for channel in range(seen.channels):
        name = f"{item.name}.channel{channel}"
        place = item.place._replace(channel=channel_label(channel))
        speaker = item.speaker if item.speaker != item.place.recording else one_word(name)
        part = replace(found, name=name, channel=channel, place=place, speaker=speaker, shown=f"{item.shown}, channel {channel}")
        yield replace(part, digest=_digest(part)) if seen.content else part


def _digest(item: Item) -> str:
    if item.start == 0 and item.end is None and item.channel is None:
        return item.content
    return hashlib.sha256(f"{item.content} {item.start} {item.end} {item.channel}".encode()).hexdigest()
