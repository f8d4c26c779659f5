"""What the toolkit asks of the machine: devices, threads, files that appear whole or not at all, and what ran where."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from asr.errors import UsageError

if TYPE_CHECKING:
    import torch

log = logging.getLogger("asr")

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
LONGEST_NAME = 255  # bytes; of nearly all file systems


def trim_memory() -> None:
    """Give freed memory back to the system, where the C library can (glibc).

    Tensors of many shapes leave its heap in pieces, and what is cached between them (oneDNN's kernels) keeps it from
    shrinking: over hours of audio a process grows by hundreds of megabytes that nobody uses.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name beside ``path``; renamed onto it when the block ends well, removed when it does not.

    The data reach the disk before the rename, so after a power cut ``path`` is the old file or the new one, never half.
    """
    path = Path(path)
    name, handle = create_temporary(path)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        file = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is not None and error.filename in (None, str(temporary), temporary):
            error.filename = str(path)  # what a full disk kept from being written: the name that the user knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


def create_temporary(path: str | Path) -> tuple[str, int]:
    """A new file for what is to become ``path``, beside it: its name and a descriptor to write with. Raises OSError.

    It is called ``.STEM.0123abcd.tmp``, with the `temporary_stem` of its name and eight hexadecimal digits. It has an ordinary
    file's permissions; its folder is made where there is none.
    """
    folder, name = os.path.split(path)
    temporary = os.path.join(folder, f".{temporary_stem(name)}.{os.urandom(4).hex()}.tmp")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    try:
        return temporary, os.open(temporary, flags, 0o666)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)
    return temporary, os.open(temporary, flags, 0o666)


def temporary_stem(name: str) -> str:
    """What a temporary file keeps of the name that it is to have: all, or so many whole characters that its own is no longer
    than file systems allow."""
    while len(os.fsencode(name)) > LONGEST_NAME - len("..0123abcd.tmp"):
        name = name[:-1]
    return name


@contextlib.contextmanager
def atomic_open(path: str | Path, binary: bool = False) -> Iterator[IO[Any]]:
    """An open file (UTF-8 text, or binary) whose content appears under ``path`` only when the block ends well."""
    with atomic_path(path) as temporary, (
            open(temporary, "wb") if binary else open(temporary, "w", encoding="utf-8", newline="\n")) as file:
        yield file


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all."""
    with atomic_open(path) as file:
        file.write(text)


@contextlib.contextmanager
def exclusive(path: Path, doing: str, cure: str) -> Iterator[IO[str]]:
    """One process at a time within: it holds a lock on the file ``path``, which is made, and says whose the lock is. The system
    releases it however the process ends.

    Raises UsageError ``FOLDER: another process (12345 on HOST) is DOING; CURE``. Where the file system has no locks, that is said
    on the log.
    """
    with open(path, "a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            who = lock.read(200).strip()
            raise UsageError(f"{path.parent}: another process{who and f' ({who})'} is {doing}; {cure}") from None
        except OSError as error:
            log.warning("%s: cannot lock (%s): see to it that no other process is %s", path.parent, error.strerror, doing)
        lock.truncate(0)
        lock.write(f"{os.getpid()} on {platform.node()}\n")
        lock.flush()
        yield lock


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb", buffering=0) as file:
        return sha256_of_open(file.fileno())


def sha256_of_open(handle: int) -> str:
    """SHA-256, in hex, of a file that is open; where it is being read stays as it is."""
    digest, offset = hashlib.sha256(), 0
    while block := os.pread(handle, 1 << 20, offset):
        digest.update(block)
        offset += len(block)
    return digest.hexdigest()


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` (CUDA where there is one), ``cpu`` or ``cuda``; raises UsageError where CUDA is asked for and absent."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device {name}: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: no CUDA device is visible here; use --device cpu, or check the driver with nvidia-smi")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def choose_threads(asked: int = 0, workers: int = 0) -> int:
    """How many threads the network gets on the CPU.

    A recurrent network runs thousands of tiny parallel regions; when another process holds one of the cores, each
    waits at its barrier for a whole scheduler slice, and two threads run tens of times slower than one. So:
    what was asked for, else ``OMP_NUM_THREADS``, else the cores this process may use less one for each data worker,
    and at most 4 (the recurrence itself has no more parallelism to give).
    """
    if asked:
        return asked
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    return max(1, min(4, usable_cores() - workers))


def busy_cores(seconds: float = 0.2) -> float:
    """How many of the cores that this process may use others keep busy, over so many seconds; 0 where /proc/stat does not tell.

    It is for a word of warning: were threads chosen by it, the same seed would not always give the same bits.
    """
    own = {f"cpu{core}" for core in (os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ())}

    def ticks() -> int:
        with open("/proc/stat", encoding="ascii") as file:
            rows = [line.split() for line in file]
        # user, nice, system, (idle, iowait,) irq, softirq, steal
        return sum(int(row[index]) for row in rows if row[0] in own for index in (1, 2, 3, 6, 7, 8))

    try:
        before, worked, began = ticks(), time.process_time(), time.monotonic()
        time.sleep(seconds)
        busy = (ticks() - before) / os.sysconf("SC_CLK_TCK") - (time.process_time() - worked)
        return max(0.0, busy / (time.monotonic() - began))
    except (OSError, ValueError, IndexError):
        return 0.0


def crowding(threads: int, seconds: float = 0.2) -> float:
    """How many cores others keep busy, where so many threads would have to share theirs with them; else 0."""
    if threads < 2:
        return 0.0
    busy = busy_cores(seconds)
    return busy if busy + threads > usable_cores() + 0.5 else 0.0


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next allocation, on Linux with glibc; elsewhere nothing happens.

    A training step frees arrays of megabytes and asks for them again in the next one. glibc hands such memory back to the
    kernel, which clears it page by page when it is asked for anew. Kept, it is reused as it is; the process holds what its
    largest step needed either way. The numbers computed do not depend on it.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mallopt(M_MMAP_THRESHOLD, 32 << 20)  # the largest that glibc takes
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def usable_cores() -> int:
    """Cores this process may run on (the affinity mask, not the machine's count)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Versions, commit and machine, for logs and results: what a reader needs to run the same again."""
    from importlib.metadata import PackageNotFoundError, version

    from asr import __version__

    found = {"asr": __version__, "commit": commit(), "python": platform.python_version(),
             "machine": f"{platform.system()} {platform.machine()}, {usable_cores()} cores"}
    for package in ("torch", "torchaudio", "lightning", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def commit() -> str:
    """The source tree's commit, with ``-dirty`` when tracked files differ from it; ``unknown`` outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists() or shutil.which("git") is None:
        return "unknown"
    found = subprocess.run(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
                           capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
