"""The constants of Kaldi's front-end: windows, mel filters with vocal-tract-length warp, cosine transform, lifter.

Reference: Kaldi ``feat/feature-window.cc`` and ``feat/mel-computations.cc``. The mel filters are computed in float32 and
in Kaldi's order of operations, because at low frequencies a filter can be narrower than one FFT bin: then a single
small weight decides the value, and its rounding would show.
"""

from __future__ import annotations

import math

import numpy as np

from asr.errors import ConfigError

VTLN_LOW = 100.0  # Hz; Kaldi's --vtln-low
VTLN_HIGH = -500.0  # Hz below the Nyquist frequency; Kaldi's --vtln-high


def window(kind: str, size: int) -> np.ndarray:
    """A window of ``size`` samples, float64. ``povey`` is a Hann window to the power 0.85."""
    phase = 2 * math.pi * np.arange(size) / (size - 1)
    hann = 0.5 - 0.5 * np.cos(phase)
    if kind == "povey":
        return hann**0.85
    if kind == "hanning":
        return hann
    if kind == "hamming":
        return 0.54 - 0.46 * np.cos(phase)
    if kind == "blackman":
        return 0.42 - 0.5 * np.cos(phase) + 0.08 * np.cos(2 * phase)
    if kind == "rectangular":
        return np.ones(size)
    raise ConfigError(f"features.window: unknown window `{kind}`; choose povey, hamming, hanning, rectangular or blackman")


def mel_banks(num_bins: int, fft_size: int, sample_rate: int, low_freq: float, high_freq: float,
              warp: float = 1.0) -> np.ndarray:
    """Triangular filters on the mel scale, float32 (num_bins, fft_size // 2 + 1); the Nyquist bin has weight zero.

    ``high_freq`` of zero or less counts down from the Nyquist frequency. ``warp`` other than 1 moves the filters by
    Kaldi's piecewise linear map (``--vtln-warp``). Raises ConfigError when the band leaves no room for the warp.
    """
    nyquist = 0.5 * sample_rate
    high_freq = high_freq if high_freq > 0 else nyquist + high_freq
    low_mel, high_mel = (1127.0 * math.log(1.0 + freq / 700.0) for freq in (low_freq, high_freq))
    step = (high_mel - low_mel) / (num_bins + 1)
    number = np.arange(num_bins)[:, None]
    left, centre, right = (np.float32(low_mel) + (number + k).astype(np.float32) * np.float32(step) for k in (0, 1, 2))
    mel = _to_mel(np.float32(sample_rate / fft_size) * np.arange(fft_size // 2, dtype=np.float32))[None, :]
    if warp != 1.0:
        left, centre, right = (_to_mel(warp_freq(_to_hertz(edge), low_freq, high_freq, nyquist, warp))
                               for edge in (left, centre, right))
    rising = (mel - left) / (centre - left)
    falling = (right - mel) / (right - centre)
    banks = np.where((mel > left) & (mel < right), np.where(mel <= centre, rising, falling), np.float32(0))
    return np.pad(banks, ((0, 0), (0, 1)))


def warp_freq(freq: np.ndarray, low_freq: float, high_freq: float, nyquist: float, warp: float) -> np.ndarray:
    """Kaldi's ``VtlnWarpFreq`` in Hz: slope 1/warp in the middle, linear to the fixed ends of the band."""
    low, high = VTLN_LOW, nyquist + VTLN_HIGH
    lower, upper = low * max(1.0, warp), high * min(1.0, warp)  # the inflection points, in unwarped Hz
    if not low_freq < lower < upper < high_freq or not low_freq < low < high < high_freq:
        raise ConfigError(f"vocal-tract-length warp {warp:g}: the mel band {low_freq:g}-{high_freq:g} Hz must enclose the "
                          f"warped {lower:g}-{upper:g} Hz (Kaldi's --vtln-low 100 --vtln-high -500); "
                          "widen the band, or set augment.vtlp to null")
    scale = 1.0 / warp
    below = low_freq + (scale * lower - low_freq) / (lower - low_freq) * (freq - low_freq)
    above = high_freq + (high_freq - scale * upper) / (high_freq - upper) * (freq - high_freq)
    inside = np.where(freq < lower, below, np.where(freq < upper, scale * freq, above))
    return np.where((freq < low_freq) | (freq > high_freq), freq, inside).astype(np.float32)


def cepstral_matrix(num_bins: int, num_ceps: int, lifter: float) -> np.ndarray:
    """The orthonormal DCT-II with the cepstral lifter in it, float32 (num_bins, num_ceps), to multiply log-mel rows by."""
    ceps = np.arange(num_ceps)
    matrix = math.sqrt(2 / num_bins) * np.cos(math.pi / num_bins * (np.arange(num_bins)[:, None] + 0.5) * ceps)
    matrix[:, 0] = math.sqrt(1 / num_bins)
    if lifter:
        matrix *= 1 + 0.5 * lifter * np.sin(math.pi * ceps / lifter)
    return matrix.astype(np.float32)


def _to_mel(hertz: np.ndarray) -> np.ndarray:
    return np.float32(1127) * np.log(np.float32(1) + hertz / np.float32(700))


def _to_hertz(mel: np.ndarray) -> np.ndarray:
    return np.float32(700) * (np.exp(mel / np.float32(1127)) - np.float32(1))
