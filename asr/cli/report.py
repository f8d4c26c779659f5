"""``asr report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.cli.paths import need_dir
from asr.cli.progress import progress
from asr.errors import UsageError


def command(
    folders: Annotated[list[Path], typer.Argument(help="Folders that `asr score --out` wrote, or training runs with such folders "
                                                       "in them.", metavar="DIR...")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    data: Annotated[Path | None, typer.Option(help="Data directory with the sound; by default the one that was decoded "
                                                   "(decode.json).")] = None,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "",
    max_mb: Annotated[float, typer.Option(help="Largest size, in million bytes. The texts of all utterances are in it; sound and "
                                               "pictures fill the rest, of those with most errors first.", min=0)] = 50.0,
) -> None:
    """One HTML page of scored systems, to open anywhere: errors, alignments, sound, spectrograms, training curves.

    \b
    Example:
      asr report exp/fsdd/crnn_seed1 --out report.html
      asr report exp/a/decode_test_greedy exp/b/decode_test_greedy --max-mb 20
    """
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"{folder}: " + ("not a folder" if folder.exists() else "no such folder; check the path"))
    if data is not None:
        need_dir(data)
    from asr.report import write_report

    report = write_report(folders, out, data, title, max_mb, watch=lambda names: progress(names, "sound"))
    for note in report.notes:
        print(note)
    print(f"{report.path}: {report.megabytes:.1f} MB, {report.utterances} utterances, {report.with_sound} with sound")
