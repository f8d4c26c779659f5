"""Whole runs on tones: that they learn, what they leave behind, and that every option of the loop does its work."""

from __future__ import annotations

import math
import os
import signal
import tempfile
from dataclasses import replace

import pytest
import torch
import yaml
from cli.command import here
from safetensors.torch import load_file
from training.small import log, metrics, run, settings

from asr.config import dump_config, load_config
from asr.corpus import BatchSampler, DataDir, collate
from asr.ctc.kernels import common
from asr.errors import ConfigError
from asr.features.extract import extract
from asr.models.storage import load_model
from asr.training import loop, train
from asr.training import run as training
from asr.training.averaging import average_weights
from asr.training.data import SpeechData
from asr.training.preparation import prepare
from asr.training.speech import SpeechTask
from asr.transcription import Recognizer


def weights(model):
    return {name: value for name, value in load_file(model).items() if name.startswith("network.")}


def test_a_tiny_network_learns_sixty_sentences_by_heart(tones, tmp_path):
    model = run(tones, tmp_path / "run", "training.epochs=20", "training.schedule.name=constant", dev_set="seen")
    rows = metrics(tmp_path / "run")
    assert [row["epoch"] for row in rows] == list(range(1, 21))
    assert rows[-1]["train_loss"] < 0.1 * rows[0]["train_loss"] and rows[-1]["dev_loss"] < 0.1 * rows[0]["dev_loss"]
    assert min(row["dev_wer"] for row in rows) == 0 and rows[0]["dev_wer"] > 0.5

    recognizer = Recognizer.load(model)
    seen = DataDir.load(tones / "seen")
    heard = {utterance.id: recognizer.transcribe(seen.wav[utterance.recording]).text for utterance in seen.utterances}
    assert heard == {utterance.id: utterance.text for utterance in seen.utterances}
    notes = recognizer.model.notes
    assert float(notes["dev_wer"]) == 0 and len(notes["training_data"]) == 64 and notes["seed"] == "1"


def test_what_a_run_leaves_behind(tones, tmp_path):
    exp = tmp_path / "run"
    assert run(tones, exp, "seed=3", "training.epochs=3") == exp / "model.safetensors"
    assert {path.name for path in exp.iterdir()} == {".lock", "config.yaml", "train.log", "metrics.csv", "curves.png",
                                                     "tensorboard", "checkpoints", "model.safetensors"}
    assert load_config(exp / "config.yaml") == settings("seed=3", "training.epochs=3")
    assert "batch_seconds" in yaml.safe_load((exp / "config.yaml").read_text())["training"]

    rows = metrics(exp)
    assert (exp / "metrics.csv").read_text().splitlines()[0] == "epoch,step,lr,train_loss,dev_loss,dev_wer,dev_cer,seconds"
    assert len(rows) == 3 and all(math.isfinite(value) for row in rows for value in row.values())
    steps = [row["step"] for row in rows]
    assert steps == sorted(steps) and steps[0] >= 5

    picture = (exp / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n") and picture.endswith(b"IEND\xaeB`\x82") and len(picture) > 10_000
    for part in ("commit ", "torch ", "seed 3, device cpu, 1 threads, 0 data workers", "60 utterances", "receptive field",
                 "epoch   3  step", "ref: ", "| hyp: "):
        assert part in log(exp), part
    # average_best=2: two epochs' weights stay, and the checkpoint to resume from
    assert len(list((exp / "checkpoints").glob("epoch-*.safetensors"))) == 2 and (exp / "checkpoints" / "resume.ckpt").exists()
    assert list((exp / "tensorboard").rglob("events.out.tfevents.*"))
    torch.load(exp / "checkpoints" / "resume.ckpt", weights_only=True)


def test_a_checkpoint_does_not_pass_through_tmp(tones, tmp_path, monkeypatch):
    """Which may be too small, and keeps what a killed process had there."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert run(tones, tmp_path / "run", "training.epochs=1").exists()


def test_the_model_is_the_better_of_best_and_average(tones, tmp_path):
    model = load_model(run(tones, tmp_path / "run", "training.epochs=6", "training.average_best=3"))
    lines = [line for line in log(tmp_path / "run").splitlines() if ": dev loss" in line]
    assert len(lines) == 2 and "mean of epochs 4, 5, 6" in lines[1]
    errors = {line.split(" I ")[1].split(":")[0]: float(line.split("WER")[1].split("%")[0]) for line in lines}
    assert errors[model.notes["weights"]] == min(errors.values())
    assert float(model.notes["dev_wer"]) == pytest.approx(min(errors.values()) / 100, abs=1e-4)


def test_a_dev_loss_that_is_nan_is_the_worst(tones, tmp_path, monkeypatch):
    """No transcript of dev fits its frames: such an epoch is kept neither before, nor in place of, one with a loss."""
    def measured(*losses):
        found = iter(losses)
        return lambda *_: {"dev_loss": next(found), "dev_wer": 1.0, "dev_cer": 1.0}

    monkeypatch.setattr("asr.training.reports.dev_errors", measured(math.nan, 2.0, math.nan, 1.0))
    monkeypatch.setattr(loop, "dev_errors", measured(math.nan, 3.0))
    model = load_model(run(tones, tmp_path / "run", "training.epochs=4", "training.average_best=2"))
    assert {path.name for path in (tmp_path / "run" / "checkpoints").glob("epoch-*")} == {
        "epoch-0002.safetensors", "epoch-0004.safetensors"}
    assert (model.notes["weights"], model.notes["dev_loss"]) == ("mean of epochs 2, 4", "3")


def test_a_run_whose_dev_transcripts_never_fit_ends_with_a_model(tones, tmp_path):
    data = DataDir.load(tones / "dev")
    long = [replace(utterance, text="lo hi mid " * 50 + "lo") for utterance in data.utterances]
    DataDir.from_utterances(long, data.wav).save(tmp_path / "dev")
    model = load_model(train(settings("training.monitor=loss"), tones / "train", tmp_path / "dev", tmp_path / "run", device="cpu"))
    assert all(math.isnan(row["dev_loss"]) for row in metrics(tmp_path / "run")) and model.notes["weights"] == "epoch 1"


def test_archived_features_train_the_same_network(tones, tmp_path, monkeypatch):
    """The same batches, so the same steps: archives hold the very features that the front-end makes."""
    monkeypatch.chdir(tmp_path)
    for part in ("train", "dev"):
        DataDir.load(tones / part).save(tmp_path / part)
    spec_augment = "augment.spec_augment={freq_masks: 1, freq_width: 3}"
    direct = run(tmp_path, tmp_path / "direct", spec_augment)
    for part in ("train", "dev"):
        extract(DataDir.load(tmp_path / part), settings().features)
    archived = run(tmp_path, tmp_path / "archived", spec_augment, "training.archived=true")
    for name, value in weights(direct).items():
        torch.testing.assert_close(weights(archived)[name], value, rtol=0, atol=1e-5, msg=name)
    assert [row["dev_wer"] for row in metrics(tmp_path / "direct")] == [row["dev_wer"] for row in metrics(tmp_path / "archived")]


@pytest.mark.parametrize("effect", ["augment.speed=[0.9,1.1]", "augment.tempo=[0.9,1.1]", "augment.vtlp=[0.9,1.1]",
                                    "augment.pitch_semitones=[-1,1]", "augment.volume_db=[-3,3]", "augment.telephone=0.5",
                                    "augment.noise.probability=0.5", "augment.reverb.probability=0.5"])
def test_archives_cannot_be_augmented_as_audio(tones, tmp_path, effect):
    with pytest.raises(ConfigError, match=rf"training.archived.*{effect.partition('=')[0]} work on audio; drop one"):
        run(tones, tmp_path / "run", "training.archived=true", effect)
    assert not (tmp_path / "run").exists()


def test_a_loss_that_cannot_be_computed_here_is_refused_before_any_work(tones, tmp_path, monkeypatch):
    monkeypatch.setattr(common, "INTERPRETED", False)
    monkeypatch.setattr(common, "INSTALLED", True)
    with pytest.raises(ConfigError, match="training.ctc_backend=triton cannot run here: kernels need a CUDA device"):
        run(tones, tmp_path / "run", "training.ctc_backend=triton")
    assert not (tmp_path / "run").exists()


def test_half_precision_is_refused_where_it_would_be_another_one(tones, tmp_path):
    with pytest.raises(ConfigError, match="training.precision: 16 is for CUDA; take bf16 or 32"):
        run(tones, tmp_path / "run", "training.precision=16")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("owner", "step"), [(SpeechTask, "training_step"), (training, "prepare")])
@pytest.mark.parametrize(("number", "handler", "status"), [(signal.SIGTERM, signal.SIG_DFL, 143),
                                                           (signal.SIGINT, signal.default_int_handler, 130)])
def test_a_run_that_is_told_to_stop_says_how_to_go_on(tones, tmp_path, monkeypatch, capfd, number, handler, status, owner, step):
    """By `kill`, and by Ctrl-C, in Lightning's hands and outside them; the exit status is the shell's for either."""
    def told(*_):
        os.kill(os.getpid(), number)

    def ended(status):
        raise SystemExit(status)

    monkeypatch.setattr(owner, step, told)
    monkeypatch.setattr(os, "_exit", ended)
    (tmp_path / "c.yaml").write_text(dump_config(settings()))
    before = signal.signal(number, handler)
    try:
        assert here(monkeypatch, "train", "--config", tmp_path / "c.yaml", "--train", tones / "train", "--dev", tones / "dev",
                    "--exp", tmp_path / "run", "--device", "cpu") == status
    finally:
        after = signal.signal(number, before)
    assert after == handler and not (tmp_path / "run" / "model.safetensors").exists()
    assert "; the same command with --resume goes on from the last checkpoint\n" in capfd.readouterr().err


@pytest.mark.parametrize("cmvn", ["none", "speaker", "utterance"])
def test_every_normalisation_trains(tones, tmp_path, cmvn):
    """Global is the default of every other test."""
    model = load_model(run(tones, tmp_path / "run", f"features.cmvn={cmvn}"))
    rows = metrics(tmp_path / "run")
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert model.config.features.cmvn == cmvn and math.isfinite(rows[-1]["dev_loss"])


def test_speaker_normalisation_uses_the_speakers_statistics(tones):
    prepared = prepare(settings("features.cmvn=speaker"), tones / "train", tones / "dev")
    assert set(prepared.train.speaker_stats) == {"s0", "s1", "s2"}
    task = SpeechTask(prepared, 10, tones / "nonfinite")
    batch = next(iter(SpeechData(prepared).val_dataloader()))
    features = task._features(batch, prepared.dev.speaker_stats)
    mean, scale = prepared.dev.speaker_stats[batch.speakers[0]]
    count = int(batch.lengths[0])
    torch.testing.assert_close(features[0, :count], (batch.inputs[0, :count] - torch.from_numpy(mean)) * torch.from_numpy(scale))


def test_bf16_trains(tones, tmp_path, monkeypatch):
    seen = []
    original = SpeechTask._losses
    monkeypatch.setattr(SpeechTask, "_losses", lambda *given: seen.append(torch.is_autocast_enabled("cpu")) or original(*given))
    model = run(tones, tmp_path / "run", "training.precision=bf16")
    rows = metrics(tmp_path / "run")
    assert all(seen) and seen
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"] and math.isfinite(rows[-1]["dev_loss"])
    assert {value.dtype for value in weights(model).values()} <= {torch.float32, torch.int64}


@pytest.mark.parametrize(("written", "meant"), [("32", "32"), ("16", "16"), ("bf16", "bf16"), ("'16'", "16")])
def test_precision_may_be_written_as_a_number(written, meant):
    assert settings(f"training.precision={written}").training.precision == meant


def test_early_stopping(tones, tmp_path, monkeypatch):
    """Dev error that never falls: the first epoch is the best, and two more are waited for."""
    monkeypatch.setattr("asr.training.reports.dev_errors", lambda *_: {"dev_loss": 1.0, "dev_wer": 0.5, "dev_cer": 0.5})
    monkeypatch.setattr(loop, "dev_errors", lambda *_: {"dev_loss": 1.0, "dev_wer": 0.5, "dev_cer": 0.5})
    run(tones, tmp_path / "run", "training.epochs=8", "training.early_stop=2")
    assert len(metrics(tmp_path / "run")) == 3


def test_without_dev_the_last_epochs_are_averaged(tones, tmp_path, monkeypatch):
    """Errors that grow from epoch to epoch choose the first ones, where there is a dev set: here they choose nothing."""
    measured = iter(range(1, 100))
    monkeypatch.setattr(SpeechTask, "dev_loss", lambda self: float(next(measured)))
    monkeypatch.setattr("asr.training.preparation.LOOKED_AT", 25)
    model = train(settings("training.epochs=4"), tones / "train", None, tmp_path / "run", device="cpu")
    kept = sorted((tmp_path / "run/checkpoints").glob("epoch-*"))
    assert [path.name for path in kept] == ["epoch-0003.safetensors", "epoch-0004.safetensors"]
    mean, found = average_weights(kept), weights(model)
    assert all(torch.equal(mean[name.removeprefix("network.")], value) for name, value in found.items())
    assert "dev (none: of the training utterances): 20 utterances" in log(tmp_path / "run")  # every third of sixty
    for asked in ("training.early_stop=2", "training.schedule.name=plateau"):
        with pytest.raises(ConfigError, match="without dev items"):
            train(settings(asked), tones / "train", None, tmp_path / "other", device="cpu")


def test_plateau_halves_the_rate_when_dev_stops_falling(tones, tmp_path, monkeypatch):
    monkeypatch.setattr(SpeechTask, "dev_loss", lambda self: 1.0)
    run(tones, tmp_path / "run", "training.epochs=5", "training.schedule={name: plateau, patience: 1}")
    assert [row["lr"] for row in metrics(tmp_path / "run")] == pytest.approx([0.01, 0.01, 0.01, 0.005, 0.005])


def test_ema_is_what_dev_sees_and_the_model_holds(tones, tmp_path):
    """One epoch: the kept weights are the average over the steps, computed here from the weights after each step."""
    steps = []

    class Watched(SpeechTask):
        def on_train_batch_end(self, *_):
            steps.append({name: value.clone() for name, value in self.network.state_dict().items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "SpeechTask", Watched)
        model = run(tones, tmp_path / "run", "training.epochs=1", "training.ema_decay=0.5", "training.average_best=1")
    expected = steps[0]
    for step in steps[1:]:
        expected = {name: value.lerp(step[name], 0.5) if value.is_floating_point() else step[name]
                    for name, value in expected.items()}
    for name, value in weights(model).items():
        if value.is_floating_point():
            torch.testing.assert_close(value, expected[name.removeprefix("network.")], rtol=1e-5, atol=1e-6, msg=name)
    assert (weights(model)["network.output.weight"] - steps[-1]["output.weight"]).abs().max() > 1e-3


def test_accumulation_takes_the_mean_of_the_batches_gradients(tones, tmp_path, monkeypatch):
    """Two halves in one step: near to the step of the whole, and exactly the mean of the halves' losses per label."""
    whole = [list(range(16))]
    halves = [whole[0][0::2], whole[0][1::2]]
    plans = {"whole": whole, "halves": halves}
    plain = ["model.conv.norm=none", "training.optimizer={name: sgd, lr: 0.1, momentum: 0, weight_decay: 0}",
             "training.epochs=1", "training.schedule={name: constant, warmup_steps: 0}", "training.gradient_clip=0"]
    original = BatchSampler.plan
    moved = {}
    start = prepare(settings(*plain), tones / "train", tones / "dev")
    before = {name: value.clone() for name, value in start.network.state_dict().items()}
    for name, plan in plans.items():
        monkeypatch.setattr(BatchSampler, "plan", lambda self, epoch, plan=plan: plan if self.shuffle else original(self, epoch))
        model = run(tones, tmp_path / name, *plain, f"training.accumulate={len(plan)}")
        assert [row["step"] for row in metrics(tmp_path / name)] == [1]
        after = {key.removeprefix("network."): value for key, value in weights(model).items()}
        moved[name] = torch.cat([(after[key] - before[key]).flatten() for key, _ in start.network.named_parameters()])
    assert torch.cosine_similarity(moved["whole"], moved["halves"], dim=0) > 0.99

    task = SpeechTask(start, 1, tmp_path / "nonfinite")
    task.network.train()
    dataset = SpeechData(start).train_set
    for half in halves:
        (task.training_step(collate([dataset[(0, index)] for index in half]), 0) / 2).backward()
    by_hand = torch.cat([-0.1 * parameter.grad.flatten() for parameter in task.network.parameters()])
    torch.testing.assert_close(moved["halves"], by_hand, rtol=1e-4, atol=1e-6)
