"""`asr forecast`: the future of a time series."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_file
from asr.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="Forecast time series: train, evaluate window by window, predict what comes next.")

Table = Annotated[Path, typer.Option("--data", help="Table, a row a time step: parquet, or CSV (also .gz, .zip, .xz).")]
Overrides = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE",
                                                     help="Override a key; may be given more than once.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


@app.command()
def train(
    config: Annotated[Path, typer.Option("--config", help="YAML configuration; see docs/configuration.md for every key.")],
    data: Table,
    exp: Annotated[Path, typer.Option("--exp", help="Folder for the run: model, checkpoints, log, curves.")],
    overrides: Overrides = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --exp, if there is one.")] = False,
    device: Device = "auto",
) -> None:
    """Train a forecaster; leaves model.safetensors, train.log, metrics.csv and curves.png in --exp.

    Example:

    \b
        asr forecast train --config recipes/etth1/conf/ETTh1.yaml --data ETTh1.csv --exp exp/etth1/96_seed1 \\
            --set forecast.horizon=96 --set seed=1
    """
    from asr.config import load_config
    from asr.series.config import ForecastConfig

    settings = load_config(config, overrides or (), ForecastConfig)
    need_file(data, "table")
    from asr.series.training import train as run
    from asr.training.processes import speaks

    path = run(settings, data, exp, resume, device)
    if speaks():
        print(path)


@app.command()
def evaluate(
    data: Table,
    out: Annotated[Path, typer.Option("--out", help="Folder for scores.json, table.md, errors.npz and the pictures.")],
    model: Annotated[Path | None, typer.Option("--model", help="A trained model; or --config, for baselines alone.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Without a model: the configuration that says columns, parts and "
                                                                 "horizon.")] = None,
    overrides: Overrides = None,
    baselines: Annotated[list[str] | None, typer.Option(
        "--baseline", metavar="NAME", help="last, mean:L, seasonal:P, profile:PxN, ar:P, linear:L, nlinear:L (rows); may be given "
                                           "more than once.")] = None,
    part: Annotated[str, typer.Option("--part", help="test or validation.")] = "test",
    device: Device = "auto",
) -> None:
    """Forecast every window of a part, score it, and compare with baselines; prints the table of scores.

    Example:

    \b
        asr forecast evaluate --model exp/etth1/96_seed1/model.safetensors --data ETTh1.csv --out exp/etth1/96_seed1/test \\
            --baseline last --baseline profile:24x14 --baseline nlinear:336
    """
    if (model is None) == (config is None):
        raise UsageError("give --model, or --config for baselines alone: one of the two")
    if part not in ("test", "validation"):
        raise UsageError(f"--part {part}: choose test or validation")
    if model is not None and overrides:
        raise UsageError("--set: a model brings its own configuration; --set goes with --config")
    if model is None and not baselines:
        raise UsageError("nothing to evaluate: give --model, or --baseline with --config")
    from asr.config import load_config
    from asr.series.baselines import check_baselines
    from asr.series.config import ForecastConfig

    check_baselines(baselines or [])
    settings = None if config is None else load_config(config, overrides or (), ForecastConfig)
    need_file(data, "table")
    need_file(model, "model file", "train one with `asr forecast train`, or check the path")
    from asr.series.report import evaluate_table

    print(evaluate_table(data, out, model or settings, baselines or [], part, device), end="")


@app.command()
def predict(
    model: Annotated[Path, typer.Option("--model", help="A model that `asr forecast train` wrote.")],
    data: Table,
    out: Annotated[Path, typer.Option("--out", help="Table to write: .csv, or .parquet. A picture is written beside it.")],
    device: Device = "auto",
) -> None:
    """Forecast what follows the last row of a table: a row for each series and step, with quantiles; and a picture.

    Example:

    \b
        asr forecast predict --model exp/etth1/96_seed1/model.safetensors --data now.csv --out forecast.csv
    """
    if out.suffix not in (".csv", ".parquet"):
        raise UsageError(f"--out {out}: name a .csv or a .parquet file")
    need_file(model, "model file", "train one with `asr forecast train`, or check the path")
    need_file(data, "table")
    from asr.series.report import predict_table

    print(predict_table(model, data, out, device))
