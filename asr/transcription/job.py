"""`asr transcribe`: a whole job, from a list of items to a folder of transcripts that can be continued, shared and trusted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from asr import __version__
from asr.errors import AsrError, UsageError
from asr.system import environment, sha256_of, write_text
from asr.transcription.directory import make_folder
from asr.transcription.disk import Disk
from asr.transcription.ledger import Ledger
from asr.transcription.outputs import FAILURES, check_names, output_path, remove_outputs, sweep, write_failures, write_outputs
from asr.transcription.pipeline import Batch, Executor, plan_batches
from asr.transcription.recognizer import Recognizer
from asr.transcription.result import Result
from asr.transcription.sources import Item, printable
from asr.transcription.survey import Fault, survey

WAIT_S = 0.5  # between looks at whether another run has ended a batch
NOTED = 1000  # files whose hashes are written to the ledger together


class Watch(Protocol):
    """Who is told how a job goes."""

    def looked(self, files: int, of: int) -> None:
        """So many of the sources have been looked at."""

    def begins(self, files: int, seconds: float) -> None:
        """So much is to be done."""

    def advanced(self, files: int, seconds: float) -> None:
        """So much more is done."""

    def failed(self, error: str) -> None:
        """A file cannot be transcribed."""


class Quiet:
    """Nobody."""

    def looked(self, files: int, of: int) -> None:
        pass

    def begins(self, files: int, seconds: float) -> None:
        pass

    def advanced(self, files: int, seconds: float) -> None:
        pass

    def failed(self, error: str) -> None:
        pass


@dataclass(frozen=True)
class Shard:
    """Part ``number`` of ``count``, from 1: the files whose content falls to it, whatever they are called."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``2/8``; raises UsageError."""
        number, slash, count = text.partition("/")
        if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
            raise UsageError(f"--shard {text}: expected I/N with I from 1 to N, such as 2/8")
        return cls(int(number), int(count))

    def has(self, item: Item) -> bool:
        """By the SHA-256 of the file; by that of its path where it cannot be read, so that one shard names it."""
        key = item.content or hashlib.sha256(os.fsencode(str(item.source))).hexdigest()
        return int(key[:16], 16) % self.count == self.number - 1


@dataclass
class JobReport:
    """What a job did."""

    files: int
    """What was asked for, this shard's where there are shards; channels apart count each."""
    transcribed: int = 0
    """By this run."""
    kept: int = 0
    """Done before, or by another run at the same time."""
    failed: dict[str, str] = field(default_factory=dict)
    """What could not be transcribed, and why."""
    audio_seconds: float = 0.0
    """Of what this run transcribed."""
    wall_seconds: float = 0.0


def survey_all(items: Sequence[Item], apart: bool, watch: Watch, ledger: Ledger | None = None) -> tuple[list[Item], list[Fault]]:
    """All items looked at, in the order of the list, and those that cannot be transcribed; hashed where there is a ledger."""
    found: list[Item] = []
    faults: list[Fault] = []
    noted: list[dict[str, Any]] = []

    def note(path: str, seen: Any) -> None:
        if ledger is not None and ledger.seen.get(path) != seen:
            noted.append({"seen": path, "is": list(seen)})
        if ledger is not None and len(noted) >= NOTED:
            ledger.append(noted)
            noted.clear()

    for group in survey(items, apart, ledger is not None, None if ledger is None else ledger.seen, note):
        found += [each for each in group if isinstance(each, Item)]
        faults += [each for each in group if isinstance(each, Fault)]
        watch.looked(len(found) + len(faults), len(items))
    if ledger is not None:
        ledger.append(noted)
    return (sorted(found, key=lambda item: (item.index, item.channel or 0)), sorted(faults, key=lambda fault: fault.item.index))


def transcribe_in_order(executor: Executor, items: Sequence[Item], faults: Sequence[Fault],
                        batch_seconds: float, watch: Watch) -> Iterator[tuple[Item, Result | str]]:
    """Items that have been looked at, transcribed by length and yielded in their order."""
    waiting: dict[Item, Result | str] = dict(faults)
    order = iter(sorted([*items, *waiting], key=lambda item: (item.index, item.channel or 0)))
    upcoming = next(order, None)
    batches = (Batch(number, batch) for number, batch in enumerate(plan_batches(items, batch_seconds)))
    with contextlib.closing(executor.run(batches)) as done:
        for batch, outcomes in done:
            waiting.update(zip(batch.items, outcomes))
            watch.advanced(len(batch.items), sum(item.duration for item in batch.items))
            while upcoming in waiting:
                yield upcoming, waiting.pop(upcoming)
                upcoming = next(order, None)
    while upcoming in waiting:
        yield upcoming, waiting.pop(upcoming)
        upcoming = next(order, None)


def settings_of(recognizer: Recognizer, bf16: bool = False) -> dict[str, object]:
    """What decides what a result is: the model, its precision, the decoder with its files, the toolkit's version.

    Of what is many numbers or a file there is the SHA-256: of the prior, and in ``files``.
    """
    options = recognizer.decoder.options
    files = {name: sha256_of(value) for name in ("lm", "lexicon", "hotwords")
             if isinstance(value := getattr(options, name), (str, Path))}
    calibration = None if options.calibration is None else options.calibration.state()
    precision = "int8" if recognizer.model.int8 else "bfloat16" if bf16 else "float32"
    settings = {"asr": __version__, "model": recognizer.model.fingerprint, "precision": precision, **options.settings(),
                "nbest": options.nbest, "files": files, "calibration": calibration}
    if options.weights.prior_weight:
        settings["prior"] = hashlib.sha256(json.dumps(options.prior).encode()).hexdigest()
    return settings


def fingerprint_of(settings: Mapping[str, object]) -> str:
    """SHA-256 of settings; of a file whose hash is in ``files`` the path, which may be spelled in many ways, does not count."""
    files = settings.get("files")
    told = {name: value for name, value in settings.items() if not isinstance(files, dict) or name not in files}
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


class Job:
    """A job that writes into a folder: see `run`."""

    def __init__(self, out: str | Path, formats: Sequence[str], settings: dict[str, object], batch_seconds: float = 120.0,
                 shard: Shard | None = None, fail_fast: bool = False, watch: Watch | None = None) -> None:
        if not batch_seconds > 0:
            raise UsageError(f"batch_seconds must be above zero, not {batch_seconds:g}")
        self.out, self.formats, self.settings = Path(out), list(formats), settings
        self.batch_seconds, self.shard, self.fail_fast = batch_seconds, shard, fail_fast
        self.watch = watch or Quiet()
        self.fingerprint = fingerprint_of(settings)
        self.summary = "transcribe.json" if shard is None else f"transcribe.{shard.number}-of-{shard.count}.json"

    def run(self, executor: Executor, listed: Sequence[Item], apart: bool = False) -> JobReport:
        """Transcribe what is not done yet, and write its outputs.

        Any number of runs may work in one folder at the same time, on the same items or on others: each batch is done by
        one of them. A run returns when all of its own items are done or have failed, whoever did them. Killed at any
        moment, it leaves whole outputs, and a ledger by which the next run goes on.

        Written: ``NAME.FORMAT`` of each item, ``ledger.jsonl``, ``failures.tsv`` where something failed, and
        ``transcribe.json`` (``transcribe.I-of-N.json`` of a shard), which alone differs from run to run.

        Raises UsageError where two items would share an output, or an item that of another recording which an earlier run, or
        one beside this, has taken up; AsrError where the folder cannot be written to and, with ``fail_fast``, at the first item
        that fails.
        """
        started = time.perf_counter()
        check_names(listed, self.formats, (FAILURES, self.summary))
        make_folder(self.out, "transcription")
        with Ledger(self.out) as self.ledger, Disk() as self.disk:
            self._sweep()
            self.begun = self.ledger.end
            items, faults = self._survey(listed, apart)
            report = JobReport(len(items) + len(faults))
            pending = {batch.number: batch for batch in self._plan(items)}
            try:
                self.ledger.append(_failure(item, error) for item, error in faults)
                self._tell([error for _, error in faults])
                self._work(executor, pending, report)
            except AsrError:
                with contextlib.suppress(AsrError, OSError):  # where the disk is full, it is for these as well
                    self._conclude(items, faults, report, time.perf_counter() - started)
                raise
            self._conclude(items, faults, report, time.perf_counter() - started)
            self._sweep()  # again: of a run that was killed beside this one
        return report

    def _work(self, executor: Executor, pending: dict[int, Batch], report: JobReport) -> None:
        todo = [item for batch in pending.values() for item in batch.items if not self._settled(item)]
        self.watch.begins(len(todo), sum(item.duration for item in todo))
        while pending:
            with contextlib.closing(executor.run(self._claimed(pending))) as done:
                for batch, outcomes in done:
                    self._commit(batch, outcomes, report)
            if pending:
                time.sleep(WAIT_S)  # all that is left is in the hands of other runs

    # --------------------------------------------------------------------------------------------- what is to be done

    def _survey(self, listed: Sequence[Item], apart: bool) -> tuple[list[Item], list[Fault]]:
        items, faults = survey_all(listed, apart, self.watch, self.ledger)
        check_names(items, self.formats, (FAILURES, self.summary))
        whole = {item.name for item in items} | {fault.item.name for fault in faults}
        self.ledger.append({"mended": item.name} for item in listed  # files whose channels have names of their own
                           if item.name not in whole and item.name in self.ledger.failed)
        if self.shard is None:
            return items, faults
        return [item for item in items if self.shard.has(item)], [fault for fault in faults if self.shard.has(fault.item)]

    def _plan(self, items: Sequence[Item]) -> list[Batch]:
        """The batches with something to do, the longest first. One begun before is taken up as it was, with those of its
        files that are done already: alone, the others might differ in their last bits."""
        ledger = self.ledger
        with ledger.writing():
            self._check_origins(items)
            needed = [item for item in items if not self._done(item)]
            planned = {key: number for key, number in ledger.planned.items() if key[2] == self.fingerprint}
            new = [item for item in needed if (item.name, item.digest, self.fingerprint) not in planned]
            ledger.plan([[(item.name, item.digest, item.origin) for item in batch]
                         for batch in plan_batches(new, self.batch_seconds)], self.fingerprint)
            missing = {item.name for item in needed}
            ledger.write({"mended": item.name} for item in items if item.name in ledger.failed and item.name not in missing)
        here = {(item.name, item.digest): item for item in items}
        numbers = {ledger.planned[item.name, item.digest, self.fingerprint] for item in needed}
        batches = [Batch(number, [here[file] for file in ledger.batches[number].files if file in here]) for number in numbers]
        return sorted(batches, key=lambda batch: (-max(item.duration for item in batch.items), batch.number))

    def _check_origins(self, items: Iterable[Item]) -> None:
        """Raise UsageError where a name stands for another recording already, one that is still where it was.

        What has changed, has moved or lies elsewhere on this machine is no other recording.
        """
        for item in items:
            digest, origin = self.ledger.origins.get(item.name, (item.digest, ""))
            if (digest != item.digest and origin and item.origin and os.path.exists(origin)
                    and os.path.realpath(origin) != os.path.realpath(item.origin)):
                raise UsageError(f"{item.shown} and another recording, transcribed from {printable(origin)}, would share the "
                                 f"outputs {printable(self.out / item.name)}; give --base, a folder that holds both, or "
                                 "another --out")

    def _sweep(self) -> None:
        """Remove what killed runs left half-written, where no other run is at work whose files these might be."""
        with self.ledger.alone() as alone:
            if alone:
                names = {name for batch in self.ledger.batches.values() for name, _ in batch.files}
                sweep(self.out, names, (FAILURES, self.summary))

    def _recorded(self, item: Item) -> bool:
        done = self.ledger.done.get(item.name)
        return (done is not None and (done.digest, done.settings) == (item.digest, self.fingerprint)
                and set(self.formats) <= set(done.formats))

    def _done(self, item: Item) -> bool:
        return self._recorded(item) and all(output_path(self.out, item.name, format).is_file() for format in self.formats)

    def _settled(self, item: Item) -> bool:
        """Done, or found wanting since this run began (by whichever run)."""
        failed = self.ledger.failed.get(item.name)
        return failed.at >= self.begun if failed is not None else self._done(item)

    # ---------------------------------------------------------------------------------------------------- doing it

    def _claimed(self, pending: dict[int, Batch]) -> Iterator[Batch]:
        """Those batches that no other run holds, claimed; what another has ended meanwhile leaves ``pending``."""
        for number, batch in list(pending.items()):
            if not self.ledger.claim(number):
                continue
            del pending[number]
            if all(self._settled(item) for item in batch.items):
                self.ledger.release(number)
                self.watch.advanced(len(batch.items), sum(item.duration for item in batch.items))
            else:
                yield batch

    def _commit(self, batch: Batch, outcomes: Sequence[Result | str], report: JobReport) -> None:
        """Write the outputs of a batch, then its rows of the ledger, then let go of it."""
        left = [(item, outcome) for item, outcome in zip(batch.items, outcomes) if not self._settled(item)]
        errors = {item.name: outcome for item, outcome in left if isinstance(outcome, str)}
        made = [(item, outcome) for item, outcome in left if not isinstance(outcome, str)]
        errors |= {item.name: error for (item, _), error in zip(made, self._write(made)) if error is not None}
        rows = [_failure(item, errors[item.name]) for item, _ in left if item.name in errors]
        for item, result in made:
            if item.name not in errors:
                rows.append({"file": item.name, "digest": item.digest, "settings": self.fingerprint,
                             "formats": sorted({*self.formats, *self._formats_before(item)}), "batch": batch.number,
                             "seconds": round(result.duration, 6)})
                report.transcribed += 1
                report.audio_seconds += result.duration
        self.ledger.append(rows)
        self.ledger.release(batch.number)
        self.watch.advanced(len(left), sum(item.duration for item, _ in left))
        self._tell(errors.values())

    def _formats_before(self, item: Item) -> tuple[str, ...]:
        """Those in which the same audio was written already, with the same settings."""
        before = self.ledger.done.get(item.name)
        same = before is not None and (before.digest, before.settings) == (item.digest, self.fingerprint)
        return before.formats if before is not None and same else ()

    def _write(self, made: Sequence[tuple[Item, Result]]) -> list[str | None]:
        """Write the outputs of items; of each, why not. What older audio or settings left in other formats goes."""
        for item, _ in made:
            before = self.ledger.done.get(item.name)
            if before is not None and not self._formats_before(item):
                remove_outputs(self.out, item.name, set(before.formats) - set(self.formats))
        return write_outputs(self.disk, self.out, made, self.formats, self.settings)

    def _tell(self, errors: Iterable[str]) -> None:
        for error in errors:
            if self.fail_fast:
                raise AsrError(f"{error} (--fail-fast: the rest is left undone; run the same again to go on)")
            self.watch.failed(error)

    # ---------------------------------------------------------------------------------------------------- the end

    def _conclude(self, items: Sequence[Item], faults: Sequence[Fault], report: JobReport, wall_seconds: float) -> None:
        ledger = self.ledger
        with ledger.writing():
            # What has left the disk since it failed is nobody's failure any more.
            gone = [name for name, failed in ledger.failed.items() if failed.at < self.begun and failed.path
                    and not os.path.lexists(failed.path)]
            ledger.write({"mended": name} for name in gone)
            write_failures(self.out, [(failed.shown, failed.error) for failed in ledger.failed.values()])
        names = [item.name for item in items] + [fault.item.name for fault in faults]
        report.failed = {ledger.failed[name].shown: ledger.failed[name].error for name in names if name in ledger.failed}
        report.kept = sum(item.name not in ledger.failed and self._recorded(item) for item in items) - report.transcribed
        report.wall_seconds = wall_seconds
        content = {"settings": self.settings, "formats": self.formats, "batch_seconds": self.batch_seconds,
                   "shard": None if self.shard is None else f"{self.shard.number}/{self.shard.count}",
                   "files": report.files, "transcribed": report.transcribed, "kept": report.kept, "failed": report.failed,
                   "audio_seconds": round(report.audio_seconds, 3), "wall_seconds": round(wall_seconds, 3),
                   "real_time_factor": round(wall_seconds / report.audio_seconds, 5) if report.audio_seconds else None,
                   "environment": environment()}
        write_text(self.out / self.summary, json.dumps(content, ensure_ascii=False, indent=1) + "\n")


def _failure(item: Item, error: str) -> dict[str, Any]:
    path = item.source if isinstance(item.source, str) and not item.command else ""
    return {"failed": item.name, "path": os.path.abspath(path) if path else "", "shown": item.shown, "error": error}
