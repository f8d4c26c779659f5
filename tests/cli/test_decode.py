"""`asr decode` as it is called: its folder, its messages and its exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli.command import here, process
from transcription.tiny import RATE, chirps
from typer.testing import CliRunner

from asr import audio
from asr.cli import main
from asr.corpus import DataDir, Utterance
from asr.transcription import Recognizer


@pytest.fixture
def data(tmp_path) -> Path:
    wav = {f"u{index}": str(tmp_path / f"u{index}.wav") for index in range(4)}
    for path, waveform in zip(wav.values(), chirps(4)):
        audio.write(path, waveform, RATE)
    DataDir.from_utterances([Utterance(key, key, key) for key in wav], wav).save(tmp_path / "data")
    return tmp_path / "data"


def run(monkeypatch, *arguments: object) -> int:
    return here(monkeypatch, "decode", *arguments)


def test_decodes(model, data, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "--model", model, "--data", data, "--out", tmp_path / "out", "--batch-seconds", 2, "--nbest", 1,
               "--device", "cpu") == 0
    recognizer = Recognizer.load(model, "cpu")
    expected = [f"u{index} {recognizer.transcribe(tmp_path / f'u{index}.wav').text}".rstrip() for index in range(4)]
    assert (tmp_path / "out/text").read_text().splitlines() == expected
    settings = json.loads((tmp_path / "out/decode.json").read_text())["settings"]
    assert settings["batch_seconds"] == 2.0 and settings["nbest"] == 1
    assert len((tmp_path / "out/nbest.jsonl").read_text().splitlines()) == 4
    printed = capsys.readouterr().out
    assert printed.startswith("4 utterances, ") and "real-time factor" in printed and str(tmp_path / "out/text") in printed


def test_int8(model, data, tmp_path, monkeypatch):
    assert run(monkeypatch, "--model", model, "--data", data, "--out", tmp_path / "out", "--device", "cpu", "--int8") == 0
    recognizer = Recognizer.load(model, "cpu", int8=True)
    expected = [f"u{index} {recognizer.transcribe(tmp_path / f'u{index}.wav').text}".rstrip() for index in range(4)]
    assert (tmp_path / "out/text").read_text().splitlines() == expected
    assert json.loads((tmp_path / "out/decode.json").read_text())["settings"]["int8"] is True
    samples = [recognizer.read(tmp_path / f"u{index}.wav")[0] for index in range(4)]
    difference = (recognizer.log_probs(samples)[0] - Recognizer.load(model, "cpu").log_probs(samples)[0]).abs().max()
    assert 0 < difference < 2


def test_a_corrupt_file_is_named_and_the_status_is_1(model, data, tmp_path):
    (tmp_path / "u1.wav").write_bytes((tmp_path / "u1.wav").read_bytes()[:500])
    # A process of its own: inside pytest, log messages never reach standard error.
    arguments = ["--model", model, "--data", data, "--out", tmp_path / "out"]
    done = process("decode", *arguments)
    said = done.stderr
    assert done.returncode == 1 and done.stdout.startswith("3 utterances, ")
    assert f"utterance u1: {tmp_path}/u1.wav: cannot read: cut" in said
    assert "asr: error: 1 of 4 utterances were not decoded" in said
    assert [line.split()[0] for line in (tmp_path / "out/text").read_text().splitlines()] == ["u0", "u2", "u3"]
    assert list(json.loads((tmp_path / "out/decode.json").read_text())["failed"]) == ["u1"]


def test_pipes_only_when_allowed(model, data, tmp_path, monkeypatch, capsys):
    (data / "wav.scp").write_text("".join(f"u{index} cat {tmp_path}/u{index}.wav |\n" for index in range(4)))
    assert run(monkeypatch, "--model", model, "--data", data, "--out", tmp_path / "no") != 0
    assert "--allow-pipes" in capsys.readouterr().err
    assert run(monkeypatch, "--model", model, "--data", data, "--out", tmp_path / "yes", "--allow-pipes") == 0
    assert len((tmp_path / "yes/text").read_text().splitlines()) == 4


def test_wrong_use(model, data, tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, "--model", tmp_path / "none.safetensors", "--data", data, "--out", tmp_path / "out") == 2
    assert "none.safetensors: no such model file" in capsys.readouterr().err
    (tmp_path / "torn.safetensors").write_bytes(model.read_bytes()[:1000])
    assert run(monkeypatch, "--model", tmp_path / "torn.safetensors", "--data", data, "--out", tmp_path / "out") == 1
    assert "not a whole safetensors file" in capsys.readouterr().err
    for wrong in (["--device", "tpu"], ["--method", "bean"], ["--nbest", 2], ["--batch-seconds", -1]):
        assert run(monkeypatch, "--model", model, "--data", data, "--out", tmp_path / "out", *wrong) == 2
        assert capsys.readouterr().err.startswith(f"asr: error: {wrong[0]} {wrong[1]}: ")


def test_help_shows_an_example():
    result = CliRunner().invoke(main.app, ["decode", "--help"])
    assert result.exit_code == 0 and "asr decode --model exp/commands/crnn/model.safetensors" in result.output
