"""The ledger of an output folder: what was done, what is being done and by whom; the same file for any number of runs at once.

``ledger.jsonl`` only grows. A row is appended by one write under a lock and reaches the disk before anything relies on it;
a last row that a power cut tore is passed over by readers and closed off by the next writer. Rows:

    {"batch": 7, "settings": S, "files": [[name, digest], ...],   these are transcribed together, in this order, and are
     "origins": [path, ...]}                                       parts of these files or data directories
    {"file": name, "digest": D, "settings": S, "formats": [...], "batch": 7, "seconds": 2.5}   its outputs are on the disk
    {"failed": name, "path": path, "shown": path, "error": ...}    and the last row of a name is the one that counts
    {"mended": name}                                               what failed before is none of the failures any more
    {"seen": path, "is": [...]}                                    a file's size, times and hash, so that it is not read again

Batches are fixed before they are begun, because the last bits of a result may depend on its batch mates: a run that was killed
is taken up in the same batches, and ends in the bytes of one that was not.

Who works on a batch holds a lock on a byte of this file, far behind its end, which the system gives back however the
process ends. The locks are POSIX record locks: they hold between processes, and between machines on NFS, Lustre and
other shared disks where locks are enabled.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from asr.errors import AsrError, UsageError
from asr.transcription.survey import Seen

NAME = "ledger.jsonl"
ALIVE, WRITING, CLAIMS = 1 << 40, (1 << 40) + 1, (1 << 40) + 16
"""Bytes that are locked: shared by all that run; by the one that writes; from CLAIMS on, one a batch."""


class Done(NamedTuple):
    """A file whose outputs are on the disk."""

    digest: str
    settings: str
    formats: tuple[str, ...]


class Failed(NamedTuple):
    """A file that could not be transcribed, and where in the ledger that is written."""

    path: str
    shown: str
    error: str
    at: int


class Planned(NamedTuple):
    """Files that are transcribed together: names and digests, in their order."""

    settings: str
    files: tuple[tuple[str, str], ...]


class Ledger:
    """The ledger of one folder, open. Raises AsrError where the disk has no locks, UsageError where this process has it open."""

    _open: set[str] = set()  # noqa: RUF012 (shared on purpose: record locks do not hold within a process)

    def __init__(self, out: str | Path) -> None:
        self.path = Path(out) / NAME
        self.key = os.path.realpath(self.path)
        if self.key in Ledger._open:
            raise UsageError(f"{out}: this process is transcribing into this folder already; wait until that ends")
        self.done: dict[str, Done] = {}
        self.failed: dict[str, Failed] = {}
        self.batches: dict[int, Planned] = {}
        self.planned: dict[tuple[str, str, str], int] = {}
        """(name, digest, settings) -> its batch"""
        self.origins: dict[str, tuple[str, str]] = {}
        """Name -> the digest that it was last planned with, and the file or data directory that it comes from."""
        self.seen: dict[str, Seen] = {}
        self.end = 0
        """Up to where the rows have been read."""
        try:
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise AsrError(f"{self.path}: cannot open the ledger: {error.strerror}") from None
        Ledger._open.add(self.key)
        try:
            self._lock(ALIVE, fcntl.LOCK_SH)
            self.refresh()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back every lock."""
        os.close(self._file)
        Ledger._open.discard(self.key)

    # ---------------------------------------------------------------------------------------------------- rows

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """No other run appends a row meanwhile, and all rows have been read."""
        self._lock(WRITING, fcntl.LOCK_EX)
        try:
            self.refresh()
            yield
        finally:
            self._lock(WRITING, fcntl.LOCK_UN)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows, all on the disk when this returns. Raises AsrError where the disk is full; then none is written."""
        with self.writing():
            self.write(rows)

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """`append` for a caller who is `writing`."""
        # Names that are not UTF-8 stand in \\u escapes, which is why the file is ASCII.
        text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode("ascii")
        if not text:
            return
        size = os.fstat(self._file).st_size
        torn = size and os.pread(self._file, 1, size - 1) != b"\n"
        left = memoryview(b"\n" + text if torn else text)
        try:
            while left:
                left = left[os.write(self._file, left):]
            os.fsync(self._file)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, size)
            raise AsrError(f"{self.path}: cannot write: {error.strerror}; free some space, then run the same again") from None
        self.refresh()

    def refresh(self) -> None:
        """Read the rows that were appended since."""
        rest = b""
        while block := os.pread(self._file, 1 << 22, self.end + len(rest)):
            rest += block
            whole = rest.rfind(b"\n") + 1
            for line in rest[:whole].split(b"\n")[:-1]:
                self._enter(line)
                self.end += len(line) + 1
            rest = rest[whole:]

    def _enter(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            if "file" in row:
                self.failed.pop(row["file"], None)
                self.done[row["file"]] = Done(row["digest"], row["settings"], tuple(row["formats"]))
            elif "failed" in row:
                self.failed[row["failed"]] = Failed(row["path"], row["shown"], row["error"], self.end)
            elif "mended" in row:
                self.failed.pop(row["mended"], None)
            elif "seen" in row:
                self.seen[row["seen"]] = Seen(*row["is"])
            elif "batch" in row:
                files = tuple((name, digest) for name, digest in row["files"])
                self.batches[row["batch"]] = Planned(row["settings"], files)
                self.planned.update({(*file, row["settings"]): row["batch"] for file in files})
                # A ledger of an earlier version has no origins, and so no name that is taken.
                self.origins.update({name: (digest, origin) for (name, digest), origin in zip(files, row.get("origins", ()))})
        except (ValueError, KeyError, TypeError):
            pass  # a torn row: what it said is not known, so it is done again

    # --------------------------------------------------------------------------------------------------- plans

    def plan(self, batches: Sequence[Sequence[tuple[str, str, str]]], settings: str) -> None:
        """Fix batches of (name, digest, origin); for a caller who is `writing`."""
        first = max(self.batches, default=-1) + 1
        self.write({"batch": first + index, "settings": settings, "files": [file[:2] for file in files],
                    "origins": [file[2] for file in files]} for index, files in enumerate(batches))

    def claim(self, batch: int) -> bool:
        """Whether this run may work on a batch: no other does. True is followed by `release`."""
        if not self._try(CLAIMS + batch, fcntl.LOCK_EX):
            return False
        self.refresh()
        return True

    def release(self, batch: int) -> None:
        """Give a batch back, done or not."""
        self._lock(CLAIMS + batch, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def alone(self) -> Iterator[bool]:
        """Whether no other run has this ledger open; if so, none opens it meanwhile."""
        found = self._try(ALIVE, fcntl.LOCK_EX)
        try:
            yield found
        finally:
            if found:
                self._lock(ALIVE, fcntl.LOCK_SH)

    # --------------------------------------------------------------------------------------------------- locks

    def _try(self, byte: int, kind: int) -> bool:
        try:
            self._lock(byte, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _lock(self, byte: int, kind: int) -> None:
        try:
            fcntl.lockf(self._file, kind, 1, byte)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise BlockingIOError(error.errno, error.strerror) from None
            raise AsrError(f"{self.path}: cannot lock: {error.strerror}; write into a folder on a disk with file locks "
                           "(NFS and Lustre have them where they are enabled)") from None
