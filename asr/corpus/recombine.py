"""New utterances out of old ones: words, cut where an alignment found them, put together in another order.

A recogniser that is trained on few sentences learns the sentences. Strings of the same words in random order, each of one speaker,
teach it that any word may follow any, and let rare words come as often as common ones.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from asr import audio
from asr.corpus.datadir import DataDir, Utterance
from asr.errors import DataError

MARGIN_S = 0.05  # what is cut with a word on either side, where its neighbours leave it
SHORTEST_S = 0.08  # a word with less is a fault of the alignment

logger = logging.getLogger("asr")


class Spoken(NamedTuple):
    """A word of an utterance; seconds from the utterance's start."""

    start: float
    duration: float
    word: str


def recombine(data: DataDir, words: Mapping[str, Sequence[Spoken]], folder: str | Path, count: int, seed: int = 0,
              lengths: tuple[int, int] = (2, 8)) -> DataDir:
    """``count`` strings of words, their audio written as ``folder``/wav/SPEAKER/ID.wav, as a directory that is not saved yet.

    ``words`` is utterance id -> its words in order; utterances without any are left out, and counted. Each string is of one
    speaker (they take turns) and holds from ``lengths[0]`` to ``lengths[1]`` of his words, drawn with a weight of one over the root
    of how often the word is said by all. String n is a function of (seed, n) and the data alone.
    Raises DataError for lengths that are no range, words that end behind their utterance, and where there is no word; AudioError
    as `DataDir.audio` and `audio.write` do.
    """
    folder = Path(folder)
    if not 1 <= lengths[0] <= lengths[1]:
        raise DataError(f"strings of {lengths[0]} to {lengths[1]} words: expected two numbers from 1 up, the smaller first")
    spans = {u.id: _spans(data, u, words[u.id]) for u in data.utterances if words.get(u.id)}
    if missing := len(data) - len(spans):
        logger.warning("%d of %d utterances have no words in the alignment and are left out", missing, len(data))
    said = Counter(word for own in spans.values() for *_, word in own)
    if not said:
        raise DataError(f"{data.path or 'data'}: no words to put together; give the words.ctm that `asr align` wrote for it")
    _, rate = data.read(data.utterances[0])
    speakers = {speaker: ids for speaker, ids in data.speakers.items() if any(spans.get(id) for id in ids)}
    utterances, wav = [], {}
    for turn, (speaker, ids) in enumerate(speakers.items()):  # one speaker's audio in memory at a time
        pieces = _cut(data.select([id for id in ids if spans.get(id)]), spans, rate)
        chance = np.array([said[word] ** -0.5 for word, _ in pieces])
        for number in range(turn, count, len(speakers)):
            rng = np.random.default_rng([seed, number])
            drawn = rng.choice(len(pieces), size=rng.integers(lengths[0], lengths[1] + 1), p=chance / chance.sum())
            samples = compose([pieces[place][1] for place in drawn], rate, rng)
            id = f"{speaker}-string-{number:06d}"
            path = (folder / "wav" / speaker / f"{id}.wav").resolve()
            audio.write(path, samples, rate)
            text = " ".join(pieces[place][0] for place in drawn)
            utterances.append(Utterance(id, id, speaker, text, duration=len(samples) / rate))
            wav[id] = str(path)
    ours = {path.resolve() for path in (folder / "wav").glob("*/*-string-??????.wav")}  # of an earlier call; never other audio
    for stale in ours - set(map(Path, wav.values())):
        stale.unlink()
    return DataDir.from_utterances(utterances, wav)


def _spans(data: DataDir, utterance: Utterance, words: Sequence[Spoken]) -> list[tuple[float, float, str]]:
    """Start, end and word of each, with margins that reach into no neighbour."""
    length = data.duration(utterance)
    ordered = sorted(words)
    if ordered[-1].start + ordered[-1].duration > length + MARGIN_S:
        raise DataError(f"{utterance.id}: {ordered[-1].word!r} ends at {ordered[-1].start + ordered[-1].duration:.2f} s, behind "
                        f"the utterance's {length:.2f} s; align this data anew")
    starts, ends = [word.start for word in ordered], [word.start + word.duration for word in ordered]
    spans = []
    for place, word in enumerate(ordered):
        start = max(0.0 if place == 0 else ends[place - 1], starts[place] - MARGIN_S)
        end = min(length if place + 1 == len(ordered) else starts[place + 1], ends[place] + MARGIN_S)
        if end - start >= SHORTEST_S:
            spans.append((start, end, word.word))
    return spans


def _cut(data: DataDir, spans: Mapping[str, list[tuple[float, float, str]]], rate: int) -> list[tuple[str, np.ndarray]]:
    """Every word of the utterances, with its samples (N,) float32."""
    pieces = []
    for utterance in data.utterances:
        samples = data.audio(utterance, rate)
        pieces += [(word, samples[round(start * rate):round(end * rate)]) for start, end, word in spans[utterance.id]]
    return pieces


def compose(parts: Sequence[np.ndarray], sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Put words, each (N,) float32, one after another as speech would: (M,) float32 within [-1, 1].

    A quarter of the neighbours overlap by up to 50 ms, the others have a pause of up to 250 ms; each word is up to 3 dB
    louder or softer, and a faint noise covers the whole, for no recording has digital silence between its words.
    """
    position = round(rng.uniform(0.0, 0.15) * sample_rate)
    placed = []
    for part in parts:
        placed.append((position, _fade_edges(part, sample_rate) * 10 ** (rng.uniform(-3, 3) / 20)))
        if rng.random() < 0.25:
            step = -min(round(rng.uniform(0.0, 0.05) * sample_rate), len(part) // 4)
        else:
            step = round(rng.uniform(0.0, 0.25) * sample_rate)
        position += len(part) + step
    length = max(start + len(part) for start, part in placed) + round(rng.uniform(0.0, 0.15) * sample_rate)
    string = rng.standard_normal(length) * 10 ** (rng.uniform(-75, -50) / 20)
    for start, part in placed:
        string[start:start + len(part)] += part
    return (string / max(1.0, float(np.abs(string).max()))).astype(np.float32)


def _fade_edges(samples: np.ndarray, sample_rate: int, seconds: float = 0.0025) -> np.ndarray:
    """Ramps at both ends, so that no joint clicks."""
    count = min(round(seconds * sample_rate), len(samples) // 2)
    gain = np.ones(len(samples))
    gain[:count] = np.arange(count) / count
    gain[len(samples) - count:] = gain[:count][::-1]
    return samples * gain
