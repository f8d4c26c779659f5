"""Many items through a recogniser: each has its own result, bad ones take no other with them, memory is bounded."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from transcription.said import RECOGNIZER, say
from transcription.tiny import RATE, chirps, plant, save_tiny_model, spell

from asr import audio
from asr.errors import UsageError
from asr.transcription import Recognizer, pipeline
from asr.transcription.decoder import DecoderOptions
from asr.transcription.pipeline import AHEAD, UNREAD, Batch, Local, load_batch, plan_batches, transcribe_batch, transcribe_stream
from asr.transcription.sources import item_of


def spoken(text: str) -> np.ndarray:
    return plant(spell(RECOGNIZER.model.tokenizer, text))


def test_files_arrays_and_named_arrays(tmp_path):
    path = say(tmp_path / "a.wav", "from a file")
    found = sorted(RECOGNIZER.transcribe_many([path, spoken("an array"), ("call", spoken("with a name")), ("mine", path)]),
                   key=lambda transcript: transcript.index)
    assert [(each.index, each.name, each.result.text, each.error) for each in found] == [
        (0, str(path), "from a file", None), (1, "1", "an array", None), (2, "call", "with a name", None),
        (3, "mine", "from a file", None)]


def test_what_cannot_be_transcribed_is_said_and_takes_no_other_with_it(tmp_path):
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "text.wav").write_text("not audio at all, but long enough to be")
    (tmp_path / "folder.wav").mkdir()
    items = [tmp_path / "gone.wav", spoken("one"), tmp_path / "empty.wav", np.array([np.nan], np.float32), tmp_path / "text.wav",
             spoken("two"), np.zeros(0, np.float32), tmp_path / "folder.wav"]
    found = {each.index: each for each in RECOGNIZER.transcribe_many(items)}
    assert [found[index].result.text for index in (1, 5)] == ["one", "two"]
    said = [found[index].error for index in (0, 2, 3, 4, 6, 7)]
    expected = ("gone.wav: cannot read: No such file", "the file is empty", "array 3: 1 of 1 samples are NaN",
                "not an audio file", "array 6: there are no samples", "folder.wav: cannot read: it is a folder")
    for words, error in zip(expected, said):
        assert words in error


def test_one_that_the_network_cannot_take_is_found_by_taking_the_batch_apart(monkeypatch):
    original = Recognizer.transcribe_batch

    def touchy(self, waveforms, durations=None):
        if any(np.allclose(waveform[:1], spoken("bad")[:1]) and len(waveform) == len(spoken("bad")) for waveform in waveforms):
            raise torch.OutOfMemoryError("no memory left")
        return original(self, waveforms, durations)

    monkeypatch.setattr(Recognizer, "transcribe_batch", touchy)
    found = {each.index: each for each in RECOGNIZER.transcribe_many([spoken("one"), spoken("bad"), spoken("two")])}
    assert found[0].result.text == "one" and found[2].result.text == "two"
    assert found[1].error == "array 1: cannot transcribe: no memory left"


def test_what_is_no_audio_is_the_callers_mistake():
    with pytest.raises(UsageError, match="item 1: expected a path"):
        list(RECOGNIZER.transcribe_many([spoken("one"), 5]))
    with pytest.raises(UsageError, match="got int16"):
        list(RECOGNIZER.transcribe_many([np.zeros(800, np.int16)]))
    with pytest.raises(UsageError, match="batch_seconds must be above zero"):
        list(RECOGNIZER.transcribe_many([], batch_seconds=0))
    with pytest.raises(UsageError, match="-1 workers"):
        list(RECOGNIZER.transcribe_many([], workers=-1))


def test_an_endless_stream_is_drawn_from_as_it_is_used():
    drawn = itertools.count()
    found = RECOGNIZER.transcribe_many((spoken("on") for _ in drawn), batch_seconds=0.5)
    assert [next(found).result.text for _ in range(5)] == ["on"] * 5
    found.close()
    assert next(drawn) < 400


@pytest.mark.parametrize("workers", [1, 3])
def test_so_many_batches_are_on_the_way_and_no_more(workers):
    items = [item_of(index, spoken("abc"), RATE) for index in range(30)]
    drawn = 0

    def batches():
        nonlocal drawn
        for number, item in enumerate(items):
            drawn += 1
            yield Batch(number, [item])

    seen = 0
    for _, (result,) in Local(RECOGNIZER, workers).run(batches()):
        seen += 1
        assert drawn <= seen + workers + AHEAD and result.text == "abc"
    assert seen == 30


def test_threads_read_ahead_and_share_the_batches(monkeypatch):
    """All workers are at work at once, and reading is done elsewhere."""
    meet = threading.Barrier(3, timeout=30)
    readers = set()
    original = pipeline.transcribe_loaded

    def meeting(*arguments):
        meet.wait()
        return original(*arguments)

    load = pipeline.load_batch
    monkeypatch.setattr(pipeline, "transcribe_loaded", meeting)
    monkeypatch.setattr(pipeline, "load_batch", lambda *each: readers.add(threading.current_thread().name) or load(*each))
    batches = [Batch(number, [item_of(number, spoken("abc"), RATE)]) for number in range(3)]
    assert len(list(Local(RECOGNIZER, 3).run(batches))) == 3
    assert all(name.startswith("read") for name in readers)


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_threads_change_no_bit_of_a_result(tmp_path, method):
    recognizer = Recognizer.load(save_tiny_model(tmp_path / "m.safetensors"), "cpu",
                                 DecoderOptions(method, **({"nbest": 3} if method == "beam" else {})))
    items = [item_of(index, waveform, RATE) for index, waveform in enumerate(chirps(40, seed=4))]
    alone = {item.index: result for batch in plan_batches(items, 5.0)
             for item, result in zip(batch, transcribe_batch(recognizer, batch))}
    for workers in (1, 2, 4):
        found = {item.index: result for item, result in transcribe_stream(Local(recognizer, workers), items, 5.0)}
        assert found == alone


def test_long_recordings_go_alone_and_are_not_read_at_once(tmp_path):
    recognizer = Recognizer.load(save_tiny_model(tmp_path / "m.safetensors"), "cpu")
    pauses = [part for chirp in chirps(40, seed=6) for part in (chirp, np.zeros(RATE, np.float32))]
    samples = np.concatenate(pauses)[:45 * RATE]
    audio.write(tmp_path / "long.wav", samples, RATE)
    samples = audio.read(tmp_path / "long.wav")[0]
    wanted = recognizer.transcribe(tmp_path / "long.wav")
    items = [chirps(1)[0], ("array", samples), tmp_path / "long.wav", chirps(2)[1]]
    found = {each.index: each.result for each in recognizer.transcribe_many(items)}
    assert found[1] == found[2] == wanted and wanted.words and found[0].duration < 2
    file = replace(item_of(0, tmp_path / "long.wav", RATE), duration=45.0)
    assert load_batch(recognizer, [file]) == [UNREAD]
    assert [len(batch) for batch in plan_batches([file, *(item_of(1, chirp, RATE) for chirp in chirps(3)), file], 500)] == [1, 1, 3]
    (tmp_path / "long.wav").write_bytes((tmp_path / "long.wav").read_bytes()[:100_000])
    (said,) = transcribe_batch(recognizer, [file])
    assert "long.wav: cannot read: cut: its header promises" in said


def test_the_number_of_torchs_threads_is_given_back():
    torch.set_num_threads(2)
    try:
        list(RECOGNIZER.transcribe_many([spoken("a")]))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_bf16_is_for_cuda():
    with pytest.raises(UsageError, match="bf16 is for CUDA"):
        Recognizer(RECOGNIZER.model, bf16=True)
