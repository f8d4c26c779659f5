"""`asr align` as it is called: its folder, its messages and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.command import here, process
from transcription.praat import read_textgrid
from transcription.tiny import RATE, chirps
from typer.testing import CliRunner

from asr import audio
from asr.cli import main
from asr.corpus import DataDir, Utterance


@pytest.fixture
def data(tmp_path) -> Path:
    wav = {f"u{index}": str(tmp_path / f"u{index}.wav") for index in range(4)}
    for path, waveform in zip(wav.values(), chirps(4, shortest=0.8)):
        audio.write(path, waveform, RATE)
    DataDir.from_utterances([Utterance(key, key, key, "abc dab") for key in wav], wav).save(tmp_path / "data")
    return tmp_path / "data"


def test_aligns(model, data, tmp_path, monkeypatch, capsys):
    assert here(monkeypatch, "align", "--model", model, "--data", data, "--out", tmp_path / "out", "--device", "cpu") == 0
    assert [line.split()[4] for line in (tmp_path / "out/words.ctm").read_text().splitlines()] == ["abc", "dab"] * 4
    grid = read_textgrid((tmp_path / "out/textgrid/u2.TextGrid").read_text())
    assert [label for *_, label in grid.tiers["words"] if label] == ["abc", "dab"]
    assert json.loads((tmp_path / "out/align.json").read_text())["aligned"] == 4
    printed = capsys.readouterr().out
    assert printed.startswith("4 utterances, ") and "times by the network's output frames" in printed


def test_what_cannot_be_aligned_is_named_and_the_status_is_1(model, data, tmp_path):
    (tmp_path / "u1.wav").write_bytes((tmp_path / "u1.wav").read_bytes()[:500])
    (data / "text").write_text("u0 " + "abc " * 60 + "\nu1 abc\nu2 abc\nu3 abc\n")
    done = process("align", "--model", model, "--data", data, "--out", tmp_path / "out")
    assert done.returncode == 1 and done.stdout.startswith("2 utterances, ")
    assert "utterance u0: text longer than the audio allows: its 239 labels need 239 output frames, its " in done.stderr
    assert f"utterance u1: {tmp_path}/u1.wav: cannot read: cut" in done.stderr
    assert "asr: error: 2 of 4 utterances were not aligned" in done.stderr
    assert list(json.loads((tmp_path / "out/align.json").read_text())["failed"]) == ["u0", "u1"]


def test_a_wildcard(model, data, tmp_path, monkeypatch, capsys):
    (data / "text").write_text("u0 abc ? dab\nu1 ? abc\nu2 abc ?\nu3 ?\n")
    arguments = ("align", "--model", model, "--data", data, "--device", "cpu")
    assert here(monkeypatch, *arguments, "--out", tmp_path / "out", "--wildcard", "?") == 0
    assert [line.split()[4] for line in (tmp_path / "out/words.ctm").read_text().splitlines()] == [
        "abc", "?", "dab", "?", "abc", "abc", "?", "?"]
    assert here(monkeypatch, *arguments, "--out", tmp_path / "no") == 1


def test_wrong_use(model, data, tmp_path, monkeypatch, capsys):
    assert here(monkeypatch, "align", "--model", tmp_path / "none", "--data", data, "--out", tmp_path / "out") == 2
    assert here(monkeypatch, "align", "--model", model, "--data", tmp_path / "none", "--out", tmp_path / "out") == 2
    capsys.readouterr()
    for wrong in (["--device", "tpu"], ["--wildcard", "a b"], ["--batch-seconds", -1]):
        assert here(monkeypatch, "align", "--model", model, "--data", data, "--out", tmp_path / "out", *wrong) == 2
        assert capsys.readouterr().err.startswith(f"asr: error: {wrong[0]} ")
    assert here(monkeypatch, "align", "--model", model, "--data", data, "--out", tmp_path / "out", "--fit", tmp_path / "m") == 1
    assert "use more data with --fit" in capsys.readouterr().err and not (tmp_path / "m").exists()


def test_help_shows_an_example():
    result = CliRunner().invoke(main.app, ["align", "--help"])
    assert result.exit_code == 0 and "asr align --model exp/commands/crnn/model.safetensors" in result.output
