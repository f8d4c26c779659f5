"""The text tables of a Kaldi data directory: one line an entry, `key value...`, sorted by key in C order, UTF-8."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from asr.errors import DataError
from asr.system import atomic_open, atomic_path

# What the first column of each table names. `spk2utt` is derived from `utt2spk`, so it is in none of the lists.
UTTERANCE_TABLES = ("utt2spk", "text", "segments", "feats.scp", "utt2dur", "utt2num_frames", "utt2lang", "utt2uniq",
                    "utt2warp", "vad.scp")
SPEAKER_TABLES = ("cmvn.scp", "spk2gender", "spk2warp")
RECORDING_TABLES = ("wav.scp", "reco2dur", "reco2file_and_channel")
TABLES = (*UTTERANCE_TABLES, "spk2utt", *SPEAKER_TABLES, *RECORDING_TABLES)

FIX = "asr data fix"
_FIELD = re.compile(r"[^ \t]+")


@dataclass(frozen=True)
class Fault:
    """One fault of a data directory: where it is, what it is, and what mends it."""

    file: str
    line: int | None
    message: str
    cure: str
    fatal: bool = False  # the directory cannot be understood while it is there

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.message} [{self.cure}]"


class Row(NamedTuple):
    """A line of a table; ``line`` counts from 1."""

    line: int
    key: str
    value: str


@dataclass
class Table:
    """The rows of a file in its own order, and what is wrong with the way the file is written."""

    name: str
    rows: list[Row] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def mapping(self) -> dict[str, str]:
        """Key to value; of equal keys the first counts."""
        found: dict[str, str] = {}
        for row in self.rows:
            found.setdefault(row.key, row.value)
        return found

    def lines(self) -> dict[str, int]:
        """Key to the number of its first line."""
        found: dict[str, int] = {}
        for row in self.rows:
            found.setdefault(row.key, row.line)
        return found


def read_table(path: str | Path) -> Table:
    """Read a table as leniently as its meaning allows, noting every fault of form.

    Fields are separated by ASCII blanks (space, tab), as Kaldi's tools see them; other Unicode blanks belong to a field.
    """
    path = Path(path)
    table = Table(path.name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read: {error.strerror}") from None
    notes = _Notes(table)
    lines = content.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    else:
        notes.add("form", len(lines), "the last line has no line end")
    if not lines:
        table.faults.append(Fault(table.name, None, "the file is empty", f"write it again, or remove it and run {FIX}"))
    for number, raw in enumerate(lines, start=1):
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            table.faults.append(Fault(table.name, number, f"not UTF-8 (byte 0x{raw[error.start]:02x} in column "
                                      f"{error.start + 1})", "re-encode the file: iconv -f LATIN1 -t UTF-8", fatal=True))
            continue
        if number == 1 and text.startswith("\ufeff"):
            notes.add("mark", number, "the file begins with a byte-order mark")
            text = text[1:]
        if text.endswith("\r"):
            notes.add("crlf", number, "the line ends in CR LF (a Windows line end)")
            text = text.rstrip("\r")
        clean = text.strip(" \t\r")
        if not clean:
            notes.add("empty", number, "the line is empty")
            continue
        if clean != text:
            notes.add("blank", number, "spaces or tabs at the beginning or end of the line")
        key, _, value = clean.replace("\t", " ", 1).partition(" ") if "\t" in clean else clean.partition(" ")
        table.rows.append(Row(number, key, value.strip(" \t")))
    notes.report()
    return table


class _Notes:
    """Faults of form come by the thousand (a file from Windows): one line for each kind, with the first line and a count."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.seen: dict[str, list[int]] = {}
        self.messages: dict[str, str] = {}

    def add(self, kind: str, line: int, message: str) -> None:
        self.seen.setdefault(kind, []).append(line)
        self.messages[kind] = message

    def report(self) -> None:
        for kind, lines in self.seen.items():
            more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
            self.table.faults.append(Fault(self.table.name, lines[0], self.messages[kind] + more, FIX))


def fields(value: str) -> list[str]:
    """Split at runs of ASCII blanks only."""
    return _FIELD.findall(value)


def seconds(value: float) -> str:
    """A time to the microsecond, without an exponent or trailing zeros: awk, lhotse and people read it alike."""
    return f"{value:.6f}".rstrip("0").rstrip(".")


Rows = Mapping[str, str] | Iterable[tuple[str, str]]


def write_table(path: str | Path, rows: Rows) -> None:
    """Write ``key value`` lines sorted by key in C order (code point order is the byte order of UTF-8)."""
    with atomic_open(path) as file:
        file.writelines(_lines(rows))


def write_directories(directories: Mapping[Path, Mapping[str, Rows]]) -> None:
    """Write the tables of data directories (folder -> table -> rows), all of them or none; other known tables there are removed.

    Every table is on the disk under a temporary name before the first gets its own. `wav.scp` is removed before and comes
    last, so that a directory caught between the two, by a power cut, is one that every reader refuses.
    """
    made = [folder for folder in directories if not folder.exists()]
    try:
        with contextlib.ExitStack() as stack:  # it puts into place what was opened last first
            for folder, tables in directories.items():
                for name in sorted(tables, key=lambda name: name != "wav.scp"):
                    with open(stack.enter_context(atomic_path(folder / name)), "w", encoding="utf-8", newline="\n") as file:
                        file.writelines(_lines(tables[name]))
            for folder, tables in directories.items():
                for name in TABLES:
                    if name == "wav.scp" or name not in tables:
                        (folder / name).unlink(missing_ok=True)
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _lines(rows: Rows) -> Iterator[str]:
    items = rows.items() if isinstance(rows, Mapping) else rows
    return (f"{key} {value}\n" if value else f"{key}\n" for key, value in sorted(items))
