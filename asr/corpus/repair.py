"""`asr data fix`: what can be mended without a decision is mended, the rest is named; Kaldi's fix_data_dir.sh and more.

The files as they were are kept in `.backup/`, as Kaldi does, and those of the next repair in `.backup.2/`. Differences from
Kaldi: lines that contradict each other are left for a person to decide (Kaldi keeps the first); utterances whose audio is
missing or cut are dropped as well; and an incomplete table that is only carried along (`spk2gender`, `cmvn.scp`, ...) is set
aside, where Kaldi drops its utterances. `reco2file_and_channel` never is: without it channels would be averaged.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from asr import audio
from asr.corpus.check import DERIVED, check, check_audio, check_durations, check_spans, field_fault, read_tables
from asr.corpus.datadir import DataDir
from asr.corpus.tables import (
    RECORDING_TABLES,
    SPEAKER_TABLES,
    TABLES,
    UTTERANCE_TABLES,
    Fault,
    Row,
    Table,
    fields,
    read_table,
    seconds,
    write_directories,
)
from asr.errors import DataError
from asr.system import atomic_path

# An utterance is whole when it has a line in each of these that the directory has (and in `wav.scp`, or a recording there).
WHOLE = ("text", "segments", "feats.scp")
CHANNELS = "reco2file_and_channel"


@dataclass
class Repair:
    """What was done, in words, one line each; the faults that remain for a person; and where the files are as they were."""

    done: list[str] = field(default_factory=list)
    remaining: list[Fault] = field(default_factory=list)
    backup: Path | None = None


def fix(path: str | Path, allow_pipes: bool = False, prefix_speaker: bool = False) -> Repair:
    """Repair the directory in place: sort, tidy, drop duplicates and utterances that are not whole, derive `spk2utt`.

    ``prefix_speaker`` also renames every utterance to `speaker-utterance` unless it begins so already.
    Raises DataError, having changed nothing, where no whole utterance would remain or a file is not UTF-8.
    """
    path = Path(path)
    tables = read_tables(path)
    for name in ("wav.scp", "utt2spk"):
        if name not in tables:
            raise DataError(f"{path / name}: no such file; without it there is nothing to repair"
                            + (f" (an earlier one is in {path / '.backup'})" if (path / ".backup" / name).is_file() else ""))
    undecodable = [str(fault) for table in tables.values() for fault in table.faults if fault.fatal]
    if undecodable:
        raise DataError(f"{path}: nothing was changed:\n  " + "\n  ".join(undecodable))
    repair = Repair()
    tidied = {name: _tidy(table, repair) for name, table in tables.items() if name != "spk2utt"}
    _drop_bad_audio(tidied, allow_pipes, repair)
    utterances = _whole(path, tidied, repair)
    _restrict(tidied, utterances, repair)
    _name_channels(tidied, repair)
    content = {name: [(row.key, row.value) for row in table.rows] for name, table in tidied.items()}
    content["spk2utt"] = _spk2utt(tidied["utt2spk"])
    _write(path, content, repair)
    repair.remaining = check(path, allow_pipes)
    if prefix_speaker and not any(fault.fatal for fault in repair.remaining):
        data = DataDir.load(path, allow_pipes)
        renamed = with_speaker_prefix(data)
        if [u.id for u in renamed.utterances] != [u.id for u in data.utterances]:
            repair.backup = repair.backup or _backup(path)
            renamed.save(path)
            repair.done.append("utterance ids begin with their speaker's")
            repair.remaining = check(path, allow_pipes)
    return repair


def with_speaker_prefix(data: DataDir) -> DataDir:
    """The same data with every utterance named `speaker-utterance`, unless its name begins with its speaker's already.

    Where recordings are utterances (no `segments`), they are renamed alike. Raises DataError where two names would meet.
    """
    names = {u.id: u.id if _begins(u.id, u.speaker) else f"{u.speaker}-{u.id}" for u in data.utterances}
    if len(set(names.values())) < len(names):
        raise DataError("two utterances would have the same name with their speakers put before; rename them by hand")
    recordings = {} if data.segmented else names

    def renamed(rows: dict[str, str], new: dict[str, str]) -> dict[str, str]:
        return {new.get(key, key): value for key, value in rows.items()}

    kinds = {**dict.fromkeys(UTTERANCE_TABLES, names), **dict.fromkeys(RECORDING_TABLES, recordings)}
    return DataDir([replace(u, id=names[u.id], recording=recordings.get(u.recording, u.recording)) for u in data.utterances],
                   renamed(data.wav, recordings), None if data.feats is None else renamed(data.feats, names), data.cmvn,
                   {name: renamed(rows, kinds.get(name, {})) for name, rows in data.tables.items()},
                   allow_pipes=data.allow_pipes)


def _begins(utterance: str, speaker: str) -> bool:
    """Whether the id is the speaker's and something set apart from it: `spk1-7` is not of speaker `spk`."""
    return utterance == speaker or (utterance.startswith(speaker) and not utterance[len(speaker)].isalnum())


# ------------------------------------------------------------------------------------------------------- steps


def _tidy(table: Table, repair: Repair) -> Table:
    """Sorted rows without duplicates, stray blanks, and lines that cannot be understood."""
    if table.faults:
        repair.done += [f"{fault.file}: mended: {fault.message}" for fault in table.faults]
    rows: dict[tuple[str, str], Row] = {}
    for row in table.rows:
        # A path may hold two blanks in a row; anything else is words.
        value = row.value if table.name.endswith(".scp") else " ".join(row.value.split() if table.name == "text"
                                                                        else fields(row.value))
        clean = Row(row.line, row.key, value)
        fault = field_fault(table.name, clean)
        if fault is not None and fault[1].startswith("asr data fix"):
            repair.done.append(f"{table.name}:{row.line}: dropped: {fault[0]}")
        elif (row.key, value) in rows:
            repair.done.append(f"{table.name}:{row.line}: dropped: {row.key} again, with the same content")
        else:
            rows[row.key, value] = clean
    ordered = [rows[key] for key in sorted(rows)]
    if [row.key for row in ordered] != [row.key for row in rows.values()]:
        repair.done.append(f"{table.name}: sorted")
    return Table(table.name, ordered)


def _drop_bad_audio(tables: dict[str, Table], allow_pipes: bool, repair: Repair) -> None:
    """Drop recordings that cannot be read and segments beyond them; give open segments their end."""
    durations, broken = check_audio(tables["wav.scp"], allow_pipes)
    _drop(tables["wav.scp"], broken, repair)
    _drop(tables.get("segments"), check_spans(tables, durations), repair)
    for name in {fault.file for fault in check_durations(tables, durations)}:
        del tables[name]
        repair.done.append(f"{name}: set aside: it contradicts the audio")
    if "segments" in tables:
        tables["segments"].rows = [_closed(row, durations) for row in tables["segments"].rows]


def _drop(table: Table | None, faults: list[Fault], repair: Repair) -> None:
    lines = {fault.line for fault in faults}
    if table is not None and lines:
        table.rows = [row for row in table.rows if row.line not in lines]
        repair.done += [f"{fault.file}:{fault.line}: dropped: {fault.message}" for fault in faults]


def _closed(row: Row, durations: dict[str, float]) -> Row:
    recording, start, end, *channel = fields(row.value)
    if float(end) != -1 or recording not in durations:
        return row
    return Row(row.line, row.key, " ".join([recording, start, seconds(durations[recording]), *channel]))


def _whole(path: Path, tables: dict[str, Table], repair: Repair) -> set[str]:
    """The utterances that are in every table that counts; those of the others are named."""
    recordings = {row.key for row in tables["wav.scp"].rows}
    if "segments" in tables:
        lost = [row for row in tables["segments"].rows if fields(row.value)[0] not in recordings]
        tables["segments"].rows = [row for row in tables["segments"].rows if fields(row.value)[0] in recordings]
        repair.done += [f"segments:{row.line}: dropped: {row.key}: its recording {fields(row.value)[0]} is not in wav.scp"
                        for row in lost]
    counting = [*(name for name in WHOLE if name in tables), *(() if "segments" in tables else ("wav.scp",))]
    present = {name: {row.key for row in tables[name].rows} for name in counting}
    whole = set()
    for row in tables["utt2spk"].rows:
        missing = [name for name in counting if row.key not in present[name]]
        if missing:
            repair.done.append(f"utterance {row.key} dropped: it has no line in {', '.join(missing)}")
        else:
            whole.add(row.key)
    if not whole:
        raise DataError(f"{path}: no utterance is whole, so nothing was changed; see: asr data check {path} "
                        "(paths in wav.scp are relative to the current folder)")
    return whole


def _restrict(tables: dict[str, Table], utterances: set[str], repair: Repair) -> None:
    """Keep the rows of the utterances, their speakers and recordings; set aside a carried table that has not all of them."""
    speakers = {row.value for row in tables["utt2spk"].rows if row.key in utterances}
    recordings = {fields(row.value)[0] for row in tables["segments"].rows if row.key in utterances} \
        if "segments" in tables else utterances
    for name in list(tables):
        wanted = speakers if name in SPEAKER_TABLES else recordings if name in RECORDING_TABLES else utterances
        table = tables[name]
        strange = [row for row in table.rows if row.key not in wanted]
        table.rows = [row for row in table.rows if row.key in wanted]
        if strange:
            some = ", ".join(row.key for row in strange[:5]) + (" ..." if len(strange) > 5 else "")
            repair.done.append(f"{name}: {len(strange)} line(s) dropped that belong to no utterance left: {some}")
        if name != CHANNELS and wanted - {row.key for row in table.rows}:  # of the tables that count, none can lack a row here
            del tables[name]
            again = "; it is made again where it is needed" if name in DERIVED else ""
            repair.done.append(f"{name}: set aside: it has not a line for every id{again}")


def _name_channels(tables: dict[str, Table], repair: Repair) -> None:
    """Give a recording that has no line in `reco2file_and_channel` channel A, where its file has no other."""
    if CHANNELS not in tables:
        return
    named = {row.key for row in tables[CHANNELS].rows}
    for row in tables["wav.scp"].rows:
        if row.key not in named and not row.value.endswith("|") and audio.probe(row.value).channels == 1:
            tables[CHANNELS].rows.append(Row(row.line, row.key, f"{row.key} A"))
            repair.done.append(f"{CHANNELS}: {row.key} has channel A, the one of its file")


def _spk2utt(utt2spk: Table) -> list[tuple[str, str]]:
    spoken: dict[str, list[str]] = {}
    for key, speaker in sorted({(row.key, row.value) for row in utt2spk.rows}):
        spoken.setdefault(speaker, []).append(key)
    return [(speaker, " ".join(keys)) for speaker, keys in sorted(spoken.items())]


def _write(path: Path, content: dict[str, list[tuple[str, str]]], repair: Repair) -> None:
    """Write all tables or none, after a backup of those that are there; nothing at all where nothing differs."""
    present = {name for name in TABLES if (path / name).is_file()}
    changed = [name for name in content if name not in present or not _same(path / name, content[name])]
    if not changed and present == set(content):
        return
    repair.backup = _backup(path)
    write_directories({path: content})
    if "spk2utt" in changed:
        repair.done.append("spk2utt: derived from utt2spk")


def _same(path: Path, rows: list[tuple[str, str]]) -> bool:
    table = read_table(path)
    return not table.faults and [(row.key, row.value) for row in table.rows] == sorted(rows)


def _backup(path: Path) -> Path:
    """Copy the tables, all or none, to `.backup`; where that is there already, to `.backup.2`, `.backup.3` and so on."""
    made = path / ".backup.tmp"
    shutil.rmtree(made, ignore_errors=True)  # of a repair that was killed
    for name in TABLES:
        if (path / name).is_file():
            with atomic_path(made / name) as copy:
                shutil.copy2(path / name, copy)
    names = (path / (".backup" if number == 1 else f".backup.{number}") for number in count(1))
    return made.rename(next(name for name in names if not name.exists()))
