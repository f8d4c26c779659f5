"""Features of made speech whose times are known: each letter has a spectrum of its own."""

from __future__ import annotations

import numpy as np

LETTERS = "abcdefgh"
BINS = 20
SPECTRA = {letter: 6 + 3 * np.random.default_rng(index).normal(size=BINS) for index, letter in enumerate(LETTERS)}


def planted_speech(words: list[str], seed: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Features (T, BINS) like log-mel of the words, and the frames of each word: first, one past the last."""
    rng = np.random.default_rng(seed)
    rows: list[np.ndarray] = []
    spans = []

    def silence(longest: int) -> None:
        rows.extend(np.zeros(BINS) for _ in range(rng.integers(longest + 1)))

    silence(20)
    rows.append(np.zeros(BINS))
    for word in words:
        start = len(rows)
        for letter in word:
            rows.extend(SPECTRA[letter] for _ in range(rng.integers(4, 12)))
        spans.append((start, len(rows)))
        if rng.random() < 0.3:
            silence(30)
    silence(20)
    rows.append(np.zeros(BINS))
    return np.stack(rows) + rng.normal(size=(len(rows), BINS)), spans


def drawn_words(seed: int, count: int = 5) -> list[str]:
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(LETTERS), rng.integers(1, 5))) for _ in range(count)]
