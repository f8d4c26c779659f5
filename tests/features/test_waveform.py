"""Augmentation of waveforms: what each effect does to time, pitch, spectrum and power, and what none may do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_signals import speech

from asr import audio
from asr.config import AugmentConfig
from asr.errors import ConfigError
from asr.features import WaveAugment
from asr.features.rooms import babble, coloured_noise, rms, room_response
from asr.features.waveform import (
    add_noise,
    change_speed,
    change_tempo,
    mu_law,
    reverberate,
    shift_pitch,
    telephone,
    within_range,
)

RATE = 16000


def tone(frequency: float, seconds: float = 1.0, level: float = 0.3) -> np.ndarray:
    return (level * np.sin(2 * np.pi * frequency * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def pitch(samples: np.ndarray) -> float:
    """The strongest frequency, in Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    return float(np.argmax(spectrum)) * RATE / (1 << 18)


def power(samples: np.ndarray, low: float, high: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    frequency = np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(spectrum[(frequency >= low) & (frequency < high)].mean())


def everything(**changes) -> AugmentConfig:
    options = {"speed": (0.9, 1.0, 1.1), "tempo": (0.8, 1.25), "pitch_semitones": (-3, 3), "volume_db": (-10, 10),
               "telephone": 0.5, "noise": {"probability": 0.7, "snr_db": (0, 20)}, "reverb": {"probability": 0.7}}
    return AugmentConfig(**{**options, **changes})


# ------------------------------------------------------------------------------------------------- invariants


@settings(max_examples=60)
@given(seconds=st.floats(0.0001, 2.5), rate=st.sampled_from([8000, 16000, 22050]), seed=st.integers(0, 10**6),
       kind=st.sampled_from(["speech", "silence", "loud", "click"]))
def test_any_utterance_stays_sound(seconds, rate, seed, kind):
    samples = speech(seconds, rate, seed % 7)
    if kind == "silence":
        samples = np.zeros_like(samples)
    elif kind == "loud":
        samples = np.sign(samples)
    elif kind == "click":
        samples = np.zeros_like(samples)
        samples[len(samples) // 2] = 1
    before = samples.copy()
    out = WaveAugment(everything(), rate)(samples, np.random.default_rng(seed))
    assert out.dtype == np.float32 and out.ndim == 1 and len(out) > 0
    assert np.isfinite(out).all() and np.abs(out).max() <= 1
    assert np.array_equal(samples, before)
    assert len(out) == pytest.approx(len(samples), rel=0.45, abs=2)
    if kind == "silence":
        assert not out.any()
    again = WaveAugment(everything(), rate)(samples, np.random.default_rng(seed))
    assert np.array_equal(out, again)


def test_draws_differ():
    samples = speech(0.5)
    augment = WaveAugment(everything(), RATE)
    assert len({augment(samples, np.random.default_rng(seed)).tobytes() for seed in range(10)}) == 10


def test_nothing_asked_is_nothing_done():
    samples = speech(0.5)
    assert np.array_equal(WaveAugment(AugmentConfig(), RATE)(samples, np.random.default_rng(0)), samples)


def test_empty_stays_empty():
    assert len(WaveAugment(everything(), RATE)(np.zeros(0, np.float32), np.random.default_rng(0))) == 0


# ---------------------------------------------------------------------------------------------------- effects


@pytest.mark.parametrize("factor", [0.8, 0.9, 0.95, 1.1, 1.25])
def test_speed_moves_duration_and_pitch(factor):
    out = change_speed(tone(400), factor)
    assert len(out) == pytest.approx(RATE / factor, abs=2)
    assert pitch(out) == pytest.approx(400 * factor, rel=0.003)


@pytest.mark.parametrize("factor", [0.7, 0.85, 1.15, 1.4])
def test_tempo_moves_duration_alone(factor):
    samples = tone(200)
    out = change_tempo(samples, factor, RATE)
    assert len(out) == round(RATE / factor)
    assert pitch(out) == pytest.approx(200, rel=0.01)
    middle = out[RATE // 10:-RATE // 10]
    assert rms(middle) == pytest.approx(rms(samples), rel=0.05)  # no gaps, no doubled cross-fades


def test_tempo_keeps_the_order_of_events():
    samples = np.concatenate([tone(300, 0.5), tone(600, 0.5), tone(1200, 0.5)])
    out = change_tempo(samples, 0.75, RATE)
    third = len(out) // 3
    for index, frequency in enumerate((300, 600, 1200)):
        assert pitch(out[index * third + 1000:(index + 1) * third - 1000]) == pytest.approx(frequency, rel=0.01)


def test_tempo_of_one_changes_nothing():
    samples = speech(0.7)
    assert np.array_equal(change_tempo(samples, 1.0, RATE), samples)


@pytest.mark.parametrize("semitones", [-4.0, -1.5, 2.0, 5.0])
def test_pitch_moves_pitch_alone(semitones):
    samples = tone(300)
    out = shift_pitch(samples, semitones, RATE)
    assert len(out) == len(samples)
    assert pitch(out) == pytest.approx(300 * 2 ** (semitones / 12), rel=0.02)


def test_volume_turns_down_what_would_be_clipped():
    loud = WaveAugment(AugmentConfig(volume_db=(40, 40)), RATE)(tone(300), np.random.default_rng(0))
    assert np.abs(loud).max() == pytest.approx(0.999, abs=1e-3)
    np.testing.assert_allclose(loud, tone(300) * np.abs(loud).max() / 0.3, atol=1e-3)  # the shape is kept: not clipped
    soft = WaveAugment(AugmentConfig(volume_db=(-20, -20)), RATE)(tone(300), np.random.default_rng(0))
    np.testing.assert_allclose(soft, tone(300) * 0.1, atol=1e-6)
    quiet = tone(300)
    assert within_range(quiet) is quiet


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), rt60=st.floats(0.05, 1.2))
def test_room_responses(seed, rt60):
    response = room_response(rt60, RATE, np.random.default_rng(seed))
    assert response.dtype == np.float32 and np.isfinite(response).all()
    assert response[0] == 1 and np.abs(response).max() < 5  # the direct sound is first
    assert len(response) == int(np.ceil(rt60 * RATE))


def test_reverberation_time_is_the_one_asked():
    """Schroeder's backward integral falls by 60 dB in rt60, measured from -10 to -30 dB."""
    for rt60 in (0.3, 0.6):
        measured = []
        for seed in range(8):
            response = room_response(rt60, RATE, np.random.default_rng(seed)).astype(np.float64)
            left = 10 * np.log10(np.cumsum((response[1:] ** 2)[::-1])[::-1] / np.sum(response[1:] ** 2))
            measured.append(3 * (np.argmax(left < -30) - np.argmax(left < -10)) / RATE)
        assert np.mean(measured) == pytest.approx(rt60, rel=0.2)


def test_reverberation_keeps_time_length_and_power():
    samples = np.zeros(RATE, np.float32)
    samples[8000] = 0.5
    response = room_response(0.4, RATE, np.random.default_rng(3))
    out = reverberate(samples, response)
    assert len(out) == RATE and int(np.argmax(np.abs(out))) == 8000
    assert np.abs(out[:7999]).max() < 1e-5
    assert rms(out) == pytest.approx(rms(samples), rel=1e-3)
    np.testing.assert_allclose(out[8000:8000 + 2000] / out[8000], response[:2000], atol=1e-4)


@pytest.mark.parametrize("snr", [0.0, 12.0, 30.0])
def test_noise_has_the_ratio_asked(snr):
    samples = speech(1.0)
    noise = coloured_noise(len(samples), 1.0, np.random.default_rng(1))
    added = add_noise(samples, noise, snr) - samples
    assert 20 * np.log10(rms(samples) / rms(added)) == pytest.approx(snr, abs=0.1)


@pytest.mark.parametrize(("slope", "decibels"), [(0.0, 0), (1.0, -10), (2.0, -20)])
def test_colours_of_noise(slope, decibels):
    noise = coloured_noise(8 * RATE, slope, np.random.default_rng(0))
    assert rms(noise) == pytest.approx(1, rel=1e-3)
    assert 10 * np.log10(power(noise, 3000, 5000) / power(noise, 300, 500)) == pytest.approx(decibels, abs=1)


def test_babble_has_the_spectrum_of_the_speech():
    samples = speech(2.0)
    noise = babble(samples, np.random.default_rng(0))
    assert rms(noise) == pytest.approx(1, rel=1e-3) and len(noise) == len(samples)
    bands = [(100, 500), (500, 1500), (1500, 3500), (3500, 7500)]
    mine, its = (np.array([power(one / rms(one), *band) for band in bands]) for one in (noise, samples))
    assert np.abs(10 * np.log10(mine / its)).max() < 4


@pytest.mark.parametrize("rate", [8000, 16000, 22050])
def test_telephone_band(rate):
    noise = np.random.default_rng(0).standard_normal(2 * rate).astype(np.float32) * 0.1
    out = telephone(noise, rate)
    assert len(out) == len(noise)
    spectrum = np.abs(np.fft.rfft(out)) ** 2
    frequency = np.fft.rfftfreq(len(out), 1 / rate)
    passed = spectrum[(frequency > 400) & (frequency < 3300)].mean()
    assert passed == pytest.approx((np.abs(np.fft.rfft(noise)) ** 2).mean(), rel=0.1)
    for low, high in ((0, 150), (3600, 3900), (4100, rate / 2)):
        if low < rate / 2:
            assert 10 * np.log10(spectrum[(frequency >= low) & (frequency < high)].mean() / passed) < -25


def test_telephone_does_not_move_times():
    samples = speech(1.0)
    out = telephone(samples, RATE)
    lags = np.correlate(out, samples[500:-500])
    assert abs(int(np.argmax(lags)) - 500) <= 1


def test_mu_law_is_g711s_curve():
    import torch
    import torchaudio

    samples = np.linspace(-1, 1, 40001, dtype=np.float32)
    coded = mu_law(samples)
    assert len(np.unique(coded)) == 255 and mu_law(np.zeros(1, np.float32))[0] == 0
    reference = torchaudio.functional.mu_law_decoding(
        torchaudio.functional.mu_law_encoding(torch.from_numpy(samples), 256), 256).numpy()
    assert np.abs(coded - samples).max() <= np.abs(reference - samples).max() * 1.05
    assert np.abs(coded - reference).max() < 0.05


# ------------------------------------------------------------------------------------------------------ files


def test_noise_and_rooms_from_files(tmp_path):
    audio.write(tmp_path / "noise" / "hum.wav", tone(1000, 0.3), RATE)
    response = np.zeros(4000, np.float32)
    response[[100, 1100]] = 0.9, 0.5
    audio.write(tmp_path / "rooms" / "echo.wav", response, RATE)
    scp = tmp_path / "rooms.scp"
    scp.write_text(f"echo {tmp_path}/rooms/echo.wav\n")
    samples = speech(1.0)
    noisy = WaveAugment(AugmentConfig(noise={"probability": 1, "snr_db": (0, 0), "files": str(tmp_path / "noise")}), RATE)
    assert pitch(noisy(samples, np.random.default_rng(0)) - samples) == pytest.approx(1000, rel=0.01)
    click = np.zeros(RATE, np.float32)
    click[2000] = 0.5
    roomy = WaveAugment(AugmentConfig(reverb={"probability": 1, "files": str(scp)}), RATE)(click, np.random.default_rng(0))
    assert np.flatnonzero(np.abs(roomy) > 0.01).tolist() == [2000, 3000]
    assert roomy[3000] / roomy[2000] == pytest.approx(0.5 / 0.9, rel=0.01)


@pytest.mark.parametrize(("options", "said"), [
    ({"tempo": (0.0, 1.0)}, "augment.tempo"),
    ({"pitch_semitones": (-30, 2)}, "augment.pitch_semitones"),
    ({"volume_db": (-90, 5)}, "augment.volume_db"),
    ({"noise": {"probability": 1, "snr_db": (5, 200)}}, "augment.noise.snr_db"),
    ({"reverb": {"probability": 1, "rt60_s": (0, 1)}}, "augment.reverb.rt60_s"),
    ({"noise": {"probability": 1, "files": "/nowhere"}}, "no such folder"),
])
def test_ranges_that_make_no_sense(options, said):
    with pytest.raises(ConfigError, match=said):
        WaveAugment(AugmentConfig(**options), RATE)


@pytest.mark.parametrize("section", ["noise", "reverb"])
def test_a_list_that_is_not_utf_8(tmp_path, section):
    (tmp_path / "wav.scp").write_bytes("a Gerät.wav\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=rf"augment.{section}.files: .*wav.scp is not UTF-8 text; name a folder, or a wav.scp"):
        WaveAugment(AugmentConfig(**{section: {"probability": 1, "files": str(tmp_path / "wav.scp")}}), RATE)


@pytest.mark.parametrize("section", ["noise", "reverb"])
def test_every_file_that_cannot_be_read_is_named_before_training(tmp_path, section):
    for name in ("a", "cut", "other"):
        audio.write(tmp_path / f"{name}.wav", tone(1000, 0.3), RATE)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "cut.wav").read_bytes()[:999])
    (tmp_path / "other.wav").write_text("no audio")
    config = AugmentConfig(**{section: {"probability": 0.1, "files": str(tmp_path)}})
    with pytest.raises(ConfigError, match=rf"augment.{section}.files: 2 of 3 files in .* cannot be read; replace or remove them\n"
                                          r".*/cut\.wav: cannot read: .*\n.*/other\.wav: cannot read: "):
        WaveAugment(config, RATE)


def test_folders_without_audio_and_pipes(tmp_path):
    for files, said in ((tmp_path, "no audio"), (tmp_path / "wav.scp", "shell commands")):
        (tmp_path / "wav.scp").write_text("a cat a.wav |\n")
        with pytest.raises(ConfigError, match=said):
            WaveAugment(AugmentConfig(noise={"probability": 1, "files": str(files)}), RATE)
