"""Times of words: decoded and aligned, from a network that is up to 0.3 s off, and over a long file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from transcription.aloud import RATE, SENTENCES, STEP, displaced_model, read_aloud, spoken_dir
from transcription.tiny import SHIFT, plant, planted_model, spell

from asr.corpus import DataDir, Utterance
from asr.models.timing_fit import timing_of
from asr.transcription import Recognizer, align_dir, decode_dir
from asr.transcription.times import hear


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    return spoken_dir(tmp_path_factory.mktemp("spoken") / "data", SENTENCES)


def recognizer(spoken, kind: str = "char", timed: bool = True) -> Recognizer:
    data, times = spoken
    model = displaced_model(data, times, kind)
    known = {utterance.id: utterance for utterance in data.utterances}
    timing = timing_of({key: model.tokenizer.sounds_of(utterance.text) for key, utterance in known.items()},
                       {key: data.duration(utterance) for key, utterance in known.items()},
                       lambda key: Recognizer(model).emissions([data.audio(known[key], RATE)]).features[0][0], "fbank")
    return Recognizer(replace(model, timing=timing if timed else None))


def off(results, times) -> np.ndarray:
    """Seconds that the start and end of each word are off, (words, 2)."""
    found = []
    for key, words in times.items():
        assert [word.text for word in results[key].words] == [word for word, _, _ in words]
        found += [(heard.start - start, heard.end - end) for heard, (_, start, end) in zip(results[key].words, words)]
    return np.abs(np.array(found))


@pytest.mark.parametrize("kind", ["char", "bpe", "phone"])
def test_words_of_a_decode_have_honest_times(spoken, kind, tmp_path):
    data, times = spoken
    errors = off(decode_dir(recognizer(spoken, kind), data, tmp_path / "timed").results, times)
    without = off(decode_dir(recognizer(spoken, kind, timed=False), data, tmp_path / "untimed").results, times)
    assert np.median(without) > 2 * STEP  # the network's own: what a user would have got
    assert np.median(errors) < 0.015 < STEP / 2 and np.quantile(errors, 0.9) < STEP


def test_decoded_and_aligned_are_the_same_times(spoken, tmp_path):
    data, _ = spoken
    timed = recognizer(spoken)
    decoded = decode_dir(timed, data, tmp_path / "decoded").results
    aligned = align_dir(timed, data, tmp_path / "aligned").results
    for key, result in decoded.items():
        assert [word[:3] for word in result.words] == [word[:3] for word in aligned[key].words]
        assert [word[:3] for word in result.tokens] == [word[:3] for word in aligned[key].tokens]
    ctm = "words.ctm"
    assert (tmp_path / "decoded" / ctm).read_bytes() == (tmp_path / "aligned" / ctm).read_bytes() != b""


def test_times_stay_right_over_a_long_file(spoken):
    """Ten minutes in one piece: no drift between its beginning and its end."""
    parts, words, at = [], [], 0.0
    while at < 600:
        index = len(parts)
        samples, found = read_aloud(SENTENCES[index % len(SENTENCES)], 1000 + index)
        words += [(word, at + start, at + end) for word, start, end in found]
        parts.append(samples)
        at += len(samples) / RATE
    samples = np.concatenate(parts)
    timed = recognizer(spoken)
    timed.model.network.script(timed.model.frontend.num_frames(len(samples)), words, seed=7)
    (result,) = timed.transcribe_batch([samples])
    errors = off({"long": result}, {"long": words})
    for part in np.array_split(errors, 4):
        assert np.median(part) < 0.015 and np.quantile(part, 0.9) < STEP
    assert result.words[-1].end <= result.duration


def test_words_lie_in_the_audio_in_order_and_last(spoken):
    data, _ = spoken
    timed = recognizer(spoken, "bpe")
    for utterance in data.utterances:
        result = timed.transcribe(data.wav[utterance.id])
        for items in (result.words, result.tokens):
            edges = [edge for item in items for edge in (item.start, item.end)]
            assert edges == sorted(edges) and edges[0] >= 0 and edges[-1] <= result.duration
        assert all(word.end - word.start > 0.0099 for word in result.words)


def test_the_batch_does_not_change_the_times(spoken):
    data, _ = spoken
    timed = recognizer(spoken)
    samples = [data.audio(utterance, RATE) for utterance in data.utterances[:6]]
    for together, one in zip(timed.transcribe_batch(samples), samples):
        assert together.words == timed.transcribe(one).words


def test_without_features_or_frames_times_are_the_networks(spoken):
    data, _ = spoken
    timed, untimed = recognizer(spoken), recognizer(spoken, timed=False)
    samples = data.audio(data.utterances[0], RATE)
    log_probs, frames = timed.log_probs([samples])
    seconds = len(samples) / RATE
    assert timed.results(log_probs, frames, [seconds])[0] == untimed.transcribe(samples)
    assert timed.results(log_probs, frames, [seconds])[0].words != timed.transcribe(samples).words
    # Fewer frames than tokens: nothing can be heard apart, so the network's frames stand.
    tokens = timed.results(log_probs, frames, [seconds])[0]
    features, counts = timed.emissions([samples]).features
    assert timed.results(log_probs, frames, [seconds], (features, counts * 0 + 5))[0] == tokens
    assert [part.shape for part in hear(features, counts * 0 + 5, "fbank")] == [(5, 39)]


def test_a_model_without_a_timing_model_keeps_to_output_frames():
    plain = Recognizer(planted_model(subsampling=2))
    result = plain.transcribe(plant(spell(plain.model.tokenizer, "on it"), subsampling=2))
    frame = 2 * SHIFT / 8000
    assert [(word.text, round(word.start / frame), round(word.end / frame)) for word in result.words] == [
        ("on", 0, 5), ("it", 9, 14)]


def test_a_reader_of_the_text_alone_is_given_the_networks_times(spoken, tmp_path):
    data, _ = spoken
    timed = recognizer(spoken)
    plain, without = Recognizer(replace(timed.model, timing=None)), timed.without_times()

    def said(who):
        results = decode_dir(who, data, tmp_path / "out").results
        return {key: (result.text, result.words) for key, result in results.items()}

    assert said(without) == said(plain) != said(timed)
    assert not without.with_options(without.decoder.options).timed


def test_segments_are_timed_in_their_recording(spoken, tmp_path):
    data, times = spoken
    timed = recognizer(spoken)
    key = data.utterances[3].id
    whole = data.audio(data.utterances[3], RATE)
    cut = DataDir.from_utterances([Utterance("part", key, "s", data.utterances[3].text, start=0.05, end=len(whole) / RATE)],
                                  data.wav)
    part = cut.audio(cut.utterances[0], RATE)
    timed.model.network.script(timed.model.frontend.num_frames(len(part)), [(w, s - 0.05, e - 0.05) for w, s, e in times[key]], 1)
    align_dir(timed, cut, tmp_path / "out")
    rows = [line.split() for line in (tmp_path / "out/words.ctm").read_text().splitlines()]
    for (recording, _, start, duration, word, _), (expected, begin, end) in zip(rows, times[key]):
        assert (recording, word) == (key, expected)
        assert float(start) == pytest.approx(begin, abs=0.03) and float(start) + float(duration) == pytest.approx(end, abs=0.03)
