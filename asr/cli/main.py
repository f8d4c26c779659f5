"""The door of the command line: gathers the commands, and turns errors into one line and an exit status."""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from asr import __version__
from asr.cli import (
    align,
    classify,
    compare,
    data,
    decode,
    doctor,
    export,
    features,
    forecast,
    lm,
    report,
    score,
    tokenizer,
    train,
    transcribe,
)
from asr.errors import AsrError, UsageError, of_the_machine

app = typer.Typer(name="asr", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
                  pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
                  help="Speech recognition on convolutional-recurrent networks and CTC.")
app.add_typer(data.app, name="data")
app.add_typer(lm.app, name="lm")
app.add_typer(classify.app, name="classify")
app.add_typer(forecast.app, name="forecast")
for module in (features, tokenizer, train, decode, align, score, compare, report, transcribe, export, doctor):
    app.command(name=module.__name__.rpartition(".")[2])(module.command)


def _print_version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True,
                                                   help="Print the version and exit.")] = False) -> None:
    pass


def main() -> None:
    """Run the command line; exit status 0 only when all that was asked is done, 2 for wrong use, 1 for the rest."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: what this terminal cannot show is no reason to stop
    try:
        app()
    except UsageError as error:
        sys.exit(_fail(error, 2))
    except AsrError as error:
        sys.exit(_fail(error, 1))
    except BrokenPipeError:
        # The reader of our output has gone (`asr ... | head`); close quietly, as other tools do.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        sys.exit(_fail(of_the_machine(error), 1))


def _fail(error: AsrError | str, status: int) -> int:
    sys.stderr.write(f"asr: error: {error}\n")  # at once: of several processes each says it, and lines stay lines
    return status
