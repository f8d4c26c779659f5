"""A Kaldi data directory in memory: what was said by whom, where in which recording.

Differences from Kaldi: `wav.scp` commands (`... |`) run only where the caller allows it; `reco2file_and_channel`, which
Kaldi uses for scoring alone, also chooses the channel of a recording whose file has several.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import audio
from asr.corpus.tables import (
    RECORDING_TABLES,
    SPEAKER_TABLES,
    TABLES,
    Fault,
    fields,
    seconds,
    write_directories,
)
from asr.errors import DataError

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger("asr")

# Tables that are held as plain text and carried along; the others are fields of DataDir or of its utterances.
CARRIED = tuple(name for name in TABLES if name not in ("utt2spk", "spk2utt", "text", "segments", "utt2dur", "wav.scp",
                                                        "feats.scp", "cmvn.scp"))


@dataclass(frozen=True)
class Utterance:
    """One utterance; times in seconds, ``end`` None to the end of the recording, ``channel`` counted from 0."""

    id: str
    recording: str
    speaker: str
    text: str | None = None
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    duration: float | None = None


@dataclass
class DataDir:
    """Utterances with the tables around them.

    ``wav`` is recording -> path or command, ``feats`` utterance -> archive position, ``cmvn`` speaker -> archive position,
    ``tables`` the other known tables (`utt2lang`, `spk2gender`, `reco2dur`, ...) as id -> text.
    """

    utterances: list[Utterance]
    wav: dict[str, str]
    feats: dict[str, str] | None = None
    cmvn: dict[str, str] | None = None
    tables: dict[str, dict[str, str]] = field(default_factory=dict)
    path: Path | None = None
    allow_pipes: bool = False

    def __post_init__(self) -> None:
        self.utterances = sorted(self.utterances, key=lambda utterance: utterance.id)
        self._seconds: dict[str, float] = {}  # recording -> duration, found by reading headers
        # What the last command in `wav.scp` wrote: neighbours in the order of ids are mostly segments of one recording. One
        # pair, replaced as a whole, so threads need no lock: at worst two of them run the same command.
        self._piped: tuple[str, bytes] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_piped": None}  # not to every worker: it may be an hour of audio

    def __len__(self) -> int:
        return len(self.utterances)

    @classmethod
    def load(cls, path: str | Path, allow_pipes: bool = False) -> DataDir:
        """Read a directory. Order and blanks are forgiven; raises DataError listing every fault that hides its meaning."""
        from asr.corpus.check import check_tables, read_tables

        path = Path(path)
        tables = read_tables(path)
        fatal = [fault for fault in check_tables(path, tables, allow_pipes) if fault.fatal]
        if fatal:
            shown = "\n  ".join(str(fault) for fault in fatal[:20])
            more = f"\n  ... and {len(fatal) - 20} more: asr data check {path}" if len(fatal) > 20 else ""
            raise DataError(f"{path}: not a usable data directory, {len(fatal)} fault(s):\n  {shown}{more}")
        rows = {name: table.mapping() for name, table in tables.items()}
        return cls(_utterances(rows), rows["wav.scp"], rows.get("feats.scp"), rows.get("cmvn.scp"),
                   {name: rows[name] for name in CARRIED if name in rows}, path, allow_pipes)

    @classmethod
    def from_utterances(cls, utterances: Iterable[Utterance], wav: dict[str, str], allow_pipes: bool = False) -> DataDir:
        """Build one in memory. Raises DataError for an id that comes twice, or a recording that ``wav`` lacks."""
        data = cls(list(utterances), dict(wav), allow_pipes=allow_pipes)
        for before, after in pairwise(data.utterances):
            if before.id == after.id:
                raise DataError(f"utterance {after.id} comes twice; give each an id of its own")
        for utterance in data.utterances:
            if utterance.recording not in data.wav:
                raise DataError(f"utterance {utterance.id}: its recording {utterance.recording} has no audio file in wav")
        return data

    @property
    def speakers(self) -> dict[str, list[str]]:
        """Speaker -> ids of the speaker's utterances, both sorted."""
        found: dict[str, list[str]] = {}
        for utterance in self.utterances:
            found.setdefault(utterance.speaker, []).append(utterance.id)
        return dict(sorted(found.items()))

    @property
    def segmented(self) -> bool:
        """Whether utterances are parts of recordings, so that a `segments` table is needed."""
        return any(u.recording != u.id or u.start != 0.0 or u.end is not None for u in self.utterances)

    def check(self, audio: str = "header") -> list[Fault]:
        """Every fault of the directory as it lies on disk (or would, if it has not been saved): see `asr.corpus.check`."""
        import tempfile

        from asr.corpus.check import check

        if self.path is not None:
            return check(self.path, self.allow_pipes, audio)
        with tempfile.TemporaryDirectory() as folder:
            replace(self).save(folder)  # a copy: the temporary folder is not where this directory lies
            return check(folder, self.allow_pipes, audio)

    # ------------------------------------------------------------------------------------------------- audio

    def audio(self, utterance: Utterance, sample_rate: int) -> np.ndarray:
        """The utterance's samples at ``sample_rate`` Hz: (N,) float32. Raises AudioError or DataError (a pipe)."""
        samples, rate = self.read(utterance)
        return audio.resample(samples, rate, sample_rate)

    def read(self, utterance: Utterance) -> tuple[np.ndarray, int]:
        """The utterance's samples (N,) float32 at the rate of its recording, and that rate in Hz. Raises as `audio`."""
        return self._read(utterance.recording, utterance.start, utterance.end, utterance.channel)

    def duration(self, utterance: Utterance) -> float:
        """Seconds: from `utt2dur`, else `segments`, else the length of the recording."""
        if utterance.duration is not None:
            return utterance.duration
        if utterance.end is not None:
            return utterance.end - utterance.start
        return self.recording_duration(utterance.recording) - utterance.start

    def recording_duration(self, recording: str) -> float:
        """Seconds: from `reco2dur`, else the header of the file (a command is run)."""
        known = self.tables.get("reco2dur", {}).get(recording)
        if known is not None:
            return float(known)
        if recording not in self._seconds:
            if self.wav[recording].endswith("|"):
                samples, rate = self._read(recording, 0.0, None, 0)
                self._seconds[recording] = len(samples) / rate
            else:
                self._seconds[recording] = audio.probe(self.wav[recording]).duration
        return self._seconds[recording]

    def _read(self, recording: str, start: float, end: float | None, channel: int | None) -> tuple[np.ndarray, int]:
        source = self.wav[recording]
        if not source.endswith("|"):
            return audio.read(source, start, end, channel)
        if not self.allow_pipes:
            raise DataError(f"recording {recording} is a shell command, not a file; allow it with --allow-pipes: {source}")
        piped = self._piped
        if piped is None or piped[0] != source:
            self._piped = None  # one at a time, also while the next is made
            self._piped = piped = source, audio.run_pipe(source)
        return audio.read_output(source, piped[1], start, end, channel)

    # ----------------------------------------------------------------------------------------------- writing

    def select(self, ids: Iterable[str]) -> DataDir:
        """The utterances named, with the rows of every table that are theirs. Raises DataError for an unknown id."""
        known = {utterance.id: utterance for utterance in self.utterances}
        wanted = list(dict.fromkeys(ids))
        unknown = [id for id in wanted if id not in known]
        if unknown:
            raise DataError(f"{self.path or 'data'}: no such utterance: {', '.join(unknown[:10])}"
                            + (f" and {len(unknown) - 10} more" if len(unknown) > 10 else ""))
        return self._restricted([known[id] for id in wanted])

    def _restricted(self, utterances: list[Utterance]) -> DataDir:
        keys = {"utterance": {u.id for u in utterances}, "speaker": {u.speaker for u in utterances},
                "recording": {u.recording for u in utterances}}

        def kept(rows: dict[str, str], kind: str) -> dict[str, str]:
            return {key: value for key, value in rows.items() if key in keys[kind]}

        return DataDir(utterances, kept(self.wav, "recording"),
                       None if self.feats is None else kept(self.feats, "utterance"),
                       None if self.cmvn is None else kept(self.cmvn, "speaker"),
                       {name: kept(rows, _kind(name)) for name, rows in self.tables.items()},
                       allow_pipes=self.allow_pipes)

    def save(self, path: str | Path) -> None:
        """Write a directory that Kaldi's validate_data_dir.sh accepts: sorted, complete, `spk2utt` derived.

        Tables of an earlier directory at ``path`` that this one lacks are removed. An end of recording that `segments`
        leaves open is written as the recording's duration, which is read from its header. An optional table that has not
        a row for every id is left out, with a warning. The directory appears whole: every table is written under another
        name before the first is put into place. Raises DataError for what no table can hold.
        """
        save_all({Path(path): self})

    def _rows(self) -> dict[str, dict[str, str]]:
        """Every table to write, as key -> the rest of the line."""
        _check_writable(self)
        utterances, wav, tables = _one_channel_each(self)
        rows: dict[str, dict[str, str]] = {
            "utt2spk": {u.id: u.speaker for u in utterances},
            "spk2utt": {speaker: " ".join(ids) for speaker, ids in self.speakers.items()},
        }
        if self.segmented:
            rows["segments"] = {new.id: f"{new.recording} {seconds(old.start)} {seconds(self._end(old))}"
                                for new, old in zip(utterances, self.utterances)}
        used = {u.recording for u in utterances}
        rows["wav.scp"] = {recording: source for recording, source in wav.items() if recording in used}
        if utterances and all(u.text is not None for u in utterances):
            # Kaldi refuses every Unicode blank but the space, so words are parted by single spaces.
            rows["text"] = {u.id: " ".join((u.text or "").split()) for u in utterances}
        if utterances and all(u.duration is not None for u in utterances):
            rows["utt2dur"] = {u.id: seconds(u.duration or 0.0) for u in utterances}
        expected = {"utterance": set(rows["utt2spk"]), "speaker": set(rows["spk2utt"]), "recording": used}
        optional = {"feats.scp": self.feats, "cmvn.scp": self.cmvn, **tables}
        for name, table in optional.items():
            if table is None:
                continue
            mine = {key: value for key, value in table.items() if key in expected[_kind(name)]}
            if len(mine) == len(expected[_kind(name)]):
                rows[name] = mine
            else:
                logger.warning("%s is not written: it has rows for %d of %d", name, len(mine),
                                     len(expected[_kind(name)]))
        return rows

    def _end(self, utterance: Utterance) -> float:
        return self.recording_duration(utterance.recording) if utterance.end is None else utterance.end


def save_all(directories: Mapping[Path, DataDir]) -> None:
    """`DataDir.save` of several, all of them or none."""
    write_directories({path: data._rows() for path, data in directories.items()})
    for path, data in directories.items():
        data.path = path


def _kind(table: str) -> str:
    return "speaker" if table in SPEAKER_TABLES else "recording" if table in RECORDING_TABLES else "utterance"


def _utterances(rows: dict[str, dict[str, str]]) -> list[Utterance]:
    """Join the tables (already checked) into utterances."""
    channels = {key: _channel(fields(value)[1]) for key, value in rows.get("reco2file_and_channel", {}).items()}
    text, durations, segments = rows.get("text"), rows.get("utt2dur", {}), rows.get("segments")
    found = []
    for id, speaker in rows["utt2spk"].items():
        recording, start, end = id, 0.0, None
        if segments is not None:
            parts = fields(segments[id])
            recording, start = parts[0], float(parts[1])
            end = None if float(parts[2]) == -1 else float(parts[2])
        channel = channels.get(recording)
        if segments is not None and len(parts) == 4:
            channel = int(parts[3])
        found.append(Utterance(id, recording, speaker, None if text is None else " ".join(fields(text[id])), start, end,
                               channel, float(durations[id]) if id in durations else None))
    return found


def _channel(letter: str) -> int:
    """A channel's letter (Kaldi's A and B, and on to Z; 1 is an old way to write A) as a number from 0."""
    return 0 if letter == "1" else ord(letter) - ord("A")


def _letter(recording: str, channel: int) -> str:
    if channel >= 26:
        raise DataError(f"recording {recording}: channel {channel} has no letter in reco2file_and_channel, whose last is Z; "
                        "write it as a file of its own")
    return chr(ord("A") + channel)


def _check_writable(data: DataDir) -> None:
    """Refuse what a line of `key value` cannot hold: blanks in ids, and audio that is nowhere."""
    names = [("utterance", u.id) for u in data.utterances] + [("speaker", s) for s in data.speakers]
    names += [("recording", r) for r in data.wav]
    for kind, name in names:
        if not name or len(name.split()) != 1 or name.split()[0] != name:
            raise DataError(f"{kind} id {name!r}: an id must be one word, without blanks")
    for utterance in data.utterances:
        if utterance.recording not in data.wav:
            raise DataError(f"utterance {utterance.id}: its recording {utterance.recording} is not in wav.scp")


def _one_channel_each(data: DataDir) -> tuple[Sequence[Utterance], dict[str, str], dict[str, dict[str, str]]]:
    """Write the channels that utterances name as `reco2file_and_channel`.

    Kaldi's recordings have one channel each, so a recording used on several becomes one recording for each channel.
    Raises DataError where its name would be that of another, and for a channel without a letter.
    """
    used: dict[str, set[int | None]] = {}
    for utterance in data.utterances:
        used.setdefault(utterance.recording, set()).add(utterance.channel)
    if all(channels == {None} for channels in used.values()):
        tables = {name: rows for name, rows in data.tables.items() if name != "reco2file_and_channel"}
        return data.utterances, data.wav, tables
    for recording, channels in used.items():
        if None not in channels:
            continue
        if len(channels) > 1 or data.wav[recording].endswith("|") or audio.probe(data.wav[recording]).channels > 1:
            raise DataError(f"recording {recording}: some utterances name a channel and others do not; "
                            "name one for each, or for none")
        used[recording] = {0}  # a mono file among others: its only channel is A
    old = data.tables.get("reco2file_and_channel", {})
    names = {(recording, channel or 0): recording if len(channels) == 1 else f"{recording}-{_letter(recording, channel or 0)}"
             for recording, channels in used.items() for channel in channels}
    sources: dict[str, str] = {}
    for (recording, _), name in names.items():
        if sources.setdefault(name, recording) != recording:
            raise DataError(f"recordings {sources[name]} and {recording}: each channel becomes a recording, and both would have "
                            f"one named {name}; rename one of them")
    tables = {name: dict(rows) for name, rows in data.tables.items()}
    tables["reco2file_and_channel"] = {
        name: f"{fields(old[recording])[0] if recording in old else recording} {_letter(recording, channel)}"
        for (recording, channel), name in names.items()}
    if "reco2dur" in tables:
        tables["reco2dur"] = {name: data.tables["reco2dur"][recording] for (recording, _), name in names.items()
                              if recording in data.tables["reco2dur"]}
    utterances = [replace(u, recording=names[u.recording, u.channel or 0]) for u in data.utterances]
    return utterances, {name: data.wav[recording] for (recording, _), name in names.items()}, tables
