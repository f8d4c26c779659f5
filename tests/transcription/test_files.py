"""Which files are transcribed, in which order, and what their outputs are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transcription.tiny import RATE, plant, planted_model, spell

from asr import audio
from asr.errors import UsageError
from asr.transcription import Recognizer, transcribe_files
from asr.transcription.batches import batches_by_length
from asr.transcription.files import GROUP, Transcript, find_inputs, parse_formats, write_transcript

RECOGNIZER = Recognizer(planted_model())


def say(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    audio.write(path, plant(spell(RECOGNIZER.model.tokenizer, text)), RATE)
    return path


@given(durations=st.lists(st.floats(0, 30), max_size=40), budget=st.floats(0.5, 100))
def test_batches_hold_every_item_once_within_the_budget(durations, budget):
    batches = batches_by_length(durations, budget)
    assert sorted(index for batch in batches for index in batch) == list(range(len(durations)))
    for batch in batches:
        longest = max(durations[index] for index in batch)
        assert len(batch) == 1 or longest * len(batch) <= budget * (1 + 1e-9) or longest < 1e-3
    lengths = [durations[index] for batch in batches for index in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_a_folder_keeps_its_tree(tmp_path):
    say(tmp_path / "in/a.wav", "a")
    say(tmp_path / "in/deep/er/a.wav", "b")
    (tmp_path / "in/notes.txt").write_text("no audio")
    assert find_inputs([tmp_path / "in"]) == {tmp_path / "in/a.wav": Path("a.wav")}
    assert find_inputs([tmp_path / "in"], recursive=True) == {
        tmp_path / "in/a.wav": Path("a.wav"), tmp_path / "in/deep/er/a.wav": Path("deep/er/a.wav")}


def test_no_two_inputs_share_a_name(tmp_path):
    paths = [say(tmp_path / name, "a") for name in ("x/a.wav", "x/a.flac", "y/a.wav")]
    assert list(find_inputs(paths).values()) == [Path("x/a.wav"), Path("x/a.flac"), Path("y/a.wav")]
    folders = find_inputs([tmp_path / "x", tmp_path / "y"])
    assert list(folders.values()) == [Path("x/a.flac"), Path("x/a.wav"), Path("y/a.wav")]
    assert list(find_inputs([paths[0]]).values()) == [Path("a.wav")]


def test_a_file_met_twice_is_one(tmp_path, monkeypatch):
    path = say(tmp_path / "x/a.wav", "a")
    monkeypatch.chdir(tmp_path)
    assert list(find_inputs([path, tmp_path / "x", "x/a.wav", "x/../x/a.wav"])) == [path]


def test_missing_and_empty_inputs(tmp_path):
    with pytest.raises(UsageError, match=r"gone\.wav: no such file or folder"):
        find_inputs([tmp_path / "gone.wav"])
    say(tmp_path / "in/deep/a.wav", "a")
    with pytest.raises(UsageError, match="no audio files in it; --recursive"):
        find_inputs([tmp_path / "in"])
    with pytest.raises(UsageError, match="name files or folders"):
        find_inputs([])


def test_order_is_kept_and_bad_files_are_named(tmp_path):
    texts = ["abc", "a much longer sentence than the others", "b", "some words"] * (GROUP // 3)
    paths = [say(tmp_path / f"{index:03}.wav", text) for index, text in enumerate(texts)]
    paths[2].write_bytes(b"no audio at all")
    paths[5].write_bytes(b"")
    found = list(transcribe_files(RECOGNIZER, paths, batch_seconds=4.0))
    assert [transcript.path for transcript in found] == paths
    for index, (transcript, text) in enumerate(zip(found, texts)):
        if index in (2, 5):
            assert transcript.result is None and transcript.error.startswith(f"{paths[index]}: cannot read: ")
        else:
            assert transcript.error is None and transcript.result.text == text


def test_a_channel_of_its_own(tmp_path):
    left, right = (plant(spell(RECOGNIZER.model.tokenizer, text)) for text in ("left", "reft"))
    audio.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE)
    texts = [next(transcribe_files(RECOGNIZER, [tmp_path / "a.wav"], channel=channel)) for channel in (0, 1, 2)]
    assert [transcript.result and transcript.result.text for transcript in texts] == ["left", "reft", None]
    assert "has no channel 2" in texts[2].error


def test_outputs(tmp_path):
    transcript = next(transcribe_files(RECOGNIZER, [say(tmp_path / "a.wav", "so it is")]))
    write_transcript(transcript, tmp_path / "out", "deep/a.wav", ["txt", "json"])
    assert (tmp_path / "out/deep/a.wav.txt").read_text() == "so it is\n"
    assert '"text": "so it is"' in (tmp_path / "out/deep/a.wav.json").read_text()
    with pytest.raises(ValueError, match="no result"):
        write_transcript(Transcript(tmp_path / "a.wav", None, "broken"), tmp_path, "a", ["txt"])


def test_formats():
    assert parse_formats("json, txt,json") == ["json", "txt"]
    for wrong in ("srt,txt", "", ","):
        with pytest.raises(UsageError, match="choose from txt, json"):
            parse_formats(wrong)


def test_batch_seconds_must_be_positive():
    with pytest.raises(UsageError, match="batch_seconds"):
        list(transcribe_files(RECOGNIZER, [], batch_seconds=0))
