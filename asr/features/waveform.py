"""Augmentation of waveforms: what training does to an utterance before features are made.

Every effect is a function of (samples, its arguments), and :class:`WaveAugment` of (samples, random generator): the
same generator state gives the same samples, in any process and any order of utterances.

All samples are float32 (N,), nominally in [-1, 1]; the result never leaves that range: what would be clipped is
turned down as a whole.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import scipy.fft

from asr import audio
from asr.config import AugmentConfig
from asr.errors import AudioError, ConfigError
from asr.features.rooms import babble, coloured_noise, rms, room_response, unit_power

SEGMENT_S, OVERLAP_S, SEARCH_S = 0.040, 0.012, 0.012  # WSOLA: a piece, its cross-fade, how far a better place may be
SPEED_STEPS, PITCH_STEPS = 100, 50  # factors become fractions of whole numbers up to these, to keep resampling cheap
TELEPHONE_RATE, TELEPHONE_BAND, TELEPHONE_EDGE = 8000, (300.0, 3400.0), 100.0  # Hz
PEAK = 0.999
RESPONSE_S = 2.0  # seconds of an impulse response file that are used


class WaveAugment:
    """The effects of an ``augment`` section, in the order of a recording: the voice, the room, the noise, the line.

    speed, tempo, pitch, volume, reverberation, noise, telephone. Raises ConfigError for factors that make no sense, and
    for files that are not there or cannot be read: each is looked at here (header and last samples), once in a process.
    """

    def __init__(self, config: AugmentConfig, sample_rate: int) -> None:
        self.config, self.sample_rate = config, sample_rate
        for name, bounds, low, high in (("tempo", config.tempo, 0.5, 2.0),
                                        ("pitch_semitones", config.pitch_semitones, -12.0, 12.0),
                                        ("volume_db", config.volume_db, -60.0, 60.0),
                                        ("noise.snr_db", config.noise.snr_db, -60.0, 100.0),
                                        ("reverb.rt60_s", config.reverb.rt60_s, 0.01, 5.0)):
            if bounds is not None and not low <= bounds[0] <= bounds[1] <= high:
                raise ConfigError(f"augment.{name}: {list(bounds)} is not a range [from, to] within {low:g} and {high:g}")
        self.noises = _sounds("noise", config.noise.files if config.noise.probability else None)
        self.rooms = _sounds("reverb", config.reverb.files if config.reverb.probability else None)

    def __call__(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(N,) float32 -> (M,) float32; M differs from N by speed and tempo only. The input is left as it is."""
        config = self.config
        samples = np.asarray(samples, dtype=np.float32)
        if not len(samples):
            return samples
        if config.speed:
            samples = change_speed(samples, config.speed[int(rng.integers(len(config.speed)))])
        if config.tempo:
            samples = change_tempo(samples, rng.uniform(*config.tempo), self.sample_rate)
        if config.pitch_semitones:
            samples = shift_pitch(samples, rng.uniform(*config.pitch_semitones), self.sample_rate)
        if config.volume_db:
            samples = samples * np.float32(10 ** (rng.uniform(*config.volume_db) / 20))
        if config.reverb.probability and rng.random() < config.reverb.probability:
            samples = reverberate(samples, self._response(rng))
        if config.noise.probability and rng.random() < config.noise.probability:
            samples = add_noise(samples, self._noise(samples, rng), rng.uniform(*config.noise.snr_db))
        if config.telephone and rng.random() < config.telephone:
            samples = telephone(samples, self.sample_rate)
        return within_range(samples)

    def _response(self, rng: np.random.Generator) -> np.ndarray:
        if self.rooms:
            return _response_of(self.rooms[int(rng.integers(len(self.rooms)))], self.sample_rate)
        return room_response(rng.uniform(*self.config.reverb.rt60_s), self.sample_rate, rng)

    def _noise(self, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        if self.noises:
            return _excerpt(self.noises[int(rng.integers(len(self.noises)))], len(samples), self.sample_rate, rng)
        kind = rng.random()
        return babble(samples, rng) if kind < 0.25 else coloured_noise(len(samples), rng.uniform(0, 2), rng)


# ---------------------------------------------------------------------------------------------------- effects


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Played ``factor`` times as fast: shorter and higher for a factor above 1, as a tape (sox ``speed``).

    The factor is taken as the nearest fraction of whole numbers up to 100.
    """
    ratio = Fraction(factor).limit_denominator(SPEED_STEPS)
    if ratio == 1:
        return samples
    import torch

    with torch.inference_mode():
        return audio.resampler(ratio.numerator, ratio.denominator)(torch.from_numpy(np.ascontiguousarray(samples))).numpy()


def change_tempo(samples: np.ndarray, factor: float, sample_rate: int) -> np.ndarray:
    """Said ``factor`` times as fast at the same pitch, (N,) -> (round(N / factor),); WSOLA (Verhelst and Roelands, 1993).

    Pieces are taken at ``factor`` times the pace they are laid down, each from the place near its own (within 12 ms)
    that continues the last one best, and cross-faded over 12 ms.
    """
    wanted = max(1, round(len(samples) / factor))
    piece, overlap, search = (int(seconds * sample_rate) for seconds in (SEGMENT_S, OVERLAP_S, SEARCH_S))
    if wanted == len(samples) or overlap < 2:
        return samples
    step = piece - overlap
    # Zeros around: half the search lies before a piece's nominal place, and the last pieces reach past the end.
    pieces = math.ceil(wanted / step)
    padded = np.zeros(search // 2 + max(len(samples), math.ceil(pieces * step * factor)) + piece + search + 1, np.float32)
    padded[search // 2:search // 2 + len(samples)] = samples
    energy = np.concatenate([[0.0], np.cumsum(np.square(padded, dtype=np.float64))])
    energy = (energy[overlap:] - energy[:-overlap]) + 1e-6  # of each window of one overlap
    fade = (np.arange(overlap, dtype=np.float32) + 0.5) / overlap
    out = np.empty(pieces * step, np.float32)
    place = search // 2  # the first piece is taken where it lies
    for number in range(pieces):
        if number:
            tail = padded[place + step:place + piece]  # how the last piece would go on
            first = int(number * step * factor)
            match = np.correlate(padded[first:first + search + overlap - 1], tail)
            place = first + int(np.argmax(match / np.sqrt(energy[first:first + search])))
            start = out[number * step:number * step + overlap]
            start[:] = tail + fade * (padded[place:place + overlap] - tail)
            out[number * step + overlap:(number + 1) * step] = padded[place + overlap:place + step]
        else:
            out[:step] = padded[place:place + step]
    return out[:wanted]


def shift_pitch(samples: np.ndarray, semitones: float, sample_rate: int) -> np.ndarray:
    """Higher by so many semitones, formants too; duration stays, to the sample: (N,) -> (N,)."""
    ratio = Fraction(2 ** (semitones / 12)).limit_denominator(PITCH_STEPS)
    if ratio == 1:
        return samples
    shifted = change_speed(change_tempo(samples, 1 / float(ratio), sample_rate), float(ratio))
    return shifted[:len(samples)] if len(shifted) >= len(samples) else np.pad(shifted, (0, len(samples) - len(shifted)))


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolved with an impulse response that begins with the direct sound, (N,) -> (N,); the power is kept."""
    size = scipy.fft.next_fast_len(len(samples) + len(response) - 1, real=True)
    spectrum = scipy.fft.rfft(samples, size) * scipy.fft.rfft(response, size)
    wet = scipy.fft.irfft(spectrum, size)[:len(samples)]
    level = rms(wet)
    return wet * np.float32(rms(samples) / level) if level > 0 else samples


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Noise (N,) added at this ratio of mean powers, in dB; silence stays silence."""
    return samples + unit_power(noise) * np.float32(rms(samples) * 10 ** (-snr_db / 20))


def telephone(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """A narrow-band line: 300-3400 Hz, sampled at 8 kHz and coded in 8-bit mu-law (ITU-T G.711); (N,) -> (N,).

    The band is cut and the rate changed in the frequency domain, so that times do not move.
    """
    size = scipy.fft.next_fast_len(len(samples) + sample_rate // 50, real=True)
    size += size % 2
    spectrum = scipy.fft.rfft(samples, size)
    frequency = np.arange(len(spectrum), dtype=np.float32) * np.float32(sample_rate / size)
    low, high = TELEPHONE_BAND
    rise = np.clip((frequency - (low - TELEPHONE_EDGE)) / TELEPHONE_EDGE, 0, 1)
    fall = np.clip(((high + TELEPHONE_EDGE) - frequency) / TELEPHONE_EDGE, 0, 1)
    spectrum *= rise * fall
    coded_size = 2 * round(size * TELEPHONE_RATE / sample_rate / 2)
    if sample_rate <= TELEPHONE_RATE:
        return mu_law(within_range(scipy.fft.irfft(spectrum, size)[:len(samples)]))
    narrow = scipy.fft.irfft(spectrum[:coded_size // 2 + 1], coded_size) * np.float32(coded_size / size)
    coded = scipy.fft.rfft(mu_law(within_range(narrow)))
    coded[-1] = 0  # the Nyquist bin of the narrow band has no phase in the wide one
    wide = np.zeros(len(spectrum), coded.dtype)
    wide[:len(coded)] = coded
    return scipy.fft.irfft(wide, size)[:len(samples)] * np.float32(size / coded_size)


def mu_law(samples: np.ndarray) -> np.ndarray:
    """Coded to 8 bits by the mu-law and decoded again: float32 in [-1, 1] -> 255 different values, 0 among them."""
    magnitude = np.rint(np.log1p(np.float32(255) * np.abs(samples)) * np.float32(127 / math.log(256)))
    decoded = np.expm1(magnitude * np.float32(math.log(256) / 127)) * np.float32(1 / 255)
    return np.copysign(decoded, samples)


def within_range(samples: np.ndarray) -> np.ndarray:
    """Turned down as a whole where the peak would leave [-1, 1]; else as it is."""
    peak = float(np.abs(samples).max(initial=0.0))
    return samples * np.float32(PEAK / peak) if peak > 1 else samples


# ------------------------------------------------------------------------------------------------------ files


def _sounds(section: str, files: str | None) -> list[str]:
    """The audio files that ``augment.<section>.files`` names: those in a folder, or of a ``wav.scp``."""
    if files is None:
        return []
    path = Path(files)
    if path.is_dir():
        found = [str(one) for one in audio.find_audio([path], recursive=True)]
    elif path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise ConfigError(f"augment.{section}.files: {files} is not UTF-8 text; name a folder, or a wav.scp (a name, then "
                              "an audio file, in each line)") from None
        found = [line.split(maxsplit=1)[1].strip() for line in lines if len(line.split(maxsplit=1)) == 2]
        if any(one.endswith("|") for one in found):
            raise ConfigError(f"augment.{section}.files: {files} holds shell commands (`... |`); list audio files")
    else:
        raise ConfigError(f"augment.{section}.files: no such folder or file: {files}")
    if not found:
        raise ConfigError(f"augment.{section}.files: no audio in {files}")
    broken = []
    for one in found:
        try:
            _verified(one)
        except AudioError as error:
            broken.append(f"\n  {error}")
    if broken:
        raise ConfigError(f"augment.{section}.files: {len(broken)} of {len(found)} files in {files} cannot be read; replace or "
                          f"remove them{''.join(broken)}")
    return found


@lru_cache(maxsize=1024)
def _response_of(path: str, sample_rate: int) -> np.ndarray:
    """The impulse response in a file, from its strongest sample on: the direct sound, so that times do not move."""
    found = audio.load(path, sample_rate)
    direct = int(np.argmax(np.abs(found)))
    return found[direct:direct + int(RESPONSE_S * sample_rate)]


@cache
def _verified(path: str) -> audio.AudioInfo:
    return audio.verify(path)


def _excerpt(path: str, count: int, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` samples from a drawn place of a file; only they are read. A shorter file is repeated."""
    info = _verified(path)
    wanted = count / sample_rate
    start = rng.uniform(0, max(0.0, info.duration - wanted))
    found = audio.load(path, sample_rate, start, min(start + wanted, info.duration))
    return np.resize(found, count)
