"""Speech-like signals with known properties: a glottal pulse train through moving formants, pauses and breath noise."""

from __future__ import annotations

import numpy as np
import scipy.signal
import torch
from torch import Tensor


def speech(seconds: float, sample_rate: int = 16000, seed: int = 0) -> np.ndarray:
    """(N,) float32 with a peak near 0.5: voiced and unvoiced stretches, a noise floor, a small DC offset."""
    rng = np.random.default_rng(seed)
    count = max(1, round(seconds * sample_rate))
    pitch = rng.uniform(90, 220) * (1 + 0.1 * np.sin(2 * np.pi * 2.1 * np.arange(count) / sample_rate))
    source = np.diff(np.floor(np.cumsum(pitch) / sample_rate), prepend=0) + 0.02 * rng.standard_normal(count)
    voiced = np.zeros(count)
    for formant, width in zip(rng.uniform((300, 900, 2200), (800, 2000, 3200)), (80, 120, 180)):
        radius = np.exp(-np.pi * width / sample_rate)
        poles = [1, -2 * radius * np.cos(2 * np.pi * formant / sample_rate), radius**2]
        voiced += scipy.signal.lfilter([1 - radius], poles, source)
    rhythm = np.clip(1.4 * np.sin(2 * np.pi * 3 * np.arange(count) / sample_rate + rng.uniform(0, 6)), 0.002, 1)
    wave = voiced * rhythm
    wave = 0.5 * wave / max(1e-9, np.abs(wave).max()) + 2e-4 * rng.standard_normal(count) + 1e-3
    return np.round(wave * 32768).clip(-32768, 32767).astype(np.float32) / 32768


def padded(waves: list[np.ndarray], extra: int = 0, fill: float = 0.0) -> tuple[Tensor, Tensor]:
    """A batch (B, N) with ``fill`` in the padding, and lengths (B,)."""
    lengths = torch.tensor([len(wave) for wave in waves], dtype=torch.int64)
    batch = torch.full((len(waves), max(map(len, waves), default=0) + extra), fill)
    for row, wave in zip(batch, waves):
        row[:len(wave)] = torch.from_numpy(wave)
    return batch, lengths
