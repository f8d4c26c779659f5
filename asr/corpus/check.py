"""Every fault of a data directory in one report: file, line, what is wrong, and the command that repairs it.

The rules are those of Kaldi's validate_data_dir.sh, with these differences: the audio files are opened as well, an
empty transcript is a fault, so is a command in `feats.scp` or `cmvn.scp`, a segment may end in -1 (the end of its
recording), as extract-segments has it, and channels go on from B to Z.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from asr import audio as audio_files
from asr.corpus.archive import check_archives
from asr.corpus.tables import (
    FIX,
    RECORDING_TABLES,
    SPEAKER_TABLES,
    TABLES,
    UTTERANCE_TABLES,
    Fault,
    Row,
    Table,
    fields,
    read_table,
)
from asr.errors import AudioError, DataError

Tables = dict[str, Table]
BY_HAND = "correct the line by hand"
# Derived from the audio: a hole in them is no reason to drop an utterance, they are made again where they are needed.
DERIVED = ("utt2dur", "utt2num_frames", "reco2dur")
_FOREIGN_BLANK = re.compile(r"[^\S \t]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ILLEGAL = re.compile(r"(?<!\w)(<s>|</s>|#0)(?!\w)")


def check(path: str | Path, allow_pipes: bool = False, audio: str = "header") -> list[Fault]:
    """All faults of the directory at ``path``, in the order of files and lines; an empty list for a clean one.

    ``audio`` says how closely the recordings are looked at: "none", "header" (rate, length and the last samples) or
    "decode" (all of it). Commands in `wav.scp` are run only with ``allow_pipes``, and then decoded.
    Raises DataError where there is no such directory.
    """
    tables = read_tables(path)
    faults = check_tables(path, tables, allow_pipes)
    faults += [fault for name in ("feats.scp", "cmvn.scp") if name in tables for fault in check_archives(tables[name])]
    if audio != "none" and "wav.scp" in tables:
        durations, broken = check_audio(tables["wav.scp"], allow_pipes, decode=audio == "decode")
        faults += broken + check_spans(tables, durations) + check_durations(tables, durations)
    order = {name: number for number, name in enumerate(TABLES)}
    return sorted(faults, key=lambda fault: (order.get(fault.file, -1), fault.line or 0))


def read_tables(path: str | Path) -> Tables:
    """Every known table that the directory has. Raises DataError where there is no such directory."""
    path = Path(path)
    if not path.is_dir():
        raise DataError(f"{path}: no such data directory")
    return {name: read_table(path / name) for name in TABLES if (path / name).is_file()}


def check_tables(path: str | Path, tables: Tables, allow_pipes: bool) -> list[Fault]:
    """The faults that the tables show without a look at the audio."""
    faults = [fault for table in tables.values() for fault in table.faults]
    for name, cure in (("wav.scp", "write it: one line `recording path` for each audio file"),
                       ("utt2spk", "write it: one line `utterance speaker` for each utterance")):
        if name not in tables:
            faults.append(Fault(name, None, "no such file", cure, fatal=True))
    for table in tables.values():
        faults += _check_fields(table)
        faults += _check_order(table)
    if "wav.scp" in tables and not allow_pipes:
        faults += [Fault("wav.scp", row.line, f"recording {row.key} is a shell command", "look at the command; if it may "
                         "run, pass --allow-pipes", fatal=True) for row in tables["wav.scp"].rows if row.value.endswith("|")]
    if "utt2spk" in tables:
        faults += _check_ids(tables)
        faults += _check_speakers(tables)
    return faults


# ------------------------------------------------------------------------------------------------------ fields


def _check_fields(table: Table) -> list[Fault]:
    faults = []
    for row in table.rows:
        if (blank := _foreign_blank(f"{row.key} {row.value}")) is not None:
            faults.append(Fault(table.name, row.line, f"{row.key}: holds the Unicode blank U+{ord(blank):04X}, which Kaldi "
                                "refuses", FIX if table.name == "text" and not _foreign_blank(row.key) else BY_HAND))
        if (fault := field_fault(table.name, row)) is not None:
            faults.append(Fault(table.name, row.line, *fault))
    return faults


def _foreign_blank(line: str) -> str | None:
    found = _FOREIGN_BLANK.search(line)
    return found[0] if found else None


def field_fault(table: str, row: Row) -> tuple[str, str, bool] | None:
    """What is wrong with the fields of a line: (message, cure, whether it hides the directory's meaning), or None."""
    if table == "text":
        if not row.value:
            return f"{row.key}: the transcript is empty", f"{FIX} drops the utterance", False
        illegal = _ILLEGAL.search(row.value)
        return (f"{row.key}: the transcript holds {illegal[1]}, a symbol Kaldi keeps for itself", BY_HAND, False) \
            if illegal else None
    if table in ("wav.scp", "feats.scp", "cmvn.scp", "vad.scp"):
        if not row.value:
            return f"{row.key}: no path after the id", f"{FIX} drops the line", True
        if table == "wav.scp" and row.value.startswith("~"):
            return f"{row.key}: a path that begins with ~ is not expanded", "write the full path", False
        if table in ("feats.scp", "cmvn.scp") and "|" in row.value:
            return (f"{row.key}: a shell command in place of an archive, and it is never run",
                    "write the features with `asr features`, or remove the table", False)
        return None
    if table == "spk2utt":
        return None if row.value else (f"{row.key}: a speaker without utterances", FIX, False)
    parts = fields(row.value)
    rule, expected = _RULES[table]
    if rule(parts):
        return None
    # Holes in tables that are only carried along do no harm to the others.
    # Without its line a recording of several channels would be read as their average.
    return (f"{row.key}: expected `{expected}`, found `{f'{row.key} {row.value}'.rstrip()}`",
            BY_HAND if table == "reco2file_and_channel" else f"{FIX} drops the line",
            table in ("utt2spk", "segments", "utt2dur", "reco2dur", "reco2file_and_channel"))


def _number(text: str) -> float | None:
    # float() also reads `nan`, `inf` and `1_000`, which no other tool does.
    return float(text) if _NUMBER.fullmatch(text) else None


def _positive(parts: list[str]) -> bool:
    return len(parts) == 1 and (_number(parts[0]) or 0.0) > 0


def _segment(parts: list[str]) -> bool:
    if len(parts) not in (3, 4) or (len(parts) == 4 and not (parts[3].isascii() and parts[3].isdigit())):
        return False
    start, end = _number(parts[1]), _number(parts[2])
    return start is not None and end is not None and start >= 0 and (end > start or end == -1)


def _warp(parts: list[str]) -> bool:
    return len(parts) == 1 and 0.5 < (_number(parts[0]) or 0.0) < 1.5


_RULES: dict[str, tuple[Callable[[list[str]], bool], str]] = {
    "utt2spk": (lambda parts: len(parts) == 1, "utterance speaker"),
    "segments": (_segment, "utterance recording start end, with 0 <= start < end in seconds"),
    "utt2dur": (_positive, "utterance seconds, above 0"),
    "utt2num_frames": (lambda parts: len(parts) == 1 and re.fullmatch(r"0*[1-9]\d*", parts[0], re.ASCII) is not None,
                       "utterance frames, a whole number above 0"),
    "utt2lang": (lambda parts: len(parts) == 1, "utterance language"),
    "utt2uniq": (lambda parts: len(parts) == 1, "utterance original-utterance"),
    "utt2warp": (_warp, "utterance factor, from 0.5 to 1.5"),
    "spk2gender": (lambda parts: parts in (["m"], ["f"]), "speaker m|f"),
    "spk2warp": (_warp, "speaker factor, from 0.5 to 1.5"),
    "reco2dur": (_positive, "recording seconds, above 0"),
    "reco2file_and_channel": (lambda parts: len(parts) == 2 and re.fullmatch("[A-Z1]", parts[1]) is not None,
                              "recording file channel, a letter from A to Z"),
}


# ------------------------------------------------------------------------------------------------- order and ids


def _check_order(table: Table) -> list[Fault]:
    faults = []
    seen: dict[str, Row] = {}
    previous = ""
    unsorted = False
    for row in table.rows:
        first = seen.setdefault(row.key, row)
        if first is not row:
            same = fields(first.value) == fields(row.value)
            faults.append(Fault(table.name, row.line, f"{row.key} comes twice, first in line {first.line}, "
                                + ("with the same content" if same else "with other content"),
                                FIX if same else "decide which line is right and delete the other", fatal=not same))
        elif row.key < previous and not unsorted:
            unsorted = True
            faults.append(Fault(table.name, row.line, f"not sorted: {row.key} comes after {previous} (the order is that of "
                                "bytes, LC_ALL=C sort)", FIX))
        previous = row.key
    return faults


def _check_ids(tables: Tables) -> list[Fault]:
    """Each table must have a row for each utterance (speaker, recording), and no others."""
    utterances = tables["utt2spk"].lines()
    speakers = {row.value: row.line for row in reversed(tables["utt2spk"].rows)}
    faults = []
    for name in UTTERANCE_TABLES[1:]:
        if name in tables:
            faults += _compare(tables[name], utterances, "utterance", "utt2spk", fatal=name in ("text", "segments"))
    for name in SPEAKER_TABLES:
        if name in tables:
            faults += _compare(tables[name], speakers, "speaker", "utt2spk", fatal=False)
    if "segments" in tables:
        recordings = {fields(row.value)[0]: row.line for row in reversed(tables["segments"].rows) if row.value}
        source = "segments"
    else:
        recordings, source = utterances, "utt2spk"
    for name in RECORDING_TABLES:
        if name in tables:
            faults += _compare(tables[name], recordings, "recording", source, fatal=name == "wav.scp")
    return faults


def _compare(table: Table, expected: dict[str, int], kind: str, source: str, fatal: bool) -> list[Fault]:
    present = table.lines()
    faults = [Fault(source, line, f"{kind} {id} has no line in {table.name}", _cure_missing(table.name), fatal)
              for id, line in expected.items() if id not in present]
    faults += [Fault(table.name, line, f"{kind} {id} is unknown: it is not in {source}", f"{FIX} drops the line")
               for id, line in present.items() if id not in expected]
    return faults


def _cure_missing(table: str) -> str:
    if table == "reco2file_and_channel":
        return f"add the line with the letter of its channel; for a file of one channel, {FIX} adds it"
    if table in DERIVED or table in SPEAKER_TABLES or table in ("utt2lang", "utt2uniq", "utt2warp", "vad.scp"):
        return f"add the line, or {FIX} sets {table} aside"
    return f"add the line, or {FIX} drops the utterance"


def _check_speakers(tables: Tables) -> list[Fault]:
    faults = []
    rows = sorted({(row.key, row.value) for row in tables["utt2spk"].rows})
    for (before, speaker), (after, next_speaker) in pairwise(rows):
        if speaker > next_speaker:
            line = tables["utt2spk"].lines()[after]
            faults.append(Fault("utt2spk", line, f"in the order of utterances the speakers are not sorted: {after} of "
                                f"{next_speaker} follows {before} of {speaker}", "begin each utterance id with its "
                                f"speaker's: {FIX} --prefix-speaker"))
            break  # one misnamed speaker disturbs every line after it
    if "spk2utt" not in tables:
        return [*faults, Fault("spk2utt", None, "no such file", FIX)]
    wanted: dict[str, list[str]] = {}
    for utterance, speaker in rows:
        wanted.setdefault(speaker, []).append(utterance)
    found = tables["spk2utt"].mapping()
    lines = tables["spk2utt"].lines()
    for speaker, utterances in wanted.items():
        if speaker not in found:
            faults.append(Fault("spk2utt", None, f"speaker {speaker} of utt2spk is missing", FIX))
        elif fields(found[speaker]) != utterances:
            faults.append(Fault("spk2utt", lines[speaker], f"the utterances of {speaker} are not those of utt2spk: "
                                + _difference(utterances, fields(found[speaker])), FIX))
    faults += [Fault("spk2utt", lines[speaker], f"speaker {speaker} is not in utt2spk", FIX)
               for speaker in found if speaker not in wanted]
    return faults


def _difference(wanted: list[str], found: list[str]) -> str:
    there, due = set(found), set(wanted)
    missing = [id for id in wanted if id not in there]
    extra = [id for id in found if id not in due]
    parts = [f"{label} {', '.join(ids[:3])}{' ...' if len(ids) > 3 else ''}"
             for label, ids in (("lacks", missing), ("has too many:", extra)) if ids]
    return "; ".join(parts) or "another order, or one twice"


# ------------------------------------------------------------------------------------------------------- audio


def check_audio(wav: Table, allow_pipes: bool, decode: bool = False) -> tuple[dict[str, float], list[Fault]]:
    """Look at every recording: (durations in seconds of those that can be read, faults of those that cannot)."""
    durations, faults = {}, []
    for row in wav.rows:
        if not row.value or (row.value.endswith("|") and not allow_pipes):
            continue
        try:
            durations[row.key] = _look(row.value, decode)
        except AudioError as error:
            faults.append(Fault("wav.scp", row.line, f"{row.key}: {error}",
                                f"replace the file, or {FIX} drops its utterances"))
    return durations, faults


def _look(source: str, decode: bool) -> float:
    if source.endswith("|"):
        samples, rate = audio_files.read_pipe(source, channel=0)
        return len(samples) / rate
    info = audio_files.verify(source)
    if decode:
        audio_files.read(source)
    return info.duration


def check_spans(tables: Tables, durations: dict[str, float]) -> list[Fault]:
    """Segments that reach beyond their recording (by more than the 0.5 s that Kaldi cuts off in silence)."""
    faults = []
    for row in tables["segments"].rows if "segments" in tables else ():
        parts = fields(row.value)
        if _segment(parts) and parts[0] in durations:
            start, end, length = float(parts[1]), float(parts[2]), durations[parts[0]]
            if start >= length or end > length + audio_files.OVERSHOOT:
                faults.append(Fault("segments", row.line, f"{row.key}: {start:g}-{end:g} s is beyond the end of recording "
                                    f"{parts[0]} at {length:g} s", f"correct the times, or {FIX} drops the utterance"))
    return faults


def check_durations(tables: Tables, durations: dict[str, float]) -> list[Fault]:
    """Durations on record that differ from the audio's by more than 0.5 s: batches would be planned with them."""
    spans = dict(durations)
    if "segments" in tables:
        spans = {}
        for row in tables["segments"].rows:
            parts = fields(row.value)
            if _segment(parts) and parts[0] in durations:
                end = float(parts[2])
                spans[row.key] = (durations[parts[0]] if end == -1 else end) - float(parts[1])
    faults = []
    for name, known in (("utt2dur", spans), ("reco2dur", durations)):
        for row in tables[name].rows if name in tables else ():
            if row.key in known and _positive(fields(row.value)) and abs(
                    float(row.value) - known[row.key]) > audio_files.OVERSHOOT:
                faults.append(Fault(name, row.line, f"{row.key}: {row.value} s is on record, its audio lasts "
                                    f"{known[row.key]:.3f} s", f"{FIX} sets {name} aside"))
    return faults
