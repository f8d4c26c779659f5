"""Outputs on their way to the disk: together or each by itself, and never under their name before they are there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from asr.transcription import disk
from asr.transcription.disk import Disk, file_system


class Watched:
    """What happens to files, in its order; of a sync, whatever had been written by then is on the disk."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.safe: dict[int, bytes] = {}  # inode -> content
        self.at_once = self.apart = self.renamed = 0
        self._replace, self._fsync = os.replace, os.fsync
        patch.setattr(disk, "sync_file_system", self.sync_file_system)
        patch.setattr(os, "fsync", self.fsync)
        patch.setattr(os, "replace", self.replace)

    def sync_file_system(self, path: str) -> None:
        self.at_once += 1
        for found in Path(path).parent.iterdir():
            self.safe[found.stat().st_ino] = found.read_bytes()

    def fsync(self, handle: int) -> None:
        self.apart += 1
        self.safe[os.fstat(handle).st_ino] = os.pread(handle, 1 << 20, 0)
        self._fsync(handle)

    def replace(self, name: str, path: Path) -> None:
        self.renamed += 1
        assert self.safe[os.stat(name).st_ino] == Path(name).read_bytes() != b"", "given its name before it is on the disk"
        self._replace(name, path)


def texts(folder: Path, count: int = 40) -> list[tuple[Path, str]]:
    return [(folder / f"{index}.txt", f"gr\xfc\xdfe {index}\n") for index in range(count)]


def are_there(files: list[tuple[Path, str]]) -> bool:
    folder = files[0][0].parent
    return {path.name: path.read_bytes() for path in folder.iterdir()} == {path.name: text.encode() for path, text in files}


def known(*kinds: str) -> Callable[[int], str]:
    return lambda device: kinds[0]


def test_together_on_a_file_system_that_is_known(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "file_system", known("ext4"))
    monkeypatch.setattr(disk, "_syncfs", print)
    watched = Watched(monkeypatch)
    with Disk() as writing:
        for folder in ("a", "b"):
            files = texts(tmp_path / folder)
            assert writing.write_texts(files) == [None] * 40 and are_there(files)
        assert writing.write_texts(files[:1]) == [None] and writing.write_texts([]) == []
    assert (watched.at_once, watched.apart, watched.renamed) == (2, 1, 81)


@pytest.mark.parametrize("why", ["unknown file system", "no syncfs", "it fails", "others' files"])
def test_each_by_itself_where_not_all_is_known_to_be_well(tmp_path, monkeypatch, why):
    monkeypatch.setattr(disk, "file_system", known("nfs4" if why == "unknown file system" else "xfs"))
    monkeypatch.setattr(disk, "_syncfs", None if why == "no syncfs" else print)
    monkeypatch.setattr(disk, "PATIENCE_S", 0.0 if why == "others' files" else 1e9)
    watched = Watched(monkeypatch)
    if why == "it fails":
        def failing(path):
            raise OSError(errno.EIO, "Input/output error", path)

        monkeypatch.setattr(disk, "sync_file_system", failing)
    with Disk() as writing:
        for number, folder in enumerate(("a", "b")):
            files = texts(tmp_path / folder)
            assert writing.write_texts(files) == [None] * 40 and are_there(files)
            assert watched.apart == 40 * (number + (why != "others' files"))  # which are only found by waiting for them once
    assert watched.renamed == 80


def test_a_real_sync_of_a_file_system(tmp_path):
    """Wherever the tests run: what it is asked for here is done, or the files are brought to the disk one by one."""
    if disk._syncfs is not None:
        disk.sync_file_system(str(tmp_path))
        with pytest.raises(FileNotFoundError):
            disk.sync_file_system(str(tmp_path / "absent"))
    files = texts(tmp_path / "out")
    with Disk() as writing:
        assert writing.write_texts(files) == [None] * 40 and are_there(files)


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="Linux's own list of file systems")
def test_the_kind_of_a_file_system():
    assert file_system(os.stat("/proc/self").st_dev) == "proc" and file_system(os.makedev(0, 1 << 19)) == ""


@pytest.mark.parametrize("together", [True, False])
def test_what_cannot_be_written_is_told_and_the_rest_is_there(tmp_path, monkeypatch, together):
    monkeypatch.setattr(disk, "file_system", known("ext4" if together else ""))
    files = texts(tmp_path, 6)
    (tmp_path / "1.txt").mkdir()  # cannot be replaced
    (tmp_path / "no folder").write_text("x")
    files[3] = (tmp_path / "no folder" / "3.txt", "text")
    files[5] = (tmp_path / ("n" * 252 + ".txt"), "text")
    with Disk() as writing:
        errors = writing.write_texts(files)
    assert [error and error.errno for error in errors] == [None, errno.EISDIR, None, errno.ENOTDIR, None, errno.ENAMETOOLONG]
    assert {path.name for path in tmp_path.iterdir()} == {"0.txt", "1.txt", "2.txt", "4.txt", "no folder"}


@pytest.mark.parametrize("broken", ["write", "fsync"])
def test_a_file_that_does_not_reach_the_disk_keeps_its_old_content(tmp_path, monkeypatch, broken):
    monkeypatch.setattr(disk, "file_system", known(""))
    files = texts(tmp_path)
    (tmp_path / "7.txt").write_text("old")
    original = getattr(os, broken)

    def failing(handle, *content):
        if os.fstat(handle).st_ino in {path.stat().st_ino for path in tmp_path.glob(".7.txt.*")}:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(handle, *content)

    monkeypatch.setattr(os, broken, failing)
    with Disk() as writing:
        errors = writing.write_texts(files)
    assert [index for index, error in enumerate(errors) if error is not None] == [7] and errors[7].errno == errno.ENOSPC
    files[7] = (files[7][0], "old")
    assert are_there(files)
