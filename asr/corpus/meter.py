"""One pass over the audio of a data directory: what each utterance is like, in numbers, whatever its length.

Nothing is kept of the samples but these numbers, so memory does not grow with the audio.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from asr import audio
from asr.corpus.datadir import DataDir, Utterance
from asr.errors import AudioError, DataError

FRAME_S = 0.025
RUN = 3  # so many samples that stay within one 16-bit step of their neighbours are flat
BINS = 1000  # of magnitude, for flat samples; the last holds full scale and beyond
FULL_SCALE = 1 - 2.0 ** -14
QUIET_DB = -120.0  # digital silence
_AHEAD = 256  # utterances handed to the threads at a time


@dataclass(frozen=True)
class Measured:
    """An utterance's audio: ``samples`` of them, ``duration`` in seconds, levels in dB below full scale.

    ``loud`` and ``soft`` are the 95th and the 10th percentile of the root mean square of frames of 25 ms, ``peak`` is the largest
    magnitude. ``clipped`` is the share of samples that are flat (three or more in a row within a 16-bit step of each other) within
    1 % of the peak, or at full scale. ``digest`` is of the samples as 16-bit steps, so it is the same in wav and flac.
    """

    samples: int
    duration: float
    loud: float
    soft: float
    peak: float
    clipped: float
    digest: bytes


def measure(data: DataDir, utterance: Utterance) -> Measured:
    """Read an utterance and measure it. Raises AudioError, or DataError for a command that may not run."""
    rate, blocks = _blocks(data, utterance)
    digest, peak, count, full = hashlib.blake2b(digest_size=16), 0.0, 0, 0
    flat = np.zeros(BINS + 1, np.int64)
    size = max(1, round(FRAME_S * rate))
    levels, rest = [], np.zeros(0, np.float32)
    for samples in blocks:
        digest.update(np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes())
        magnitude = np.abs(samples)
        peak = max(peak, float(magnitude.max()))
        count += len(samples)
        full += int((magnitude >= FULL_SCALE).sum())
        inside = magnitude[_flat(samples) & (magnitude < FULL_SCALE)]
        flat += np.bincount(np.minimum((inside * BINS).astype(np.int64), BINS), minlength=BINS + 1)
        joined = np.concatenate([rest, samples])
        whole = len(joined) // size * size
        levels.append(np.square(joined[:whole].reshape(-1, size)).mean(axis=1))
        rest = joined[whole:]
    if not sum(map(len, levels)):
        levels = [np.square(rest).mean(keepdims=True)]
    soft, loud = np.percentile(np.concatenate(levels), [10, 95])
    clipped = full + int(flat[int(0.99 * min(peak, 1.0) * BINS):].sum())
    return Measured(count, count / rate, _decibels(loud), _decibels(soft), peak, clipped / count, digest.digest())


def measure_all(data: DataDir, jobs: int = 1, utterances: Iterable[Utterance] | None = None) -> Iterator[Measured | str]:
    """`measure` of each utterance, in order, in ``jobs`` threads; the error's message where one cannot be read."""

    def safe(utterance: Utterance) -> Measured | str:
        try:
            return measure(data, utterance)
        except (AudioError, DataError) as error:
            return str(error)

    waiting = iter(data.utterances if utterances is None else utterances)
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        while batch := list(islice(waiting, _AHEAD)):
            yield from pool.map(safe, batch)


def _blocks(data: DataDir, utterance: Utterance) -> tuple[int, Iterable[np.ndarray]]:
    """The sample rate and the samples, (N,) float32 at a time: a segment whole, a recording in pieces of 30 s."""
    source = data.wav[utterance.recording]
    if source.endswith("|") or utterance.start or utterance.end is not None:
        samples, rate = data.read(utterance)
        return rate, [samples]
    rate = audio.probe(source).sample_rate
    return rate, audio.blocks(source, rate, utterance.channel)


def _flat(samples: np.ndarray) -> np.ndarray:
    """(N,) bool: the samples in runs of at least `RUN` that stay within a 16-bit step of their neighbours."""
    if len(samples) < RUN:
        return np.zeros(len(samples), bool)
    still = np.abs(np.diff(samples)) <= audio.STEP * 1.01
    inside = still[:-1] & still[1:]  # the middle of three
    marks = np.zeros(len(samples), bool)
    marks[1:-1] = inside
    marks[:-2] |= inside
    marks[2:] |= inside
    return marks


def _decibels(power: float) -> float:
    return max(QUIET_DB, 10 * float(np.log10(max(power, 1e-12))))
