"""Tables of items and their labels: one row an item, tab- or comma-separated, with a header.

    id      path              label   group
    c0001   clips/c0001.mp4   wave    anna

Which columns hold what is configuration (`table`, `inputs[].column`); others are left alone. Paths are relative to the table.
Everything that is wrong with a table is told at once, by file and line; what is wrong with a file an item names is found when
it is read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from asr.classification.config import ClassifyConfig
from asr.corpus.columns import read_columns
from asr.errors import DataError, UsageError

log = logging.getLogger("asr")
_SHOWN = 20


@dataclass(frozen=True)
class Item:
    """A row: ``sources`` are its inputs, a text or a path each; ``where`` is `table.tsv:7`, for messages."""

    id: str
    sources: tuple[str, ...]
    label: str | None
    group: str | None
    where: str


@dataclass(frozen=True)
class Fault:
    """Something about an item that keeps it from being used."""

    item: Item
    what: str

    def __str__(self) -> str:
        return f"{self.item.where}: {self.item.id}: {self.what}"


@dataclass(frozen=True)
class ItemTable:
    """Items in the order of their table, and how many were left out as faulty (`--skip-bad`)."""

    path: Path
    items: tuple[Item, ...]
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.items)

    @property
    def labels(self) -> list[str]:
        """The classes that occur, sorted: by their number where all are whole numbers, else as text."""
        found = {item.label for item in self.items if item.label is not None}
        return sorted(found, key=(lambda label: (int(label), label)) if all(map(_is_number, found)) else None)

    @property
    def groups(self) -> list[str] | None:
        """The group of each item, or None where the table names none."""
        groups = [item.group for item in self.items]
        return None if any(group is None for group in groups) else [group for group in groups if group is not None]

    def without(self, faults: Sequence[Fault], skip_bad: bool) -> ItemTable:
        """The table less its faulty items, each named in the log; DataError with all of them where they are not to be skipped.

        Also raises DataError where nothing would be left.
        """
        if not faults:
            return self
        bad = {fault.item.where for fault in faults}
        lines = [str(fault) for fault in faults[:_SHOWN]] + ["..."] * (len(faults) > _SHOWN)
        if not skip_bad:
            raise DataError(f"{self.path}: {len(bad)} of {len(self)} items cannot be used; mend them, or leave them out with "
                            "--skip-bad\n  " + "\n  ".join(lines))
        kept = tuple(item for item in self.items if item.where not in bad)
        if not kept:
            raise DataError(f"{self.path}: none of {len(self)} items can be used\n  " + "\n  ".join(lines))
        for fault in faults:
            log.warning("left out: %s", fault)
        log.warning("%s: %d of %d items left out", self.path, len(bad), len(self))
        return replace(self, items=kept, skipped=self.skipped + len(bad))


def read_table(path: str | Path, config: ClassifyConfig, labels: Sequence[str] | None = None, need_labels: bool = True,
               skip_bad: bool = False) -> ItemTable:
    """Read and check a table of items.

    Args:
        path: `.tsv` or `.csv`, UTF-8, with a header.
        config: says which columns hold what.
        labels: the classes a label must be one of; None takes whatever comes.
        need_labels: an item without a label is faulty; else labels are read where there are some.
        skip_bad: leave faulty items out and count them.

    Raises UsageError for a table that is absent or lacks a column, DataError with every faulty item: an id that came before, a
    label that is empty or unknown, a name with a tab or the end of a line in it, an input that is empty or absent.
    """
    path = Path(path)
    header, rows = read_columns(path)
    columns = config.table
    wanted = [source.source for source in config.inputs] + [columns.label] * need_labels
    lacking = [name for name in dict.fromkeys(wanted) if name not in header]
    if lacking:
        raise UsageError(f"{path}:1: no column {', '.join(map(repr, lacking))}; there are {', '.join(map(repr, header))}. The "
                         "configuration says which column holds what (table.label, inputs[].column)")
    items = [_item(path, line, dict(zip(header, row)), config) for line, row in rows if len(row) == len(header)]
    faults = list(_faults(items, config, labels, need_labels))
    broken = [f"{path}:{line}: {len(row)} fields, the header has {len(header)}" for line, row in rows if len(row) != len(header)]
    if broken:
        raise DataError("\n  ".join(broken[:_SHOWN] + ["..."] * (len(broken) > _SHOWN)))
    if not items:
        raise DataError(f"{path}: a header and no items")
    return ItemTable(path, tuple(items)).without(faults, skip_bad)


def table_of(sources: Iterable[str], config: ClassifyConfig, skip_bad: bool = False) -> ItemTable:
    """Items without labels, of inputs named on the command line; a file is its own name, texts are numbered.

    Raises DataError as `read_table` does.
    """
    text = config.inputs[0].kind == "text"
    items = [Item(str(number) if text else source, (source,), None, None, f"input {number}")
             for number, source in enumerate(sources, start=1)]
    return ItemTable(Path("inputs"), tuple(items)).without(list(_faults(items, config, None, False)), skip_bad)


def stratified_folds(labels: Sequence[str], folds: int, seed: int) -> list[int]:
    """The fold (from 0) of each item: the items of every class are dealt out in turn, in an order drawn from the seed."""
    generator = np.random.default_rng(seed)
    fold, dealt = [0] * len(labels), 0
    for label in sorted(set(labels)):
        for item in generator.permutation([number for number, other in enumerate(labels) if other == label]):
            fold[item] = dealt % folds
            dealt += 1
    return fold


def _item(path: Path, line: int, row: dict[str, str], config: ClassifyConfig) -> Item:
    sources = []
    for source in config.inputs:
        value = row[source.source].strip()
        sources.append(value if source.kind == "text" or not value else str(path.parent / value))
    group = row.get(config.table.group, "").strip()
    return Item(row[config.table.id].strip() if config.table.id in row else str(line), tuple(sources),
                row.get(config.table.label, "").strip() or None, group or None, f"{path}:{line}")


def _faults(items: Sequence[Item], config: ClassifyConfig, labels: Sequence[str] | None, need_labels: bool) -> Iterable[Fault]:
    seen: dict[str, Item] = {}
    known = set(labels or ())
    for item in items:
        if not item.id:
            yield Fault(item, f"no {config.table.id}")
        elif item.id in seen:
            yield Fault(item, f"this {config.table.id} is that of {seen[item.id].where} already")
        seen.setdefault(item.id, item)
        if item.label is None:
            if need_labels:
                yield Fault(item, f"no {config.table.label}")
        elif labels is not None and item.label not in known:
            yield Fault(item, _unknown(item.label, labels))
        written = [(config.table.id, item.id), (config.table.group, item.group)] + [(config.table.label, item.label)] * need_labels
        for name, text in written:
            if text and any(mark in text for mark in "\t\r\n"):
                yield Fault(item, f"a tab or the end of a line in {name} {text!r}, which a table of predictions cannot hold")
        for source, value in zip(config.inputs, item.sources):
            if not value:
                yield Fault(item, f"empty {source.source}")
            elif source.kind != "text" and not Path(value).exists():
                yield Fault(item, f"no such file: {value}")
            elif source.kind != "text" and not (Path(value).is_file() or Path(value).is_dir()):
                yield Fault(item, f"no ordinary file: {value}")


def shown(labels: Sequence[str]) -> str:
    """The classes for a message, the first twelve of many."""
    return ", ".join(labels[:12]) + (", ..." if len(labels) > 12 else "")


def _unknown(label: str, labels: Sequence[str]) -> str:
    import difflib

    close = difflib.get_close_matches(label, labels, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"unknown {label!r}: not a label of the training table ({shown(labels)}){guess}"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


