"""One way to show progress: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

Item = TypeVar("Item")
EVERY_S = 30.0


def progress(items: Iterable[Item], label: str, total: int | None = None, every_seconds: float = EVERY_S) -> Iterator[Item]:
    """Yield the items; draw a bar on standard error if that is a terminal, else print a line every ``every_seconds``."""
    if total is None and hasattr(items, "__len__"):
        total = len(items)  # type: ignore[arg-type]
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import track

        yield from track(items, description=label, total=total, console=Console(stderr=True), transient=True)
        return
    shown = time.monotonic()
    for count, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - shown >= every_seconds:
            shown = time.monotonic()
            print(f"{label}: {count}" + (f" of {total}" if total is not None else ""), file=sys.stderr, flush=True)


class TranscriptionProgress:
    """Files, hours of audio, real-time factor and time left of `asr transcribe`; what fails is named at once.

    A bar on a terminal, plain lines now and then in a log. ``bar``: whether to draw one, for a caller who prints lines.
    """

    def __init__(self, bar: bool = True, every_seconds: float = EVERY_S) -> None:
        self.every_seconds, self.shown = every_seconds, time.monotonic()
        self.files = self.of_files = 0
        self.seconds = self.of_seconds = 0.0
        self.started = time.monotonic()
        self.bar: Any = None
        if bar and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self.bar = Progress(TextColumn("{task.description}"), BarColumn(), console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task("looking at the files", total=None)

    def __enter__(self) -> TranscriptionProgress:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def looked(self, files: int, of: int) -> None:
        """So many of the files have been looked at."""
        self._show(f"looking at the files: {files} of {of}", files, of)

    def begins(self, files: int, seconds: float) -> None:
        """So many files, and seconds of audio, are to be transcribed."""
        self.of_files, self.of_seconds, self.started = files, seconds, time.monotonic()

    def advanced(self, files: int, seconds: float) -> None:
        """So many more are done."""
        self.files += files
        self.seconds += seconds
        self._show(self.line(time.monotonic() - self.started), self.seconds, self.of_seconds)

    def failed(self, error: str) -> None:
        """A file cannot be transcribed."""
        print(f"asr: {error}", file=sys.stderr, flush=True)  # above the bar, where there is one

    def line(self, elapsed: float) -> str:
        """Where the work is after ``elapsed`` seconds of it."""
        said = (f"transcribing: {self.files} of {self.of_files} files, {self.seconds / 3600:.2f} of {self.of_seconds / 3600:.2f} h "
                "of audio")
        if self.seconds:
            left = round(elapsed / self.seconds * max(0.0, self.of_seconds - self.seconds))
            said += f", real-time factor {elapsed / self.seconds:.4f}, {left // 3600}:{left // 60 % 60:02d}:{left % 60:02d} left"
        return said

    def _show(self, line: str, done: float, total: float) -> None:
        if self.bar is not None:
            self.bar.update(self.task, description=line, completed=done, total=total)
        elif time.monotonic() - self.shown >= self.every_seconds:
            self.shown = time.monotonic()
            print(line, file=sys.stderr, flush=True)
