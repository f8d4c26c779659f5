"""Tables with named columns, as people and corpora keep them: tab- or comma-separated text, read strictly."""

from __future__ import annotations

import csv
from pathlib import Path

from asr.errors import DataError, UsageError

Rows = list[tuple[int, list[str]]]  # (number of its line, fields)


def read_rows(path: str | Path) -> Rows:
    """Every row that is not blank. Of a `.csv`, commas part fields and quotation marks may hold them; of anything else, tabs do.

    Raises UsageError for a table that is absent, DataError, with its line, for one that is not UTF-8 or no CSV, or is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path}: no such table")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() == ".csv":
                reader = csv.reader(file, strict=True)
                rows = [(reader.line_num, row) for row in reader]
            else:  # a tab parts fields and nothing else does: texts have quotation marks of their own
                rows = [(number, line.rstrip("\r\n").split("\t")) for number, line in enumerate(file, start=1)]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from None
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: {error}") from None
    rows = [(line, row) for line, row in rows if any(field.strip() for field in row)]
    if not rows:
        raise DataError(f"{path}: empty; the first line names the columns")
    return rows


def read_columns(path: str | Path) -> tuple[list[str], Rows]:
    """The header, and the rows below it. Raises as `read_rows`, and DataError for a column that comes twice."""
    rows = read_rows(path)
    header = [field.strip() for field in rows[0][1]]
    twice = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if twice:
        raise DataError(f"{path}:{rows[0][0]}: columns that come twice: {', '.join(twice)}")
    return header, rows[1:]
