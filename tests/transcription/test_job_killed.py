"""Jobs that are killed at any moment, and jobs that meet in one folder: real processes, real signals."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from transcription.said import outputs, rows
from transcription.tiny import RATE, chirps, save_tiny_model

from asr import audio
from asr.transcription.ledger import NAME

COUNT = 120


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


def started(made: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    arguments = ["--model", made / "model.safetensors", made / "in", "--out", out, "--format", "txt,json,srt", "--device", "cpu",
                 "--batch-seconds", "3", *more]
    return subprocess.Popen([sys.executable, "-m", "asr", "transcribe", *map(str, arguments)], stdout=subprocess.DEVNULL,
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
    while not (out / NAME).exists() or len(rows(out, "file")) == 0:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it keeps what it has claimed, and does nothing
    second = started(made, out)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(8)
    first.kill()
    first.wait()
    assert second.wait() == 1 and once_each(out) and outputs(out) == outputs(made / "whole")
