"""Training a forecaster: a configuration and a table to `model.safetensors`."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from asr.models.summary import encoder_rows, parameters, table
from asr.series.config import ForecastConfig
from asr.series.forecaster import Forecaster
from asr.series.linear import fit_linear
from asr.series.model import BATCH, ForecastModel
from asr.series.table import read_series
from asr.series.task import ForecastTask, window_data
from asr.series.windows import Windows, make_windows
from asr.system import choose_device, sha256_of
from asr.training.data import TaskData
from asr.training.loop import run_training

log = logging.getLogger("asr")
HELD = 32_000_000  # errors of validation at once: bounds the memory to 256 MB


def train(config: ForecastConfig, file: str | Path, exp: str | Path, resume: bool = False, device: str = "auto") -> Path:
    """Train a forecaster on the training part of a table, and return the path of the model file; see
    `training.loop.run_training` for what a run is.

    The validation part chooses the weights, the test part is not looked at. Raises what that raises, and DataError for a
    table that cannot be trained on.
    """
    chosen = choose_device(device)

    def build(exp: Path, device: torch.device) -> tuple[ForecastTask, TaskData]:
        windows = make_windows(read_series(file, config.data), config.data, config.forecast)
        series = windows.series
        network = Forecaster(config, len(series.names), series.covariates.shape[1])
        if config.forecast.skip == "ridge":
            fitted = fit_linear(windows, windows.lookback, config.forecast.normalise, list(range(len(series.names))),
                                config.forecast.skip_rows)
            network.skip.set_map(torch.from_numpy(fitted.weights))
            log.info("the skip by least squares: ridge %g, validation MSE %.4f (scaled)", fitted.ridge, fitted.validation)
        data = window_data(windows, config)
        total_steps = data.total_steps()
        log.info("%s: %d rows of %d series, %d covariates; %s", file, len(series), len(series.names), series.covariates.shape[1],
                 ", ".join(f"{part} rows {first + 1} to {last}" for part, (first, last) in windows.bounds.items()))
        filled = int((~series.observed).sum())
        if filled:
            log.info("%d values were missing and are filled (%s): neither learned from nor scored", filled, config.data.fill)
        log.info("%d windows of %d an epoch, %d of validation; %d steps in %d epochs", len(data.train_set),
                 len(data.train_set.origins), len(data.dev_set), total_steps, config.training.epochs)
        log.info("network\n%s", "\n".join(summary(network)))
        return ForecastTask(network, config, windows, total_steps, exp / "nonfinite"), data

    def save(task: ForecastTask, notes: dict[str, str], path: Path) -> None:
        windows = task.windows
        times = windows.series.times
        seen = {} if times is None else {part: times[windows.bounds[part][1] - 1] for part in ("train", "validation")}
        model = ForecastModel(task.network.eval(), config, windows.series.names, windows.scaler, windows.known, None,
                              notes | {"training_data": sha256_of(file)}, step=windows.series.frequency, seen=seen)
        if not config.forecast.quantiles:
            model = replace(model, errors=validation_errors(model, windows))
        model.save(path)

    return run_training(config, exp, chosen, build, save, resume)


def summary(network: Forecaster) -> list[str]:
    """Layers, shapes and parameters, as lines."""
    rows = encoder_rows(network.encoder, network.forecast.lookback)
    for name, module in ((f"decoder {network.forecast.decoder}", network.decoder), (f"skip {network.forecast.skip}", network.skip)):
        if parameters(module):
            rows.append((name, f"({len(network.offsets)}, {network.together * network.outputs})", parameters(module)))
    return table(rows, parameters(network))


def validation_errors(model: ForecastModel, windows: Windows) -> np.ndarray:
    """(2, S, C): between which two errors (truth - forecast, in units of the network) the share `forecast.interval` of those
    on validation lies, at each step and series.

    This is split conformal prediction without its guarantee: errors of a series are not exchangeable (Stankeviciute, Alaa and
    van der Schaar, "Conformal time-series forecasting", NeurIPS 2021, discuss it), and the weights were chosen on the same
    rows. `asr forecast evaluate` says what the intervals covered on test. A quantile needs the errors of all windows: where they
    are more than `HELD`, validation is forecast anew for each group of steps and series.
    """
    origins, values = windows.origins("validation"), windows.scaled
    shape = len(windows.offsets), len(model.names)
    forecaster = replace(model, errors=np.zeros((2, *shape))).forecaster(windows, "")
    tail = (1 - model.config.forecast.interval) / 2
    columns, size = shape[0] * shape[1], max(1, HELD // len(origins))
    edges = []
    for first in range(0, columns, size):
        errors = np.empty((len(origins), min(size, columns - first)))
        for start in range(0, len(origins), BATCH):
            some = slice(start, start + BATCH)
            wrong = windows.targets(values, origins[some]) - forecaster.predict(origins[some])[0]
            errors[some] = wrong.reshape(len(wrong), columns)[:, first:first + size]
        edges.append(np.nanquantile(errors, [tail, 1 - tail], axis=0))
    return np.concatenate(edges, axis=1).reshape(2, *shape)
