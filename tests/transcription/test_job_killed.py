"""Jobs that are killed at any moment, and jobs that meet in one folder: real processes, real signals."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from transcription.said import outputs, rows
from transcription.tiny import RATE, chirps, save_tiny_model

from asr import audio
from asr.transcription.ledger import NAME

COUNT = 120
DIES = """
import os, signal, sys
from asr.cli.main import main
from asr.transcription.disk import Disk
from asr.transcription.ledger import Ledger

moment, batches = sys.argv.pop(1), 0
sync, replace, append = Disk._sync, os.replace, Ledger.append

def dies_at(name):
    if moment == name and batches == 3:
        os.kill(os.getpid(), signal.SIGKILL)

def synced(*arguments):
    global batches
    batches += 1
    dies_at("written")
    found = sync(*arguments)
    dies_at("on the disk")
    return found

def replaced(*arguments):
    replace(*arguments)
    dies_at("first of them renamed")

def appended(ledger, rows):
    dies_at("all renamed")
    append(ledger, rows)

Disk._sync, os.replace, Ledger.append = synced, replaced, appended
main()
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, recordings, and the outputs of a job that nobody disturbed."""
    path = tmp_path_factory.mktemp("killed")
    save_tiny_model(path / "model.safetensors")
    (path / "in").mkdir()
    for index, samples in enumerate(chirps(COUNT, seed=3)):
        audio.write(path / "in" / f"{index:03}.wav", samples, RATE)
    (path / "in" / "bad.wav").write_bytes(b"")
    assert started(path, path / "whole").wait() == 1
    return path


def started(made: Path, out: Path, *more: str, program: Sequence[str] = ("-m", "asr")) -> subprocess.Popen[bytes]:
    arguments = ["--model", made / "model.safetensors", made / "in", "--out", out, "--format", "txt,json,srt", "--device", "cpu",
                 "--batch-seconds", "3", *more]
    return subprocess.Popen([sys.executable, *program, "transcribe", *map(str, arguments)], stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)


def once_each(out: Path) -> bool:
    names = [row["file"] for row in rows(out, "file")]
    return len(names) == len(set(names)) == COUNT


def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(made, tmp_path):
    out, draw, stopped = tmp_path / "out", random.Random(1), 0
    wanted = outputs(made / "whole")
    for _ in range(5):
        process = started(made, out)
        while not (out / NAME).exists() and process.poll() is None:
            time.sleep(0.01)
        size = (out / NAME).stat().st_size
        while (out / NAME).stat().st_size == size and process.poll() is None:  # it has begun to do something
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.25))
        stopped += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        for name, content in outputs(out).items():  # whatever has its final name is whole
            assert name.endswith(".tmp") or wanted[name] == content
    assert stopped > 2
    assert started(made, out).wait() == 1
    assert outputs(out) == wanted and once_each(out)


@pytest.mark.parametrize("moment", ["written", "on the disk", "first of them renamed", "all renamed"])
def test_killed_between_two_steps_of_writing_a_batch(made, tmp_path, moment):
    """Nothing with its final name is half, no row is without its outputs, and the next run ends as if there had been no other."""
    out, wanted = tmp_path / "out", outputs(made / "whole")
    assert started(made, out, program=["-c", DIES, moment]).wait() == -signal.SIGKILL
    left = outputs(out)
    final = {name for name in left if not name.endswith(".tmp")}
    assert all(wanted[name] == left[name] for name in final)
    recorded = {f"{row['file']}.{format}" for row in rows(out, "file") for format in ("txt", "json", "srt")}
    assert recorded and recorded <= final
    assert (recorded < final, len(left) > len(final)) == {
        "written": (False, True), "on the disk": (False, True), "first of them renamed": (True, True), "all renamed": (True, False),
    }[moment]
    assert started(made, out).wait() == 1
    assert outputs(out) == wanted and once_each(out)


def test_two_runs_and_two_shards_at_once_share_the_work(made, tmp_path):
    out = tmp_path / "out"
    runs = [started(made, out), started(made, out), started(made, out, "--shard", "1/2"), started(made, out, "--shard", "2/2")]
    assert sorted(run.wait() for run in runs) in ([0, 1, 1, 1], [1, 1, 1, 1])  # the bad file is of one shard
    assert {name: content for name, content in outputs(out).items() if name.endswith("txt")} == {
        name: content for name, content in outputs(made / "whole").items() if name.endswith("txt")}
    assert once_each(out) and (out / "failures.tsv").read_text().count("\n") == 2


def test_who_waits_for_another_takes_over_when_that_is_killed(made, tmp_path):
    out = tmp_path / "out"
    first = started(made, out)
    while not (out / NAME).exists() or b'"file":' not in (out / NAME).read_bytes():  # the last row may be half written yet
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it keeps what it has claimed, and does nothing
    second = started(made, out)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(8)
    first.kill()
    first.wait()
    assert second.wait() == 1 and once_each(out) and outputs(out) == outputs(made / "whole")
