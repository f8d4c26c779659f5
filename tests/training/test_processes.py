"""Several processes train as one does: the same steps, the same bits after a kill, and an end when one of them is lost.

The processes are torchrun's own (its agent, `elastic_launch`), forked, so that they need not import everything again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tones import RATE, make_tones
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from training.small import log
from training.test_exact import result

from asr.config import load_config
from asr.corpus import BatchSampler, DataDir
from asr.errors import UsageError
from asr.training import run as training
from asr.training import train
from asr.training.processes import together
from asr.training.speech import SpeechTask
from asr.training.task import Task

# Batch norms of both kinds, and everything on that draws by utterance; what draws by batch would draw otherwise in each process.
SETTINGS = [f"features.sample_rate={RATE}", "features.num_mel_bins=16", "augment.speed=[0.9,1.1]",
            "model.conv.layers=[{channels: 4, stride: [2, 2]}]", "model.rnn={hidden: 8, layers: 2, norm: batch}",
            "training.epochs=2", "training.batch_seconds=4", "training.average_best=2", "training.schedule.warmup_steps=3",
            "training.checkpoint_steps=2", "training.workers=0", "training.threads=1"]
DRAWING = ["model.dropout=0.1", "augment.spec_augment={freq_masks: 1, time_masks: 1}", "training.ema_decay=0.9",
           "training.accumulate=2"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """20 utterances in batches of one to six, so that some have nothing for a second process; and one batch of dev."""
    path = tmp_path_factory.mktemp("tones")
    make_tones(path / "train", 20, seed=1)
    make_tones(path / "dev", 3, seed=2)
    return path


def work(corpus: Path, exp: Path, overrides: list[str], resume: bool, hurt: str) -> None:
    """What each process does; stderr of all goes into one file beside the run."""
    with open(exp.with_suffix(".err"), "ab") as file:
        os.dup2(file.fileno(), 2)
    number, again = os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"]
    if hurt and again == "0":
        process, step, what = hurt.split()
        original = Task.training_step

        def step_or_die(self: Task, *given: object) -> object:
            if number == process and self.batches == int(step):
                if what == "hang":
                    time.sleep(600)  # until torchrun tells it to stop; one that cannot hear that it kills after 30 s
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *given)

        Task.training_step = step_or_die  # this process is a fork, and ends with the run
    try:
        train(load_config(None, [*SETTINGS, *overrides]), corpus / "train", corpus / "dev", exp, resume, "cpu")
    except Exception as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        raise SystemExit(1) from None


def launch(count: int, corpus: Path, exp: Path, *overrides: str, resume: bool = False, hurt: str = "", restarts: int = 0) -> str:
    """Run with so many processes; what they wrote to the descriptor of stderr (not the log: that is in train.log).

    ``hurt``: "process step kill" or "process step hang".
    """
    config = LaunchConfig(1, 1, count, run_id=uuid.uuid4().hex, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
                          max_restarts=restarts, monitor_interval=0.1, start_method="fork")
    with contextlib.suppress(ChildFailedError):
        elastic_launch(config, work)(corpus, exp, list(overrides), resume, hurt)
    return exp.with_suffix(".err").read_text()


@pytest.fixture(scope="module", autouse=True)
def no_timing_model():
    """It is made after all that is tested here, by the first process alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "_timing", lambda prepared: None)
        yield


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """Two processes, undisturbed, with all that draws and carries a state."""
    exp = tmp_path_factory.mktemp("whole") / "run"
    launch(2, corpus, exp, *DRAWING)
    assert "2 processes, each with these threads" in log(exp)
    return result(exp)


def test_two_processes_train_as_one_does(corpus, tmp_path):
    """Also where a batch has nothing for the second, and dev has but one batch."""
    data = DataDir.load(corpus / "train")
    plan = BatchSampler([data.duration(utterance) for utterance in data.utterances], 2.5, 64, 1).plan(0)
    assert min(map(len, plan)) == 1
    said = launch(2, corpus, tmp_path / "several", "training.batch_seconds=2.5")
    config = load_config(None, [*SETTINGS, "training.batch_seconds=2.5"])
    train(config, corpus / "train", corpus / "dev", tmp_path / "one", device="cpu")
    (_, several), (_, one) = (result(tmp_path / name) for name in ("several", "one"))
    assert len(one) == len(several) == 2, said
    for ours, theirs in zip(several, one):
        assert {key: float(value) for key, value in ours.items()} == pytest.approx(
            {key: float(value) for key, value in theirs.items()}, rel=2e-4)
    first, second = (load_file(tmp_path / name / "checkpoints" / "epoch-0002.safetensors") for name in ("several", "one"))
    for name, value in second.items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=1e-5, msg=name)
    several, one = ({path.name for path in (tmp_path / name).iterdir()} for name in ("several", "one"))
    assert several - {".torchrun"} == one
    assert log(tmp_path / "several").count("epoch   2") == 1


def test_a_killed_process_ends_the_run_and_it_goes_on_to_the_same_bits(corpus, whole, tmp_path):
    exp = tmp_path / "run"
    said = launch(2, corpus, exp, *DRAWING, hurt="1 5 kill")
    assert "of 2 lost another one" in said or "of 2 was told to stop" in said
    assert "the same command with --resume goes on from the last checkpoint" in said
    assert (exp / "checkpoints" / "resume.ckpt").exists() and not (exp / "model.safetensors").exists()
    launch(2, corpus, exp, *DRAWING, resume=True)
    assert "resuming from" in log(exp) and result(exp) == whole


def test_torchrun_starts_a_killed_run_again_and_it_ends_in_the_same_bits(corpus, whole, tmp_path):
    """The first process this time, which holds the folder's lock; no --resume is given."""
    launch(2, corpus, tmp_path / "run", *DRAWING, hurt="0 6 kill", restarts=1)
    assert "resuming from" in log(tmp_path / "run") and result(tmp_path / "run") == whole


def test_one_process_in_a_job_of_slurm_with_several_tasks(corpus, tmp_path, monkeypatch):
    """A recipe in a job that asked for four tasks to have four cores."""
    slurm = {"JOB_ID": "7", "JOB_NAME": "recipe", "NTASKS": "4", "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    config = load_config(None, [*SETTINGS, "training.epochs=1"])
    assert train(config, corpus / "train", corpus / "dev", tmp_path / "run", device="cpu").exists()


@pytest.mark.parametrize("seconds", ["1 h", "0", "nan", "inf"])
def test_a_timeout_that_is_none(monkeypatch, seconds):
    for name, value in (("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("TORCHELASTIC_RUN_ID", "x"), ("ASR_PROCESS_TIMEOUT", seconds)):
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=f"ASR_PROCESS_TIMEOUT={seconds}: give seconds"), together(torch.device("cpu")):
        pass


def test_a_process_that_hangs_ends_the_run(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_PROCESS_TIMEOUT", "1")
    said = launch(2, corpus, tmp_path / "run", hurt="1 3 hang")
    assert "process 0 of 2 lost another one, or waited 1 s for it" in said and "--resume" in said


@pytest.mark.parametrize("restarts", [0, 1])
def test_a_run_is_refused_once_at_each_start(corpus, tmp_path, restarts):
    """The first process says so, and being started again is no --resume."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(b"")
    (tmp_path / "run" / "config.yaml").write_text("seed: 7")
    said = launch(2, corpus, tmp_path / "run", restarts=restarts)
    assert said.count("holds a run already; go on with --resume") == said.count("Error") == restarts + 1


def test_different_data_are_refused(corpus, tmp_path, monkeypatch):
    original = SpeechTask.__init__

    def other(self: SpeechTask, *given: object) -> None:
        original(self, *given)
        if os.environ.get("RANK") == "1":
            torch.nn.init.zeros_(self.network.output.bias.data.add_(1.0))
            self.network.output.weight.data.mul_(2)

    monkeypatch.setattr(SpeechTask, "__init__", other)
    assert "has other data or other first weights than process" in launch(2, corpus, tmp_path / "run")


def test_a_loss_that_is_not_finite_in_one_process_is_no_step_of_any(corpus, tmp_path, monkeypatch):
    """Skipped by both, with accumulation, so half a step has its gradients already."""
    original = SpeechTask.losses

    def spoiled(self: SpeechTask, batch: object, generator: object) -> object:
        losses, count = original(self, batch, generator)
        if self.batches == 4 and os.environ.get("RANK", "1") == "1":
            losses = losses * float("nan")
        return losses, count

    monkeypatch.setattr(SpeechTask, "losses", spoiled)
    launch(2, corpus, tmp_path / "two", "training.accumulate=2", "training.epochs=1")
    train(load_config(None, [*SETTINGS, "training.accumulate=2", "training.epochs=1"]), corpus / "train", corpus / "dev",
          tmp_path / "one", device="cpu")
    assert "batch 4: loss is not finite for" in log(tmp_path / "two")
    assert [path.name for path in (tmp_path / "two" / "nonfinite").iterdir()] == ["batch-00000004-process1.pt"]
    first, second = (load_file(tmp_path / name / "checkpoints" / "epoch-0001.safetensors") for name in ("two", "one"))
    assert all(np.allclose(first[name], value, rtol=1e-3, atol=1e-5) for name, value in second.items())
