"""Law 2: the same seed gives the same bits, and a run killed at any point and resumed ends in the bits of a whole one."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from tones import RATE, make_tones
from training.small import log

from asr.config import dump_config, load_config
from asr.corpus import DataDir
from asr.errors import ConfigError, UsageError
from asr.training import loop, train
from asr.training import run as training
from asr.training.reports import Report, ResumeCheckpoint
from asr.training.speech import SpeechTask

# Everything that draws a random number or carries a state from step to step is switched on.
SETTINGS = [f"features.sample_rate={RATE}", "features.num_mel_bins=16", "features.low_freq=20",
            "augment.speed=[0.9,1.0,1.1]", "augment.volume_db=[-3,3]", "augment.vtlp=[0.9,1.1]",
            "augment.noise.probability=0.5", "augment.reverb.probability=0.3",
            "augment.spec_augment={freq_masks: 1, freq_width: 3, time_masks: 1, time_width: 5}",
            "model.conv.layers=[{channels: 4, stride: [2, 2]}]", "model.conv.dropout=0.1",
            "model.rnn={hidden: 8, layers: 2, dropout: 0.2}",
            "model.dropout=0.1", "training.epochs=3", "training.batch_seconds=4", "training.ema_decay=0.9",
            "training.average_best=2", "training.schedule.warmup_steps=3",
            "training.checkpoint_steps=2", "training.workers=0", "training.threads=1"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("tones")
    make_tones(path / "train", 20, seed=1)
    make_tones(path / "dev", 6, seed=2)
    return path


@pytest.fixture(autouse=True)
def no_picture(monkeypatch):
    """curves.png is a third of the time that these runs take, and no part of what they compare."""
    monkeypatch.setattr(loop, "draw_curves", lambda *_: None)


def run(corpus, exp, *overrides, resume=False):
    return train(load_config(None, [*SETTINGS, *overrides]), corpus / "train", corpus / "dev", exp, resume=resume, device="cpu")


def result(exp):
    """The model's bits, and the metrics without the clock's column."""
    with open(exp / "metrics.csv", newline="") as file:
        rows = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    return (exp / "model.safetensors").read_bytes(), rows


@pytest.fixture(scope="module")
def wholes(corpus, tmp_path_factory):
    """Runs that were never killed, by how many batches make a step."""
    exps = {accumulate: tmp_path_factory.mktemp("whole") / "run" for accumulate in (1, 2)}
    for accumulate, exp in exps.items():
        run(corpus, exp, f"training.accumulate={accumulate}")
    return {accumulate: result(exp) for accumulate, exp in exps.items()}


@pytest.fixture(scope="module")
def whole(wholes):
    return wholes[1]


def test_the_same_seed_gives_the_same_bits(corpus, whole, tmp_path):
    run(corpus, tmp_path / "again")
    assert result(tmp_path / "again") == whole


def test_data_workers_change_nothing_but_the_configuration(corpus, whole, tmp_path):
    run(corpus, tmp_path / "workers", "training.workers=2")
    assert result(tmp_path / "workers")[1] == whole[1]


def test_another_seed_gives_other_bits(corpus, whole, tmp_path):
    run(corpus, tmp_path / "other", "seed=2")
    assert result(tmp_path / "other")[1] != whole[1]


class Killed(BaseException):
    """Not an Exception, so nothing on the way handles it."""


def kill_at(monkeypatch, owner, method, call):
    """Make the ``call``-th call of a method end the process, as far as the code can see."""
    original, calls = getattr(owner, method), []

    def dying(*arguments, **options):
        calls.append(1)
        if len(calls) == call:
            raise Killed
        return original(*arguments, **options)

    monkeypatch.setattr(owner, method, dying)


def killed(monkeypatch, owner, method, call, corpus, exp, *overrides):
    """A run, resumed where there is something, that ends there."""
    with monkeypatch.context() as patch:
        kill_at(patch, owner, method, call)
        with pytest.raises(Killed):
            run(corpus, exp, *overrides, resume=True)


STEPS = 13
PLACES = ([(SpeechTask, "training_step", call) for call in range(1, STEPS)]
          + [(SpeechTask, "validation_step", call) for call in (1, 2)]
          + [(Report, "_keep_best", call) for call in (1, 3)] + [(Report, "_write", call) for call in (1, 2)]
          + [(ResumeCheckpoint, "_save", call) for call in (1, 2, 3)]
          + [(ResumeCheckpoint, "on_train_epoch_end", call) for call in (1, 2, 3)])
ACCUMULATED = ([(SpeechTask, "training_step", call) for call in range(2, 8)]
               + [(ResumeCheckpoint, "_save", call) for call in (1, 2)])


@pytest.mark.parametrize(("owner", "method", "call", "accumulate"),
                         [(*place, 1) for place in PLACES] + [(*place, 2) for place in ACCUMULATED],
                         ids=lambda part: getattr(part, "__name__", str(part)))
def test_resumed_after_being_killed_anywhere_ends_in_the_same_bits(corpus, wholes, tmp_path, monkeypatch, owner, method, call,
                                                                   accumulate):
    asked = f"training.accumulate={accumulate}"
    killed(monkeypatch, owner, method, call, corpus, tmp_path / "run", asked)
    assert not (tmp_path / "run" / "model.safetensors").exists()
    run(corpus, tmp_path / "run", asked, resume=True)
    assert result(tmp_path / "run") == wholes[accumulate]


@pytest.mark.parametrize(("accumulate", "calls"), [(1, (7, 2)), (2, (6, 2))])
def test_killed_twice_and_while_finishing(corpus, wholes, tmp_path, monkeypatch, accumulate, calls):
    asked = f"training.accumulate={accumulate}"
    for call in calls:
        killed(monkeypatch, SpeechTask, "training_step", call, corpus, tmp_path / "run", asked)
    killed(monkeypatch, training, "save_model", 1, corpus, tmp_path / "run", asked)
    run(corpus, tmp_path / "run", asked, resume=True)
    assert result(tmp_path / "run") == wholes[accumulate]


def test_the_best_weights_stay_until_a_checkpoint_names_others(corpus, tmp_path, monkeypatch):
    """Killed between an epoch that became the best and its checkpoint, and resumed where that epoch is none of the best: on
    another machine, or with another number of processes, its bits are others."""
    asked, exp = ["training.average_best=1"], tmp_path / "run"
    monkeypatch.setattr(SpeechTask, "measured", lambda self: {"loss": 1.0, "wer": 1 / (1 + self.batches), "cer": 1.0})
    killed(monkeypatch, ResumeCheckpoint, "on_train_epoch_end", 2, corpus, exp, *asked)
    monkeypatch.setattr(SpeechTask, "measured", lambda self: {"loss": 1.0, "wer": 1.0 + self.batches, "cer": 1.0})
    run(corpus, exp, *asked, resume=True)
    assert "epoch 1 it is" in log(exp)
    assert [path.name for path in (exp / "checkpoints").glob("epoch-*")] == ["epoch-0001.safetensors"]


def test_a_plateau_takes_its_step_before_the_checkpoint_of_its_epoch(corpus, tmp_path, monkeypatch):
    """Killed in the first batch of an epoch, and in its middle: the rate falls after it and the one before it all the same."""
    asked = ["training.schedule={name: plateau, patience: 0}", "training.epochs=4"]
    # Dev loss stays as it is; the last epochs are the best, so the model shows what became of them.
    monkeypatch.setattr(SpeechTask, "measured", lambda self: {"loss": 1.0, "wer": 1 / (1 + self.batches), "cer": 1.0})
    run(corpus, tmp_path / "whole", *asked)
    assert len({row["lr"] for row in result(tmp_path / "whole")[1]}) == 3
    for call in (7, 5):  # of six batches
        killed(monkeypatch, SpeechTask, "training_step", call, corpus, tmp_path / "run", *asked)
    run(corpus, tmp_path / "run", *asked, resume=True)
    assert result(tmp_path / "run") == result(tmp_path / "whole")


def test_a_run_that_stopped_early_and_was_killed_while_finishing_trains_no_more(corpus, tmp_path, monkeypatch):
    asked = ["training.early_stop=1", "training.epochs=5"]
    monkeypatch.setattr(SpeechTask, "measured", lambda self: {"loss": 1.0 + self.batches, "wer": 1.0, "cer": 1.0})
    run(corpus, tmp_path / "whole", *asked)
    killed(monkeypatch, training, "save_model", 1, corpus, tmp_path / "run", *asked)
    run(corpus, tmp_path / "run", *asked, resume=True)
    assert result(tmp_path / "run") == result(tmp_path / "whole") and len(result(tmp_path / "run")[1]) == 2


def test_a_run_is_not_resumed_with_other_data(corpus, tmp_path, monkeypatch):
    killed(monkeypatch, SpeechTask, "training_step", 6, corpus, tmp_path / "run")
    for part in ("train", "dev"):
        DataDir.load(corpus / part).save(tmp_path / part)
    for before, after in (("lo", "ol"), ("mid", "miz")):  # the same tokens, and as many others
        for part in ("train", "dev"):
            (tmp_path / part / "text").write_text((corpus / part / "text").read_text().replace(before, after))
        with pytest.raises(ConfigError, match=r"run: was begun with other data, .*train was '20 utterances, 0.0\d+ h \(\w{12}\)', "
                                              "is '20 .*; give the data it was begun with, or choose another --exp") as caught:
            run(tmp_path, tmp_path / "run", resume=True)
        assert ("tokens was '" in str(caught.value)) == (after == "miz") and "dev was '" in str(caught.value)
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_checkpoint_that_does_not_name_its_data_goes_on_with_a_warning(corpus, whole, tmp_path, monkeypatch):
    killed(monkeypatch, SpeechTask, "training_step", 6, corpus, tmp_path / "run")
    path = tmp_path / "run" / "checkpoints" / "resume.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint["data"]
    torch.save(checkpoint, path)
    run(corpus, tmp_path / "run", resume=True)
    assert result(tmp_path / "run") == whole
    assert "resume.ckpt does not say which data it was begun with" in log(tmp_path / "run")


def test_kill_9_of_the_real_process(corpus, whole, tmp_path):
    """The signal that nothing can catch, sent to the command and its data worker once there is a checkpoint."""
    settings = yaml.safe_load(dump_config(load_config(None, SETTINGS)))
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(settings))
    command = [sys.executable, "-m", "asr", "train", "--config", str(tmp_path / "c.yaml"), "--train", str(corpus / "train"),
               "--dev", str(corpus / "dev"), "--exp", str(tmp_path / "run"), "--device", "cpu", "--resume"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    checkpoint = tmp_path / "run" / "checkpoints" / "resume.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "the run ended before it could be killed"
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "resuming from" in finished.stderr
    assert result(tmp_path / "run") == whole


def test_a_finished_run_is_left_as_it_is(corpus, tmp_path, capsys):
    model = run(corpus, tmp_path / "run", "training.epochs=1")
    before = model.stat().st_mtime_ns
    run(corpus, tmp_path / "run", "training.epochs=1", resume=True)
    assert model.stat().st_mtime_ns == before and "this run is finished; nothing to do" in capsys.readouterr().err
    with pytest.raises(UsageError, match="holds a run already; go on with --resume"):
        run(corpus, tmp_path / "run", "training.epochs=1")
    with pytest.raises(ConfigError, match="another configuration.*: seed was 1, is 2; training.epochs was 1, is 3; choose another"):
        run(corpus, tmp_path / "run", "seed=2", resume=True)


def test_two_processes_do_not_train_in_one_folder(corpus, tmp_path):
    said = rf"another process \({os.getpid()} on .*\) is training here; wait for it, end it, or choose another --exp"
    with loop.alone(tmp_path / "run"), pytest.raises(UsageError, match=said):
        run(corpus, tmp_path / "run", resume=True)
