"""Losses and gradients that are not finite: the step is skipped, the culprits are named, and the run ends in time."""

from __future__ import annotations

import logging
import re

import pytest
import torch
from safetensors.torch import load_file
from tones import make_tones
from training.small import log, metrics, run, settings

from asr.corpus import BatchSampler
from asr.errors import AsrError
from asr.training import train
from asr.training.preparation import prepare
from asr.training.speech import SpeechTask

ALONE = "model.conv.norm=layer"  # no statistics are shared: what is wrong with one utterance stays with it


def plant(monkeypatch, is_bad):
    """Put an infinity into the features of utterances that ``is_bad(id, number of the batch)`` chooses."""
    original = SpeechTask._features

    def features_of(self, batch, *rest):
        features = original(self, batch, *rest)
        for row, name in enumerate(batch.ids):
            if is_bad(name, self.batches):
                features[row, 0, 0] = torch.inf
        return features

    monkeypatch.setattr(SpeechTask, "_features", features_of)


def poison(monkeypatch, is_bad):
    """Make every gradient NaN, of a loss that is finite, in the batches that ``is_bad(number)`` chooses."""
    original = SpeechTask.training_step

    def training_step(self, batch, index):
        loss = original(self, batch, index)
        if loss is not None and is_bad(self.batches):
            loss.register_hook(lambda gradient: gradient * torch.nan)
        return loss

    monkeypatch.setattr(SpeechTask, "training_step", training_step)


def plan_training(monkeypatch, plan):
    """Every epoch trains on these batches of indices; dev keeps its own."""
    original = BatchSampler.plan
    monkeypatch.setattr(BatchSampler, "plan", lambda self, epoch: plan if self.shuffle else original(self, epoch))


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_a_step_is_skipped_its_utterances_named_and_its_batch_saved(tones, tmp_path, monkeypatch, norm):
    bad = "s1-01-0010"
    plant(monkeypatch, lambda name, _: name == bad)
    exp = tmp_path / "run"
    model = run(tones, exp, "training.epochs=3", "training.average_best=1", f"model.conv.norm={norm}")
    lines = re.findall(r"batch (\d+): loss is not finite for (.*); step skipped, batch saved as (.*)", log(exp))
    assert len(lines) == 3  # once in each epoch
    for number, names, path in lines:
        saved = torch.load(path, weights_only=True)
        assert path == str(exp / "nonfinite" / f"batch-{int(number):08d}.pt") and bad in saved["ids"]
        if norm == "layer":
            assert names == bad
        wrong = [name for name, good in zip(saved["ids"], saved["losses"].isfinite()) if not good]
        assert names.split(", ") == wrong
        assert saved["inputs"].shape == (len(saved["ids"]), int(saved["lengths"].max()), 20)
        assert saved["targets"].shape == (len(saved["ids"]), int(saved["target_lengths"].max()))
    # Nothing of the infinity stays: not in the weights, nor in batch norm's running statistics, nor in what dev hears.
    assert all(value.isfinite().all() for value in load_file(model).values())
    rows = metrics(exp)
    assert rows[-1]["dev_loss"] < rows[0]["dev_loss"] and rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_the_run_stops_after_so_many_in_a_row(tones, tmp_path, monkeypatch):
    plant(monkeypatch, lambda _, number: number > 2)
    with pytest.raises(AsrError, match=r"3 steps in a row had a non-finite loss or gradient \(last: batch 5, s.*\).*nonfinite, "
                                       r"lower training.optimizer.lr, raise training.schedule.warmup_steps") as caught:
        run(tones, tmp_path / "run", "training.nonfinite_limit=3")
    assert str(tmp_path / "run" / "nonfinite") in str(caught.value)
    assert [path.name for path in sorted((tmp_path / "run" / "nonfinite").iterdir())] == [
        f"batch-{number:08d}.pt" for number in (3, 4, 5)]
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_gradients_count_as_losses_do(tones, tmp_path, monkeypatch):
    poison(monkeypatch, lambda number: number != 2)
    plant(monkeypatch, lambda _, number: number == 2)
    with pytest.raises(AsrError, match=r"3 steps in a row had a non-finite loss or gradient \(last: batch 3\).*nonfinite, lower "):
        run(tones, tmp_path / "both", "training.nonfinite_limit=3")
    plant(monkeypatch, lambda _, number: False)
    with pytest.raises(AsrError, match=r"1 steps in a row .* the data are wrong: lower training.optimizer.lr"):
        run(tones, tmp_path / "gradient", "training.nonfinite_limit=1")  # nothing is saved, and none told to look at it


def test_the_count_goes_on_after_a_resume(tones, tmp_path, monkeypatch):
    poison(monkeypatch, lambda number: number > 1)
    settled = ["training.nonfinite_limit=4", "training.checkpoint_steps=1"]
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        original = SpeechTask.training_step

        def dying(self, batch, index):
            if self.batches == 3:
                raise RuntimeError("killed")
            return original(self, batch, index)

        patch.setattr(SpeechTask, "training_step", dying)
        run(tones, tmp_path / "run", *settled)
    with pytest.raises(AsrError, match=r"4 steps in a row .*\(last: batch 5\)"):
        train(settings(*settled), tones / "train", tones / "dev", tmp_path / "run", resume=True, device="cpu")


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_good_step_between_starts_the_count_again(tones, tmp_path, monkeypatch, what):
    if what == "loss":
        plant(monkeypatch, lambda _, number: number % 3 != 0)
    else:
        poison(monkeypatch, lambda number: number % 3 != 0)
    run(tones, tmp_path / "run", "training.nonfinite_limit=3")
    assert log(tmp_path / "run").count("step skipped") >= 6


def test_a_skipped_step_in_the_middle_of_an_accumulation_leaves_the_others(tones, tmp_path, monkeypatch):
    """Of two batches to a step, the one that is not finite gives nothing, the other its gradient."""
    plan_training(monkeypatch, [[0, 1, 2, 3], [4, 5, 6, 7]])
    plain = ["training.epochs=1", ALONE, "training.optimizer={name: sgd, lr: 0.1, momentum: 0, weight_decay: 0}",
             "training.schedule={name: constant, warmup_steps: 0}", "training.gradient_clip=0", "training.accumulate=2"]
    moved = {}
    for broken in (1, 2, 0):
        with monkeypatch.context() as patch:
            plant(patch, lambda name, number, broken=broken: number == broken and "-01-" in name)
            weights = load_file(run(tones, tmp_path / str(broken), *plain))
        before = prepare(settings(*plain), tones / "train", tones / "dev").network.state_dict()
        moved[broken] = {name: weights[f"network.{name}"] - value for name, value in before.items()}
    for name, both in moved[0].items():
        torch.testing.assert_close(moved[1][name] + moved[2][name], both, rtol=1e-3, atol=1e-6, msg=name)
        assert moved[1][name].any() and moved[2][name].any()


def test_a_gradient_that_is_not_finite_takes_no_step(tones, tmp_path, monkeypatch):
    """Weight decay and the momentum of the optimizer take none either: the weights are those of the beginning."""
    plan_training(monkeypatch, [[0, 1, 2, 3]])
    plain = ["training.epochs=1", ALONE]
    with monkeypatch.context() as patch:
        poison(patch, lambda number: True)
        weights = load_file(run(tones, tmp_path / "nan", *plain))
    before = prepare(settings(*plain), tones / "train", tones / "dev").network.state_dict()
    assert "batch 1: gradient is not finite; step skipped" in log(tmp_path / "nan")
    assert all(torch.equal(weights[f"network.{name}"], value) for name, value in before.items())

    weights = load_file(run(tones, tmp_path / "finite", *plain))  # and a gradient that is finite does take it
    assert "not finite" not in log(tmp_path / "finite")
    assert not torch.equal(weights["network.output.weight"], before["output.weight"])


def test_gradients_are_clipped_to_the_norm(tones, tmp_path):
    task = SpeechTask(prepare(settings("training.gradient_clip=0.5"), tones / "train", tones / "dev"), 10, tmp_path)
    optimizer = torch.optim.SGD(task.network.parameters(), lr=1.0)
    for size, expected in ((100.0, 0.5), (1e-4, None)):
        for parameter in task.network.parameters():
            parameter.grad = torch.full_like(parameter, size)
        given = torch.cat([parameter.grad.flatten() for parameter in task.network.parameters()]).norm()
        task.configure_gradient_clipping(optimizer)
        norm = torch.cat([parameter.grad.flatten() for parameter in task.network.parameters()]).norm()
        assert float(norm) == pytest.approx(expected or float(given), rel=1e-3)


def test_untrainable_utterances_are_dropped_by_name_with_frames_and_labels(tones, tmp_path, caplog):
    data = make_tones(tmp_path / "train", 8, seed=5)
    long = {data.utterances[2].id: "lo mid hi " * 30 + "lo", data.utterances[5].id: "mid " * 40 + "mid"}
    lines = (tmp_path / "train" / "text").read_text().splitlines()
    (tmp_path / "train" / "text").write_text("".join(
        f"{line.split()[0]} {long.get(line.split()[0]) or line.split(maxsplit=1)[1]}\n" for line in lines))
    with caplog.at_level(logging.WARNING, logger="asr"):
        prepared = prepare(settings(), tmp_path / "train", tones / "dev")
    assert len(prepared.train.durations) == len(prepared.train.data.utterances) == 6
    assert not set(long) & {utterance.id for utterance in prepared.train.data.utterances}
    for name, text in long.items():
        utterance = next(utterance for utterance in data.utterances if utterance.id == name)
        samples = round(data.duration(utterance) * 8000)
        frames = (1 + (samples - 200) // 80 + 1) // 2  # 25 ms windows every 10 ms, then a stride of 2 with centred kernels
        needed = len(text)  # no letter comes twice in a row
        assert f"{name}: dropped from training: {frames} output frames, its {needed} labels need {needed}" in caplog.text
    assert "2 of 8 training utterances dropped as shorter than their labels need" in caplog.text
