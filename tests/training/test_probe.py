"""`training.batch_seconds: auto`: what is chosen under limits of memory, and that nothing but the number remains of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from training.small import SETTINGS, log

from asr.config import dump_config, load_config
from asr.errors import ConfigError
from asr.training import probe, train
from asr.training import run as training
from asr.training.preparation import prepare
from asr.training.probe import _group_room, largest


class Memory:
    """A machine whose steps take ``each`` bytes an utterance over ``before``; notes what was tried."""

    def __init__(self, before: int, each: int, limit: int):
        self.before, self.each, self.limit, self.tried = before, each, limit, []

    def __call__(self, count: int) -> int:
        self.tried.append(count)
        return self.before + self.each * count


@given(st.integers(0, 10**10), st.integers(1, 10**9), st.floats(1.01, 500), st.integers(1, 300))
def test_the_largest_that_fits_is_found_and_none_that_does_not_is_tried(before, each, room, most):
    machine = Memory(before, each, before + int(each * room))
    count, tried = largest(machine, before, machine.limit, most)
    assert count == min(most, int(room)) or count == min(most, int(room)) - 1  # bytes are whole
    assert max(tried.values()) <= machine.limit and list(tried) == machine.tried and len(tried) < 14


def test_memory_that_grows_faster_than_in_proportion_ends_at_what_was_measured():
    count, tried = largest(lambda count: 100 * count**2, 0, 5000, 64)
    assert count == 4 and tried == {1: 100, 2: 400, 4: 1600, 8: 6400}  # by proportion 12 would have fitted


def test_a_step_that_finds_no_memory_is_not_taken():
    def full(count: int) -> int:
        if count > 3:
            raise torch.OutOfMemoryError
        return 10 * count

    assert largest(full, 0, 10**6, 64)[0] == 2


def test_not_even_one():
    assert largest(Memory(5, 100, 50), 5, 50, 64)[0] == 0


def test_the_room_of_control_groups(tmp_path):
    own = tmp_path / "cgroup"
    own.write_text("0::/job\n3:cpu:/x\n4:memory,io:/old\n")
    for folder, files in {"job": {"memory.max": "5000", "memory.current": "1000"},
                          "memory/old": {"memory.limit_in_bytes": "9000", "memory.usage_in_bytes": "7000"}}.items():
        (tmp_path / folder).mkdir(parents=True)
        for name, value in files.items():
            (tmp_path / folder / name).write_text(value + "\n")
    assert sorted(_group_room(str(tmp_path), str(own))) == [2000, 4000, 2**62]
    (tmp_path / "job/memory.max").write_text("max\n")
    assert sorted(_group_room(str(tmp_path), str(own))) == [2000, 2**62]
    assert _group_room(str(tmp_path), str(tmp_path / "none")) == [2**62]


@pytest.fixture(autouse=True)
def no_timing_model(monkeypatch):
    """It is made after all that is tested here."""
    monkeypatch.setattr(training, "_timing", lambda prepared: None)


AUTO = [*SETTINGS, "training.epochs=1", "training.batch_seconds=auto", "training.max_utterances=8", "augment.speed=[0.9,1.1]"]


def test_bits_are_those_of_the_number_that_was_chosen(tones, tmp_path):
    """The probe takes real steps, and leaves no trace in weights, batch norm or random numbers; a resumed run keeps the number."""
    train(load_config(None, AUTO), tones / "train", tones / "dev", tmp_path / "auto", device="cpu")
    chosen = load_config(tmp_path / "auto/config.yaml").training.batch_seconds
    assert isinstance(chosen, float) and "batch_seconds auto: " in log(tmp_path / "auto")
    train(load_config(None, [*AUTO, f"training.batch_seconds={chosen}"]), tones / "train", tones / "dev", tmp_path / "number",
          device="cpu")
    assert (tmp_path / "auto/model.safetensors").read_bytes() == (tmp_path / "number/model.safetensors").read_bytes()
    train(load_config(None, AUTO), tones / "train", tones / "dev", tmp_path / "auto", resume=True, device="cpu")
    assert load_config(tmp_path / "auto/config.yaml").training.batch_seconds == chosen


def test_a_run_that_goes_on_does_not_look_again(tones, tmp_path, monkeypatch):
    run = [*AUTO, "training.epochs=2"]
    with monkeypatch.context() as patch:
        patch.setattr(probe.SpeechTask, "on_save_checkpoint", dying_after(1, probe.SpeechTask.on_save_checkpoint))
        with pytest.raises(InterruptedError):
            train(load_config(None, run), tones / "train", tones / "dev", tmp_path / "run", device="cpu")
    chosen = load_config(tmp_path / "run/config.yaml").training.batch_seconds
    monkeypatch.setattr(probe, "memory", lambda device: pytest.fail("looked again"))
    train(load_config(None, run), tones / "train", tones / "dev", tmp_path / "run", resume=True, device="cpu")
    assert load_config(tmp_path / "run/config.yaml").training.batch_seconds == chosen


def dying_after(calls, original):
    made = []

    def wrapped(*given):
        made.append(1)
        if len(made) > calls:
            raise InterruptedError
        return original(*given)

    return wrapped


def test_a_machine_that_is_too_small(tones, tmp_path, monkeypatch):
    monkeypatch.setattr(probe, "memory", lambda device: (0, 1000))
    with pytest.raises(ConfigError, match=r"auto: a step with the longest utterance alone \(\d\.\d s\) takes .* GB"):
        train(load_config(None, AUTO), tones / "train", tones / "dev", tmp_path / "run", device="cpu")


def test_less_memory_is_a_smaller_batch(tones, tmp_path, monkeypatch):
    """Peaks by the number of utterances, in a machine for five."""
    monkeypatch.setattr(probe, "memory", lambda device: (0, 10**9))
    monkeypatch.setattr(probe, "_peak", lambda task, data, index, count, device: int(count * 0.7 * 10**9 / 5.5))
    config = load_config(None, AUTO)
    (tmp_path / "config.yaml").write_text(dump_config(config))
    prepared = training._with_batches(prepare(config, tones / "train", tones / "dev"), tmp_path, torch.device("cpu"))
    assert prepared.config.training.batch_seconds == pytest.approx(5 * max(prepared.train.durations), abs=0.001)
    assert load_config(tmp_path / "config.yaml") == prepared.config
