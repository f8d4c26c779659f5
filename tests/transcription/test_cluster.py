"""The same job on a real local Ray of several processes, one of which is killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from transcription.said import outputs, rows
from transcription.tiny import RATE, chirps, save_tiny_model

from asr import audio
from asr.errors import AsrError
from asr.transcription import Recognizer
from asr.transcription.cluster import ATTEMPTS, Cluster, Load
from asr.transcription.job import Job, settings_of
from asr.transcription.pipeline import Batch, Local
from asr.transcription.sources import Item, find_items
from asr.transcription.writers import Place

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    return Recognizer.load(save_tiny_model(tmp_path_factory.mktemp("model") / "model.safetensors"), "cpu")


@pytest.fixture(scope="module")
def cluster(recognizer: Recognizer) -> Iterator[Cluster]:
    with Cluster("local", Load.of(recognizer), 2) as made:
        yield made


def test_a_killed_workers_files_are_done_elsewhere_and_all_is_as_on_one_machine(recognizer, cluster, tmp_path, monkeypatch):
    for index, samples in enumerate(chirps(40, seed=5)):
        path = tmp_path / "in" / f"{index:02}.wav"
        path.parent.mkdir(exist_ok=True)
        audio.write(path, samples, RATE)
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    workers, start = [], cluster._start
    monkeypatch.setattr(cluster, "_start", lambda: workers.append(start()) or workers[-1])

    class Murderous:
        """The cluster, one of whose workers is killed with a batch in its hands."""

        def run(self, batches):
            for number, done in enumerate(cluster.run(batches)):
                if number == 0:  # while there is plenty left to do
                    os.kill(ray.get(workers[0].__ray_call__.remote(lambda _: os.getpid())), signal.SIGKILL)
                yield done

    def job(out: Path, executor):
        return Job(out, ["txt", "json"], settings_of(recognizer), 1.0).run(executor, find_items([str(tmp_path / "in")]))

    here, there = job(tmp_path / "here", Local(recognizer, 2)), job(tmp_path / "there", Murderous())
    assert len(rows(tmp_path / "there", "batch")) > 8 and len(workers) == 3
    assert (here.transcribed, there.transcribed, here.failed) == (40, 40, there.failed) and len(there.failed) == 1
    assert outputs(tmp_path / "there") == outputs(tmp_path / "here")
    assert len(rows(tmp_path / "there", "file")) == 40


def test_more_workers_than_the_cluster_has_room_for(recognizer, cluster, tmp_path, monkeypatch):
    """Those that find none wait, and nothing waits for them; relative paths are meant from where the job is started."""
    monkeypatch.setattr(cluster, "workers", 4)
    monkeypatch.chdir(tmp_path)
    for index, samples in enumerate(chirps(12, seed=6)):
        audio.write(tmp_path / f"{index:02}.wav", samples, RATE)
    report = Job(tmp_path / "out", ["txt"], settings_of(recognizer), 1.0).run(cluster, find_items(["."]))
    assert report.transcribed == 12 and not report.failed


def test_a_batch_that_costs_every_worker_is_given_up(cluster, tmp_path):
    """A command that kills who runs it."""
    killer = Item("killer", "kill -9 $PPID |", "utterance killer", Place("killer", "1", 0.0), "s", command=True)
    ((_, (outcome,)),) = list(cluster.run([Batch(0, [killer])]))
    assert outcome.startswith(f"utterance killer: cannot transcribe: {ATTEMPTS} workers were lost over it")


def test_a_batch_is_not_given_to_workers_that_were_lost_while_idle(cluster, tmp_path, monkeypatch):
    """A machine goes with all of its workers, near the end of a job."""
    monkeypatch.setattr("asr.transcription.cluster.ATTEMPTS", 2)
    audio.write(tmp_path / "a.wav", chirps(1)[0], RATE)
    busy, idle = tmp_path / "busy", tmp_path / "idle"  # process ids
    commands = [f"echo $PPID >{idle}; until [ -s {busy} ]; do sleep 0.05; done; cat {tmp_path}/a.wav |",
                f"[ -e {busy} ] || {{ echo $PPID >{busy}; sleep 20; }}; cat {tmp_path}/a.wav |"]
    for batch, (outcome,) in cluster.run(Batch(number, [Item("a", command, "a", Place("a", "1", 0.0), "s", command=True)])
                                         for number, command in enumerate(commands)):
        assert not isinstance(outcome, str), outcome
        if batch.number == 0:
            for process in (busy, idle):
                os.kill(int(process.read_text()), signal.SIGKILL)


def test_a_worker_that_has_another_model_ends_the_job(cluster, recognizer, monkeypatch):
    monkeypatch.setattr(cluster, "load", replace(cluster.load, fingerprint="0" * 64))
    item = Item("a", "a.wav", "a.wav", Place("a", "1", 0.0), "s")
    with pytest.raises(AsrError, match="a worker cannot load the model: .*is another file on this worker"):
        list(cluster.run([Batch(0, [item])]))


def test_workers_that_are_lost_while_they_load(cluster, monkeypatch):
    monkeypatch.setattr(cluster, "load", lambda: os.kill(os.getpid(), signal.SIGKILL))
    monkeypatch.setattr("asr.transcription.cluster.ATTEMPTS", 1)
    item = Item("a", "a.wav", "a.wav", Place("a", "1", 0.0), "s")
    with pytest.raises(AsrError, match=r"--ray: 1 workers in a row were lost while they loaded the model \(ActorDiedError\)"):
        list(cluster.run([Batch(0, [item])]))


def test_no_cluster_at_the_address(recognizer):
    with pytest.raises(AsrError, match="--ray nonsense: cannot reach the cluster"):
        Cluster("nonsense", Load.of(recognizer))
