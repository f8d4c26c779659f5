"""The outputs of an item: which files, written whole or not at all; and the tables that a job leaves beside them."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from asr.errors import AsrError, UsageError
from asr.system import temporary_stem, write_text
from asr.transcription.disk import Disk
from asr.transcription.result import Result
from asr.transcription.sources import Item, printable
from asr.transcription.writers import FORMATS, ONE_FIELD, About

FAILURES = "failures.tsv"
OF_THIS_NAME = (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTEMPTY)
"""Errors that are one output's own: no other file fails for them. A full disk is not among them."""
TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")  # as `asr.system.create_temporary` names them


def output_path(out: Path, name: str, format: str) -> Path:
    """Where an item of this name has its output of this format."""
    return out / f"{name}.{format}"


def check_names(items: Iterable[Item], formats: Sequence[str], reserved: Sequence[str]) -> None:
    """Raise UsageError where two outputs, or an output and a file of the job itself, would have one name."""
    names: dict[str, Item] = {}
    for item in items:
        if item.name in names:
            raise UsageError(f"{item.shown} and {names[item.name].shown} would share the outputs {printable(item.name)}; "
                             "transcribe them apart")
        names[item.name] = item
    for name in reserved:
        stem, _, suffix = name.rpartition(".")
        if stem in names and suffix in formats:
            raise UsageError(f"{names[stem].shown}: its output would be {name}, which the job itself writes; rename the input")


def write_outputs(disk: Disk, out: Path, results: Sequence[tuple[Item, Result]], formats: Sequence[str],
                  settings: Mapping[str, object]) -> list[str | None]:
    """Write the outputs of items together; of each, why not, where only this item is concerned.

    Raises AsrError where the folder cannot be written to at all: the disk is full, or read-only.
    """
    files = [(output_path(out, item.name, format), FORMATS[format](About(item.file, item.place, item.speaker, item.channel,
                                                                         settings), result))
             for item, result in results for format in formats]
    errors = [_said(path, error) for (path, _), error in zip(files, disk.write_texts(files))]
    return [next(filter(None, errors[first:first + len(formats)]), None) for first in range(0, len(files), len(formats))]


def _said(path: Path, error: OSError | None) -> str | None:
    if error is None:
        return None
    said = f"{printable(path)}: cannot write: {error.strerror or error}"
    if error.errno in OF_THIS_NAME:
        return said
    raise AsrError(f"{said}; what is done is kept: run the same again when it is mended") from None


def remove_outputs(out: Path, name: str, formats: Iterable[str]) -> None:
    """Remove what an earlier run wrote, with other settings or of another recording."""
    for format in formats:
        output_path(out, name, format).unlink(missing_ok=True)


def sweep(out: Path, names: Iterable[str], others: Sequence[str]) -> None:
    """Remove the temporary files that killed runs left of the outputs of ``names`` and of ``others``, files in ``out``.

    The caller knows that no run is at work in the folder.
    """
    expected: dict[Path, set[str]] = {out: {temporary_stem(name) for name in others}}
    for name in names:
        path = out / name
        expected.setdefault(path.parent, set()).update(temporary_stem(f"{path.name}.{format}") for format in FORMATS)
    for folder, files in expected.items():
        if folder.is_dir():
            for found in os.listdir(folder):
                match = TEMPORARY.fullmatch(found)
                if match and match[1] in files:
                    (folder / found).unlink(missing_ok=True)


def write_failures(out: Path, rows: Iterable[tuple[str, str]]) -> None:
    """``failures.tsv``: path and error, sorted; none where nothing failed."""
    lines = sorted("\t".join(field.translate(ONE_FIELD) for field in row) + "\n" for row in rows)
    if lines:
        write_text(out / FAILURES, "path\terror\n" + "".join(lines))
    else:
        (out / FAILURES).unlink(missing_ok=True)
