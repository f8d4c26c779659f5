"""`asr transcribe` as it is called: screen and files, messages and exit status."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from cli.command import here
from transcription.tiny import RATE, chirps
from typer.testing import CliRunner

from asr import audio
from asr.cli import main
from asr.cli.progress import TranscriptionProgress
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
    assert written == sorted([f"{name}.{suffix}" for name in names for suffix in ("json", "txt")]
                             + ["ledger.jsonl", "transcribe.json"])
    result = Recognizer.load(model, "cpu").transcribe(recordings / "deep/a.wav")
    assert (out / "deep/a.wav.txt").read_text() == result.text + "\n"
    content = json.loads((out / "deep/a.wav.json").read_text())
    assert content["text"] == result.text and content["duration"] == pytest.approx(result.duration)
    assert [word["text"] for word in content["words"]] == [word.text for word in result.words]
    assert re.fullmatch(rf"4 of 4 files transcribed, [\d.]+ s of audio in [\d.]+ s: {out}\n", capsys.readouterr().out)
    assert run(monkeypatch, "--model", model, recordings, "--recursive", "--out", out, "--format", "txt,json") == 0
    assert capsys.readouterr().out == f"4 of 4 files transcribed, 4 of them not by this run: {out}\n"


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
    assert sorted(path.name for path in out.iterdir()) == ["a.wav.txt", "failures.tsv", "ledger.jsonl", "transcribe.json"]
    assert run(monkeypatch, "--model", model, recordings, "--out", out, "--fail-fast") == 1
    assert "--fail-fast: the rest is left undone" in capsys.readouterr().err


def test_a_channel(model, tmp_path, monkeypatch, capsys):
    left, right = (waveform[:2400] for waveform in chirps(2, seed=7))
    audio.write(tmp_path / "a.wav", np.stack([left, right], axis=1), RATE)
    audio.write(tmp_path / "right.wav", right, RATE)
    assert run(monkeypatch, "--model", model, tmp_path / "a.wav", "--channel", 1) == 0
    text = capsys.readouterr().out.partition("\t")[2]
    assert text == Recognizer.load(model, "cpu").transcribe(tmp_path / "right.wav").text + "\n" != "\n"


def test_channels_apart(model, tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.wav"
    audio.write(path, np.stack([waveform[:2400] for waveform in chirps(2, seed=7)], axis=1), RATE)
    assert run(monkeypatch, "--model", model, path, "--channels", "apart") == 0
    shown = [line.partition("\t")[0] for line in capsys.readouterr().out.splitlines()]
    assert shown == [f"{path}, channel 0", f"{path}, channel 1"]


def test_lists_patterns_and_standard_input(model, recordings, tmp_path, monkeypatch, capsys):
    (tmp_path / "list").write_text(f"{recordings}/b.flac\n{recordings}/gone.wav\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((recordings / "a.wav").read_bytes())))
    assert run(monkeypatch, "--model", model, "-", recordings / "**/*.wav", "--list", tmp_path / "list") == 1
    said = capsys.readouterr()
    lines = dict(line.split("\t") for line in said.out.splitlines())
    assert list(lines) == ["standard input", f"{recordings}/a.wav", f"{recordings}/deep/a.wav", f"{recordings}/b.flac"]
    assert lines["standard input"] == lines[f"{recordings}/a.wav"]
    assert f"{recordings}/gone.wav: cannot read: No such file" in said.err


def test_a_shard_below_a_base(model, recordings, tmp_path, monkeypatch, capsys):
    for number in (1, 2):
        assert run(monkeypatch, "--model", model, recordings, "--recursive", "--out", tmp_path / "out", "--base", tmp_path,
                   "--shard", f"{number}/2", "--jobs", 1) == 0
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.txt")) == [
        "rec/a.wav.txt", "rec/b.flac.txt", "rec/deep/a.wav.txt"]


def test_n_best_of_a_beam(model, recordings, tmp_path, monkeypatch):
    assert run(monkeypatch, "--model", model, recordings / "a.wav", "--out", tmp_path, "--format", "json", "--method", "beam",
               "--nbest", 3) == 0
    content = json.loads((tmp_path / "a.wav.json").read_text())
    assert len(content["nbest"]) == 3 and content["settings"]["method"] == "beam" and content["settings"]["nbest"] == 3


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_names_files_hours_factor_and_time_left(monkeypatch, capsys, terminal):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with TranscriptionProgress(every_seconds=0) as shown:
        shown.looked(2, 4)
        shown.begins(4, 7200.0)
        shown.advanced(1, 3600.0)
        line = shown.line(36.0)
        assert (shown.bar is None) == (not terminal)
    assert line == "transcribing: 1 of 4 files, 1.00 of 2.00 h of audio, real-time factor 0.0100, 0:00:36 left"
    if not terminal:
        assert "looking at the files: 2 of 4\ntranscribing: 1 of 4 files, 1.00 of 2.00 h" in capsys.readouterr().err


@pytest.mark.parametrize("arguments, words", [
    (["{rec}", "--shard", "1/2"], "--shard: the shards meet in one folder; name it with --out"),
    (["{rec}", "--shard", "3/2", "--out", "{rec}/out"], "--shard 3/2: expected I/N"),
    (["{rec}", "--channels", "both"], "--channels both: choose mix or apart"),
    (["{rec}", "--channels", "apart", "--channel", "0"], "--channels apart takes every channel"),
    (["-", "--ray", "local"], "--ray: standard input cannot be read on other machines"),
    (["{rec}", "--nbest", "3"], "greedy decoding takes the best token"),
    (["{rec}", "--method", "beam", "--nbest", "3"], "--nbest 3: of the formats json alone holds more than the best"),
    (["{rec}", "--bf16", "--device", "cpu"], "bf16 is for CUDA"),
    (["{rec}", "--base", "{rec}/deep"], "is not in the folder"),
    (["--list", "{rec}/none"], "cannot read the list"),
    ([], "nothing to transcribe"),
    (["{rec}/none.wav"], "none.wav: no such file or folder"),
    (["{rec}", "--format", "json"], "name their folder with --out"),
    (["{rec}", "--out", "{rec}/out", "--format", "docx"], "choose from txt, json"),
    (["{rec}", "--device", "tpu"], "--device tpu"),
    (["{rec}", "--batch-seconds", "0"], "--batch-seconds 0: must be above zero"),
])
def test_wrong_use(model, recordings, monkeypatch, capsys, arguments, words):
    assert run(monkeypatch, "--model", model, *[argument.format(rec=recordings) for argument in arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.out == ""
    assert not (recordings / "out").exists()


def test_help_shows_an_example():
    result = CliRunner().invoke(main.app, ["transcribe", "--help"])
    assert result.exit_code == 0 and "asr transcribe --model model.safetensors call.wav" in result.output
