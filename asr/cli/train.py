"""`asr train`: a recogniser from two data directories."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_dir


def command(
    config: Annotated[Path, typer.Option("--config", help="YAML configuration; see docs/configuration.md for every key.")],
    train: Annotated[Path, typer.Option("--train", help="Data directory to train on.")],
    exp: Annotated[Path, typer.Option("--exp", help="Folder for the run: model, checkpoints, log, curves.")],
    dev: Annotated[Path | None, typer.Option("--dev", help="Data directory that chooses checkpoints and stops training; without, "
                                                           "the last epochs are averaged.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE",
                                                        help="Override a key; may be given more than once.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --exp, if there is one.")] = False,
    allow_pipes: Annotated[bool, typer.Option("--allow-pipes", help="Run the shell commands in wav.scp (entries that end "
                                                                    "in |).")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a recogniser; leaves model.safetensors, train.log, metrics.csv and curves.png in --exp.

    Example:

    \b
        asr train --config recipes/fsdd/conf/crnn.yaml --train data/fsdd/train --dev data/fsdd/dev \\
            --exp exp/fsdd/crnn --set training.epochs=20 --set seed=2
    """
    from asr.config import load_config

    settings = load_config(config, overrides or ())  # every fault of the configuration, before torch is even loaded
    need_dir(train, *([dev] if dev else []))
    from asr.training import train as run
    from asr.training.processes import speaks

    path = run(settings, train, dev, exp, resume, device, allow_pipes)
    if speaks():
        print(path)
