"""``asr features``: the features of a data directory, written into Kaldi archives by several processes.

The utterances are cut, in their order, into parts; each part becomes one archive with a note of what is
in it, under a name made from the configuration and the audio files it was read from. A part that is there and whole is
not computed again, so an interrupted run goes on where it stopped, whatever the number of processes. The tables of the
data directory are written last. Archives of different directories never share a folder: what is in it and not of this
run is an earlier run's, and is removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from asr.config import FeatureConfig, dump_config
from asr.corpus import DataDir, Utterance
from asr.corpus.tables import seconds, write_table
from asr.errors import AsrError, AudioError, DataError, UsageError
from asr.features.archive import write_archive
from asr.features.cmvn import CmvnStats, total
from asr.features.extractors import build_extractor
from asr.system import exclusive, write_text

if TYPE_CHECKING:
    from concurrent.futures import Future

PARTS, SMALLEST, LARGEST = 64, 10, 500  # archives aimed at, and how few and many utterances one holds
ENOUGH = 0.95  # of the utterances must succeed, or the tables are not written (as in Kaldi's make_fbank.sh)

logger = logging.getLogger("asr")
_heard = BufferingHandler(capacity=1 << 20)  # the log of a process that computes a part


@dataclass(frozen=True)
class Part:
    """The work of one archive; what a process needs to know."""

    data: DataDir
    config: FeatureConfig
    archive: Path
    compress: bool

    @property
    def note(self) -> Path:
        return self.archive.with_suffix(".json")


@dataclass
class Extracted:
    """What came of it: archive positions, frames and seconds by utterance, statistics by speaker, and the failures."""

    positions: dict[str, str] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    durations: dict[str, float] = field(default_factory=dict)
    speakers: dict[str, CmvnStats] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)
    """What another process has logged on the way (that the audio is resampled, say)."""

    def merge(self, other: Extracted) -> None:
        self.positions |= other.positions
        self.frames |= other.frames
        self.durations |= other.durations
        self.failed |= other.failed
        for speaker, stats in other.speakers.items():
            self.speakers.setdefault(speaker, CmvnStats(stats.dim)).merge(stats)


def extract(data: DataDir, config: FeatureConfig, out: str | Path | None = None, jobs: int = 1, compress: bool = False,
            watch: Callable[[Iterable[Any], int], Iterable[Any]] | None = None) -> Extracted:
    """Write the features of a data directory, and the tables that find them.

    In `folder_of` the directory and ``out``: ``feats.*.ark``, ``cmvn.*.ark`` by speaker, ``global_cmvn.ark`` (key
    ``global``) and ``features.yaml``. In the directory: feats.scp, cmvn.scp, utt2num_frames, utt2dur. An utterance that
    cannot be read, or is shorter than one window, is in ``failed`` with the reason and in no table.
    ``watch(parts, count)`` may show progress. Raises DataError, and writes no table, when fewer than 95 % succeed;
    UsageError while another process writes features of this directory.
    """
    if data.path is None:
        raise UsageError("features are written into a data directory: save it first")
    if jobs < 1:
        raise UsageError(f"--jobs {jobs}: at least one process is needed")
    if not data.utterances:
        raise DataError(f"{data.path}: no utterances")
    build_extractor(config)  # a configuration that cannot work stops here, once, before any process is started
    with exclusive(data.path / ".features.lock", "writing its features", "wait for it, then run the same again"):
        return _extract(data, data.path, folder_of(data.path, out), config, jobs, compress, watch)


def folder_of(path: Path, out: str | Path | None = None) -> Path:
    """Where the archives of the data directory at ``path`` are: in its ``features``, or in a folder of its own in ``out``."""
    if out is None:
        return path / "features"
    place = path.resolve()
    return Path(out) / f"{place.name}.{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"


def _extract(data: DataDir, path: Path, out: Path, config: FeatureConfig, jobs: int, compress: bool,
             watch: Callable[[Iterable[Any], int], Iterable[Any]] | None) -> Extracted:
    parts = _parts(data, config, out, compress)
    found = Extracted()
    results = _run(parts, jobs)
    for result in watch(results, len(parts)) if watch else results:
        found.merge(result)
    done = len(found.positions)
    if done < ENOUGH * len(data.utterances):
        shown = "\n  ".join(f"{key}: {why}" for key, why in list(found.failed.items())[:10])
        raise DataError(f"{path}: {len(found.failed)} of {len(data.utterances)} utterances gave no features, so no "
                        f"table was written; mend or remove them (`asr data check {path}`)\n  {shown}")
    kept = {part.archive for part in parts} | {_write_tables(path, out, config, found)}
    for old in (*out.glob("feats.*.ark"), *out.glob("cmvn.*ark")):
        if old.absolute() not in kept:  # of another configuration, or of audio that has changed
            old.with_suffix(".json").unlink(missing_ok=True)
            old.unlink()
    return found


def _write_tables(path: Path, out: Path, config: FeatureConfig, found: Extracted) -> Path:
    """Returns the archive of the speakers' statistics. It is named by what is in it: the table of a subset, copied before
    these were other statistics, then finds no file, where one that is written over would give it some other speaker's."""
    write_text(out / "features.yaml", "features:\n" + "".join(f"  {line}\n" for line in dump_config(config).splitlines()))
    write_archive(out / "global_cmvn.ark", [("global", total(found.speakers.values()).to_matrix())])
    matrices = [(key, stats.to_matrix()) for key, stats in sorted(found.speakers.items())]
    content = hashlib.sha256(b"".join(key.encode() + matrix.tobytes() for key, matrix in matrices)).hexdigest()
    archive = (out / f"cmvn.{content[:12]}.ark").absolute()
    speakers = write_archive(archive, matrices)
    write_table(path / "utt2num_frames", {key: str(frames) for key, frames in found.frames.items()})
    write_table(path / "utt2dur", {key: seconds(duration) for key, duration in found.durations.items()})
    write_table(path / "cmvn.scp", speakers)
    write_table(path / "feats.scp", found.positions)
    return archive


def _parts(data: DataDir, config: FeatureConfig, out: Path, compress: bool) -> list[Part]:
    parts = []
    size = min(LARGEST, max(SMALLEST, math.ceil(len(data) / PARTS)))  # of the data alone: --jobs changes no byte
    for start in range(0, len(data), size):
        utterances = data.utterances[start:start + size]
        used = {utterance.recording for utterance in utterances}
        piece = DataDir(utterances, {key: data.wav[key] for key in used}, path=data.path, allow_pipes=data.allow_pipes)
        name = f"feats.{start // size:04d}.{_fingerprint(piece, config, compress)}.ark"
        parts.append(Part(piece, config, (out / name).absolute(), compress))
    return parts


def _fingerprint(data: DataDir, config: FeatureConfig, compress: bool) -> str:
    """Twelve hex digits of what decides the content of an archive: configuration, spans, and the audio files' state."""
    states: dict[str, list[int]] = {}
    for recording, source in sorted(data.wav.items()):
        # What a command reads is not known here (the page says so), and a missing file is found when it is read.
        with contextlib.suppress(OSError):
            state = os.stat(source)
            states[recording] = [state.st_size, state.st_mtime_ns]
    spans = [[u.id, u.speaker, u.recording, data.wav[u.recording], u.start, u.end, u.channel] for u in data.utterances]
    # How features are normalised changes nothing that is stored.
    content = [config.model_dump(exclude={"cmvn", "cmvn_variance"}), compress, spans, states]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


# -------------------------------------------------------------------------------------------------- processes


def _run(parts: list[Part], jobs: int) -> Iterator[Extracted]:
    if min(jobs, len(parts)) == 1:
        yield from map(_extract_part, parts)
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    # Spawned, not forked: a fork of a process that has used torch's threads can hang.
    with _environment(OMP_NUM_THREADS="1"), \
            ProcessPoolExecutor(min(jobs, len(parts)), multiprocessing.get_context("spawn"), _begin_process) as pool:
        waiting: list[Future[Extracted]] = [pool.submit(_extract_and_tell, part) for part in parts]
        said: set[str] = set()
        try:
            for future in waiting:  # in their order, so that sums of statistics are rounded alike every time
                found = future.result()
                for message in found.said:
                    if message not in said:  # each process says it once, the user hears it once
                        said.add(message)
                        logger.warning("%s", message)
                yield found
        except BrokenProcessPool:
            raise AsrError("a process was killed, perhaps for want of memory; what is finished is kept: "
                           "run the same again with fewer --jobs") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _begin_process() -> None:
    torch.set_num_threads(1)
    logger.addHandler(_heard)
    logger.propagate = False


def _extract_and_tell(part: Part) -> Extracted:
    found = _extract_part(part)
    found.said = [record.getMessage() for record in _heard.buffer]
    _heard.buffer.clear()
    return found


def _extract_part(part: Part) -> Extracted:
    """Compute and write one archive, or read the note of the one that is there."""
    known = _finished(part)
    if known is not None:
        return known
    found = Extracted()
    found.positions = write_archive(part.archive, _features(part, found), part.compress)
    if not found.failed:  # a part with failures is tried again next time
        note = {"size": part.archive.stat().st_size, "positions": found.positions, "frames": found.frames,
                "durations": found.durations,
                "speakers": {key: stats.to_matrix().tolist() for key, stats in found.speakers.items()}}
        write_text(part.note, json.dumps(note))
    return found


def _finished(part: Part) -> Extracted | None:
    try:
        note = json.loads(part.note.read_text(encoding="utf-8"))
        if part.archive.stat().st_size != note["size"]:
            return None
    except (OSError, ValueError):
        return None
    speakers = {key: CmvnStats.from_matrix(np.array(matrix)) for key, matrix in note["speakers"].items()}
    # The folder may be a copy, or have been moved: only the offsets are as they were.
    positions = {key: f"{part.archive}:{place.rpartition(':')[2]}" for key, place in note["positions"].items()}
    return Extracted(positions, note["frames"], note["durations"], speakers)


def _features(part: Part, found: Extracted) -> Iterator[tuple[str, np.ndarray]]:
    """(id, features (T, F)) of the part's utterances; notes frames, durations, statistics and failures on the way."""
    extractor = build_extractor(part.config).eval()
    for utterance in part.data.utterances:
        try:
            samples = part.data.audio(utterance, part.config.sample_rate)
        except (AudioError, DataError) as error:
            found.failed[utterance.id] = str(error)
            continue
        features, _ = extractor(torch.from_numpy(samples).unsqueeze(0), torch.tensor([len(samples)]))
        if not features.shape[1]:
            found.failed[utterance.id] = _too_short(utterance, len(samples), part)
            continue
        matrix = features[0].numpy()
        found.frames[utterance.id] = len(matrix)
        found.durations[utterance.id] = len(samples) / part.config.sample_rate
        found.speakers.setdefault(utterance.speaker, CmvnStats(extractor.dim)).add(matrix)
        yield utterance.id, matrix


def _too_short(utterance: Utterance, count: int, part: Part) -> str:
    milliseconds = 1000 * count / part.config.sample_rate
    return (f"{part.data.wav[utterance.recording]}: {milliseconds:.1f} ms of audio are less than one window of "
            f"{part.config.frame_length_ms:g} ms, so there are no frames; remove the utterance")
