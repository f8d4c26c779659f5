"""A corpus that a test can make and a network can learn in seconds: each word is a tone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from asr import audio
from asr.corpus import DataDir, Utterance

RATE = 8000
WORDS = {"lo": 350.0, "mid": 900.0, "hi": 2200.0}


def tone_sentence(words: list[str], rng: np.random.Generator) -> np.ndarray:
    """(N,) float32: a tone of 0.15-0.25 s for each word, silence between, a little noise over all."""
    parts = [np.zeros(int(0.05 * RATE))]
    for word in words:
        time = np.arange(int(RATE * rng.uniform(0.15, 0.25))) / RATE
        parts += [0.3 * np.sin(2 * np.pi * WORDS[word] * rng.uniform(0.95, 1.05) * time) * np.hanning(len(time)) ** 0.3,
                  np.zeros(int(RATE * rng.uniform(0.05, 0.1)))]
    samples = np.concatenate(parts)
    return (samples + 0.003 * rng.standard_normal(len(samples))).astype(np.float32)


def make_tones(path: Path, utterances: int, seed: int = 0, speakers: int = 3, longest: int = 4) -> DataDir:
    """Write wav files and a data directory of ``utterances`` sentences of one to ``longest`` words."""
    rng = np.random.default_rng(seed)
    found, wav = [], {}
    for index in range(utterances):
        speaker = f"s{index % speakers}"
        name = f"{speaker}-{seed:02d}-{index:04d}"
        words = [list(WORDS)[rng.integers(len(WORDS))] for _ in range(rng.integers(1, longest + 1))]
        file = path / "wav" / f"{name}.wav"
        audio.write(file, tone_sentence(words, rng), RATE)
        wav[name] = str(file)
        found.append(Utterance(id=name, recording=name, speaker=speaker, text=" ".join(words)))
    data = DataDir.from_utterances(found, wav)
    data.save(path)
    return DataDir.load(path)
