"""``asr doctor``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from asr.errors import AsrError, UsageError


def command(
    device: Annotated[str, typer.Option(help="auto, cpu or cuda; with cuda, a GPU that is absent is wrong use.")] = "auto",
    folder: Annotated[Path, typer.Option(help="Where runs will be written: is there room, and may one write?")] = Path("."),
) -> None:
    """Say what works on this machine: packages, codecs, features, networks, CTC, search, GPU; each is tried, not looked up.

    Some seconds. Ends with 1 where something does not work; a note says what works less well than it might.

    \b
    Example:
      asr doctor
    """
    if not folder.is_dir():
        raise UsageError(f"--folder {folder}: no such folder; make it, or name another")
    from asr.doctor import examine

    faults = 0
    for found in examine(device, folder):
        print(f"{found.state:5}  {found.name:18}  {found.what}", flush=True)
        faults += found.state == "fault"
    if faults:
        raise AsrError(f"{faults} of these do not work here: see the lines that begin with `fault`")
