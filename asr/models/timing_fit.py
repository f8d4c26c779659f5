"""Estimation of the timing model: Viterbi training from a flat start, from transcripts alone.

Each utterance is first divided evenly among the letters of its text; from then on the model says which frames are
whose, and the frames what the model is. No times are needed, and little data: thirty utterances are enough to begin with.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from torch import Tensor

from asr.models.timing import ANY, SILENCE, STATES, Chain, Piece, TimingModel, cepstra_of

UTTERANCES = 200  # are enough: more make it no better
FEWEST = 20
LONGEST_S = 30.0  # divided evenly, a longer one is too far from the truth to begin with
ITERATIONS = 10
SMOOTH = 5  # frames that loudness is averaged over
SMALLEST_VARIANCE = 0.2  # of that of all frames
PRIOR_FRAMES = 5.0  # frames of the average sound added to each state's: what rare characters fall back on


def timing_of(texts: Mapping[str, str], durations: Mapping[str, float], read: Callable[[str], np.ndarray | Tensor | None],
              kind: str) -> TimingModel | None:
    """The timing model of a corpus; None where fewer than 20 of its utterances are fit for it.

    texts: the transcripts, normalised, as the tokenizer's `sounds_of` writes them; durations in seconds, both by utterance id;
    those without either are passed over, and so are empty and long ones. Of more than 200 it takes every so-manieth of the
    shorter half. ``read``: an utterance's features before CMVN (T, F), of the kind ``kind``, or None for one that is to be
    passed over.
    """
    fit = sorted((durations[key], key) for key in texts if texts[key].split() and 0 < durations.get(key, 0) <= LONGEST_S)
    shorter = sorted(key for _, key in fit[:max(UTTERANCES, len(fit) // 2)])
    count = min(UTTERANCES, len(shorter))
    chosen = [shorter[index * len(shorter) // count] for index in range(count)]
    kept = [(cepstra_of(np.asarray(features), kind), unicodedata.normalize("NFC", texts[key]).split())
            for key in chosen if (features := read(key)) is not None]
    return fit_timing(kept) if len(kept) >= FEWEST else None


def fit_timing(utterances: Iterable[tuple[np.ndarray, Sequence[str]]]) -> TimingModel | None:
    """The timing model of utterances, each its cepstra (T, D) and its words; None where there are no words, or no frames.

    The same utterances in the same order give the same bits.
    """
    kept = [(cepstra, [Piece(word, True) for word in words])
            for cepstra, words in utterances if len(cepstra) >= SMOOTH and len(words)]
    if not kept:
        return None
    characters = "".join(sorted({character for _, pieces in kept for piece in pieces for character in piece.text or ""}))
    chains = [Chain.of(pieces, characters, gaps=(SILENCE,)) for _, pieces in kept]
    states = [_flat_start(cepstra, chain) for (cepstra, _), chain in zip(kept, chains)]
    model = _estimate(characters, kept, chains, states)
    for _ in range(ITERATIONS):
        states = [_states(model, cepstra, chain, before) for (cepstra, _), chain, before in zip(kept, chains, states)]
        model = _estimate(characters, kept, chains, states)
    return model


def _states(model: TimingModel, cepstra: np.ndarray, chain: Chain, before: np.ndarray) -> np.ndarray:
    """The best state of each frame; where there are fewer frames than pieces, the flat start's stay."""
    from asr.models.hmm import best_states

    path = best_states(cepstra, *model.gaussians, chain.units, chain.skip, *chain.bounds(len(cepstra)), 0.0)
    return path if len(path) else before


def _flat_start(cepstra: np.ndarray, chain: Chain) -> np.ndarray:
    """Silence before and after the loud frames, which are divided evenly among the states of the words."""
    loudness = np.convolve(cepstra[:, 0], np.ones(SMOOTH) / SMOOTH, "same")
    low, high = np.quantile(loudness, [0.05, 0.95])
    loud = np.flatnonzero(loudness >= low + 0.3 * (high - low))
    begin, end = loud[0], loud[-1] + 1
    speaking = np.flatnonzero(~chain.gap)
    states = np.zeros(len(cepstra), np.int64)
    states[begin:end] = speaking[np.arange(end - begin) * len(speaking) // (end - begin)]
    states[end:] = len(chain.units) - 1
    return states


def _estimate(characters: str, utterances: Sequence[tuple[np.ndarray, object]], chains: Sequence[Chain],
              states: Sequence[np.ndarray]) -> TimingModel:
    """Means and variances of the frames that each unit has now."""
    from asr.models.hmm import gather

    units, dim = 2 + STATES * len(characters), utterances[0][0].shape[1]
    count, first, second = np.zeros(units), np.zeros((units, dim)), np.zeros((units, dim))
    for (cepstra, _), chain, path in zip(utterances, chains, states):
        gather(cepstra, chain.units[path], count, first, second)
    mean, square = first.sum(axis=0) / count.sum(), second.sum(axis=0) / count.sum()
    weight = (count + PRIOR_FRAMES)[:, None]
    means = (first + PRIOR_FRAMES * mean) / weight
    variances = (second + PRIOR_FRAMES * square) / weight - means**2
    # A dimension that never varies (a silent recording) must still have a density.
    floor = np.maximum(SMALLEST_VARIANCE * (square - mean**2), 1e-6)
    means[ANY], variances[ANY] = mean, square - mean**2
    return TimingModel(characters, means.astype(np.float32), np.maximum(variances, floor).astype(np.float32))
