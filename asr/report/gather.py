"""What a report is made of: scored folders, the runs they belong to, and which of them are of the same test set."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr.errors import DataError, UsageError
from asr.scoring import Comparison, Scores, compare, load_scores

_MOST_COMPARED = 4  # systems of a set that are compared each with each; of more, each with the first


@dataclass(frozen=True)
class System:
    """A scored folder: its score, and what decoding wrote of itself (empty where decode.json is not there)."""

    name: str
    folder: Path
    scores: Scores
    decoding: dict[str, Any]


@dataclass(frozen=True)
class TestSet:
    """The systems that were scored on the same utterances, and how they compare: (first, second) -> Comparison."""

    __test__ = False  # not a test, whatever its name

    name: str
    systems: list[System]
    comparisons: dict[tuple[int, int], Comparison]


@dataclass(frozen=True)
class Material:
    """``curves``: name of a run -> the rows of its metrics.csv."""

    sets: list[TestSet]
    curves: dict[str, list[dict[str, float]]]


def gather(folders: Sequence[str | Path]) -> Material:
    """Read the folders: scored ones (`asr score --out`), and runs, which stand for the scored folders in them.

    Raises UsageError for a folder that is neither, DataError for a damaged one.
    """
    scored: dict[Path, None] = {}
    runs: dict[Path, None] = {}
    for folder in map(Path, folders):
        found = [folder] if (folder / "scores.json").is_file() else sorted(path.parent for path in folder.glob("*/scores.json"))
        if not found and not (folder / "metrics.csv").is_file():
            raise UsageError(f"{folder}: neither scored (no scores.json: run `asr score --out {folder}`) nor a training run "
                             "(no metrics.csv)")
        scored.update(dict.fromkeys(found))
        runs.update(dict.fromkeys(run for run in (folder, *(path.parent for path in found)) if (run / "metrics.csv").is_file()))
    names = _names(list(scored))
    systems = [System(names[folder], folder, load_scores(folder), _decoding(folder)) for folder in scored]
    titles = _names(list(runs))
    return Material(_sets(systems), {titles[run]: _metrics(run / "metrics.csv") for run in runs})


def _sets(systems: list[System]) -> list[TestSet]:
    groups: dict[Any, list[System]] = {}
    for system in systems:
        scores = system.scores
        key = (str(scores.normalizer), str(scores.rules),
               frozenset((each.id, None if each.slots else tuple(each.reference)) for each in scores.per_utterance))
        groups.setdefault(key, []).append(system)
    sets = []
    for members in groups.values():
        last = len(members) if len(members) <= _MOST_COMPARED else 1
        compared = {(one, other): compare(members[one].scores, members[other].scores, (members[one].name, members[other].name))
                    for one in range(last) for other in range(one + 1, len(members))}
        sets.append(TestSet(_set_name(members, len(groups)), members, compared))
    return sets


def _set_name(members: list[System], groups: int) -> str:
    data = {Path(system.decoding["data"]) for system in members if system.decoding.get("data")}
    if len(data) == 1:
        return "/".join(data.pop().parts[-2:])
    return members[0].name if groups > 1 else "test"


def _names(folders: list[Path]) -> dict[Path, str]:
    """The shortest ends of the paths that tell them apart."""
    whole = {folder: folder.resolve().parts for folder in folders}
    for length in range(1, max((len(parts) for parts in whole.values()), default=1) + 1):
        names = {folder: "/".join(parts[-length:]) for folder, parts in whole.items()}
        if len(set(names.values())) == len(names):
            break
    return names


def _decoding(folder: Path) -> dict[str, Any]:
    file = folder / "decode.json"
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error}); decode again, or remove it") from None
    if not isinstance(content, dict):
        raise DataError(f"{file}: holds {type(content).__name__}; decode again, or remove it")
    return content


def _metrics(file: Path) -> list[dict[str, float]]:
    with open(file, encoding="utf-8", newline="") as rows:
        try:
            return [{name: float(value) if value else math.nan for name, value in row.items()} for row in csv.DictReader(rows)]
        except (TypeError, ValueError):
            raise DataError(f"{file}: not a table of numbers; it is written by `asr train`") from None
