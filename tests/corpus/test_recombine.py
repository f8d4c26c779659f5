"""Strings of words cut out of utterances: what they hold, whose they are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from corpus.conftest import tone
from hypothesis import given
from hypothesis import strategies as st

from asr import audio
from asr.corpus import DataDir, Utterance
from asr.corpus.recombine import MARGIN_S, Spoken, compose, recombine
from asr.errors import DataError

RATE = 8000
PITCH = {"low": 400.0, "middle": 900.0, "high": 2000.0}
SECONDS, PAUSE = 0.3, 0.15


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> tuple[DataDir, dict[str, list[Spoken]]]:
    """Two speakers; every word a tone of its own pitch between pauses; `middle` is said once by each, the others often."""
    folder = tmp_path_factory.mktemp("spoken")
    utterances, wav, words = [], {}, {}
    for speaker in ("ann", "bob"):
        for number, text in enumerate(("low high low", "high low middle", "low high high low")):
            id = f"{speaker}-{number}"
            pause = np.zeros(round(PAUSE * RATE), np.float32)
            tones = [part for word in text.split() for part in (pause, tone(SECONDS, RATE, PITCH[word]))]
            samples = np.concatenate([*tones, pause])
            wav[id] = str(folder / f"{id}.wav")
            audio.write(wav[id], samples, RATE)
            utterances.append(Utterance(id, id, speaker, text))
            words[id] = [Spoken(PAUSE + place * (PAUSE + SECONDS), SECONDS, word) for place, word in enumerate(text.split())]
    return DataDir.from_utterances(utterances, wav), words


def pitches(samples: np.ndarray) -> list[str]:
    """The words heard: the nearest pitch of each stretch of sound."""
    frames = samples[:len(samples) // 64 * 64].reshape(-1, 64)
    loud = np.r_[False, np.sqrt(np.square(frames).mean(axis=1)) > 0.02, False]
    heard = []
    for begin, end in 64 * np.flatnonzero(np.diff(loud)).reshape(-1, 2):
        if end - begin > 0.1 * RATE:
            for piece in np.array_split(samples[begin:end], max(1, round((end - begin) / (SECONDS * RATE)))):
                hertz = np.abs(np.fft.rfft(piece)).argmax() * RATE / len(piece)
                heard.append(min(PITCH, key=lambda word: abs(PITCH[word] - hertz)))
    return heard


def test_strings_hold_the_words_they_are_labelled_with(spoken, tmp_path):
    data, words = spoken
    made = recombine(data, words, tmp_path, 40, seed=3, lengths=(1, 5))
    assert len(made) == 40 and set(made.speakers) == {"ann", "bob"} and {len(ids) for ids in made.speakers.values()} == {20}
    right = [pitches(made.audio(utterance, RATE)) == (utterance.text or "").split() for utterance in made.utterances]
    assert np.mean(right) > 0.9  # overlaps of equal pitches may be heard as one
    sizes = [len((utterance.text or "").split()) for utterance in made.utterances]
    assert (min(sizes), max(sizes)) == (1, 5)
    made.save(tmp_path)
    assert DataDir.load(tmp_path).check() == []


def test_rare_words_come_oftener_than_they_were_said(spoken, tmp_path):
    data, words = spoken
    text = " ".join(utterance.text or "" for utterance in recombine(data, words, tmp_path, 200).utterances).split()
    weights = {"low": 10 ** 0.5, "high": 8 ** 0.5, "middle": 2 ** 0.5}  # counts times one over their roots
    for word, weight in weights.items():
        assert text.count(word) / len(text) == pytest.approx(weight / sum(weights.values()), abs=0.05)


def test_a_string_is_a_function_of_the_seed_and_its_number(spoken, tmp_path):
    data, words = spoken

    def content(folder: str, count: int, seed: int) -> dict[str, bytes]:
        made = recombine(data, words, tmp_path / folder, count, seed)
        return {id: Path(path).read_bytes() for id, path in made.wav.items()}

    first, more, other = content("a", 6, 1), content("b", 10, 1), content("c", 6, 2)
    assert first.items() <= more.items() and len(more) == 10
    assert not set(first.values()) & set(other.values())
    mine = tmp_path / "b/wav/ann/mine.wav"
    mine.write_bytes(b"")
    assert content("b", 6, 1) == first
    assert len(list((tmp_path / "b").rglob("*.wav"))) == 6 + 1  # none of the ten is left behind, and what is not ours stays


def test_recordings_may_come_from_a_command(spoken, tmp_path):
    data, words = spoken
    piped = DataDir.from_utterances(data.utterances, {id: f"cat {path} |" for id, path in data.wav.items()}, allow_pipes=True)
    made = [{id: Path(path).read_bytes() for id, path in recombine(each, words, tmp_path / name, 4).wav.items()}
            for name, each in (("files", data), ("pipes", piped))]
    assert made[0] == made[1]


def test_what_is_cut_reaches_into_no_neighbour(spoken, tmp_path):
    """With words back to back the margin is theirs to the last sample: nothing of one is heard in the other."""
    data, words = spoken
    close = {id: [word._replace(start=word.start - PAUSE / 2, duration=SECONDS + PAUSE) for word in own]
             for id, own in words.items()}
    made = recombine(data, close, tmp_path, 20, lengths=(1, 1))
    for utterance in made.utterances:
        samples = made.audio(utterance, RATE)
        assert pitches(samples) == [utterance.text]
        silence = 0.3  # at most, around a string
        assert len(samples) / RATE <= SECONDS + PAUSE + MARGIN_S + silence + 1e-3  # the first and the last have one margin
    assert 0 < MARGIN_S < PAUSE


def test_utterances_without_words_are_left_out_and_counted(spoken, tmp_path, caplog):
    data, words = spoken
    made = recombine(data, {id: own for id, own in words.items() if id.startswith("ann")}, tmp_path, 3)
    assert set(made.speakers) == {"ann"} and "3 of 6 utterances have no words" in caplog.text


@pytest.mark.parametrize(("change", "lengths", "what"), [
    (lambda words: {}, (2, 8), "no words to put together"),
    (lambda words: words, (3, 2), "strings of 3 to 2 words"),
    (lambda words: {**words, "ann-0": [Spoken(9.0, 0.3, "late")]}, (2, 8), "ann-0: 'late' ends at 9.30 s, behind"),
])
def test_what_cannot_be_put_together_is_said(spoken, tmp_path, change, lengths, what):
    data, words = spoken
    with pytest.raises(DataError, match=what):
        recombine(data, change(words), tmp_path / "out", 4, lengths=lengths)
    assert not (tmp_path / "out").exists()


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6), st.integers(0, 2 ** 31))
def test_a_composition_is_as_long_as_its_words_and_stays_in_range(sizes, seed):
    parts = [np.full(size, 0.9, np.float32) for size in sizes]
    string = compose(parts, RATE, np.random.default_rng(seed))
    gaps = len(sizes) - 1
    assert sum(sizes) - gaps * 0.05 * RATE - 1 <= len(string) <= sum(sizes) + (0.3 + gaps * 0.25) * RATE + 2
    assert string.dtype == np.float32 and np.abs(string).max() <= 1


def test_a_string_keeps_within_the_range_and_its_words_in_order():
    rng = np.random.default_rng(3)
    loud = np.full(2000, 0.99, np.float32)
    for _ in range(50):
        string = compose([loud, 0.0 * loud, loud], RATE, rng)
        assert string.dtype == np.float32
        assert np.abs(string).max() <= 1.0
        middle = len(string) // 2
        assert np.abs(string[:middle]).max() > 0.5 < np.abs(string[middle:]).max()
        assert np.abs(string[middle - 100:middle + 100]).max() < 0.1
