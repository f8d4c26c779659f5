"""From a corpus as it is published to data directories: what every preparation script needs.

    left_out = LeftOut()
    ids = pair(audio, texts, left_out)                        # both there
    seconds = durations({id: audio[id] for id in ids}, left_out)  # and readable
    left_out.settle(corpus, len(seconds), skip_bad)           # DataError that names and counts the rest, or a warning
    write_parts({out / "train": [Utterance(...), ...], ...}, audio)

Nothing is written before everything has been looked at, and what is written appears whole.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from asr import audio as audio_files
from asr.corpus.datadir import DataDir, Utterance, save_all
from asr.errors import AudioError, DataError
from asr.system import atomic_open

SHOWN = 10  # names in one message

logger = logging.getLogger("asr")


class LeftOut:
    """What a corpus holds and its data directories cannot: each item by name, under the reason."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, str]] = {}  # reason -> name -> detail

    def add(self, reason: str, name: str, detail: str = "") -> None:
        """Note an item; ``reason`` reads well after a number: "transcripts without audio"."""
        self.items.setdefault(reason, {})[name] = detail

    def __len__(self) -> int:
        return sum(map(len, self.items.values()))

    def __str__(self) -> str:
        """A line for each reason: how many, and the first of them."""
        return "\n".join(f"  {len(names)} {reason}: {some(detail or name for name, detail in names.items())}"
                         for reason, names in self.items.items())

    def settle(self, corpus: str | Path, kept: int, skip_bad: bool, cure: str = "") -> None:
        """Raise DataError that names and counts everything, or with ``skip_bad`` warn and go on with the ``kept`` utterances.

        Raises DataError in any case where nothing is kept. ``cure`` says what to do beside skipping.
        """
        if not kept:
            raise DataError(f"{corpus}: no utterance that can be used" + (f"; {len(self)} left out:\n{self}" if self else "")
                            + (f"\n{cure}" if cure else ""))
        if self and not skip_bad:
            raise DataError(f"{corpus}: {len(self)} items cannot be used ({kept} utterances can):\n{self}\n"
                            + (f"{cure}, or " if cure else "mend them, or ") + "leave them out with --skip-bad")
        if self:
            logger.warning("%s: %d items are left out, %d utterances are used:\n%s", corpus, len(self), kept, self)

    def write(self, path: str | Path) -> None:
        """Write all of them as a table: reason, name, detail; no table where nothing was left out."""
        path = Path(path)
        if not self:
            path.unlink(missing_ok=True)
            return
        with atomic_open(path) as file:
            file.write("reason\tname\tdetail\n")
            file.writelines(f"{reason}\t{name}\t{' '.join(detail.split())}\n"
                            for reason, names in self.items.items() for name, detail in names.items())


def pair(audio: Mapping[str, str | Path], texts: Mapping[str, str], left_out: LeftOut) -> list[str]:
    """The ids, sorted, that have both audio and words; the others are noted."""
    for id in sorted(texts.keys() - audio.keys()):
        left_out.add("transcripts without audio", id)
    for id in sorted(audio.keys() - texts.keys()):
        left_out.add("audio files without a transcript", id, str(audio[id]))
    both = sorted(texts.keys() & audio.keys())
    for id in both:
        if not texts[id].strip():
            left_out.add("transcripts without words", id)
    return [id for id in both if texts[id].strip()]


def durations(audio: Mapping[str, str | Path], left_out: LeftOut, decode: bool = False,
              progress: Callable[[Iterable[str]], Iterable[str]] = iter) -> dict[str, float]:
    """Id -> seconds of every file that can be read; the others are noted. ``decode`` reads all of a file, not its ends alone.

    ``progress`` is passed the ids and hands them back, one by one.
    """
    seconds = {}
    for id in progress(list(audio)):
        try:
            seconds[id] = audio_files.verify(audio[id]).duration
            if decode:
                audio_files.read(audio[id])
        except AudioError as error:
            seconds.pop(id, None)
            left_out.add("audio files that cannot be read", id, str(error))
    return seconds


def write_parts(parts: Mapping[Path, Iterable[Utterance]], audio: Mapping[str, str | Path],
                tables: Mapping[str, Mapping[str, str]] | None = None) -> None:
    """Write a data directory for each part: all of them, or (disk full, killed while they are written) none.

    ``audio`` is recording -> file, ``tables`` are carried ones (`spk2gender`, ...); each part takes what is its own, and a
    carried table goes to those parts for whose every id it has a row. Raises DataError for a part without utterances, and as
    `DataDir.from_utterances` and `DataDir.save` do.
    """
    directories = {}
    for path, utterances in parts.items():
        data = DataDir.from_utterances(utterances, {id: str(file) for id, file in audio.items()})
        if not len(data):
            raise DataError(f"{path}: no utterance is left for it")
        data.tables = {name: dict(rows) for name, rows in (tables or {}).items()}
        directories[path] = data
    save_all(directories)
    for path, data in directories.items():
        known = [u.duration for u in data.utterances if u.duration is not None]
        hours = f", {sum(known) / 3600:.2f} hours" if len(known) == len(data) else ""
        logger.info("%s: %d utterances, %d speakers%s", path, len(data), len(data.speakers), hours)


def some(names: Iterable[str]) -> str:
    """The first ten of the names, and how many more."""
    names = list(names)
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
