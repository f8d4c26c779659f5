"""`asr classify`: the commands, their help, and their exit statuses."""

from __future__ import annotations

import json

import pytest
from classification.made import TEXT, make_texts, write_rows
from cli.command import here
from typer.testing import CliRunner

from asr.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, table, model) of a run begun on the command line."""
    folder = tmp_path_factory.mktemp("classify")
    table = make_texts(folder)
    (folder / "c.yaml").write_text("label_smoothing: 0.05\n")
    options = [part for override in [*TEXT, "training.epochs=6"] for part in ("--set", override)]
    with pytest.MonkeyPatch.context() as patch:
        assert here(patch, "classify", "train", "--config", folder / "c.yaml", "--train", table, "--exp", folder / "exp",
                    "--device", "cpu", *options) == 0
    return folder, table, folder / "exp/model.safetensors"


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "compare"])
def test_help_shows_an_example(command):
    result = CliRunner().invoke(main.app, ["classify", command, "--help"])
    assert result.exit_code == 0 and f"asr classify {command}" in result.output.split("Example", 1)[1]


def test_evaluate_and_compare(trained, monkeypatch, capsys):
    folder, table, model = trained
    assert here(monkeypatch, "classify", "evaluate", "--model", model, "--table", table, "--out", folder / "eval") == 0
    said = capsys.readouterr().out
    assert "accuracy 100.00 % [ 24 / 24 ]" in said and "praise" in said
    predictions = folder / "eval/predictions.tsv"
    assert here(monkeypatch, "classify", "compare", "--a", predictions, "--b", predictions, "--name-a", "one", "--name-b", "same",
                "--out", folder / "c.json") == 0
    assert "No difference shown between one and same" in capsys.readouterr().out
    assert json.loads((folder / "c.json").read_text())["difference"] == 0


def test_predict_texts_and_tables(trained, monkeypatch, capsys, tmp_path):
    _, _, model = trained
    assert here(monkeypatch, "classify", "predict", "--model", model, "a lovely film", "a dull film") == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["id", "group", "label", "predicted", "p:blame", "p:praise"]
    assert [row[3] for row in rows[1:]] == ["praise", "blame"]
    table = write_rows(tmp_path / "t.tsv", "id text", [["x", "good"], ["y", ""]])
    assert here(monkeypatch, "classify", "predict", "--model", model, "--table", table) == 1
    assert "t.tsv:3: y: empty text" in capsys.readouterr().err
    assert here(monkeypatch, "classify", "predict", "--model", model, "--table", table, "--skip-bad", "--out",
                tmp_path / "p.tsv") == 0
    assert (tmp_path / "p.tsv").read_text().count("\n") == 2


def test_several_models_decide_together(trained, monkeypatch, capsys, tmp_path):
    _, table, model = trained
    other = tmp_path / "other.safetensors"
    other.write_bytes(model.read_bytes())
    both = ("--model", model, "--model", other)
    assert here(monkeypatch, "classify", "evaluate", *both, "--table", table, "--out", tmp_path / "e") == 0
    assert json.loads((tmp_path / "e/scores.json").read_text())["models"] == [str(model), str(other)]
    assert here(monkeypatch, "classify", "predict", "--model", model, "--model", model, "a lovely film") == 2
    assert "named twice" in capsys.readouterr().err
    assert here(monkeypatch, "classify", "predict", "--model", model, "--model", tmp_path / "no.safetensors", "a lovely film") == 2


@pytest.mark.parametrize("arguments", [
    ["evaluate", "--model", "no.safetensors", "--table", "no.tsv", "--out", "x"], ["predict", "--model", "MODEL"],
    ["predict", "--model", "MODEL", "text", "--table", "TABLE"], ["compare", "--a", "no.tsv", "--b", "no.tsv"],
    ["train", "--config", "no.yaml", "--train", "TABLE", "--exp", "x"],
    ["evaluate", "--model", "MODEL", "--table", "no.tsv", "--out", "x"]])
def test_wrong_use_ends_with_2(trained, monkeypatch, capsys, arguments):
    _, table, model = trained
    named = {"MODEL": model, "TABLE": table}
    assert here(monkeypatch, "classify", *(named.get(argument, argument) for argument in arguments)) == 2
    assert capsys.readouterr().err.startswith("asr: error: ")
