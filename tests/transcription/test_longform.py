"""Long recordings against the unsplit ones, with a network that has learned to read tones."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from aloud import RATE, TONES, WORDS
from tiny import save_tiny_model

from asr import Recognizer, audio
from asr.config import parse_config
from asr.ctc import ctc_loss
from asr.errors import AudioError
from asr.features import CmvnStats, FrontEnd
from asr.models import build_model
from asr.models.storage import SpeechModel
from asr.models.timing_fit import timing_of
from asr.text import CharTokenizer
from asr.transcription import longform
from asr.transcription.calibration import Calibration
from asr.transcription.decoder import DecoderOptions
from asr.transcription.longform import transcribe_long, transcribe_long_array
from asr.transcription.longform_split import Limits
from asr.transcription.recognizer import pad

SHORT = Limits(0.5, 6.0, 2.0)
CONFIG = {"features": {"sample_rate": RATE, "num_mel_bins": 23, "cmvn": "global"},
          "model": {"conv": {"layers": [{"channels": 8, "kernel": [5, 3], "stride": [2, 2]}, {"channels": 8, "kernel": [3, 3],
                                                                                            "stride": [2, 2]}]},
                    "rnn": {"hidden": 32, "layers": 1}}}


def read(words: list[str], seed: int, sentence: int = 8, gap: float = 0.0) -> tuple[np.ndarray, list[tuple[str, float, float]]]:
    """Words read aloud by tones, with 80 to 160 ms between them and ``gap`` seconds more after a sentence; and their times."""
    rng = np.random.default_rng(seed)
    parts, times, at = [np.zeros(RATE // 8)], [], RATE // 8
    for index, word in enumerate(words):
        start = at
        for letter in word:
            time = np.arange(int(RATE * rng.uniform(0.05, 0.09))) / RATE
            parts.append(0.3 * np.sin(2 * np.pi * TONES[letter] * time))
            at += len(time)
        times.append((word, start / RATE, at / RATE))
        hush = rng.uniform(0.08, 0.16) + (gap if (index + 1) % sentence == 0 else 0.0)
        parts.append(np.zeros(int(RATE * hush)))
        at += len(parts[-1])
    samples = np.concatenate(parts)
    return (samples + 0.002 * rng.standard_normal(len(samples))).astype(np.float32), times


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    """Learns from a hundred sentences in some seconds."""
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    texts = [list(rng.choice(WORDS, int(rng.integers(1, 17)))) for _ in range(96)]
    sounds = [read(words, index, int(rng.integers(2, 9)), 0.8)[0] for index, words in enumerate(texts)]
    config, tokenizer = parse_config(CONFIG), CharTokenizer("abcdefgh ")
    frontend = FrontEnd(config.features)
    network = build_model(config.model, frontend.dim, tokenizer.vocab_size)
    features, frames = frontend.extract(*pad(sounds))
    stats = CmvnStats(frontend.dim)
    for row, count in zip(features, frames.tolist()):
        stats.add(row[:count])
    frontend.set_global(stats)
    features = frontend.normalize(features, frames)
    targets = [torch.tensor(tokenizer.encode(" ".join(words))) for words in texts]
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for step in range(180):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 185)
        rows = torch.from_numpy(rng.choice(96, 16, replace=False))
        chosen = [targets[row] for row in rows]
        logits, made = network(features[rows, :int(frames[rows].max())], frames[rows])
        loss = ctc_loss(logits.transpose(0, 1), torch.cat(chosen), made,  # (B, T, V) -> (T, B, V)
                        torch.tensor(list(map(len, chosen))))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raw = {str(index): frontend.extract(*pad([sound]))[0][0] for index, sound in enumerate(sounds)}
    timing = timing_of({key: " ".join(texts[int(key)]) for key in raw}, dict.fromkeys(raw, 1.0), raw.get, "fbank")
    return Recognizer(SpeechModel(network.eval(), frontend.eval(), config, tokenizer, {}, "trained", "0" * 64, timing))


def unsplit(recognizer: Recognizer, samples: np.ndarray):
    return recognizer.transcribe_batch([samples])[0]


@pytest.fixture(scope="module")
def paused(recognizer):
    """A minute of sentences with pauses between them."""
    return read(list(np.random.default_rng(7).choice(WORDS, 96)), 5000, gap=0.8)


@pytest.fixture(scope="module")
def unpaused(recognizer):
    """Half a minute of words whose pauses are shorter than a breath."""
    return read(list(np.random.default_rng(8).choice(WORDS, 96)), 6000)


def test_the_network_has_learned(recognizer, paused, unpaused):
    for samples, times in (paused, unpaused):
        assert unsplit(recognizer, samples).text.split() == [word for word, _, _ in times]


def test_pieces_say_what_the_whole_says(recognizer, paused):
    samples, truth = paused
    whole, pieces = unsplit(recognizer, samples), transcribe_long_array(recognizer, samples, RATE, SHORT)
    assert pieces.text == whole.text and [word.text for word in pieces.words] == pieces.text.split()
    assert pieces.duration == whole.duration and [token.text for token in pieces.tokens if token.text != " "] == [
        token.text for token in whole.tokens if token.text != " "]
    for word, same, (_, start, end) in zip(pieces.words, whole.words, truth):
        assert word.start == pytest.approx(same.start, abs=0.05) and word.end == pytest.approx(same.end, abs=0.05)
        assert word.start == pytest.approx(start, abs=0.1) and word.end == pytest.approx(end, abs=0.1)
    times = [edge for word in pieces.words for edge in (word.start, word.end)]
    assert times == sorted(times) and times[0] >= 0 and times[-1] <= pieces.duration
    assert len(pieces.nbest) == 1 and pieces.nbest[0].text == pieces.text


def test_windows_say_what_the_whole_says(recognizer, unpaused, monkeypatch):
    samples, truth = unpaused
    whole = unsplit(recognizer, samples)
    monkeypatch.setattr(longform, "LONGEST_STRETCH_S", 1e9)
    joined = [transcribe_long_array(recognizer, samples, RATE, limits) for limits in (SHORT, Limits(0.5, 4.0, 1.0))]
    monkeypatch.setattr(longform, "LONGEST_STRETCH_S", 10.0)  # stretches are divided
    joined.append(transcribe_long_array(recognizer, samples, RATE, SHORT))
    for result in joined:
        assert result.text == whole.text
        times = [edge for word in result.words for edge in (word.start, word.end)]
        assert times == sorted(times)
        for word, (_, start, end) in zip(result.words, truth):
            assert word.start == pytest.approx(start, abs=0.1) and word.end == pytest.approx(end, abs=0.1)
    assert joined[0].nbest[0].score == pytest.approx(whole.nbest[0].score, abs=0.1)  # of one stretch, decoded as one


def test_beam_search_does_not_begin_anew_at_seams(recognizer, unpaused, monkeypatch):
    calls = []
    beam = recognizer.with_options(DecoderOptions("beam", beam=8, nbest=3))
    decoder = beam.decoder
    monkeypatch.setattr(beam, "decoder", lambda log_probs, frames: calls.append(frames.tolist()) or decoder(log_probs, frames))
    monkeypatch.setattr(beam.decoder, "options", decoder.options, raising=False)
    result = transcribe_long_array(beam, unpaused[0], RATE, SHORT)
    whole = beam.with_decoder(decoder).transcribe_batch([unpaused[0]])[0]
    assert result.text == whole.text and len(result.nbest) == len(whole.nbest) > 1
    assert len(calls) == 1 and len(calls[0]) == 1


def test_files_and_arrays_of_any_rate_and_channel(recognizer, paused, tmp_path):
    samples, _ = paused
    soundfile.write(tmp_path / "two.wav", np.stack([0.3 * samples[::-1], samples], axis=1), RATE, subtype="FLOAT")
    assert transcribe_long(recognizer, tmp_path / "two.wav", 1, SHORT) == transcribe_long_array(recognizer, samples, RATE, SHORT)
    other = audio.resample(samples, RATE, 11025)
    soundfile.write(tmp_path / "a.ogg", other, 11025)
    coded = unsplit(recognizer, audio.load(tmp_path / "a.ogg", RATE))
    assert transcribe_long(recognizer, tmp_path / "a.ogg", limits=SHORT).text == coded.text
    whole = unsplit(recognizer, audio.resample(other, 11025, RATE))
    assert transcribe_long_array(recognizer, other, 11025, SHORT).text == whole.text


def test_the_batch_size_changes_nothing(recognizer, paused, unpaused):
    samples = np.concatenate([paused[0], unpaused[0]])
    results = [transcribe_long_array(recognizer, samples, RATE, SHORT, seconds) for seconds in (1.0, 10.0, 500.0)]
    for result in results[1:]:
        assert result.text == results[0].text
        np.testing.assert_allclose([word[1:] for word in result.words], [word[1:] for word in results[0].words], atol=1e-4)


def test_transcribe_splits_what_is_longer_than_a_piece(recognizer, paused, tmp_path):
    samples = np.concatenate([paused[0], np.zeros(RATE, np.float32), paused[0]])
    exact = samples[:30 * RATE]
    longer = samples[:30 * RATE + 1]
    for part in (exact, longer):
        soundfile.write(tmp_path / "a.wav", part, RATE, subtype="FLOAT")
        found = recognizer.transcribe(tmp_path / "a.wav")
        assert found == recognizer.transcribe(part)
        assert found == (unsplit(recognizer, part) if part is exact else transcribe_long(recognizer, tmp_path / "a.wav"))
        assert found.duration == len(part) / RATE and len(found.words) > 30
    assert recognizer.transcribe(longer).words != unsplit(recognizer, longer).words


@pytest.mark.parametrize("cmvn", ["none", "global", "utterance", "speaker"])
@pytest.mark.parametrize("samples", [np.zeros(40 * RATE, np.float32), 1e-3 * np.random.default_rng(0).standard_normal(40 * RATE),
                                     np.concatenate([np.zeros(40 * RATE), [0.1]])], ids=["zeros", "noise", "click"])
def test_silence_has_no_words(tmp_path, cmvn, samples):
    result = Recognizer.load(save_tiny_model(tmp_path / "m.safetensors", cmvn=cmvn)).transcribe(samples.astype(np.float32))
    assert result.text == "" and result.words == [] and result.duration == len(samples) / RATE
    assert [alternative.text for alternative in result.nbest] == [""]


def test_a_speaker_is_the_recording_and_an_utterance_the_piece(recognizer, paused, tmp_path):
    samples = paused[0]
    for cmvn in ("speaker", "utterance"):
        tiny = Recognizer.load(save_tiny_model(tmp_path / "m.safetensors", cmvn=cmvn))
        blocks = [samples[first:first + 7777] for first in range(0, len(samples), 7777)]
        pieces = list(longform.split(iter(blocks), RATE, tiny.model.network.frame_subsampling * 80, SHORT))
        assert len(pieces) > 5 and not any(piece.goes_on for piece in pieces)
        features = [tiny.model.extract(*pad([piece.samples]))[0][0] for piece in pieces]
        stats = CmvnStats(tiny.model.frontend.dim)
        for each in features:
            stats.add(each)
        shared = stats.normalizer()[None] if cmvn == "speaker" else None
        said = []
        for piece in pieces:
            log_probs, frames = tiny.log_probs([piece.samples], shared)
            said.append(tiny.results(log_probs, frames, [1e9])[0].text)
        assert transcribe_long_array(tiny, samples, RATE, SHORT).text == " ".join(filter(None, said))


def test_a_recording_that_is_cut_at_its_end_has_no_result(recognizer, paused, tmp_path):
    path = tmp_path / "cut.flac"
    soundfile.write(path, paused[0], RATE)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(AudioError, match=r"cut\.flac: cannot read: cut or corrupt"):
        transcribe_long(recognizer, path, limits=SHORT)


def test_confidences_are_calibrated(recognizer, paused):
    sure = recognizer.with_options(DecoderOptions(calibration=Calibration("temperature", ((0.0, 0.0),))))
    assert {word.confidence for word in transcribe_long_array(sure, paused[0], RATE, SHORT).words} == {0.5}
