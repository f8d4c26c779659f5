"""What is in a data directory: hours, speakers, histograms, and the utterances that CTC could not learn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from asr import audio
from asr.corpus.datadir import DataDir
from asr.corpus.dataset import untrainable
from asr.errors import AudioError, DataError


@dataclass
class DataInfo:
    """Counts of a data directory; durations in seconds, in the order of utterances."""

    recordings: int
    speakers: int
    utterances: int
    durations: np.ndarray
    characters: Counter[str] = field(default_factory=Counter)
    words: int = 0
    vocabulary: int = 0
    formats: Counter[tuple[int, int, str]] = field(default_factory=Counter)  # (Hz, channels, format) -> recordings
    unreadable: list[str] = field(default_factory=list)
    untrainable: list[tuple[str, int, int]] = field(default_factory=list)  # (id, output frames, frames needed)

    def histogram(self, bins: int = 10) -> list[tuple[float, float, int]]:
        """(from, to, utterances) over the range of durations, in steps of 1, 2 or 5 times a power of ten seconds."""
        if not len(self.durations):
            return []
        step = _round_step((self.durations.max() - self.durations.min()) / bins)
        bars = np.floor(self.durations / step + 1e-9).astype(int)  # 1.2 / 0.1 is a little below 12
        low, counts = int(bars.min()), np.bincount(bars - bars.min())
        return [((low + i) * step, (low + i + 1) * step, int(count)) for i, count in enumerate(counts)]


def describe(data: DataDir, subsampling: int = 2, recordings: Iterable[str] | None = None) -> DataInfo:
    """Read the header of every recording and count.

    Untrainable are utterances with fewer output frames than characters (and blanks between equal neighbours), for a
    network that keeps one of ``subsampling`` feature frames of 25 ms every 10 ms. ``recordings`` lets a caller pass the
    names through a progress bar. A recording that cannot be read is listed, and its utterances are not counted in hours.
    """
    formats: Counter[tuple[int, int, str]] = Counter()
    lengths: dict[str, float] = {}
    unreadable = []
    for recording in data.wav if recordings is None else recordings:
        try:
            if data.wav[recording].endswith("|"):
                formats[0, 0, "command"] += 1
                lengths[recording] = data.recording_duration(recording)
            else:
                found = audio.probe(data.wav[recording])
                formats[found.sample_rate, found.channels, found.format] += 1
                lengths[recording] = found.duration
        except (AudioError, DataError) as error:
            unreadable.append(str(error))
    known = [u for u in data.utterances if u.recording in lengths]
    durations = [(lengths[u.recording] if u.end is None else min(u.end, lengths[u.recording])) - u.start for u in known]
    texts = [" ".join(u.text.split()) for u in data.utterances if u.text is not None]
    labels = {u.id: [ord(character) for character in " ".join(u.text.split())] for u in known if u.text is not None}
    frames = {u.id: output_frames(duration, subsampling) for u, duration in zip(known, durations)}
    vocabulary = {word for text in texts for word in text.split()}
    return DataInfo(len(data.wav), len(data.speakers), len(data), np.asarray(durations),
                    Counter(character for text in texts for character in text), sum(len(text.split()) for text in texts),
                    len(vocabulary), formats, unreadable, untrainable(labels, frames))


def output_frames(duration: float, subsampling: int) -> int:
    """Frames of 25 ms every 10 ms that fit into ``duration`` seconds (Kaldi's snip-edges), one of ``subsampling`` kept.

    Counted in whole samples at 16 kHz, so that no frame is lost to rounding.
    """
    samples = round(duration * 16000)
    frames = 0 if samples < 400 else 1 + (samples - 400) // 160
    return -(-frames // subsampling)


def _round_step(width: float) -> float:
    """The next of 0.1, 0.2, 0.5, 1, 2, ... seconds that is no smaller than ``width``."""
    for power in range(-1, 6):
        for factor in (1, 2, 5):
            if factor * 10.0 ** power >= width:
                return factor * 10.0 ** power
    return 1e6
