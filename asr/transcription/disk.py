"""How the outputs of a batch reach the disk: together, each whole or not at all.

Bringing small files to the disk one by one costs more than writing them: each waits for a commit of the file system's journal.
Where the system can bring all of a file system there in one go, a batch waits once. That takes other programs' files along; where
these are many, and wherever not all is known to be well, each file is brought there by itself, a few at a time.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from asr.system import create_temporary

THREADS = 16  # each waits for the disk at every file; a disk makes many waits into one
KNOWN = frozenset(("ext4", "xfs"))
"""File systems whose `syncfs` is known to wait for everything that `fsync` of each file would wait for."""
TELLS = (5, 8)  # the first Linux whose syncfs says that something could not be written
PATIENCE_S = 1.0  # where it takes longer, it is others' files that are waited for


class Written(NamedTuple):
    """A file under its temporary name."""

    name: str
    device: int
    """Of the file system."""


class Disk:
    """Writes files; closed when no more are to come."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(THREADS, "write")
        self._at_once: dict[int, bool] = {}
        """Whether the files of a device are brought to it in one go."""

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def write_texts(self, files: Sequence[tuple[Path, str]]) -> list[OSError | None]:
        """Write UTF-8 text files; of each, why that could not be.

        All are on the disk before the first is given its name, so after a power cut, too, each is the old file or the new one.
        """
        errors: list[OSError | None] = [None] * len(files)
        made: dict[int, Written] = {}
        try:
            for index, (path, text) in enumerate(files):
                try:
                    made[index] = _write(path, text.encode())
                except OSError as error:
                    errors[index] = error
            unsynced = self._sync(list(made.values()))
            for index, (name, _) in list(made.items()):
                try:
                    if name in unsynced:
                        raise unsynced[name]
                    os.replace(name, files[index][0])
                    del made[index]
                except OSError as error:
                    errors[index] = error
        finally:
            for written in made.values():
                with contextlib.suppress(OSError):
                    os.unlink(written.name)
        return errors

    def _sync(self, files: Sequence[Written]) -> dict[str, OSError]:
        """Bring files to the disk; by name, what could not be."""
        apart: list[str] = []
        for device in {file.device for file in files}:
            names = [file.name for file in files if file.device == device]
            if len(names) == 1 or not self._sync_at_once(names[0], device):
                apart += names
        return {name: error for name, error in zip(apart, self._pool.map(_sync_file, apart)) if error is not None}

    def _sync_at_once(self, name: str, device: int) -> bool:
        """Bring everything on a device there, by way of a file on it. False where that is not done, or did not go well."""
        if device not in self._at_once:
            self._at_once[device] = _syncfs is not None and file_system(device) in KNOWN
        if not self._at_once[device]:
            return False
        started = time.monotonic()
        try:
            sync_file_system(name)
        except OSError:  # perhaps somebody else's file
            return False
        self._at_once[device] = time.monotonic() - started < PATIENCE_S
        return True


def sync_file_system(path: str) -> None:
    """Linux's syncfs(2): wait until all of the file system that ``path`` is on is on its disk. Raises OSError."""
    assert _syncfs is not None
    handle = os.open(path, os.O_RDONLY)
    try:
        if _syncfs(handle):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    finally:
        os.close(handle)


def file_system(device: int) -> str:
    """The kind of file system on a device (`st_dev`), as Linux calls it; empty where that is not known."""
    number = f"{os.major(device)}:{os.minor(device)}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            mount, _, source = line.partition(" - ")  # proc(5)
            if mount.split(" ")[2] == number:
                return source.split(" ")[0]
    return ""


def _find_syncfs() -> ctypes._CFuncPtr | None:
    version = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if os.uname().sysname != "Linux" or version is None or (int(version[1]), int(version[2])) < TELLS:
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


_syncfs = _find_syncfs()


def _write(path: Path, content: bytes) -> Written:
    """A new file beside ``path``. Raises OSError; then there is none."""
    name, handle = create_temporary(path)
    try:
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(handle, left):]
            device = os.fstat(handle).st_dev
        finally:
            os.close(handle)
    except BaseException:
        os.unlink(name)
        raise
    return Written(name, device)


def _sync_file(name: str) -> OSError | None:
    try:
        handle = os.open(name, os.O_RDWR)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        return error
    return None
