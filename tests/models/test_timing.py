"""The timing model: planted borders are found from transcripts alone, and what it is asked is always answered in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models.planted_speech import BINS, LETTERS, SPECTRA, drawn_words, planted_speech
from transcription.tiny import save_tiny_model

from asr.errors import ModelError
from asr.models.storage import load_model, save_model
from asr.models.timing import Piece, TimingModel, cepstra_of
from asr.models.timing_fit import fit_timing, timing_of


@pytest.fixture(scope="module")
def timing() -> TimingModel:
    texts = [drawn_words(seed) for seed in range(40)]
    return fit_timing((cepstra_of(planted_speech(words, seed)[0], "fbank"), words) for seed, words in enumerate(texts))


def pieces_of(words: list[str | None]) -> list[Piece]:
    return [Piece(word, True) for word in words]


def borders_off(timing: TimingModel, seeds: range, **options) -> np.ndarray:
    """How many frames each word's start and end are off, in utterances that the model was not estimated from."""
    off = []
    for seed in seeds:
        words = drawn_words(seed)
        features, spans = planted_speech(words, seed)
        off.append(np.array(timing.places(cepstra_of(features, "fbank"), pieces_of(words), **options)) - np.array(spans))
    return np.abs(np.concatenate(off))


def test_borders_are_found_without_having_been_told(timing):
    assert timing.characters == LETTERS
    off = borders_off(timing, range(100, 120))
    assert np.median(off) == 0 and np.quantile(off, 0.95) <= 2 and off.max() <= 8


def test_a_long_recording_has_the_same_borders(timing):
    """Half an hour: no drift, and the first words are not better off than the last."""
    words, parts, spans, at = [], [], [], 0
    for seed in range(200, 1600):
        more = drawn_words(seed)
        features, found = planted_speech(more, seed)
        words += more
        spans += [(at + start, at + end) for start, end in found]
        parts.append(features)
        at += len(features)
    assert at > 180_000
    cepstra = cepstra_of(np.concatenate(parts), "fbank")
    guess = [(max(0, start - 30), max(1, end - 30)) for start, end in spans]  # a network that is 0.3 s early
    off = np.abs(np.array(timing.places(cepstra, pieces_of(words), guess, 200, 0.05)) - np.array(spans))
    for third in np.array_split(off, 3):
        assert np.median(third) == 0 and np.quantile(third, 0.95) <= 4


def test_twice_the_same_bits(timing):
    again = fit_timing((cepstra_of(planted_speech(drawn_words(seed), seed)[0], "fbank"), drawn_words(seed)) for seed in range(40))
    assert again.mean.tobytes() == timing.mean.tobytes() and again.variance.tobytes() == timing.variance.tobytes()


@pytest.mark.parametrize("kind", ["fbank", "spectrogram", "mfcc"])
def test_cepstra_do_not_know_level_or_gain(kind):
    features = np.random.default_rng(0).normal(size=(50, BINS))
    made = cepstra_of(features, kind)
    assert made.shape == (50, 39) and made.dtype == np.float32
    np.testing.assert_allclose(cepstra_of(features * 3 + np.arange(BINS), kind), made, atol=1e-3)
    assert cepstra_of(features[:0], kind).shape == (0, 39)
    assert np.isfinite(cepstra_of(np.zeros((7, BINS)), kind)).all()  # digital silence
    assert cepstra_of(features[:, :5], kind).shape == (50, 15)


def test_a_wrong_word_does_not_move_the_others(timing):
    """What was misheard, and what was not heard at all, stays where the network wrote it or takes no frames of others."""
    words = ["abc", "def", "gha", "bdf"]
    features, spans = planted_speech(words, 3)
    cepstra = cepstra_of(features, "fbank")
    guess = [(start + 5, end - 5) for start, end in spans]
    for heard in (["abc", "bbh", "gha", "bdf"], ["abc", "gha", "bdf"], ["abc", "def", "ee", "gha", "bdf"]):
        near = [guess[words.index(word)] if word in words else guess[1] for word in heard]
        found = timing.places(cepstra, pieces_of(heard), sorted(near), 200, 0.05)
        for word in ("abc", "bdf"):
            off = np.abs(np.array(found[heard.index(word)]) - np.array(spans[words.index(word)]))
            assert off.max() <= 3, (heard, word)


def test_of_two_places_that_sound_alike_the_nearer_is_taken(timing):
    words = ["abc", "def", "abc"]
    features, spans = planted_speech(words, 4)
    for place in (0, 2):
        found, = timing.places(cepstra_of(features, "fbank"), pieces_of(["abc"]), [spans[place]], 200, 1.0)
        assert np.abs(np.array(found) - np.array(spans[place])).max() <= 2


def test_a_sound_of_unknown_spelling(timing):
    """The wildcard, and a letter that is in no transcript, have what the known words leave."""
    words = ["abc", "def", "gha"]
    features, spans = planted_speech(words, 5)
    for unknown in (None, "xyz"):
        found = timing.places(cepstra_of(features, "fbank"), pieces_of(["abc", unknown, "gha"]))
        assert abs(found[0][0] - spans[0][0]) <= 2 and abs(found[2][1] - spans[2][1]) <= 2
        assert np.abs(np.array(found[1]) - np.array(spans[1])).max() <= 6


def test_pieces_without_sound_are_between_their_neighbours(timing):
    words = ["abc", "def"]
    features, spans = planted_speech(words, 8)
    silent = Piece("", False)
    pieces = [silent, Piece("ab", True), Piece("c", False), silent, Piece("de", True), Piece("f", False), silent]
    found = timing.places(cepstra_of(features, "fbank"), pieces)
    assert found[0] == (found[1][0],) * 2 and found[3] == (found[2][1], found[4][0]) and found[6] == (found[5][1],) * 2
    assert np.abs(np.array([found[1][0], found[2][1], found[4][0], found[5][1]]) - np.array(spans).ravel()).max() <= 2
    assert timing.places(cepstra_of(features, "fbank"), [silent, silent]) == [(0, 0), (0, 0)]
    assert timing.places(cepstra_of(features, "fbank"), []) == []


@given(st.data())
def test_every_sound_has_a_frame_and_none_overlap(timing, data):
    """Whatever the text, the audio and the guess: noise, words longer than the audio, guesses far from anything."""
    texts = data.draw(st.lists(st.one_of(st.none(), st.text(LETTERS + "z", max_size=12)), max_size=6))
    pieces = [Piece(text, data.draw(st.booleans()) or index == 0) for index, text in enumerate(texts)]
    frames = data.draw(st.integers(0, 40))
    seed = data.draw(st.integers(0, 9))
    cepstra = np.random.default_rng(seed).normal(size=(frames, 39)).astype(np.float32)
    sounding = sum(text != "" for text in texts)
    edges = sorted(data.draw(st.lists(st.integers(0, max(frames, 1)), min_size=2 * len(texts), max_size=2 * len(texts))))
    guess = data.draw(st.sampled_from([None, list(zip(edges[::2], edges[1::2]))]))
    found = timing.places(cepstra, pieces, guess, 40, 0.05)
    if sounding > frames:
        assert found is None
        return
    assert found is not None and len(found) == len(texts)
    ends = [edge for span in found for edge in span]
    assert ends == sorted(ends) and (not ends or (ends[0] >= 0 and ends[-1] <= frames))
    assert all(end > start for (start, end), text in zip(found, texts) if text != "")


@given(st.data())
def test_what_a_network_wrote_can_always_be_placed(timing, data):
    """Tokens one after the other, a frame or more each, however far apart, within a word too, and however small the margin."""
    texts = data.draw(st.lists(st.text(LETTERS, max_size=12), min_size=1, max_size=5))
    pieces = [Piece(text, index == 0 or data.draw(st.booleans())) for index, text in enumerate(texts)]
    at, guess = 0, []
    for _ in texts:
        start = at + data.draw(st.integers(0, 60))
        at = start + data.draw(st.integers(1, 4))
        guess.append((start, at))
    frames = at + data.draw(st.integers(0, 60))
    cepstra = np.random.default_rng(0).normal(size=(frames, 39)).astype(np.float32)
    margin = data.draw(st.integers(0, 10))
    found = timing.places(cepstra, pieces, guess, margin, 0.05)
    assert found is not None
    for (first, _), text, (start, _) in zip(found, texts, guess):
        assert not text or first >= start - margin


def test_few_or_unfit_utterances_are_no_basis():
    texts = {str(seed): " ".join(drawn_words(seed)) for seed in range(30)}
    durations = dict.fromkeys(texts, 1.0)

    def read(key: str) -> np.ndarray:
        return planted_speech(drawn_words(int(key)), int(key))[0]

    assert timing_of(texts, durations, read, "fbank").characters == LETTERS
    for some in (dict(list(durations.items())[:19]), dict.fromkeys(texts, 31.0), {}):
        assert timing_of(texts, some, read, "fbank") is None
    assert timing_of(texts, durations, lambda key: None if int(key) < 11 else read(key), "fbank") is None
    assert timing_of(dict.fromkeys(texts, " "), durations, read, "fbank") is None
    assert fit_timing([]) is None and fit_timing([(np.zeros((3, 39), np.float32), ["a"])]) is None


def test_of_many_utterances_two_hundred_of_the_shorter_half_are_read():
    asked = []

    def read(key: str) -> np.ndarray:
        asked.append(key)
        return np.repeat(SPECTRA["a"][None], 20, axis=0)

    durations = {f"{index:03d}": 1 + index / 100 for index in range(600)}
    timing_of(dict.fromkeys(durations, "a"), durations, read, "fbank")
    assert len(asked) == len(set(asked)) == 200 and max(asked) <= "299" and min(asked) == "000"


@pytest.mark.parametrize(("characters", "shape"), [("ab", (5, 39)), ("aa", (6, 39)), (7, (6, 39)), ("ab", (6,))])
def test_parts_that_do_not_fit_together(characters, shape):
    with pytest.raises(ValueError, match="timing: "):
        TimingModel.of(characters, np.ones(shape), np.ones(shape))
    with pytest.raises(ValueError, match="timing: "):
        TimingModel.of("ab", np.ones((6, 39)), np.zeros((6, 39)))


def test_it_is_kept_in_the_model_file(timing, tmp_path):
    path = save_tiny_model(tmp_path / "plain")
    plain = load_model(path)
    save_model(tmp_path / "timed", plain.network, plain.frontend, plain.config, plain.tokenizer, plain.notes, timing)
    timed = load_model(tmp_path / "timed")
    assert plain.timing is None and timed.timing.characters == LETTERS
    assert timed.timing.mean.tobytes() == timing.mean.tobytes() and timed.timing.variance.tobytes() == timing.variance.tobytes()
    broken = TimingModel(LETTERS + "x", timing.mean, timing.variance)
    save_model(tmp_path / "broken", plain.network, plain.frontend, plain.config, plain.tokenizer, plain.notes, broken)
    with pytest.raises(ModelError, match="timing: Gaussians .* do not fit 9 characters"):
        load_model(tmp_path / "broken")
