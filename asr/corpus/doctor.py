"""What in a corpus is suspicious: ranked findings, by rules whose formulas and thresholds are in docs/data.md.

Every rule gives a score: 1 at its threshold, one more for each doubling of what it measures, 10 at most; findings that are
certain have fixed scores. What is usual is taken from all the directories together: they are the parts of one corpus.
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from pathlib import Path

import numpy as np

from asr.corpus.datadir import DataDir, Utterance
from asr.corpus.meter import QUIET_DB, Measured, measure_all
from asr.system import atomic_open

SILENT_DB = -55.0  # the loud frames of speech are above it
FLAT_DB = 3.0  # between loud and soft frames: speech has more, hum and noise have less
FAR_BELOW_DB = 30.0  # below the corpus's median
CLIPPED = 0.001  # share of samples
CLIPPED_FEWEST, CLIPPED_PEAK = 20, 0.05  # samples, and magnitude: few, or quiet ones, are flat for want of bits
DEVIATION, FACTOR = 4.5, 1.5  # of a duration from what the text leads to expect: robust deviations, and at least this factor
SPREAD_FLOOR = 0.05  # of log durations, where they hardly vary
FEWEST = 20  # utterances from which on there is a distribution
RARE_SCRIPT = 0.1  # share of the utterances that hold a letter of it
REPEATED_WORDS = 6  # a transcript of so many words comes twice by chance only ...
REPEATED_SHARE = 0.15  # ... in a corpus where no more than this share of such transcripts are repeated
SAMPLE = 50_000  # pairs of utterances for the rate of speech
CERTAIN = {"unreadable": 10.0, "audio in two parts": 9.0, "utterance in two parts": 9.0, "duplicate audio, other text": 8.0,
           "duplicate audio": 6.0, "recording in two parts": 5.0, "speaker in two parts": 4.0}
MOST = 10.0


@dataclass(frozen=True)
class Finding:
    """``item`` is an utterance of ``directory`` (or a speaker, or a recording: ``kind`` says so); ``score`` is from 1 to 10."""

    directory: str
    item: str
    kind: str
    score: float
    why: str


@dataclass
class _Item:
    """An utterance and what is known of it; ``measured`` None where it cannot be read."""

    directory: str
    utterance: Utterance
    measured: Measured
    residual: float | None = None  # log of its duration over the expected one, in robust deviations

    @property
    def text(self) -> str:
        return " ".join((self.utterance.text or "").split())

    def finding(self, kind: str, score: float, why: str) -> Finding:
        return Finding(self.directory, self.utterance.id, kind, min(MOST, score), why)


def examine(directories: dict[str, DataDir], jobs: int = 1,
            progress: Callable[[Iterable[Utterance]], Iterable[Utterance]] = iter) -> list[Finding]:
    """Read all audio once and apply every rule; the worst first. An utterance that cannot be read is a finding itself.

    ``directories`` is name -> data; ``jobs`` threads read; ``progress`` is passed the utterances and hands them back.
    """
    found: list[Finding] = []
    items: list[_Item] = []
    for name, data in directories.items():
        for utterance, measured in zip(data.utterances, measure_all(data, jobs, progress(data.utterances))):
            if isinstance(measured, str):
                found.append(Finding(name, utterance.id, "unreadable", CERTAIN["unreadable"], measured))
            else:
                items.append(_Item(name, utterance, measured))
    silent = list(_silence(items))
    found += silent
    found += _clipping(items)
    found += _rate(items)
    found += _scripts(items)
    unheard = {(finding.directory, finding.item) for finding in silent}
    found += _audio([item for item in items if (item.directory, item.utterance.id) not in unheard])
    found += _repeated(items)
    found += _leaks(directories)
    return sorted(found, key=lambda finding: (-finding.score, finding.kind, finding.directory, finding.item))


def write_findings(path: str | Path, findings: Iterable[Finding]) -> None:
    """A table: directory, item, kind, score, why."""
    with atomic_open(path) as file:
        file.write("directory\tutterance\tkind\tscore\twhy\n")
        file.writelines(f"{f.directory}\t{f.item}\t{f.kind}\t{f.score:.2f}\t{' '.join(f.why.split())}\n" for f in findings)


# ------------------------------------------------------------------------------------------------------ audio


def _silence(items: list[_Item]) -> Iterator[Finding]:
    if not items:
        return
    median = float(np.median([item.measured.loud for item in items])) if len(items) >= FEWEST else QUIET_DB
    threshold = max(SILENT_DB, median - FAR_BELOW_DB)
    for item in items:
        loud, contrast = item.measured.loud, item.measured.loud - item.measured.soft
        if loud < threshold:
            yield item.finding("silence", 1 + (threshold - loud) / 6.02,
                               f"its loud frames are at {loud:.1f} dB, speech is above {threshold:.1f} dB here")
        elif contrast < FLAT_DB:
            yield item.finding("silence", 1 + math.log2(FLAT_DB / max(contrast, 1e-9)),
                               f"its level hardly changes ({contrast:.1f} dB between loud and soft frames): noise or hum")


def _clipping(items: list[_Item]) -> Iterator[Finding]:
    for item in items:
        share = item.measured.clipped
        samples = share * item.measured.samples
        if share > CLIPPED and samples >= CLIPPED_FEWEST and item.measured.peak > CLIPPED_PEAK:
            yield item.finding("clipping", 1 + math.log2(share / CLIPPED),
                               f"{100 * share:.2f} % of its samples are flat at a peak of {item.measured.peak:.2f}")


def _audio(items: list[_Item]) -> Iterator[Finding]:
    """The same samples under several names: each but the first is a finding, within a directory or across."""
    same: dict[bytes, list[_Item]] = defaultdict(list)
    for item in items:
        same[item.measured.digest].append(item)
    for first, *others in same.values():
        for item in others:
            other = f"{first.utterance.id} of {first.directory}" if first.directory != item.directory else first.utterance.id
            kind = ("audio in two parts" if first.directory != item.directory
                    else "duplicate audio" if first.text == item.text else "duplicate audio, other text")
            words = "" if first.text == item.text else f", whose transcript is {_short(first.text)}, not {_short(item.text)}"
            yield item.finding(kind, CERTAIN[kind], f"the same samples as {other}{words}")


# ------------------------------------------------------------------------------------------------------- text


def _rate(items: list[_Item]) -> Iterator[Finding]:
    """Durations that do not go with the number of characters, by a line through the corpus."""
    items = [item for item in items if item.text]
    if len(items) < FEWEST:
        return
    characters = np.array([len(item.text) for item in items], float)
    seconds = np.array([item.measured.duration for item in items])
    base, slope = fit_line(characters, seconds)
    expected = base + slope * characters
    logs = np.log(seconds / expected)
    logs -= np.median(logs)
    deviations = logs / max(SPREAD_FLOOR, 1.4826 * float(np.median(np.abs(logs))))
    for item, deviation, log, predicted, count in zip(items, deviations, logs, expected, characters):
        item.residual = float(deviation)
        if abs(deviation) < DEVIATION or abs(log) < math.log(FACTOR):
            continue
        kind = "text too long" if deviation < 0 else "text too short"
        yield item.finding(kind, 1 + math.log2(abs(deviation) / DEVIATION),
                           f"{count:.0f} characters in {item.measured.duration:.2f} s, where {predicted:.2f} s are usual "
                           f"({abs(deviation):.1f} deviations)")


def fit_line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """(base, slope) of y over x, neither below 0: the median slope of pairs (Theil and Sen), which faults hardly move.

    A pair weighs what its two x are apart: short and long texts together say how fast people speak.
    """
    rng = np.random.default_rng(0)
    left, right = rng.integers(len(x), size=(2, SAMPLE))
    left, right = left[x[left] != x[right]], right[x[left] != x[right]]
    slope = 0.0
    if len(left):
        slopes = (y[left] - y[right]) / (x[left] - x[right])
        order = np.argsort(slopes)
        weight = np.cumsum(np.abs(x[left] - x[right])[order])
        slope = max(0.0, float(slopes[order][np.searchsorted(weight, weight[-1] / 2)]))
    base = float(np.median(y - slope * x))
    return (base, slope) if base > 0 else (0.0, float(np.median(y / x)))


def _scripts(items: list[_Item]) -> Iterator[Finding]:
    counts = [Counter(script for letter in item.text if (script := script_of(letter))) for item in items]
    holding = Counter(script for own in counts for script in own)
    rare = {script for script, count in holding.items() if count < RARE_SCRIPT * sum(map(bool, counts))}
    for item, own in zip(items, counts):
        foreign = sum(own[script] for script in rare)
        if foreign:
            names = ", ".join(sorted(script.capitalize() for script in rare & own.keys()))
            shown = "".join(dict.fromkeys(letter for letter in item.text if script_of(letter) in rare))
            yield item.finding("script", 1 + 9 * foreign / sum(own.values()),
                               f"{foreign} of its {sum(own.values())} letters are {names}: {_short(shown)}")


@lru_cache(maxsize=65536)
def script_of(character: str) -> str | None:
    """LATIN, CYRILLIC, CJK, ...: the first word of a letter's Unicode name; None of what is no letter."""
    if unicodedata.category(character) not in ("Lu", "Ll", "Lt", "Lo"):
        return None
    return unicodedata.name(character, "UNKNOWN").split()[0]


def _repeated(items: list[_Item]) -> Iterator[Finding]:
    """Long transcripts that come again, where that is rare: of each group all but the one whose duration fits it best."""
    groups: dict[str, list[_Item]] = defaultdict(list)
    for item in items:
        if len(item.text.split()) >= REPEATED_WORDS:
            groups[item.text].append(item)
    repeated = [group for group in groups.values() if len(group) > 1]
    if sum(map(len, repeated)) > REPEATED_SHARE * sum(map(len, groups.values())):
        return
    for group in repeated:
        if len({item.measured.digest for item in group}) == 1:
            continue  # found as audio already
        best, *others = sorted(group, key=lambda item: abs(item.residual or 0.0))
        for item in others:
            apart = abs(abs(item.residual or 0.0) - abs(best.residual or 0.0))
            yield item.finding("duplicate text", 1 + min(4.0, apart),
                               f"the transcript of {best.utterance.id}"
                               + (f" of {best.directory}" if best.directory != item.directory else "")
                               + f", with other audio: {_short(item.text)}")


# ------------------------------------------------------------------------------------------------------ parts


def _leaks(directories: dict[str, DataDir]) -> Iterator[Finding]:
    """Speakers, recordings and utterances that are in two directories or more."""
    spoken: dict[str, dict[str, int]] = defaultdict(dict)
    for name, data in directories.items():
        for speaker, ids in data.speakers.items():
            spoken[speaker][name] = len(ids)
    for speaker, parts in spoken.items():
        if len(parts) > 1:
            kind = "speaker in two parts"
            yield Finding(list(parts)[-1], speaker, kind, CERTAIN[kind],
                          "utterances of this speaker: " + ", ".join(f"{count} in {name}" for name, count in parts.items()))
    for (first, a), (second, b) in combinations(directories.items(), 2):
        shared = {u.id for u in a.utterances} & {u.id for u in b.utterances}
        for id in sorted(shared):
            yield Finding(second, id, "utterance in two parts", CERTAIN["utterance in two parts"], f"it is in {first} too")
        files = {_place(source): recording for recording, source in a.wav.items()}
        for recording, source in sorted(b.wav.items()):
            if _place(source) in files and recording not in shared:
                yield Finding(second, recording, "recording in two parts", CERTAIN["recording in two parts"],
                              f"its file is that of {files[_place(source)]} of {first}: {source}")


def _place(source: str) -> str:
    return source if source.endswith("|") else str(Path(source).resolve())


def _short(text: str, most: int = 60) -> str:
    return f'"{text}"' if len(text) <= most else f'"{text[:most - 3]}..."'
