"""The forecasting recipes on a few hundred made rows, from the table to RESULTS' tables; and what those tables say."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from project_copy import ROOT, ProjectCopy
from series.made_series import made_frame, made_values, write_csv
from stand_in import load_script

from asr.config import load_config
from asr.series.config import ForecastConfig
from asr.series.intervals import draw_blocks
from asr.series.metrics import PRODUCT, TRUTH, TRUTH_2, Errors, all_metrics

forecasts = load_script("recipes/utils/forecasts.py")
TINY = ("data.split=[200,60,60] forecast.lookback=48 model.projection=8 model.rnn.hidden=8 training.epochs=1 training.early_stop=0 "
        "training.batch_size=32 training.validation_stride=1")


def scored(folder: Path, horizon: int, forecasters: dict[str, float], windows: int = 60) -> Path:
    """A folder as `asr forecast evaluate` writes it; a forecaster's errors have this deviation."""
    rng = np.random.default_rng(horizon)
    truth = rng.standard_normal((windows, horizon, 2))
    errors = {name: Errors.of(truth, truth + size * rng.standard_normal(truth.shape)) for name, size in forecasters.items()}
    folder.mkdir(parents=True)
    scores = {name: {metric: {"value": value} for metric, value in all_metrics(found, None).items()}
              for name, found in errors.items()}
    (folder / "scores.json").write_text(json.dumps({"horizon": horizon, "steps": horizon, "windows": windows, "rows": [1, 9],
                                                    "centre": [0, 0], "series": ["a", "b"], "units": "scaled", "scores": scores}))
    np.savez(folder / "errors.npz", **{name: found.sums for name, found in errors.items()})
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> tuple[list[Path], list[Path]]:
    baselines = [scored(tmp_path / f"baselines_{h}/test", h, {"last": 1.0, "nlinear:4": 0.5}) for h in (8, 4)]
    runs = [scored(tmp_path / f"gru_{h}_seed{seed}/test", h, {"network": size})
            for h in (4, 8) for seed, size in ((1, 0.3), (2, 0.4))]
    return baselines, runs


def test_the_tables_side_by_side(folders):
    found = forecasts.read(*folders)
    assert list(found) == [4, 8] and list(found[8].baselines) == ["last", "nlinear:4"] and sorted(found[4].seeds) == [1, 2]
    published = {"Other": {4: [0.123, 0.2]}, "Whole": {4: [0.1, 0.2], 8: [0.3, 0.4]}}
    rows = [line.strip("| ").split(" | ") for line in forecasts.main_table(found, ["mse", "mae"], published).splitlines()]
    assert rows[0] == ["forecast", "4", "8", "mean MSE"]
    assert [row[0] for row in rows[2:]] == ["last", "nlinear:4", "Other (published)", "Whole (published)",
                                            "**ours, mean of 2 seeds**"]
    assert rows[5] == ["Whole (published)", "0.100 / 0.200", "0.300 / 0.400", "0.200"]
    assert rows[4][:2] == ["Other (published)", "0.123 / 0.200"] and len(rows[4]) <= 4  # no mean of what is not known
    for column, at in enumerate(found.values(), start=1):
        mean = np.mean([scores["mse"]["value"] for scores in at.seeds.values()])
        assert rows[6][column].startswith(f"**{mean:.4f} / ")


def test_intervals_are_of_the_seeds_together(folders):
    found = forecasts.read(*folders)
    rows = [line.strip("| ").split(" | ") for line in forecasts.seed_table(found, ["mse"]).splitlines()][2:]
    at = found[8]
    draws = draw_blocks(60, 8)
    both = [Errors(sums, np.zeros(2)) for name, sums in at.sums.items() if name.startswith("seed")]
    each = np.mean([[all_metrics(total, None)["mse"] for total in draws.totals(errors)] for errors in both], axis=0)
    low, high = draws.interval(each)
    assert rows[1][4:] == [f"{low:.4f} to {high:.4f}", "60", "3"]
    assert low < float(rows[1][3].strip("*")) < high
    differences = forecasts.difference_table(found, "mse").splitlines()[2:]
    value, interval = differences[1].strip("| ").split(" | ")[2].split(" (")
    nlinear = draws.totals(Errors(at.sums["nlinear:4"], np.zeros(2)))
    baseline = np.array([all_metrics(total, None)["mse"] for total in nlinear])
    assert interval == "{:+.4f} to {:+.4f})".format(*draws.interval(each - baseline))
    assert float(value) == pytest.approx(float(rows[1][3].strip("*")) - at.baselines["nlinear:4"]["mse"]["value"], abs=2e-4)


def test_blocks_are_as_long_as_the_horizon_where_its_last_step_alone_is_forecast(folders):
    found = forecasts.read(*folders)
    found[8].summary.update(horizon=40, steps=1)
    assert forecasts.seed_table(found, ["mse"]).splitlines()[3].endswith("| 60 | 2 |")


def test_what_is_undefined_has_no_figure(folders, recwarn):
    baselines, runs = folders
    for folder in (baselines[0], *runs[2:]):  # horizon 8: a truth that never changes
        scores = json.loads((folder / "scores.json").read_text())
        for of in scores["scores"].values():
            of["corr"] = {"value": None, "interval": None}
        (folder / "scores.json").write_text(json.dumps(scores))
        with np.load(folder / "errors.npz") as saved:
            sums = {name: saved[name] for name in saved.files}
        for each in sums.values():
            each[:, :, [TRUTH, TRUTH_2, PRODUCT]] = 0
        np.savez(folder / "errors.npz", **sums)
    found = forecasts.read(baselines, runs)
    assert forecasts.main_table(found, ["corr"], {}).splitlines()[4].endswith(" | **undefined** | **undefined** |")
    assert "| 8 | CORR | undefined undefined | **undefined** | undefined | 60 | 3 |" in forecasts.seed_table(found, ["corr"])
    assert forecasts.difference_table(found, "corr").splitlines()[2].endswith(") | undefined |")
    assert not recwarn.list


def test_what_does_not_belong_together_is_refused(folders, tmp_path, capsys):
    baselines, runs = folders
    with pytest.raises(ValueError, match="scored on other windows than the rest at horizon 4"):
        forecasts.read(baselines, [*runs, scored(tmp_path / "gru_4_seed3/test", 4, {"network": 1.0}, windows=50)])
    with pytest.raises(ValueError, match="gru_more_4_seed2/test: a second run of seed 2 at horizon 4; give the runs of one system"):
        forecasts.read(baselines, [*runs, scored(tmp_path / "gru_more_4_seed2/test", 4, {"network": 1.0})])
    with pytest.raises(ValueError, match="must be called <name>_seed<N>"):
        forecasts.read(baselines, [scored(tmp_path / "gru/test", 4, {"network": 1.0})])
    assert forecasts.read([tmp_path / "absent"], []) == {} and "not scored yet" in capsys.readouterr().err


@pytest.mark.parametrize("recipe", ["etth1", "exchange_rate"])
def test_what_the_recipes_hold_is_whole(recipe):
    """Configurations load, and have the published protocol's parts; published figures have as many values as metrics."""
    folder = ROOT / "recipes" / recipe / "conf"
    published = yaml.safe_load((folder / "published.yaml").read_text())
    assert all(len(values) == 2 for table in published.values() for row in table.values() for values in row.values())
    for path in folder.glob("*.yaml"):
        if path.name != "published.yaml":
            config = load_config(path, (), ForecastConfig)
            assert config.data.split == ((8640, 2880, 2880) if recipe == "etth1" else (0.6, 0.2, 0.2))
            assert (config.data.scale, config.forecast.units, config.forecast.steps) == (
                ("standard", "scaled", "all") if recipe == "etth1" else ("maxabs_file", "original", "last"))


def test_etth1_from_table_to_results(tmp_path):
    write_csv(tmp_path / "corpus/ETTh1.csv", made_frame(320, 2))
    project = ProjectCopy(tmp_path)
    done = project.run("etth1", "--corpus", tmp_path / "corpus", "--tables", "ETTh1", "--horizons", "6", "--baselines",
                       "last nlinear:24", "--set", TINY)
    assert done.returncode == 0, done.stderr
    exp = project.root / "exp/etth1"
    assert (exp / "gru_ETTh1_6_seed1/model.safetensors").is_file()
    assert json.loads((exp / "gru_ETTh1_6_seed1/test/scores.json").read_text())["windows"] == 55
    for row in ("ETTh1, test: MSE / MAE", "| last | ", "| nlinear:24 | ", "| **ours, mean of 1 seeds** |", "| ours less | 6 |"):
        assert row in done.stdout, done.stdout


def test_exchange_rate_from_table_to_results(tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = "".join(",".join(f"{value:.5f}" for value in row) + "\n" for row in made_values(320, 2))
    (corpus / "exchange_rate.txt.gz").write_bytes(gzip.compress(lines.encode()))
    project = ProjectCopy(tmp_path)
    done = project.run("exchange_rate", "--corpus", corpus, "--horizons", "3", "--baselines", "last ar:8", "--set",
                       TINY.replace("data.split=[200,60,60] ", ""))
    assert done.returncode == 0, done.stderr
    for row in ("exchange_rate, test: RSE / CORR", "| last | ", "| LSTNet-Skip (published) | 0.0226 / 0.9735 |", "| ours less |"):
        assert row in done.stdout, done.stdout
    exp = project.root / "exp/exchange_rate"
    shutil.copytree(exp / "gru_3_seed1", exp / "gru_nonorm_3_seed2")  # of another tag
    again = project.run("exchange_rate", "--corpus", corpus, "--horizons", "3", "--stage", "4")
    assert again.returncode == 0 and "| **ours, mean of 1 seeds** |" in again.stdout, again.stdout + again.stderr
