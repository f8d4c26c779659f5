"""Files that appear whole or not at all, locks, devices and threads."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from asr.errors import UsageError
from asr.system import atomic_open, atomic_path, busy_cores, choose_device, choose_threads, environment, exclusive, write_text
from asr.training import loop


def test_a_file_appears_only_when_whole(tmp_path):
    path = tmp_path / "folder" / "result.txt"
    with atomic_open(path) as file:
        file.write("whole")
        assert not path.exists()
    assert path.read_text() == "whole" and os.listdir(path.parent) == ["result.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["result.txt"]


def test_permissions_are_those_of_an_ordinary_file(tmp_path):
    write_text(tmp_path / "ours", "x")
    (tmp_path / "theirs").write_text("x")
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "theirs").stat().st_mode


def test_a_lock_says_whose_it_is_and_ends_with_its_holder(tmp_path):
    lock = tmp_path / "run/.lock"
    lock.parent.mkdir()
    program = """
import sys, time
from pathlib import Path
from asr.system import exclusive
with exclusive(Path(sys.argv[1]), "busy", ""):
    print("held", flush=True)
    time.sleep(60)
"""
    holder = subprocess.Popen([sys.executable, "-c", program, lock], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match=rf"run: another process \({holder.pid} on \S+\) is busy; wait for it"), \
            exclusive(lock, "busy", "wait for it"):
        pass
    holder.kill()
    holder.communicate()
    with exclusive(lock, "busy", "wait for it"):
        assert lock.read_text().startswith(f"{os.getpid()} on ")


def test_a_file_system_without_locks_is_told(tmp_path, monkeypatch, caplog):
    def without(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", without)
    with exclusive(tmp_path / ".lock", "training here", "wait"):
        assert f"{tmp_path}: cannot lock (No locks available): see to it that no other process is training here" in caplog.text


def test_devices():
    assert choose_device("cpu").type == "cpu"
    with pytest.raises(UsageError, match="--device tpu: choose auto, cpu or cuda"):
        choose_device("tpu")


def test_cuda_where_there_is_none_says_what_to_do(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UsageError, match="use --device cpu"):
        choose_device("cuda")
    assert choose_device("auto").type == "cpu"


def test_threads_leave_cores_to_the_workers(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("asr.system.usable_cores", lambda: 2)
    assert [choose_threads(0, workers) for workers in (0, 1, 5)] == [2, 1, 1]
    assert choose_threads(3, 1) == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert choose_threads(0, 0) == 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="not Linux")
def test_cores_that_others_keep_busy_are_counted_and_ones_own_are_not():
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        assert 0.2 < busy_cores(0.5) <= os.cpu_count() + 0.5
    finally:
        for other in others:
            other.kill()
            other.wait()


@pytest.mark.parametrize(("busy", "warned"), [(1.0, True), (0.0, False)])
def test_training_beside_others_is_warned_of_with_more_threads_than_one(monkeypatch, caplog, busy, warned):
    monkeypatch.setattr("asr.system.busy_cores", lambda seconds: busy)
    monkeypatch.setattr("asr.system.usable_cores", lambda: 2)
    for threads in (2, 1):
        caplog.clear()
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        loop._warn_of_others(torch.device("cpu"))
        assert ("set OMP_NUM_THREADS=1" in caplog.text) == (warned and threads == 2)


def test_freed_memory_is_kept_for_the_next_step():
    code = """if True:
        import resource, sys
        import numpy as np
        from asr.system import keep_freed_memory
        if sys.argv[1] == "kept":
            keep_freed_memory()
        def step():
            blocks = [np.ones(1 << 20) for _ in range(4)]  # 8 MB each
        step()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            step()
        print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    """
    kept, given_back = (int(subprocess.run([sys.executable, "-c", code, how], check=True, capture_output=True, text=True).stdout)
                        for how in ("kept", "plain"))
    assert kept < 100 < given_back


def test_environment_names_what_is_needed_to_run_the_same_again():
    found = environment()
    assert {"asr", "commit", "python", "machine", "torch"} <= found.keys() and all(found.values())
