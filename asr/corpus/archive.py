"""The one reader of archived matrices: what the lines of `feats.scp` and `cmvn.scp` point at.

kaldiio decodes the matrix, but does not choose what is opened: its `load_mat` runs whatever stands before a `|` as a
shell command, reads standard input for `-`, and unpickles an archive that says it holds a pickle. A data directory
comes from elsewhere, so here a position is a file and an offset, and the bytes there are a binary Kaldi matrix.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np

from asr.corpus.tables import Fault, Row, Table
from asr.errors import DataError

_RANGE = re.compile(r"\[[\d:,]*\]$")
_CURE = "write it again with `asr features`"


def parse_position(position: str, key: str = "") -> tuple[Path, int]:
    """``path:offset`` (or a path alone) as file and bytes to skip. Raises DataError, naming ``key``, for anything else.

    Kaldi's commands (``... |``) are never run, not even with ``--allow-pipes``, which is for audio; nor is a range of
    rows (``path:offset[0:99]``) read.
    """
    name = f"{key}: " if key else ""
    if not position:
        raise DataError(f"{name}there is no archive position for it; write the features with `asr features`")
    if "|" in position:  # wherever it stands: kaldiio runs `command |`, `| command` and `command |:0`
        raise DataError(f"{name}{position}: a shell command in place of an archive; features are read from files only: "
                        "run the command by hand, or write them with `asr features`")
    if _RANGE.search(position):
        raise DataError(f"{name}{position}: a range of rows cannot be read; write the rows into an archive of their own "
                        "(copy-feats)")
    path, colon, offset = position.rpartition(":")
    if colon and offset.isascii() and offset.isdigit():
        return Path(path), int(offset)
    return Path(position), 0


def check_archives(table: Table) -> list[Fault]:
    """Archives that are not there, or end before what the table says is in them: a fault for each, with its first line.

    Every archive is looked at once, none is opened. What is no position at all is left to the check of fields.
    """
    named: dict[Path, list[tuple[int, Row]]] = {}
    for row in table.rows:
        with contextlib.suppress(DataError):
            path, offset = parse_position(row.value, row.key)
            named.setdefault(path, []).append((offset, row))
    faults = []
    for path, places in named.items():
        try:
            size = path.stat().st_size
            why = f"{path} ends at byte {size}, before it"
        except OSError as error:
            size, why = 0, f"{path}: {error.strerror}"
        lost = [row for offset, row in places if offset >= size]
        if lost:
            more = f" (and {len(lost) - 1} more lines)" if len(lost) > 1 else ""
            faults.append(Fault(table.name, lost[0].line, f"{lost[0].key}: its archive cannot be read: {why}{more}",
                                "write them again with `asr features`, or remove the table"))
    return faults


def read_matrix(position: str, key: str, columns: int | None = None) -> np.ndarray:
    """The matrix at ``path:offset``: (rows, columns), float32 or, where it is stored so, float64; writable memory.

    Raises DataError, naming ``key``, for a position that is not of a file, a file that is missing or cut, bytes that are
    no binary Kaldi matrix (plain or compressed), an empty matrix, values that are not finite, and where ``columns`` are
    given another number of them.
    """
    path, offset = parse_position(position, key)
    try:
        matrix = _decode(path, offset)
    except OSError as error:
        raise DataError(f"{key}: cannot read {position}: {error.strerror or error}; {_CURE}") from None
    except ValueError as error:
        raise DataError(f"{key}: cannot read {position}: {error}; {_CURE}") from None
    if columns is not None and matrix.shape[1] != columns:
        raise DataError(f"{key}: {position} holds a matrix of shape {matrix.shape}, {columns} columns are needed; write it "
                        "again with `asr features --config` and the configuration in use")
    return matrix


def _decode(path: Path, offset: int) -> np.ndarray:
    """Raises OSError, or ValueError that says what is wrong with the bytes."""
    from kaldiio.matio import read_matrix_or_vector

    with open(path, "rb") as file:
        size = file.seek(0, 2)
        if offset >= size:
            raise ValueError(f"position {offset} is beyond the end of the file ({size} bytes)")
        file.seek(offset)
        if file.read(2) != b"\0B":
            raise ValueError("there is no binary Kaldi matrix at this place")
        file.seek(offset)
        try:
            matrix = np.array(read_matrix_or_vector(file), order="C")  # a copy: kaldiio hands out read-only memory
        except Exception as error:  # kaldiio raises whatever the broken bytes lead to
            raise ValueError(f"cut or corrupt ({str(error) or type(error).__name__})") from error
    if matrix.ndim != 2 or not matrix.size:
        raise ValueError(f"expected a matrix with rows, got shape {matrix.shape}")
    if not np.isfinite(matrix).all():
        raise ValueError("it holds values that are not finite numbers")
    return matrix
