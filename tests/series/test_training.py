"""A forecaster from a table to its file and back: what it learns, from which rows, and that nothing else is in it."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from series.made_series import made_frame, made_values, write_csv
from series.test_windows import series_of

from asr.config import load_config
from asr.errors import ConfigError, DataError, ModelError
from asr.series.config import ForecastConfig, HorizonConfig, SeriesConfig
from asr.series.evaluation import evaluate
from asr.series.forecaster import Forecaster
from asr.series.metrics import coverage, mse
from asr.series.model import ForecastModel
from asr.series.table import read_series
from asr.series.task import ForecastTask, WindowDataset, collate, point_of, value_losses, window_data
from asr.series.training import train, validation_errors
from asr.series.windows import make_windows

TINY = ["data.time=date", "data.split=[200,60,60]", "data.season=24", "forecast.lookback=24", "forecast.horizon=6",
        "forecast.segment=6", "model.conv.layers=[]", "model.stacking=6", "model.projection=8", "model.rnn.hidden=8",
        "training.epochs=2",
        "training.batch_size=16", "training.stride=2", "training.schedule.warmup_steps=1", "training.workers=0",
        "training.average_best=1", "training.optimizer.lr=0.01"]

LEARNS = ["training.epochs=8", "forecast.skip=seasonal", "forecast.period=24", "forecast.normalise=mean"]


def tiny(*overrides: str) -> ForecastConfig:
    return load_config(None, [*TINY, *overrides], ForecastConfig)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_csv(tmp_path_factory.mktemp("table") / "made.csv", made_frame(320))


@pytest.fixture(scope="module")
def trained(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny(*LEARNS), table, tmp_path_factory.mktemp("run"), device="cpu")


def untrained(path: Path, config: ForecastConfig) -> ForecastModel:
    """A model of a table whose network has learned nothing, and yet depends on everything it is given."""
    windows = make_windows(read_series(path, config.data), config.data, config.forecast)
    network = Forecaster(config, len(windows.series.names), windows.series.covariates.shape[1])
    torch.manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return ForecastModel(network.eval(), config, windows.series.names, windows.scaler, windows.known,
                         np.zeros((2, len(windows.offsets), len(windows.series.names))))


def from_row(model: ForecastModel, path: Path, row: int) -> np.ndarray:
    """(S, C): what an evaluation forecasts from this origin in the whole file."""
    windows = model.windows(read_series(path, model.config.data))
    return windows.scaler.backward(model.forecaster(windows, "").predict(np.array([row]))[0][0])


# ------------------------------------------------------------------------------------------------------- windows


def test_items_are_the_windows(table):
    windows = make_windows(series_of(made_values(320)), SeriesConfig(split=(200, 60, 60)), HorizonConfig(lookback=24, horizon=6))
    data = WindowDataset(windows, "train", stride=3, seed=5)
    values = windows.scaled.astype(np.float32)
    assert len(data) == 171 // 3
    places = set()
    for epoch in range(6):
        origins = [data[epoch, index][0] for index in range(len(data))]
        assert np.diff(origins).tolist() == [3] * (len(data) - 1) and 24 <= origins[0] < 27 and origins[-1] + 6 <= 200
        places.add(origins[0])
    assert len(places) > 1  # another place for another epoch
    origin, inputs, covariates, targets, known = data[0, 7]
    np.testing.assert_array_equal(inputs, values[origin - 24:origin])
    np.testing.assert_array_equal(targets, values[origin:origin + 6])
    assert covariates.shape == (30, 0) and known.all()
    batch = collate([data[0, 7], data[0, 8]])
    assert batch.ids == [f"row {origin + 1}", f"row {origin + 4}"] and batch.inputs.shape == (2, 24, 3) and len(batch) == 2
    whole = WindowDataset(windows, "validation", stride=2)
    assert [whole[9, index][0] for index in (0, 1)] == [200, 202]  # without a seed from the first on, in every epoch


# --------------------------------------------------------------------------------------------------------- losses


def test_losses_by_their_formulas():
    torch.manual_seed(0)
    outputs, targets = torch.randn(2, 3, 2, 3).sort(dim=3).values, torch.randn(2, 3, 2)
    wrong = outputs[..., :1].squeeze(3) - targets
    for name, expected in (("mae", wrong.abs()), ("mse", wrong ** 2),
                           ("huber", torch.where(wrong.abs() < 1, wrong ** 2 / 2, wrong.abs() - 0.5))):
        torch.testing.assert_close(value_losses(outputs[..., :1], targets, name, ()), expected)
    levels = (0.1, 0.5, 0.9)
    made = value_losses(outputs, targets, "mse", levels)
    for index in np.ndindex(2, 3, 2):
        each = [max(q * float(targets[index] - f), (q - 1) * float(targets[index] - f)) for q, f in zip(levels, outputs[index])]
        assert float(made[index]) == pytest.approx(2 * np.mean(each), rel=1e-5)
    torch.testing.assert_close(value_losses(outputs[..., 1:2], targets, "mse", (0.5,)), (outputs[..., 1] - targets).abs())
    assert point_of(outputs.roll(1, 3), levels).equal(outputs[..., 1])  # of quantiles that cross, in order
    assert point_of(outputs, levels).equal(outputs[..., 1]) and point_of(outputs[..., :1], ()).equal(outputs[..., 0])


def test_what_was_not_observed_moves_neither_loss_nor_score(table, tmp_path):
    frame = made_frame(320)
    frame.loc[[100, 230], "b"] = np.nan
    losses = []
    for fill in (1.0, 50.0):
        config = tiny("data.fill=forward")
        series = read_series(write_csv(tmp_path / "holes.csv", frame), config.data)
        values = series.values.copy()
        values[[100, 230], 1] = fill  # whatever a filled value is as a target
        windows = make_windows(replace(series, values=values), config.data, config.forecast)
        torch.manual_seed(0)
        task = ForecastTask(Forecaster(config, 3), config, windows, 1, tmp_path)
        data = window_data(windows, config)
        before = [index for index in range(len(data.train_set)) if data.train_set[0, index][0] <= 100]
        batch = collate([data.train_set[0, index] for index in before])  # 100 is a target of some, an input of none
        found, count = task.losses(batch, torch.Generator())
        assert count == int(batch.known.sum()) < batch.targets.numel()
        task.begin_measuring()
        task.validation_step(collate([data.dev_set[0, index] for index in range(10, 15) if data.dev_set[0, index][0] <= 230]), 0)
        losses.append((found.sum().item(), *task.measured().values()))
    assert losses[0] == losses[1]


# ------------------------------------------------------------------------------------------------------------ runs


def test_a_run_leaves_what_is_promised_and_its_model_comes_back(trained, table):
    for name in ("config.yaml", "train.log", "metrics.csv", "curves.png", "model.safetensors"):
        assert (trained.parent / name).is_file()
    assert "training" not in {path.name for path in trained.parent.iterdir()}
    log = (trained.parent / "train.log").read_text()
    assert "320 rows of 3 series, 0 covariates; train rows 1 to 200, validation rows 201 to 260, test rows 261 to 320" in log
    model = ForecastModel.load(trained)
    assert model.names == ("a", "b", "c") and model.quantiles == (0.1, 0.9) and model.notes["seed"] == "1"
    windows = model.windows(read_series(table, model.config.data))
    ours = evaluate(model.forecaster(windows, "network"), windows, "test", "scaled")
    rows = pd.read_csv(trained.parent / "metrics.csv")
    best = evaluate(model.forecaster(windows, "network"), windows, "validation", "scaled")
    assert mse(best.errors) == pytest.approx(rows["dev_mse"].min(), rel=1e-4)  # the log's own figure, from the file, by another way
    values = windows.scaled
    naive = np.mean([(values[o + s] - values[o - 1]) ** 2 for o in range(260, 315) for s in range(6)])
    assert mse(ours.errors) < 0.3 * naive
    assert coverage(best.errors) == pytest.approx(0.8, abs=0.02)  # the interval is as wide as validation errors were
    assert 0.5 < coverage(ours.errors) < 1


def test_the_same_seed_gives_the_same_bits_whatever_the_test_rows_hold(trained, tmp_path):
    frame = made_frame(320)
    frame.loc[260:, ["a", "b", "c"]] = 1e3
    spoiled = train(tiny(*LEARNS), write_csv(tmp_path / "spoiled.csv", frame), tmp_path / "run", device="cpu")
    one, other = load_file(trained), load_file(spoiled)
    assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_quantiles_are_learned_and_in_order(table, tmp_path):
    path = train(tiny("forecast.quantiles=[0.1,0.5,0.9]", "training.epochs=12", "forecast.skip=linear", "training.ema_decay=0.5"),
                 table, tmp_path, device="cpu")
    model = ForecastModel.load(path)
    windows = model.windows(read_series(table, model.config.data))
    point, spread = model.forecaster(windows, "network").predict(windows.origins("test"))
    assert spread.shape == (55, 6, 3, 3) and (np.diff(spread, axis=3) >= 0).all() and (np.diff(spread, axis=3) > 0).mean() > 0.95
    assert model.errors is None
    result = evaluate(model.forecaster(windows, "network"), windows, "validation", "original")
    assert 0.55 < coverage(result.errors) < 0.95
    np.testing.assert_allclose(np.median(spread, axis=3), point, atol=0.5)


def test_the_forecast_is_the_median_where_quantiles_cross(table):
    model = untrained(table, tiny("forecast.quantiles=[0.4,0.5,0.6]"))
    windows = model.windows(read_series(table, model.config.data))
    point, spread = replace(model, errors=None).forecaster(windows, "").predict(windows.origins("test"))
    np.testing.assert_array_equal(point, spread[..., 1])


def test_validation_errors_are_the_same_in_any_memory(trained, table, monkeypatch):
    model = ForecastModel.load(trained)
    windows = model.windows(read_series(table, model.config.data))
    origins = windows.origins("validation")
    errors = windows.targets(windows.scaled, origins) - model.forecaster(windows, "").predict(origins)[0]
    tail = (1 - 0.8) / 2
    np.testing.assert_array_equal(model.errors, np.nanquantile(errors, [tail, 1 - tail], axis=0))
    held, quantile = [], np.nanquantile
    monkeypatch.setattr(np, "nanquantile", lambda values, *rest, axis: held.append(values.size) or quantile(values, *rest, axis))
    monkeypatch.setattr("asr.series.training.HELD", 7 * len(origins))  # of 18 columns
    np.testing.assert_array_equal(validation_errors(model, windows), model.errors)
    assert held == [7 * len(origins), 7 * len(origins), 4 * len(origins)]


def test_rows_that_a_model_was_made_from_are_not_scored(trained, table, tmp_path):
    model, frame = ForecastModel.load(trained), made_frame(320)
    assert model.step.freqstr == "h" and model.seen == {"train": frame["date"][199], "validation": frame["date"][259]}
    config = model.config.data
    same = model.windows(read_series(table, config))
    for part in ("validation", "test"):
        model.check_unseen(same, part)
    for hours, refused in ((1, ["validation", "test"]), (-1, []), (-100, [])):
        moved = write_csv(tmp_path / "moved.csv", frame.assign(date=frame["date"] - pd.Timedelta(hours=hours)))
        windows = model.windows(read_series(moved, config))
        for part in ("validation", "test"):
            said = f"the {part} part begins at .* which must not be scored"
            with pytest.raises(DataError, match=said) if part in refused else nullcontext():
                model.check_unseen(windows, part)


def test_files_without_step_and_times_load_as_before(trained, table, tmp_path):
    with safe_open(trained, "pt") as file:
        metadata = json.loads(file.metadata()["asr"])
    older = {key: value for key, value in metadata.items() if key not in ("step", "seen")}
    assert len(older) == len(metadata) - 2
    save_file(load_file(trained), tmp_path / "older.safetensors", {"asr": json.dumps(older)})
    model = ForecastModel.load(tmp_path / "older.safetensors")
    assert model.step is None and model.seen == {}
    model.check_unseen(model.windows(read_series(table, model.config.data)), "test")
    model.save(tmp_path / "again.safetensors")  # as for a table without timestamps
    assert ForecastModel.load(tmp_path / "again.safetensors").step is None


def test_a_table_of_another_step_is_refused(trained, tmp_path):
    model = ForecastModel.load(trained)
    path = write_csv(tmp_path / "daily.csv", made_frame(320, freq="D"))
    for use in (model.future, lambda path: model.windows(read_series(path, model.config.data))):
        with pytest.raises(DataError, match="has steps of D, and .* was trained on steps of h; give a table with the same"):
            use(path)


def test_a_few_rows_that_look_like_another_step(tmp_path):
    path = write_csv(tmp_path / "x.csv", made_frame(320, freq="B"))
    model = untrained(path, tiny("forecast.lookback=4", "model.stacking=1"))
    week = write_csv(tmp_path / "week.csv", made_frame(320, freq="B")[3:8])
    assert model.future(week).times[0] == "2020-01-11"  # five days on end
    assert replace(model, step=pd.offsets.BDay()).future(week).times[0] == "2020-01-13"


# ------------------------------------------------------------------------------------------------------ the future


def test_the_future_is_the_window_after_the_last_row(trained, table, tmp_path):
    """Forecasting from a file cut at a row gives what an evaluation forecasts from there in the whole file."""
    model = ForecastModel.load(trained)
    frame = made_frame(320)
    future = model.future(write_csv(tmp_path / "cut.csv", frame[:290]))
    windows = model.windows(read_series(table, model.config.data))
    point, spread = model.forecaster(windows, "network").predict(np.array([290]))
    np.testing.assert_allclose(future.point, windows.scaler.backward(point[0]), rtol=1e-6)
    for edge in (0, 1):
        np.testing.assert_allclose(future.spread[..., edge], windows.scaler.backward(spread[0, ..., edge]), rtol=1e-6)
    assert future.times == frame["date"][290:296].astype(str).tolist()
    assert (future.spread[..., 0] < future.spread[..., 1]).all()
    with pytest.raises(DataError, match="20 rows are fewer than a window of 24"):
        model.future(write_csv(tmp_path / "short.csv", frame[:20]))
    with pytest.raises(DataError, match=r"has the columns a, b, and .* was trained on a, b, c"):
        model.future(write_csv(tmp_path / "narrow.csv", frame[["date", "a", "b"]]))


def test_covariates_are_asked_for_as_far_as_the_horizon(tmp_path):
    frame = made_frame(320)
    path = write_csv(tmp_path / "x.csv", frame)
    model = untrained(path, tiny("data.covariates=[c]", "data.calendar=[hour]", "forecast.steps=last"))
    assert model.names == ("a", "b") and len(model.known.shift) == 3
    known = frame.astype(object)
    known.loc[300:, ["a", "b"]] = ""
    future = model.future(write_csv(tmp_path / "known.csv", known[:306]))
    assert future.point.shape == (1, 2) and future.times == ["2020-01-13 17:00:00"]
    np.testing.assert_allclose(future.point, from_row(model, path, 300), rtol=1e-6)
    with pytest.raises(DataError, match="3 rows at the end hold the future of the covariates, and 6 are needed; add rows with c"):
        model.future(write_csv(tmp_path / "less.csv", known[:303]))


def test_the_calendar_of_the_future_needs_no_rows(tmp_path):
    frame = made_frame(320)
    path = write_csv(tmp_path / "x.csv", frame)
    model = untrained(path, tiny("data.calendar=[hour,weekday]"))
    future = model.future(write_csv(tmp_path / "cut.csv", frame[:300]))
    np.testing.assert_allclose(future.point, from_row(model, path, 300), rtol=1e-6)


def test_files_that_are_no_forecasters(trained, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(trained.read_bytes()[:-20])
    with pytest.raises(ModelError, match="not a whole safetensors file"):
        ForecastModel.load(tmp_path / "cut.safetensors")
    with pytest.raises(ModelError, match="train one with `asr forecast train`"):
        ForecastModel.load(tmp_path / "absent.safetensors")


def test_a_run_is_not_resumed_with_other_rows(tmp_path, monkeypatch):
    """Those of training and validation; what follows them may have grown."""
    def stopped(self, batch, index):
        if self.batches == 2:
            raise RuntimeError("killed")
        return original(self, batch, index)

    original, frame, config = ForecastTask.training_step, made_frame(330), tiny("training.checkpoint_steps=1", "training.epochs=1")
    path, other = write_csv(tmp_path / "made.csv", frame[:320]), frame.copy()
    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="killed"):
        patch.setattr(ForecastTask, "training_step", stopped)
        train(config, path, tmp_path / "run", device="cpu")
    other.loc[150, "b"] += 1
    with pytest.raises(ConfigError, match=r"begun with other data.*rows was '260 rows of 3 series \(\w{12}\)', is '260 rows of 3 "):
        train(config, write_csv(path, other), tmp_path / "run", resume=True, device="cpu")
    assert train(config, write_csv(path, frame), tmp_path / "run", resume=True, device="cpu").exists()
