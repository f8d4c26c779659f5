"""Where a long recording is cut: at its silences; where there is none, into windows that overlap.

What is silent is judged by the surroundings: frames less than `ABOVE_FLOOR_DB` above the tenth percentile of the levels from
half a minute before to half a minute after. Audio is thrown away only where half a second or more is as quiet as that, and
never within `MARGIN_S` of what is not; so of a recording whose noise hides its pauses nothing is thrown away, and it is cut
into windows.

The levels are those that `librosa.effects.split` goes by (RMS of short frames), less each frame's mean, so that an offset is
not taken for sound. That function wants the whole recording, one level for all of it, and two seconds to be loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from asr.errors import UsageError

LEVEL_S = 0.02  # a level is that of so much audio
FLOOR_DB = -120.0  # digital silence: a single step of 16 bits in a frame is 6 dB louder, so where there is such, all else is sound
FLOOR_PERCENTILE = 10
ABOVE_FLOOR_DB = 6.0  # the levels of a steady noise spread less than this
MARGIN_S = 0.1  # kept before and after what is not silent: an f or a p begins in the noise. Chosen on the dev set of `commands`
PAUSE_S = 0.5  # a silence that ends a piece; more than two margins, so pieces never meet
BREATH_S = 0.25  # a silence that may, where none is longer; the stop within a word is shorter


@dataclass(frozen=True)
class Limits:
    """How long pieces are, in seconds. A recording that is no longer than a piece may be is not cut."""

    shortest: float = 0.5
    """A piece shorter than this waits for a pause of twice the usual length; none follows, and it stays short."""
    longest: float = 30.0
    overlap: float = 4.0
    """Of windows, where there is no silence to cut at."""

    def __post_init__(self) -> None:
        if not 0 <= self.shortest <= self.longest / 4 or not 0.5 <= self.overlap <= self.longest / 2:
            raise UsageError(f"pieces of {self.shortest:g} to {self.longest:g} s, windows that overlap by {self.overlap:g} s: the "
                             "shortest may be a quarter of the longest at most, the overlap 0.5 s to half of it")


class Piece(NamedTuple):
    """A part of a recording."""

    samples: np.ndarray
    """(N,) float32"""
    start: int
    """Its first sample in the recording."""
    goes_on: bool
    """Whether the next piece is a window that overlaps this one, and the two belong to one stretch of speech."""


def split(blocks: Iterable[np.ndarray], rate: int, grid: int, limits: Limits) -> Iterator[Piece]:
    """The pieces of a recording that comes in blocks (N,) float32 of any lengths, in order; silence between them is left out.

    ``rate`` in Hz; ``grid``: samples to an output frame of the network, of which the windows of a stretch are whole numbers
    apart. Where it is cut does not depend on the blocks. At most one piece and a half second of audio is held.
    """
    hop = max(1, round(LEVEL_S * rate))
    audio = _Ahead(blocks, hop)
    cut = _Cut(rate / hop, limits)
    step = max(1, int((limits.longest - limits.overlap) * rate / grid)) * grid  # samples from window to window
    at, skipping = 0, False  # the first frame of which nothing is decided, and whether a pause goes on there
    while True:
        quiet, ended = audio.quiet_from(at, cut.look)
        loud = np.flatnonzero(~quiet)
        if ended and not len(loud):
            return
        silence = int(loud[0]) if len(loud) else len(quiet)
        skipping = silence > cut.margin and (skipping or silence >= cut.pause - cut.margin)
        if skipping:  # what follows is judged again, by what follows it
            at += silence - cut.margin
            continue
        start, end = at * hop, cut.end(quiet, ended, int(loud[0]))
        follows = False
        while end is None:  # no silence: windows, until one of them has one
            yield Piece(audio.samples(start, start + cut.longest * hop), start, True)
            follows = True
            start += step
            at = start // hop
            quiet, ended = audio.quiet_from(at, cut.look)
            end = cut.end(quiet, ended, cut.longest - step // hop)
        at += end
        yield _piece(audio.samples(start, at * hop), start, follows)


def _piece(samples: np.ndarray, start: int, follows: bool) -> Piece:
    """The last piece of a stretch, without the digital silence at its edges: it is no sound, and would be heard as one."""
    sounding = np.flatnonzero(samples)
    if not len(sounding):
        return Piece(samples, start, False)
    first = 0 if follows else int(sounding[0])  # a window stays where its stretch expects it
    return Piece(samples[first:int(sounding[-1]) + 1], start + first, False)


class _Cut:
    """The limits in frames of levels, of which there are ``per_second``."""

    def __init__(self, per_second: float, limits: Limits) -> None:
        self.margin, self.pause, self.breath, self.shortest, self.longest = (
            math.ceil(seconds * per_second) for seconds in (MARGIN_S, PAUSE_S, BREATH_S, limits.shortest, limits.longest))
        self.look = self.longest + 2 * self.pause

    def end(self, quiet: np.ndarray, ended: bool, spoken: int) -> int | None:
        """Where a piece that begins with the first of the frames ends; None where no silence ends it in time.

        quiet (T,) bool: which frames are silent; ``ended``: whether the recording ends with them; ``spoken``: frame before which
        the piece cannot end.
        """
        silences = [(first, past) for first, past in _runs(quiet) if spoken < first <= self.longest]
        for first, past in silences:
            if past - first >= self.pause * (2 if first < self.shortest else 1):
                return min(first + self.margin, past, self.longest)
        if ended and len(quiet) <= self.longest:
            return len(quiet)
        breaths = [(past - first, (first + past) // 2) for first, past in silences if past <= self.longest]
        length, middle = max((each for each in breaths if each[1] >= self.longest // 2), default=(0, 0))
        return middle if length >= self.breath else None


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """The first and one past the last index of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist()))


class _Ahead:
    """A stream, held from the frame that was last asked for on. A frame is ``hop`` samples; the recording's last may be shorter."""

    def __init__(self, blocks: Iterable[np.ndarray], hop: int) -> None:
        self._blocks, self._hop, self._ended = iter(blocks), hop, False
        self._begin = 0  # the frame that what is held begins with
        self._held = np.zeros(0, np.float32)
        self._levels = np.zeros(0)  # of what is held, after
        self._past = 0  # so many of what was before

    def quiet_from(self, frame: int, count: int) -> tuple[np.ndarray, bool]:
        """Which of the frames [frame, frame + count) are silent, bool, and whether the recording ends with them.

        At its end there are fewer. What lies before ``frame`` is forgotten, but for ``count`` levels.
        """
        passed = frame - self._begin
        self._held, self._begin = self._held[passed * self._hop:], frame
        kept = min(self._past + passed, count)
        self._levels, self._past = self._levels[self._past + passed - kept:], kept
        while len(self._levels) <= kept + count and not self._ended:  # one more, to know that it does not end
            self._read()
        around = self._levels[:kept + count]
        floor = np.percentile(around, FLOOR_PERCENTILE) if len(around) else 0.0
        return around[kept:] < floor + ABOVE_FLOOR_DB, self._ended and len(around) == len(self._levels)

    def samples(self, first: int, past: int) -> np.ndarray:
        """Samples [first, past) of the recording, a copy; ``first`` lies in what is held."""
        begin = self._begin * self._hop
        return self._held[first - begin:past - begin].copy()

    def _read(self) -> None:
        block = next(self._blocks, None)
        self._ended = block is None
        if block is not None:
            self._held = np.concatenate([self._held, block])
        known = (len(self._levels) - self._past) * self._hop
        count = (len(self._held) - known) // self._hop
        frames = self._held[known:known + count * self._hop].reshape(count, self._hop)
        if self._ended and known < len(self._held):
            frames = self._held[None, known:]  # all whole frames are known: the rest is less than one
        deviation = frames.std(axis=1, dtype=np.float64)
        self._levels = np.append(self._levels, 20 * np.log10(np.maximum(deviation, 10 ** (FLOOR_DB / 20))))
