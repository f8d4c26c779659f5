"""What is to be transcribed: files, folders, patterns, lists, data directories and standard input, as items with names.

An item's name is where its outputs lie below the output folder, without the format's suffix, so no two may share one.
"""

from __future__ import annotations

import atexit
import contextlib
import glob
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote

import numpy as np

from asr import audio
from asr.corpus import DataDir
from asr.errors import AudioError, UsageError
from asr.transcription.writers import Place, channel_label

PATTERN = re.compile(r"[*?\[]")


@dataclass(frozen=True, eq=False)
class Item:
    """A recording, or a part or a channel of one, that gets a transcript of its own. Times are in seconds."""

    name: str
    source: str | np.ndarray
    """A path, a shell command, or samples (N,) float in [-1, 1] at the model's rate."""
    shown: str
    """What messages call it."""
    place: Place
    speaker: str
    file: str = ""
    """What outputs call it: its path as it was given, or the id of an utterance."""
    origin: str = ""
    """Absolute path of its file or data directory, where it has one that others can look for."""
    start: float = 0.0
    end: float | None = None
    channel: int | None = None
    """Counted from 0; None averages all."""
    command: bool = False
    index: int = 0
    """Its position among the items of the job."""
    duration: float = 0.0
    """Known once it has been looked at; for the order of work."""
    content: str = ""
    """SHA-256 of the source."""
    digest: str = ""
    """SHA-256 of the source, the part and the channel: what a transcript is a transcript of."""
    stamp: tuple[int, int] | None = None
    """Size and time of change of the file that was hashed."""

    @property
    def whole(self) -> bool:
        """Whether it is a file from its beginning to its end."""
        return isinstance(self.source, str) and not self.command and self.start == 0 and self.end is None

    def read(self) -> tuple[np.ndarray, int | None]:
        """Samples (N,) float32 and their rate; None for the model's. Raises AudioError, also where a file has changed."""
        if not isinstance(self.source, str):
            return self.source, None
        if self.command:
            return audio.read_pipe(self.source, self.start, self.end, self.channel)
        found = audio.read(self.source, self.start, self.end, self.channel)
        self.check_unchanged()
        return found

    def check_unchanged(self) -> None:
        """Raise AudioError where the file is not any more the one that was hashed."""
        if self.stamp is None or not isinstance(self.source, str):
            return
        with contextlib.suppress(OSError):
            found = os.stat(self.source)
            if (found.st_size, found.st_mtime_ns) == self.stamp:
                return
        raise AudioError(f"{self.shown}: cannot read: it changed while it was being transcribed; run the same again")


def find_items(inputs: Sequence[str | Path], recursive: bool = False, listed: Sequence[str] = (), base: str | Path | None = None,
               channel: int | None = None, allow_pipes: bool = False) -> list[Item]:
    """The items of the inputs, and of the ``listed`` paths, in their order.

    An input is a file, a folder (the audio files in it; with ``recursive`` below it too), a Kaldi data directory (a folder
    with ``wav.scp``: its utterances), a pattern where no such file exists (``**`` for any folders), or ``-`` for audio on
    standard input. A listed path is a file or folder, and is tried though it may not exist: a long job does not end for it.

    A name is the path below ``base``, by default the deepest folder that holds all inputs, with its own suffix kept. A
    file met twice is one item. Raises UsageError for an input that is absent or has no audio, for a file outside ``base``,
    and where two items would share a name.
    """
    found: dict[str, Item] = {}
    roots: list[str] = []
    for source in inputs:
        if str(source) == "-":
            found["-"] = replace(_file(_standard_input(), channel), shown="standard input", file="-", origin="")
            continue
        for path in _matches(str(source)):
            roots.append(os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path) or "."))
            if os.path.isfile(os.path.join(path, "wav.scp")):
                _enter_directory(found, path, channel, allow_pipes)
                continue
            count = len(found)
            for file in _files(path, recursive):
                found.setdefault(os.path.abspath(file), _file(file, channel))
            if len(found) == count and os.path.isdir(path) and not any(key.startswith(roots[-1] + os.sep) for key in found):
                cure = "" if recursive else "; --recursive looks in folders below"
                raise UsageError(f"{printable(path)}: no audio files in it{cure}")
    for path in listed:
        roots.append(os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path) or "."))
        for file in _files(path, recursive):
            found.setdefault(os.path.abspath(file), _file(file, channel))
    if not found:
        raise UsageError("nothing to transcribe: name files, folders or data directories")
    return _named(found, os.path.abspath(base) if base is not None else os.path.commonpath(roots or ["/"]))


def item_of(index: int, audio: object, sample_rate: int) -> Item:
    """A path, an array at ``sample_rate``, or either with a name, as an item. Raises UsageError for anything else."""
    name, audio = audio if isinstance(audio, tuple) and len(audio) == 2 else (None, audio)
    if isinstance(audio, (str, os.PathLike)):
        path = os.fspath(audio)
        return replace(_file(path, None), name=printable(path) if name is None else str(name), index=index)
    if not isinstance(audio, np.ndarray):
        raise UsageError(f"item {index}: expected a path, a 1-D float array, or a pair of a name and one of these, "
                         f"got a {type(audio).__name__}")
    shown = f"array {index}" if name is None else str(name)
    return Item(str(index) if name is None else str(name), audio, shown, Place(shown, "1", 0.0), shown, index=index,
                duration=len(audio) / sample_rate)


def read_list(path: str | Path) -> list[str]:
    """A file of paths, a line each; blank lines are passed over. Raises UsageError where it cannot be read or has none."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot read the list: {error.strerror}") from None
    found = [os.fsdecode(line.removesuffix(b"\r")) for line in lines if line.strip()]
    if not found:
        raise UsageError(f"{path}: the list is empty; expected a path a line")
    return found


def printable(path: str | Path) -> str:
    """A path, or a message with one in it, as text that can be written as UTF-8: bytes that are not appear as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def one_word(name: str) -> str:
    """A name as NIST's formats need it: blanks, ``%``, and ``;`` in front of it, percent-encoded; else as it is."""
    plain = re.sub(r"[\s%\x00-\x1f]", lambda match: quote(match[0]), printable(name))
    return "%3B" + plain[1:] if plain.startswith(";") else plain


# ------------------------------------------------------------------------------------------------------- inputs


def _matches(source: str) -> list[str]:
    if os.path.lexists(source):
        return [source]
    if PATTERN.search(source):
        matches = sorted(glob.glob(source, recursive=True))
        if not matches:
            raise UsageError(f"{printable(source)}: no file or folder matches")
        # `**` finds folders as well as what is in them; a folder is no input of its own where its files are matched.
        return [path for path in matches if not os.path.isdir(path)] or matches
    raise UsageError(f"{printable(source)}: no such file or folder")


def _files(path: str, recursive: bool) -> Iterator[str]:
    """A file as it is; a folder as the audio files in it by suffix, sorted, links without a target among them (recordings in other
    formats are counted on the log). A folder that cannot be listed stands for itself; it and such links fail as such when read.

    Links to folders are followed, after the folders themselves; each folder is listed once, so no loop of links has no end.
    """
    if not os.path.isdir(path):
        yield path
        return
    files: list[str] = []
    every: list[str] = []
    listed: set[str] = set()
    links = [path]
    for link in links:  # which grows meanwhile
        for folder, inner, names in os.walk(link, onerror=lambda error: files.append(str(error.filename))):
            real = os.path.realpath(folder)
            if real in listed:
                inner.clear()
                continue
            listed.add(real)
            every += [os.path.join(folder, name) for name in names]
            if not recursive:
                inner.clear()
            inner.sort()  # as the links of several folders come in the order of the walk
            links += [each for name in inner if os.path.islink(each := os.path.join(folder, name))]
    files += [file for file in every if os.path.splitext(file)[1].lower() in audio.SUFFIXES]
    audio.tell_unread(printable(path), every)
    yield from sorted(files, key=lambda file: Path(file).parts)  # part by part


def _file(path: str, channel: int | None) -> Item:
    shown = printable(path)
    return Item("", path, shown, Place("", channel_label(channel), 0.0), "", shown, os.path.abspath(path), channel=channel)


def _standard_input() -> str:
    """Audio bytes from standard input as a file that goes when this process ends, so that memory does not grow with them."""
    handle, name = tempfile.mkstemp(prefix="asr-", suffix=".audio")
    atexit.register(Path(name).unlink, missing_ok=True)
    with os.fdopen(handle, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    return name


def _enter_directory(found: dict[str, Item], path: str, channel: int | None, allow_pipes: bool) -> None:
    from asr.transcription.directory import place_of

    data = DataDir.load(path, allow_pipes=allow_pipes)
    for utterance in data.utterances:
        if any(part in ("", ".", "..") for part in utterance.id.split("/")):
            raise UsageError(f"{path}: utterance {utterance.id}: no output can have this name; rename the utterance")
        source = data.wav[utterance.recording]
        piped = source.endswith("|")
        own = utterance.channel if channel is None else channel
        place = place_of(data, utterance)
        if channel is not None:
            place = place._replace(channel=channel_label(channel))
        seconds = utterance.duration or (utterance.end - utterance.start if utterance.end is not None else 0.0)
        key = os.path.join(os.path.abspath(path), utterance.id)
        if key in found:
            raise UsageError(f"{path}: utterance {utterance.id}: has the name of another input; transcribe them apart")
        found[key] = Item("", source, f"utterance {utterance.id}", place, utterance.speaker, utterance.id, os.path.abspath(path),
                          utterance.start, utterance.end, own, piped, duration=seconds)


def _named(found: dict[str, Item], base: str) -> list[Item]:
    items: dict[str, Item] = {}
    for key, item in found.items():
        name = "stdin" if key == "-" else os.path.relpath(key, base)
        if ".." in PurePosixPath(name).parts:
            raise UsageError(f"{item.shown}: is not in the folder {base} that names are counted from (--base)")
        if name in items:
            raise UsageError(f"{item.shown} and {items[name].shown} would share the outputs {printable(name)}; "
                             "transcribe them apart")
        place = item.place if item.place.recording else item.place._replace(recording=one_word(name))
        items[name] = replace(item, name=name, place=place, speaker=item.speaker or place.recording, index=len(items))
    return list(items.values())


def by_source(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Items by the file or command they are parts of, in their order."""
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(f"{item.command}:{item.source}", []).append(item)
    return groups
