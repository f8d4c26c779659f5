"""`asr forecast`: from a table to a model, scores and a forecast; wrong use ends with 2 before any work, bad tables with 1."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from cli.command import here
from series.made_series import made_frame, write_csv
from series.test_training import TINY

MODEL, MADE = ("--model", "run/model.safetensors"), ("--data", "made.csv", "--out", "o")

TRAIN = ("--data", "made.csv", "--exp", "o", "--config", "conf.yaml")


def sets(*overrides: str) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """made.csv, conf.yaml, and in run/ a model."""
    base = tmp_path_factory.mktemp("forecast")
    write_csv(base / "made.csv", made_frame(320))
    (base / "conf.yaml").write_text("{}\n")
    with pytest.MonkeyPatch.context() as patch:
        files = ("--config", base / "conf.yaml", "--data", base / "made.csv", "--exp", base / "run")
        assert here(patch, "forecast", "train", *files, *sets(*TINY)) == 0
    return base


def test_evaluate_writes_scores_tables_and_pictures(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert here(monkeypatch, "forecast", "evaluate", *MODEL, "--data", "made.csv", "--out", "test", "--baseline", "last",
                "--baseline", "seasonal:24") == 0
    printed = capsys.readouterr().out
    assert printed == (folder / "test/table.md").read_text()
    assert [line.split(" | ")[0] for line in printed.splitlines()[2:]] == ["| network", "| last", "| seasonal:24"]
    scores = json.loads((folder / "test/scores.json").read_text())
    assert scores["windows"] == 55 and scores["seed"] == 1 and scores["compared"] == "network"
    assert set(scores["scores"]["network"]) == {"mse", "mae", "rse", "corr", "mase", "pinball", "coverage"}
    for name in ("forecasts.png", "horizon.png"):
        assert (folder / "test" / name).read_bytes().startswith(b"\x89PNG")
    with np.load(folder / "test/errors.npz") as sums:
        assert sums["network"].shape == (55, 3, 8)


def test_baselines_alone_from_a_configuration(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert here(monkeypatch, "forecast", "evaluate", "--config", "conf.yaml", "--data", "made.csv", "--out", "base", "--baseline",
                "last", "--part", "validation", *sets(*TINY, "forecast.steps=last", "forecast.units=original")) == 0
    scores = json.loads((folder / "base/scores.json").read_text())
    assert (scores["part"], scores["steps"], scores["horizon"], scores["windows"]) == ("validation", 1, 6, 60)
    values = made_frame(320)[["a", "b", "c"]].to_numpy()
    assert scores["scores"]["last"]["mae"]["value"] == pytest.approx(np.abs(values[200:260] - values[194:254]).mean())
    assert not (folder / "base/horizon.png").exists()


def test_rows_of_training_are_not_scored(folder, monkeypatch, capsys):
    frame = made_frame(320)
    write_csv(folder / "early.csv", frame.assign(date=frame["date"] - pd.Timedelta(hours=100)))
    assert here(monkeypatch, "forecast", "evaluate", "--model", folder / MODEL[1], "--data", folder / "early.csv", "--out",
                folder / "early") == 1
    assert "the test part begins at 2020-01-07 16:00:00, and " in capsys.readouterr().err
    assert not (folder / "early").exists()


def test_predict_writes_a_table_and_a_picture(folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    for name in ("next.csv", "next.parquet"):
        assert here(monkeypatch, "forecast", "predict", *MODEL, "--data", "made.csv", "--out", name) == 0
    frame = pd.read_csv(folder / "next.csv")
    assert list(frame.columns) == ["time", "series", "forecast", "q0.1", "q0.9"] and len(frame) == 18
    assert frame["time"].iloc[0] == "2020-01-14 08:00:00" and frame["series"].tolist()[:4] == ["a", "b", "c", "a"]
    pd.testing.assert_frame_equal(frame, pd.read_parquet(folder / "next.parquet"))
    assert (folder / "next.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("arguments", "said"), [
    (["evaluate", *MADE], "give --model, or --config"),
    (["evaluate", *MADE, "--config", "conf.yaml"], "nothing to evaluate"),
    (["evaluate", *MADE, "--config", "conf.yaml", "--baseline", "first"], "--baseline first: not known"),
    (["evaluate", *MADE, *MODEL, "--part", "train"], "choose test or valid"),
    (["evaluate", *MADE, *MODEL, "--set", "a=1"], "--set goes with --config"),
    (["evaluate", "--data", "absent.csv", "--out", "o", *MODEL], "absent.csv: no such table"),
    (["evaluate", *MADE, "--model", "absent"], "absent: no such model file; train one with `asr forecast"),
    (["train", *TRAIN, "--set", "forecast.horizons=3"], "did you mean `horizon`?"),
    (["train", "--data", "absent.csv", "--exp", "o", "--config", "conf.yaml"], "absent.csv: no such table"),
    (["train", *TRAIN, "--set", "forecast.lookback=48", "--set", "data.time=when"], "has no column 'when'"),
    (["predict", "--data", "made.csv", "--out", "o.txt", *MODEL], "name a .csv or a .parquet file"),
    (["predict", "--data", "absent.csv", "--out", "o.csv", *MODEL], "no such table"),
])
def test_wrong_use_ends_with_2(folder, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(folder)
    assert here(monkeypatch, "forecast", *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(("change", "said"), [
    (lambda frame: frame.drop(index=30), "row 31 (line 32): a gap"),
    (lambda frame: pd.concat([frame[:9], frame[8:]]), "row 10 (line 11): 2020-01-01 08:00:00 repeats"),
    (lambda frame: frame.assign(b=1.0), "'b' never changes"),
    (lambda frame: frame.assign(b=["x", *frame["b"][1:]]), "row 1 (line 2): column 'b' holds 'x', which is not a number"),
    (lambda frame: frame[:200], "data.split asks for 320 rows, and there are 200"),
])
def test_bad_tables_are_named_and_end_with_1(folder, monkeypatch, capsys, change, said):
    path = write_csv(folder / "bad.csv", change(made_frame(320)))
    files = ("--config", folder / "conf.yaml", "--data", path, "--exp", folder / "bad")
    assert here(monkeypatch, "forecast", "train", *files, *sets(*TINY)) == 1
    error = capsys.readouterr().err
    assert f"asr: error: {path}" in error and said in error
    assert not (folder / "bad/model.safetensors").exists()
