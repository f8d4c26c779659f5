"""The parts of the task: schedules, optimizers, averaging, and the numbers a step draws."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from training.small import settings

from asr.config import OptimizerConfig, ScheduleConfig
from asr.models import build_model
from asr.training.averaging import average_weights
from asr.training.preparation import prepare
from asr.training.speech import SpeechTask
from asr.training.task import build_optimizer, schedule_factor

NAMES = ("constant", "linear", "cosine", "noam")


@given(st.sampled_from(NAMES), st.integers(0, 3000), st.integers(1, 5000), st.floats(0, 1), st.data())
def test_the_rate_stays_above_zero_and_never_passes_its_peak(name, warmup, total, final, data):
    config = ScheduleConfig(name=name, warmup_steps=warmup, final_fraction=final)
    step = data.draw(st.integers(0, total - 1))
    assert 0 < schedule_factor(config, step, total) <= 1


@given(st.sampled_from(NAMES), st.integers(0, 300), st.integers(2, 500))
def test_the_rate_rises_to_its_peak_and_never_rises_again(name, warmup, total):
    config = ScheduleConfig(name=name, warmup_steps=warmup)
    factors = [schedule_factor(config, step, total) for step in range(total)]
    peak = min(warmup, total - 1)
    assert factors[peak] == 1
    assert factors[:peak + 1] == sorted(factors[:peak + 1]) and factors[peak:] == sorted(factors[peak:], reverse=True)
    if 0 < warmup < total:
        assert factors[0] == pytest.approx(1 / (warmup + 1))


@pytest.mark.parametrize(("name", "middle", "end"), [("constant", 1, 1), ("linear", 0.6, 0.2), ("cosine", 0.6, 0.2),
                                                     ("noam", math.sqrt(100 / 600), math.sqrt(100 / 1100))])
def test_where_the_schedules_go(name, middle, end):
    config = ScheduleConfig(name=name, warmup_steps=100, final_fraction=0.2)
    assert schedule_factor(config, 49, 1100) == pytest.approx(50 / 101)
    assert schedule_factor(config, 600, 1100) == pytest.approx(middle)
    assert schedule_factor(config, 1100, 1100) == pytest.approx(end)
    assert schedule_factor(config, 9999, 1100) <= end  # steps past the plan, which a skipped batch cannot make, do no harm


@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_only_matrices_decay(name, norm):
    config = settings(f"model.conv.norm={norm}", f"model.rnn={{hidden: 4, norm: {norm}, layers: 2}}").model
    network = build_model(config, 20, 5)
    optimizer = build_optimizer(network, OptimizerConfig(name=name, lr=0.25, weight_decay=0.5, betas=(0.8, 0.9), momentum=0.7))
    kinds = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    assert type(optimizer) is kinds[name]
    decaying, others = (set(map(id, group["params"])) for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert all(group["lr"] == 0.25 for group in optimizer.param_groups)
    assert optimizer.param_groups[0].get("betas", (0.8, 0.9)) == (0.8, 0.9)
    assert optimizer.param_groups[0].get("momentum", 0.7) == 0.7
    assert not decaying & others and len(decaying | others) == len(list(network.parameters()))
    for key, parameter in network.named_parameters():
        matrix = "weight" in key.rpartition(".")[2] and ".norm." not in key
        assert (id(parameter) in decaying) == matrix, key


def test_the_mean_of_checkpoints(tmp_path):
    generator = torch.Generator().manual_seed(1)
    states = [{"w": torch.randn(3, 2, generator=generator), "count": torch.tensor(number * 10)} for number in (1, 3, 2)]
    paths = []
    for number, state in enumerate(states):
        paths.append(tmp_path / f"{number}.safetensors")
        save_file(state, paths[-1])
    mean = average_weights(paths)
    assert mean.keys() == {"w", "count"} and mean["w"].dtype == torch.float32
    torch.testing.assert_close(mean["w"], (states[0]["w"] + states[1]["w"] + states[2]["w"]) / 3)
    assert int(mean["count"]) == 30 and mean["count"].dtype == torch.int64
    assert torch.equal(average_weights(paths[:1])["w"], states[0]["w"])
    with pytest.raises(ValueError, match="no checkpoints"):
        average_weights([])


def test_sums_are_taken_in_double_precision(tmp_path):
    for number, value in enumerate((1e8, 1.0, -1e8)):
        save_file({"w": torch.tensor([value])}, tmp_path / f"{number}.safetensors")
    assert float(average_weights(sorted(tmp_path.iterdir()))["w"]) == pytest.approx(1 / 3)


def test_draws_are_a_function_of_the_seed_and_the_number_of_the_batch(tones, tmp_path):
    prepared = prepare(settings(), tones / "train", tones / "dev")

    def draws(start):
        task = SpeechTask(prepared, 10, tmp_path)
        task.batches = start
        generator = task._seed()
        return torch.rand(4, generator=generator), torch.rand(3)

    for first, again in zip(draws(7), draws(7)):
        assert torch.equal(first, again)
    assert not torch.equal(draws(7)[0], draws(8)[0]) and not torch.equal(draws(7)[1], draws(8)[1])


def test_the_backend_of_the_loss_is_the_one_asked_for(tones, tmp_path):
    """The kernels, interpreted, make the same step."""
    from asr.corpus import collate
    from asr.training.data import SpeechData

    pytest.importorskip("triton")
    steps = {}
    for backend in ("torch", "triton"):
        prepared = prepare(settings("model.conv.norm=layer", f"training.ctc_backend={backend}"), tones / "train", tones / "dev")
        task = SpeechTask(prepared, 10, tmp_path)
        loss = task.training_step(collate([SpeechData(prepared).train_set[(0, 0)]]), 0)
        loss.backward()
        steps[backend] = loss.detach(), [parameter.grad for parameter in task.network.parameters()], loss.grad_fn
    torch.testing.assert_close(steps["torch"][0], steps["triton"][0])
    for one, other in zip(steps["torch"][1], steps["triton"][1]):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    names = {backend: graph(step[2]) for backend, step in steps.items()}
    assert "asr_ctc_loss" in names["triton"] and "asr_ctc_loss" not in names["torch"]


def graph(node):
    """The names of what a result was computed by."""
    return "" if node is None else node.name() + " ".join(graph(before) for before, _ in node.next_functions)


def test_the_loss_is_the_mean_over_labels_and_is_gathered_over_batches(tones, tmp_path):
    from asr.corpus import collate
    from asr.training.data import SpeechData

    prepared = prepare(settings("model.conv.norm=layer"), tones / "train", tones / "dev")
    task = SpeechTask(prepared, 10, tmp_path)
    dataset = SpeechData(prepared).train_set
    total = labels = 0.0
    for indices in ([0, 1, 2], [3, 4, 5, 6, 7]):
        batch = collate([dataset[(0, index)] for index in indices])
        loss = float(task.training_step(batch, 0).detach())
        features = prepared.frontend.normalize(batch.inputs, batch.lengths)
        logits, lengths = task.network(features, batch.lengths)
        logits = logits.detach()
        expected = torch.nn.functional.ctc_loss(logits.transpose(0, 1).log_softmax(-1), batch.targets, lengths,
                                                batch.target_lengths, reduction="sum")
        assert loss == pytest.approx(float(expected) / int(batch.target_lengths.sum()), rel=1e-5)
        total, labels = total + float(expected), labels + int(batch.target_lengths.sum())
    assert task.train_loss() == pytest.approx(total / labels, rel=1e-5)
    assert math.isnan(task.train_loss())  # nothing since the last call
