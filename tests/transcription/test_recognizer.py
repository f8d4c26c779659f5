"""Recognizer: files and arrays in, the same transcript alone and in any batch, clear errors."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transcription.tiny import RATE, chirps, plant, planted_model, save_tiny_model, spell

import asr
from asr import audio
from asr.ctc import greedy
from asr.errors import AudioError, ModelError, UsageError
from asr.transcription import Recognizer


@pytest.fixture(scope="module", params=["char", "bpe", "phone"])
def recognizer(request, tmp_path_factory) -> Recognizer:
    return Recognizer.load(save_tiny_model(tmp_path_factory.mktemp("model") / "model.safetensors", request.param), "cpu")


@pytest.fixture(scope="module")
def planted() -> Recognizer:
    return Recognizer(planted_model(subsampling=2))


def test_planted_words_come_back_from_a_file(planted, tmp_path):
    path = [0] * 5 + spell(planted.model.tokenizer, "hello world", hold=3)
    audio.write(tmp_path / "a.wav", plant(path, subsampling=2), RATE)
    result = planted.transcribe(tmp_path / "a.wav")
    assert result.text == "hello world"
    assert result.duration == pytest.approx(len(path) * 0.02)
    # Each token is 3 frames and a blank, 20 ms a frame; the space is a token too.
    assert [(word.text, round(word.start, 6), round(word.end, 6)) for word in result.words] == [
        ("hello", 0.10, 0.10 + 19 * 0.02), ("world", 0.58, round(0.58 + 19 * 0.02, 6))]
    assert all(word.confidence > 0.99 for word in result.words)


def test_the_package_exports_it():
    assert asr.Recognizer is Recognizer


def test_load_and_rate(recognizer):
    assert recognizer.sample_rate == RATE
    with pytest.raises(ModelError, match=r"nowhere\.safetensors"):
        Recognizer.load("nowhere.safetensors", "cpu")
    with pytest.raises(UsageError, match="--device tpu"):
        Recognizer.load("nowhere.safetensors", "tpu")


def test_log_probs(recognizer):
    waveforms = chirps(3)
    log_probs, frames = recognizer.log_probs(waveforms)
    assert log_probs.shape == (3, int(frames.max()), recognizer.model.tokenizer.vocab_size)
    assert log_probs.dtype == torch.float32 and frames.dtype == torch.int64 and log_probs.device.type == "cpu"
    for row, count in zip(log_probs, frames.tolist()):
        assert torch.allclose(row[:count].exp().sum(1), torch.ones(count), atol=1e-5)
    texts = [recognizer.model.tokenizer.decode(hypothesis.tokens) for hypothesis in greedy(log_probs, frames)]
    assert texts == [recognizer.transcribe(waveform).text for waveform in waveforms]


@settings(max_examples=15)
@given(seed=st.integers(0, 99), order=st.permutations(range(5)))
def test_alone_and_in_any_batch(recognizer, seed, order):
    waveforms = [*chirps(4, seed), np.zeros(20, np.float32)]  # the last is shorter than one window
    alone = [recognizer.transcribe(waveform) for waveform in waveforms]
    assert any(result.text for result in alone)
    together = recognizer.transcribe_batch([waveforms[index] for index in order])
    for index, result in zip(order, together):
        assert result.text == alone[index].text
        assert [token[:3] for token in result.tokens] == [token[:3] for token in alone[index].tokens]
        assert [word.confidence for word in result.words] == pytest.approx([word.confidence for word in alone[index].words],
                                                                           abs=1e-4)
        assert result.duration == alone[index].duration


def test_transcripts_depend_on_the_audio(recognizer):
    assert len({recognizer.transcribe(waveform).text for waveform in chirps(6)}) > 1


def test_words_join_to_the_text_and_lie_in_the_audio(recognizer):
    for waveform in chirps(10, seed=3):
        result = recognizer.transcribe(waveform)
        assert " ".join(word.text for word in result.words) == result.text == result.nbest[0].text
        edges = [edge for word in result.words for edge in (word.start, word.end)]
        assert edges == sorted(edges) and all(0 <= edge <= result.duration for edge in edges)
        assert all(word.start < word.end and 0 < word.confidence <= 1 for word in result.words)


@pytest.mark.parametrize("samples", [1, 199], ids=["one sample", "one less than a window"])
def test_shorter_than_a_window_is_empty(recognizer, samples):
    result = recognizer.transcribe(np.ones(samples, np.float32))
    assert (result.text, result.words, result.tokens) == ("", [], [])
    assert result.duration == samples / RATE
    log_probs, frames = recognizer.log_probs([np.ones(samples, np.float32)])
    assert log_probs.shape[:2] == (1, 0) and frames.tolist() == [0]


def test_stereo_and_other_rates_are_said_once(planted, tmp_path, caplog):
    audio.resample.__globals__["_said"].cache_clear()
    tone = chirps(1)[0]
    audio.write(tmp_path / "a.wav", np.stack([tone, -tone], axis=1), 2 * RATE)
    with caplog.at_level(logging.WARNING, logger="asr"):
        for _ in range(3):
            result = planted.transcribe(tmp_path / "a.wav")
    assert result.duration == len(tone) / (2 * RATE)
    assert result.text == ""  # opposite channels average to silence
    assert sum("2 channels" in message for message in caplog.messages) == 1
    assert sum(f"{2 * RATE} Hz is resampled" in message for message in caplog.messages) == 1


def test_an_array_at_another_rate_is_resampled(planted):
    path = spell(planted.model.tokenizer, "ab", hold=20)
    slow = np.repeat(plant(path, subsampling=2), 2)
    result = planted.transcribe(slow, sample_rate=2 * RATE)
    assert result.duration == pytest.approx(len(path) * 0.02)
    assert result.words[0].start == pytest.approx(0.0, abs=0.02)
    assert result.text.startswith("a") and result.text.endswith("b")


@pytest.mark.parametrize("wrong, error, words", [
    ([0.0, 0.1], UsageError, "got a list"),
    (None, UsageError, "got a NoneType"),
    (np.zeros(800, np.int16), UsageError, "divide 16-bit samples by 32768"),
    (np.zeros((2, 800), np.float32), UsageError, r"got \(2, 800\)"),
    (np.zeros(0, np.float32), AudioError, "no samples"),
    (np.array([0.0, np.nan, 0.0], np.float32), AudioError, "1 of 3 samples are NaN or infinite, the first at 1"),
    (np.array([np.inf, np.inf]), AudioError, "2 of 2"),
])
def test_what_is_not_audio(planted, wrong, error, words):
    with pytest.raises(error, match=words):
        planted.transcribe(wrong)
    with pytest.raises(error, match=words):
        planted.log_probs([np.zeros(800, np.float32), wrong])


def test_wrong_calls(planted, tmp_path):
    with pytest.raises(UsageError, match="wrap one recording"):
        planted.log_probs(np.zeros(800, np.float32))
    with pytest.raises(UsageError, match="list of arrays is empty"):
        planted.log_probs([])
    with pytest.raises(UsageError, match="states its own rate"):
        planted.transcribe(tmp_path / "a.wav", sample_rate=8000)
    for rate in (0, -8000, 8000.5, True):
        with pytest.raises(UsageError, match="sample_rate must be"):
            planted.transcribe(np.zeros(800, np.float32), sample_rate=rate)
    (tmp_path / "bad.wav").write_bytes(b"RIFF nothing")
    with pytest.raises(AudioError, match=r"bad\.wav: cannot read"):
        planted.transcribe(tmp_path / "bad.wav")
