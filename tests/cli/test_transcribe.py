"""`asr transcribe` as it is called: screen and files, messages and exit status."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from cli.command import here
from transcription.tiny import RATE, chirps
from typer.testing import CliRunner

from asr import audio
from asr.cli import main
from asr.transcription import Recognizer


@pytest.fixture
def recordings(tmp_path) -> Path:
    folder = tmp_path / "rec"
    (folder / "deep").mkdir(parents=True)
    for name, waveform in zip(("a.wav", "b.flac", "deep/a.wav"), chirps(3, seed=2)):
        audio.write(folder / name, waveform, RATE)
    return folder


def run(monkeypatch, *arguments: object) -> int:
    return here(monkeypatch, "transcribe", *arguments)


def test_on_the_screen_a_line_a_file(model, recordings, monkeypatch, capsys):
    assert run(monkeypatch, "--model", model, recordings, "--recursive", "--device", "cpu") == 0
    recognizer = Recognizer.load(model, "cpu")
    paths = [recordings / name for name in ("a.wav", "b.flac", "deep/a.wav")]
    assert capsys.readouterr().out.splitlines() == [f"{path}\t{recognizer.transcribe(path).text}" for path in paths]


def test_into_files(model, recordings, tmp_path, monkeypatch, capsys):
    soundfile.write(recordings / "a.mp3", np.tile(chirps(1)[0], 4), RATE, format="MP3")
    out = tmp_path / "out"
    assert run(monkeypatch, "--model", model, recordings, "--recursive", "--out", out, "--format", "txt,json") == 0
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    names = ("a.mp3", "a.wav", "b.flac", "deep/a.wav")
    assert written == [f"{name}.{suffix}" for name in names for suffix in ("json", "txt")]
    result = Recognizer.load(model, "cpu").transcribe(recordings / "deep/a.wav")
    assert (out / "deep/a.wav.txt").read_text() == result.text + "\n"
    content = json.loads((out / "deep/a.wav.json").read_text())
    assert content["text"] == result.text and content["duration"] == pytest.approx(result.duration)
    assert [word["text"] for word in content["words"]] == [word.text for word in result.words]
    assert capsys.readouterr().out == f"4 of 4 files transcribed: {out}\n"


def test_a_bad_file_is_named_and_the_rest_goes_on(model, recordings, tmp_path, monkeypatch, capsys):
    (recordings / "b.flac").write_bytes(b"")
    (recordings / "notes.txt").write_text("not audio")
    out = tmp_path / "out"
    assert run(monkeypatch, "--model", model, recordings, recordings / "notes.txt", "--out", out) == 1
    said = capsys.readouterr()
    assert f"asr: {recordings}/b.flac: cannot read: the file is empty" in said.err
    assert f"asr: {recordings}/notes.txt: cannot read: not an audio file" in said.err
    assert "asr: error: 2 of 3 files could not be transcribed" in said.err
    assert "1 of 3 files transcribed" in said.out
    assert [path.name for path in out.iterdir()] == ["a.wav.txt"]


def test_a_channel(model, tmp_path, monkeypatch, capsys):
    left, right = (waveform[:2400] for waveform in chirps(2, seed=7))
    audio.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE)
    audio.write(tmp_path / "right.wav", right, RATE)
    assert run(monkeypatch, "--model", model, tmp_path / "a.wav", "--channel", 1) == 0
    text = capsys.readouterr().out.partition("\t")[2]
    assert text == Recognizer.load(model, "cpu").transcribe(tmp_path / "right.wav").text + "\n" != "\n"


@pytest.mark.parametrize("arguments, words", [
    (["{rec}/none.wav"], "none.wav: no such file or folder"),
    (["{rec}", "--format", "json"], "name their folder with --out"),
    (["{rec}", "--out", "{rec}/out", "--format", "docx"], "choose from txt, json"),
    (["{rec}", "--device", "tpu"], "--device tpu"),
    (["{rec}", "--batch-seconds", "0"], "batch_seconds must be above zero"),
])
def test_wrong_use(model, recordings, monkeypatch, capsys, arguments, words):
    assert run(monkeypatch, "--model", model, *[argument.format(rec=recordings) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == ""
    assert not (recordings / "out").exists()


def test_help_shows_an_example():
    result = CliRunner().invoke(main.app, ["transcribe", "--help"])
    assert result.exit_code == 0 and "asr transcribe --model model.safetensors call.wav" in result.output
