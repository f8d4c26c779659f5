"""One way to show progress: a bar on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], label: str, total: int | None = None, every_seconds: float = 30.0) -> Iterator[Item]:
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
