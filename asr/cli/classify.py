"""`asr classify`: one label for an item: a sound, a clip, a series, a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_file
from asr.errors import UsageError

app = typer.Typer(no_args_is_help=True, help="One label for an item: sounds, videos, series of sensors, texts.")

ModelFiles = Annotated[list[Path], typer.Option("--model", help="A model.safetensors that `asr classify train` wrote; of several, "
                                                                "one --model each, the mean probability decides.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out items that cannot be used, named and counted, instead of "
                                                          "stopping.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


@app.command()
def train(
    config: Annotated[Path, typer.Option("--config", help="YAML configuration; see docs/classification.md.")],
    train: Annotated[Path, typer.Option("--train", help="Table (tsv or csv) of items and labels to train on.")],
    exp: Annotated[Path, typer.Option("--exp", help="Folder for the run: model, checkpoints, log, curves.")],
    dev: Annotated[Path | None, typer.Option("--dev", help="Table that chooses checkpoints; without one, the last are "
                                                           "averaged.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE",
                                                        help="Override a key; may be given more than once.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --exp, if there is one.")] = False,
    skip_bad: SkipBad = False,
    device: Device = "auto",
) -> None:
    """Train a classifier; leaves model.safetensors, train.log, metrics.csv and curves.png in --exp.

    \b
    Example:
      asr classify train --config recipes/sst2/conf/sst2.yaml --train data/sst2/sst2/train.tsv \\
          --dev data/sst2/sst2/dev.tsv --exp exp/sst2/cnn_seed1 --set seed=1
    """
    from asr.classification.config import ClassifyConfig
    from asr.config import load_config

    settings = load_config(config, overrides or (), ClassifyConfig)
    for path in (train, dev):
        need_file(path, "table")
    from asr.classification.training import train as run
    from asr.training.processes import speaks

    path = run(settings, train, dev, exp, resume, device, skip_bad)
    if speaks():
        print(path)


@app.command()
def evaluate(
    models: ModelFiles,
    table: Annotated[Path, typer.Option("--table", help="Table (tsv or csv) of items and labels.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for scores.json, classes.tsv, predictions.tsv and confusion.png.")],
    skip_bad: SkipBad = False,
    device: Device = "auto",
) -> None:
    """Score a classifier: accuracy and macro F1 with intervals, every class, the confusion matrix as a picture.

    \b
    Example:
      asr classify evaluate --model exp/sst2/cnn_seed1/model.safetensors --table data/sst2/sst2/test.tsv \\
          --out exp/sst2/cnn_seed1/eval_test
      asr classify evaluate --model exp/sst2/cnn_seed1/model.safetensors --model exp/sst2/cnn_seed2/model.safetensors \\
          --table data/sst2/sst2/test.tsv --out exp/sst2/both/eval_test
    """
    _need_models(models)
    need_file(table, "table")
    from asr.classification.evaluation import evaluate as run
    from asr.cli.progress import progress

    print(run(models, table, out, skip_bad, device, lambda items: progress(items, "classifying")).summary(), end="")


@app.command()
def predict(
    models: ModelFiles,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="[INPUT]...",
                                                       help="Files, or for a model of texts the texts.")] = None,
    table: Annotated[Path | None, typer.Option("--table", help="Table of items, in place of inputs; labels are not looked "
                                                               "at.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Table (tsv) of predictions with probabilities; printed when "
                                                           "absent.")] = None,
    skip_bad: SkipBad = False,
    device: Device = "auto",
) -> None:
    """Label items: the most probable class of each, and the probability of every class.

    \b
    Example:
      asr classify predict --model exp/sst2/cnn_seed1/model.safetensors "a quiet , moving film" "two hours too long"
      asr classify predict --model exp/shape_motion/cascade_seed1/model.safetensors --table clips.tsv --out labels.tsv
    """
    _need_models(models)
    need_file(table, "table")
    if bool(inputs) == (table is not None):
        raise UsageError("name the inputs, or a --table of them, and not both")
    from asr.classification.evaluation import predict as run
    from asr.cli.progress import progress

    what = table if table is not None else inputs
    predictions = run(models, what, skip_bad, device, lambda items: progress(items, "classifying"))
    if out is not None:
        predictions.write(out)
    else:
        print(predictions.as_text(), end="")


@app.command()
def compare(
    first: Annotated[list[Path], typer.Option("--a", help="predictions.tsv of the first system; once for each of its runs.")],
    second: Annotated[list[Path], typer.Option("--b", help="The same of the second.")],
    name_a: Annotated[str, typer.Option(help="What to call the first.")] = "A",
    name_b: Annotated[str, typer.Option(help="What to call the second.")] = "B",
    out: Annotated[Path | None, typer.Option("--out", help="File (json) for the comparison.")] = None,
) -> None:
    """Which of two classifiers is better, and is it real: paired bootstrap and McNemar's exact test on the same items.

    With several runs (seeds) of both, a second interval says what to expect of other runs, and the verdict is by it.

    \b
    Example:
      asr classify compare --a exp/natops/natops_cnn_seed1/eval_test/predictions.tsv --name-a CNN \\
          --b exp/natops/natops_concat_seed1/eval_test/predictions.tsv --name-b parallel
    """
    for path in (*first, *second):
        need_file(path, "table of predictions", "`asr classify evaluate` writes them")
    import json

    from asr.classification.comparison import compare as run
    from asr.classification.predictions import read_predictions
    from asr.system import write_text

    found = run([read_predictions(path) for path in first], [read_predictions(path) for path in second], (name_a, name_b))
    if out is not None:
        write_text(out, json.dumps(found.as_json(), ensure_ascii=False, indent=1) + "\n")
    print(found.describe(), end="")


def _need_models(models: list[Path]) -> None:
    for path in models:
        need_file(path, "model file", "train one with `asr classify train`, or check the path")
