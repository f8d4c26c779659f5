"""The formats of transcripts: everything that is read is read here, by suffix or by name.

    text   Kaldi's: an id, then words                       trn   sclite's: words, then (an id)
    stm    NIST's segments with times and speakers          ctm   NIST's words with times
    tsv    a header, an id and a text column, and others    json  an object id -> text; objects with id and text; JSON lines

Every fault is a DataError with file and line; what a file says of its utterances beside the text (speaker, recording,
duration, any other column) is kept for the tables of a score.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from asr.errors import DataError, UsageError
from asr.text.tables import read_lines, read_table, words

FORMATS = ("text", "trn", "stm", "ctm", "tsv", "json")
Columns = dict[str, dict[str, str]]
"""Name of a column -> id of an utterance -> value."""

_IDS = ("id", "utt_id", "utterance_id", "utterance", "key", "file", "audio_filepath")
_TEXTS = {"reference": ("ref", "reference", "text"), "hypothesis": ("hyp", "hypothesis", "pred_text", "text")}
_NO_COLUMN = {*_IDS, *_TEXTS["reference"], *_TEXTS["hypothesis"]}


@dataclass(frozen=True)
class Transcripts:
    """Texts by utterance id, what else is known of the utterances, and whether the texts are in NIST's notation."""

    texts: dict[str, str]
    columns: Columns = field(default_factory=dict)
    nist: bool = False


class Segment(NamedTuple):
    """A line of an stm file; times in seconds."""

    recording: str
    channel: str
    speaker: str
    start: float
    end: float
    labels: str
    text: str


class TimedWord(NamedTuple):
    """A line of a ctm file; times in seconds."""

    start: float
    duration: float
    word: str


Timed = dict[tuple[str, str], list[TimedWord]]
"""(recording, channel) -> its words."""


def format_of(path: str | Path, name: str | None = None) -> str:
    """The format by this name, else by the file's suffix (``.jsonl`` is json); Kaldi's text where that says nothing."""
    if name is not None:
        if name not in FORMATS:
            raise UsageError(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
        return name
    suffix = Path(path).suffix.lower().removeprefix(".")
    return "json" if suffix == "jsonl" else suffix if suffix in FORMATS else "text"


def read_texts(path: str | Path, kind: str, side: str) -> Transcripts:
    """A file of text, trn, tsv or json; ``side`` is ``reference`` or ``hypothesis``, where names of columns differ."""
    if kind == "text":
        return Transcripts({key: " ".join(words(rest)) for key, rest in read_table(path).items()})
    return {"trn": _read_trn, "tsv": _read_tsv, "json": _read_json}[kind](Path(path), side)


def read_columns(path: str | Path) -> Columns:
    """A table of metadata: tsv with a header, one of whose columns is the id; every other column by its name."""
    columns: Columns = {}
    for number, row in _rows(Path(path)):
        utterance = _pick(row, _IDS, f"{path}:1: the header names no id column")
        for name, value in row.items():
            if name not in _IDS:
                _enter(columns.setdefault(name, {}), utterance, value, path, number)
    return columns


def read_stm(path: str | Path) -> list[Segment]:
    """``recording channel speaker start end [<labels>] words``, in the file's order."""
    segments = []
    for number, line in _nist_lines(path):
        fields = words(line)
        if len(fields) < 5:
            raise DataError(f"{path}:{number}: {len(fields)} fields; an stm line is: recording channel speaker start end "
                            "[<labels>] words")
        start, end = (_seconds(text, path, number) for text in fields[3:5])
        if end < start:
            raise DataError(f"{path}:{number}: the segment ends at {end:g} s, before it starts at {start:g} s")
        labels = fields[5] if len(fields) > 5 and re.fullmatch(r"<.*>", fields[5]) else ""
        segments.append(Segment(*fields[:3], start, end, labels.strip("<>"), " ".join(fields[6 if labels else 5:])))
    return segments


def read_ctm(path: str | Path) -> Timed:
    """``recording channel start duration word [confidence]``, the words of each channel in the order of their times.

    Alternatives (``<ALT_BEGIN>`` ... ``<ALT>`` ... ``<ALT_END>``, times ``*``) become one word in braces. A channel of null words,
    ``@``, has none; beside others they stay, as they decide between alignments that are equally good.
    """
    found: Timed = {}
    alternatives: list[TimedWord] | None = None
    for number, line in _nist_lines(path):
        fields = words(line)
        if len(fields) < 5 or len(fields) > 8:
            raise DataError(f"{path}:{number}: {len(fields)} fields; a ctm line is: recording channel start duration word "
                            "[confidence]")
        place, mark = (fields[0], fields[1]), fields[4].upper()
        if mark in ("<ALT_BEGIN>", "<ALT>", "<ALT_END>"):
            if (alternatives is None) != (mark == "<ALT_BEGIN>"):
                raise DataError(f"{path}:{number}: {fields[4]} out of place")
            if mark == "<ALT_BEGIN>":
                alternatives = []
            elif alternatives is not None:
                alternatives.append(TimedWord(math.nan, 0, "/"))
            if mark == "<ALT_END>" and alternatives is not None:
                found.setdefault(place, []).append(_joined(alternatives, path, number))
                alternatives = None
            continue
        if re.search(r"[{}]", fields[4]):
            raise DataError(f"{path}:{number}: {fields[4]}: braces have no meaning in ctm; alternatives stand between "
                            "<ALT_BEGIN>, <ALT> and <ALT_END>")
        word = TimedWord(_seconds(fields[2], path, number), _seconds(fields[3], path, number), fields[4])
        (found.setdefault(place, []) if alternatives is None else alternatives).append(word)
    if alternatives is not None:
        raise DataError(f"{path}: <ALT_BEGIN> without its <ALT_END>")
    return {place: sorted(spoken, key=lambda word: word.start) if any(word.word != "@" for word in spoken) else []
            for place, spoken in found.items()}


def _joined(alternatives: list[TimedWord], path: str | Path, number: int) -> TimedWord:
    timed = [word for word in alternatives if word.word != "/"]
    if not timed:
        raise DataError(f"{path}:{number}: alternatives without a word")
    start = min(word.start for word in timed)
    end = max(word.start + word.duration for word in timed)
    parts = re.split(r" ?/ ?", " ".join(word.word for word in alternatives[:-1]))  # the last / is that of <ALT_END>
    return TimedWord(start, end - start, "{ " + " / ".join(part or "@" for part in parts) + " }")


def _read_trn(path: Path, side: str) -> Transcripts:
    texts: dict[str, str] = {}
    speakers: dict[str, str] = {}
    for number, line in _nist_lines(path):
        match = re.fullmatch(r"(.*)\(([^()]*)\)\s*", line)
        utterance = match[2].strip() if match else ""
        if not match or not utterance:
            raise DataError(f"{path}:{number}: no (utterance-id) at the end of the line, as trn has it")
        _enter(texts, utterance, " ".join(words(match[1])), path, number)
        speaker = re.split("-" if "-" in utterance else "_", utterance)[0]
        if speaker != utterance and speaker:
            speakers[utterance] = speaker
    return Transcripts(texts, {"speaker": speakers} if len(speakers) == len(texts) else {}, nist=True)


def _read_tsv(path: Path, side: str) -> Transcripts:
    rows = [(number, row, _pick(row, _IDS, f"{path}:1: the header names no id column"),
             _pick(row, _TEXTS[side], f"{path}:1: the header names no column of {side} text")) for number, row in _rows(path)]
    return _records(path, rows)


def _read_json(path: Path, side: str) -> Transcripts:
    records = _json_records(path)
    if isinstance(records, dict):
        for utterance, text in records.items():
            if not isinstance(text, str):
                raise DataError(f"{path}: {utterance}: its text is {json.dumps(text)[:40]}; expected a string")
        return Transcripts({key: " ".join(words(text)) for key, text in records.items()})
    rows = []
    for number, record in records:
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}: {json.dumps(record)[:40]}: expected an object with an id and a text")
        plain = {name: " ".join(str(value).split()) for name, value in record.items() if isinstance(value, (str, int, float))}
        rows.append((number, plain, _pick(plain, _IDS, f"{path}:{number}: no id"),
                     _pick({name: value for name, value in record.items() if isinstance(value, str)}, _TEXTS[side],
                           f"{path}:{number}: no {side} text")))
    return _records(path, rows)


def _json_records(path: Path) -> dict[str, Any] | list[tuple[int, Any]]:
    lines = list(read_lines(path))
    try:
        whole = json.loads("\n".join(line for _, line in lines), object_pairs_hook=_without_repeats)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data" or error.lineno == 1:  # several values, one a line, are JSON lines
            raise DataError(f"{path}:{error.lineno}: not JSON: {error.msg}") from None
        records = []
        for number, line in lines:
            try:
                records.append((number, json.loads(line, object_pairs_hook=_without_repeats)))
            except ValueError as fault:
                raise DataError(f"{path}:{number}: not a JSON line: {fault}") from None
        return records
    except ValueError as error:
        raise DataError(f"{path}: {error}") from None
    if isinstance(whole, list):
        return list(enumerate(whole, start=1))
    if not isinstance(whole, dict):
        raise DataError(f"{path}: holds {type(whole).__name__}; expected objects with an id and a text, or one of id: text")
    return [(1, whole)] if any(name in whole for name in _IDS) and len(whole) > 1 else whole


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)} appears a second time")
    return made


def _records(path: Path, rows: Iterable[tuple[int, dict[str, str], str, str]]) -> Transcripts:
    texts: dict[str, str] = {}
    columns: Columns = {}
    for number, row, utterance, text in rows:
        _enter(texts, utterance, " ".join(words(text)), path, number)
        for name, value in row.items():
            if name not in _NO_COLUMN:
                columns.setdefault(name, {})[utterance] = value
    return Transcripts(texts, columns)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a tsv file with their numbers; fields are as they stand, there is no quoting."""
    lines = read_lines(path)
    try:
        header = next(lines)[1].rstrip("\r").split("\t")
    except StopIteration:
        raise DataError(f"{path}: empty; expected a header and rows of fields with tabs between them") from None
    if len(set(header)) < len(header):
        raise DataError(f"{path}:1: two columns of the header have one name")
    for number, line in lines:
        fields = line.rstrip("\r").split("\t")
        if len(fields) != len(header):
            raise DataError(f"{path}:{number}: {len(fields)} fields, but the header has {len(header)}")
        yield number, dict(zip(header, fields))


def _pick(row: dict[str, str], names: Iterable[str], fault: str) -> str:
    for name in names:
        if name in row:
            return row[name]
    raise DataError(f"{fault}; expected one of: {', '.join(names)}")


def _enter(table: dict[str, str], key: str, value: str, path: str | Path, number: int) -> None:
    if not key:
        raise DataError(f"{path}:{number}: the id is empty")
    if key in table:
        raise DataError(f"{path}:{number}: {key} appears a second time; each id may have one line")
    table[key] = value


def _nist_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without comments (``;;``) and blank ones."""
    return ((number, line) for number, line in read_lines(path) if line.strip() and not line.startswith(";;"))


def _seconds(text: str, path: str | Path, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise DataError(f"{path}:{number}: {text}: expected a time in seconds")
    return value
