"""The page itself: everything in one file, that no server and no network is needed for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr import __version__
from asr.errors import UsageError
from asr.report.gather import Material, System, TestSet, gather
from asr.report.media import Media, Watch, within
from asr.report.pictures import breakdowns, curves
from asr.scoring import Scores
from asr.system import write_text

_MEGABYTE = 1_000_000
_FREQUENT = 15
_NOTE = "x" * 200  # room for a note of what was left out


@dataclass(frozen=True)
class Report:
    """What was written: the file, its size, how many utterances it lists and how many of them with sound; ``notes`` says what
    is not in it, and why."""

    path: Path
    megabytes: float
    utterances: int
    with_sound: int
    notes: list[str]


def write_report(folders: Sequence[str | Path], out: str | Path, data: str | Path | None = None, title: str = "",
                 max_mb: float = 50.0, watch: Watch = iter) -> Report:
    """Write the page of these folders: scored ones, or training runs with scored folders in them.

    Args:
        out: the HTML file.
        data: the data directory with the sound; by default the one that decode.json names.
        title: of the page; by default the names of the systems.
        max_mb: the page is no larger (million bytes). The texts of all utterances are always in it; sound, spectrograms and
            posteriors fill what is left, of the utterances with most errors first.
        watch: is given the names of utterances whose sound is prepared, and yields them on, to show how far the work is.

    Raises UsageError where a folder is neither scored nor a run, or where the texts alone are larger than ``max_mb``.
    """
    material = gather(folders)
    bare = _render(material, title, {}, {}, [_NOTE] * len(material.sets))
    left = max_mb * _MEGABYTE - len(bare.encode("utf-8"))
    if left < 0:
        raise UsageError(f"--max-mb {max_mb:g}: the texts and pictures alone are {len(bare.encode('utf-8')) / _MEGABYTE:.1f} MB")
    notes: list[str] = []
    found: dict[str, str] = {}
    played: dict[int, list[str]] = {}
    for number, test_set in enumerate(material.sets):
        media = Media(test_set, data)
        played[number] = []
        share = left / (len(material.sets) - number) * 0.98  # a little for the elements around
        for name, content in within(share, _hardest_first(test_set), media, watch):
            found[f"m-{number}-{len(played[number])}"] = content
            played[number].append(name)
            left -= len(content.encode("utf-8")) + 80
        notes += [f"{test_set.name}: {note}" if len(material.sets) > 1 else note for note in media.notes]
    html = _render(material, title, found, played, notes)
    write_text(out, html)
    return Report(Path(out), len(html.encode("utf-8")) / _MEGABYTE, sum(_length(each) for each in material.sets),
                  sum(map(len, played.values())), notes)


def _render(material: Material, title: str, media: dict[str, str], played: dict[int, list[str]], notes: list[str]) -> str:
    from jinja2 import Environment, FileSystemLoader

    here = Path(__file__).parent
    environment = Environment(loader=FileSystemLoader(here), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    names = [system.name for test_set in material.sets for system in test_set.systems] or list(material.curves)
    return environment.get_template("page.html").render(
        title=title or ", ".join(names[:3]) + (" ..." if len(names) > 3 else ""), version=__version__,
        sets=[_summary(test_set) for test_set in material.sets],
        curves={name: curves(rows) for name, rows in material.curves.items()}, notes=notes,
        style=(here / "page.css").read_text(encoding="utf-8"), script=(here / "page.js").read_text(encoding="utf-8"),
        content=_script([_rows(test_set, played.get(number, [])) for number, test_set in enumerate(material.sets)]),
        media={name: content.replace("</", "<\\/").replace("<!--", "<\\u0021--") for name, content in media.items()})


def _script(content: Any) -> str:
    """JSON that can stand within a script element."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\u0021--")


def _summary(test_set: TestSet) -> dict[str, Any]:
    top = max(system.scores.ci[1] for system in test_set.systems) or 1.0
    return {"name": test_set.name, "systems": [_system(system, top) for system in test_set.systems],
            "unit": test_set.systems[0].scores.unit, "units": len(test_set.systems[0].scores.units),
            "normalizer": test_set.systems[0].scores.normalizer, "rules": test_set.systems[0].scores.rules,
            "verdicts": [comparison.verdict for comparison in test_set.comparisons.values()],
            "pictures": breakdowns(test_set)}


def _system(system: System, top: float) -> dict[str, Any]:
    scores = system.scores
    low, high = scores.ci
    factor = system.decoding.get("real_time_factor")
    settings = system.decoding.get("settings")
    return {"name": system.name, "wer": 100 * scores.wer, "low": 100 * low, "high": 100 * high, "counts": scores.words,
            "bar": (100 * low / top, 100 * (high - low) / top, 100 * scores.wer / top),
            "cer": None if scores.cer is None else 100 * scores.cer, "ser": 100 * scores.ser, "mer": 100 * scores.mer,
            "wil": 100 * scores.wil, "partial": len(scores.missing), "factor": factor if isinstance(factor, float) else None,
            "method": settings.get("method") if isinstance(settings, dict) else None, "frequent": _frequent(scores)}


def _frequent(scores: Scores) -> list[tuple[str, list[tuple[int, str, str]]]]:
    counted = scores.confusions()
    tables = []
    for letter, title in (("S", "confused"), ("D", "missed"), ("I", "inserted")):
        rows = sorted(((times, ours or "", theirs or "") for (kind, ours, theirs), times in counted.items() if kind == letter),
                      key=lambda row: (-row[0], row[1:]))
        tables.append((title, rows[:_FREQUENT]))
    return tables


def _rows(test_set: TestSet, played: list[str]) -> dict[str, Any]:
    """What the table of utterances shows: [id, values of the columns, words, of each system [reference (null: the first's),
    hypothesis, alignment, errors]]."""
    first = test_set.systems[0].scores
    others = [{each.id: each for each in system.scores.per_utterance} for system in test_set.systems]
    columns = first.columns
    rows = []
    for utterance in first.per_utterance:
        values = [utterance.speaker if column == "speaker" else utterance.columns.get(column) for column in columns]
        sides = []
        for found in others:
            each = found[utterance.id]
            same = sides and each.reference == utterance.reference
            sides.append([None if same else " ".join(each.reference), " ".join(each.hypothesis), each.operations,
                          each.words.errors])
        rows.append([utterance.id, values, utterance.words.reference, sides])
    return {"name": test_set.name, "columns": columns, "systems": [system.name for system in test_set.systems], "rows": rows,
            "media": {name: number for number, name in enumerate(played)}}


def _hardest_first(test_set: TestSet) -> list[str]:
    errors: dict[str, int] = {}
    for system in test_set.systems:
        for utterance in system.scores.per_utterance:
            errors[utterance.id] = max(errors.get(utterance.id, 0), utterance.words.errors)
    return sorted(errors, key=lambda name: (-errors[name], name))


def _length(test_set: TestSet) -> int:
    return test_set.systems[0].scores.utterances
