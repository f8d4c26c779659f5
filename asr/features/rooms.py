"""Rooms and noise made from random numbers, for training data that was recorded in neither."""

from __future__ import annotations

import math

import numpy as np
import scipy.fft

SPEED_OF_SOUND = 343.0  # m/s
DIMENSIONS = ((3.0, 10.0), (3.0, 8.0), (2.4, 4.0))  # m, from which a room's length, width and height are drawn
MARGIN = 0.4  # m between a wall and the speaker or the microphone
TALKERS = 6  # voices in babble


def room_response(rt60: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """The impulse response of a drawn shoebox room with this reverberation time in seconds: float32, direct sound first.

    The first reflections are image sources (Allen and Berkley, 1979) of speaker and microphone in drawn places; after them
    comes a diffuse tail, noise whose power continues theirs (Kuttruff: 4 pi c / V reflections' energy a second) and falls by
    60 dB in ``rt60``. Sample 0 is the direct sound, with weight 1: what was heard at a time is heard at that time.
    """
    room = np.array([rng.uniform(low, high) for low, high in DIMENSIONS])
    speaker, microphone = (rng.uniform(MARGIN, room - MARGIN) for _ in range(2))
    volume = room.prod()
    surface = 2 * (room[0] * room[1] + room[0] * room[2] + room[1] * room[2])
    absorption = min(0.95, 0.161 * volume / (surface * rt60))  # Sabine
    response = np.zeros(max(1, math.ceil(rt60 * sample_rate)))
    direct = max(0.2, float(np.linalg.norm(speaker - microphone)))

    # Images: in each dimension at 2 n L + s or 2 n L - s, behind |2n| or |2n - 1| walls.
    grid = np.array([-1, 0, 1])
    places = np.concatenate([2 * grid[:, None] * room + speaker, 2 * grid[:, None] * room - speaker])  # (6, 3)
    walls = np.abs(np.concatenate([2 * grid, 2 * grid - 1]))
    squared = np.square(places - microphone)
    distance = np.sqrt(squared[:, None, None, 0] + squared[None, :, None, 1] + squared[None, None, :, 2]).ravel()
    bounces = (walls[:, None, None] + walls[None, :, None] + walls[None, None, :]).ravel()
    delay = np.rint((distance - direct) * (sample_rate / SPEED_OF_SOUND)).astype(int)
    mixing = int((2 * room.min()) * (sample_rate / SPEED_OF_SOUND))  # before this, no image is missing
    early = (bounces > 0) & (delay >= 0) & (delay < min(mixing, len(response)))
    # The sign is drawn: real walls scatter, and images that all add up make a hum at low frequencies.
    gain = direct / distance[early] * (1 - absorption) ** (bounces[early] / 2) * rng.choice((-1.0, 1.0), early.sum())
    np.add.at(response, delay[early], gain)

    late = np.arange(mixing, len(response)) / sample_rate
    level = direct * math.sqrt(4 * math.pi * SPEED_OF_SOUND / (volume * sample_rate))
    tail = rng.standard_normal(len(late), dtype=np.float32)
    response[mixing:] += level * np.exp(-3 * math.log(10) / rt60 * (late + direct / SPEED_OF_SOUND)) * tail
    response[0] = 1.0
    return response.astype(np.float32)


def coloured_noise(count: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """``count`` samples of noise whose power falls as 1/f**slope: 0 is white, 1 pink, 2 brown. float32, unit power."""
    size = scipy.fft.next_fast_len(max(2, count), real=True)
    spectrum = scipy.fft.rfft(rng.standard_normal(size, dtype=np.float32))
    frequency = np.arange(1, len(spectrum) + 1, dtype=np.float32)
    # Flat below 1/500 of the band (16 Hz at 8 kHz), where nothing is heard and brown noise would put most of its power.
    spectrum *= np.maximum(frequency, len(spectrum) / 500) ** np.float32(-slope / 2)
    spectrum[0] = 0
    return unit_power(scipy.fft.irfft(spectrum, size)[:count])


def babble(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Many voices at once, with the spectrum of this very speech: reversed copies of (N,), shifted and added. Unit power.

    Reversed speech keeps spectrum and rhythm and says nothing.
    """
    reverse = samples[::-1]
    mixed = np.zeros_like(samples)
    for shift, gain in zip(rng.integers(0, len(samples), TALKERS), rng.uniform(0.3, 1.0, TALKERS)):
        mixed[shift:] += np.float32(gain) * reverse[:len(samples) - shift]
        mixed[:shift] += np.float32(gain) * reverse[len(samples) - shift:]
    return unit_power(mixed)


def unit_power(samples: np.ndarray) -> np.ndarray:
    """Scaled to a mean square of 1; silence stays silence."""
    level = rms(samples)
    return samples / np.float32(level) if level > 0 else samples


def rms(samples: np.ndarray) -> float:
    """Root of the mean square of float32 samples."""
    return math.sqrt(float(np.dot(samples, samples)) / len(samples)) if len(samples) else 0.0
