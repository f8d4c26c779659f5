"""Where the words of a text are in the audio: a small acoustic model of characters.

A CTC network says what was said, not when: nothing in its training ties a token to its place, and one that hears the
whole utterance (a bidirectional recurrence) may light a token up some hundred milliseconds before or after its sound,
by another distance each time. So times come from a model that cannot look around: a hidden Markov model with two
states a character, each one Gaussian of 13 cepstra and their first and second differences (110 ms of audio), and
optional silence, or any other sound, between words. This is the monophone step that Kaldi's recipes begin with (Povey
et al., 2011), with letters for phones. It knows far too little to recognise words, and enough to find the border between
two that are known.

`timing_fit` estimates it from transcripts, without any times. Its own are multiples of the front-end's frame shift,
commonly 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np

CEPSTRA = 13
STATES = 2  # of a character
SILENCE, ANY = 0, 1  # units; those of the characters follow
BETWEEN_WORDS = -0.1  # of log density: a sound of unknown spelling goes to a word that has one, not between two
SKIP_CHARACTER = -30.0  # to pass over a state of a character: fast speech must stay possible, and not for nothing


class Piece(NamedTuple):
    """A token as the timing model sees it."""

    text: str | None
    """Its characters; ``""`` for one that has no sound of its own (a space), None for a sound of unknown spelling."""
    opens_word: bool
    """Whether there may be silence before it."""


@dataclass(frozen=True)
class TimingModel:
    """Gaussians of silence, of any sound, and of the states of ``characters``: ``mean``, ``variance`` (2 + 2 C, D) float32."""

    characters: str
    mean: np.ndarray
    variance: np.ndarray

    @classmethod
    def of(cls, characters: object, mean: np.ndarray, variance: np.ndarray) -> TimingModel:
        """A timing model from a file; raises ValueError where its parts do not fit together."""
        if not isinstance(characters, str) or len(set(characters)) != len(characters):
            raise ValueError("timing: not a list of characters")
        units = 2 + STATES * len(characters)
        if mean.shape != variance.shape or mean.ndim != 2 or len(mean) != units or not (variance > 0).all():
            raise ValueError(f"timing: Gaussians {mean.shape} and {variance.shape} do not fit {len(characters)} characters")
        return cls(characters, mean.astype(np.float32), variance.astype(np.float32))

    def places(self, cepstra: np.ndarray, pieces: Sequence[Piece], guess: Sequence[tuple[int, int]] | None = None,
               margin: int = 0, pull: float = 0.0) -> list[tuple[int, int]] | None:
        """The frames of each piece, as the first and one past the last; None where the frames do not suffice.

        cepstra (T, D): of `cepstra_of`. ``guess``: about where each piece is, first frame and one past the last, neither
        of which falls from piece to piece. A sound lies at most ``margin`` frames from its guess, and a frame of it
        outside of the guess costs ``pull`` (of log density) times its distance in frames. Without a guess it may be anywhere.
        A piece with a sound has a frame or more. One without has what is left between its neighbours, which may be none.
        """
        from asr.models.hmm import best_states

        chain = Chain.of(pieces, self.characters, gaps=(SILENCE, len(self.mean)))
        if not len(chain.units):
            return [(0, 0)] * len(pieces)
        if not len(cepstra):
            return None
        bounds = chain.bounds(len(cepstra)) if guess is None else chain.bounds_near(guess, margin, len(cepstra))
        path = best_states(cepstra, *self.gaussians, chain.units, chain.skip, *bounds, pull)
        return _spans(np.where(chain.gap[path], -1, chain.owners[path]), pieces) if len(path) else None

    @cached_property
    def gaussians(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean, 1 / variance (N + 1, D), constant of the log density (N + 1,), float32; the last is of any sound between words."""
        constant = -0.5 * np.log(self.variance).sum(axis=1)
        between = constant[ANY] + np.float32(BETWEEN_WORDS)
        return (np.vstack([self.mean, self.mean[ANY]]), 1 / np.vstack([self.variance, self.variance[ANY]]),
                np.append(constant, between))


def cepstra_of(features: np.ndarray, kind: str) -> np.ndarray:
    """Features before CMVN (T, F), of a kind of `asr.features`, -> (T, 39 or less) float32, normalised in the utterance.

    Cepstra (of log-mel or log power by a cosine transform; MFCC are some already), less their mean and divided by their
    deviation, with first and second differences over five frames.
    """
    values = np.asarray(features, np.float64)
    if kind != "mfcc":
        values = values @ _cosines(values.shape[1]) / values.shape[1]
    values = values[:, :CEPSTRA]
    if not len(values):
        return np.zeros((0, 3 * values.shape[1]), np.float32)
    values = (values - values.mean(axis=0)) / (values.std(axis=0) + 1e-5)
    slope = _differences(values)
    return np.concatenate([values, slope, _differences(slope)], axis=1).astype(np.float32)


@lru_cache(maxsize=8)
def _cosines(bins: int) -> np.ndarray:
    """The cosine transform of so many bins into cepstra: (bins, 13 or less)."""
    return np.cos(np.pi / bins * np.outer(np.arange(bins) + 0.5, np.arange(min(CEPSTRA, bins))))


# ----------------------------------------------------------------------------------------------------- the chain


class Chain(NamedTuple):
    """The states of an utterance, in their order; each array has one entry a state."""

    units: np.ndarray
    """int64: which Gaussian each has."""
    skip: np.ndarray
    """float64: what passing over each costs, as a logarithm."""
    owners: np.ndarray
    """int64: the piece that each belongs to; a gap, to the piece after it."""
    gap: np.ndarray
    """bool: whether it is a gap, of which there may be one before each word, and at the end."""

    @classmethod
    def of(cls, pieces: Sequence[Piece], characters: str, gaps: Sequence[int]) -> Chain:
        """The chain of pieces; ``gaps``: the units of a gap, each of which may be passed over."""
        begin = {character: 2 + STATES * index for index, character in enumerate(characters)}
        rows: list[tuple[int, float, int, bool]] = []
        for owner, piece in enumerate(pieces):
            if piece.opens_word:
                rows += [(unit, 0.0, owner, True) for unit in gaps]
            if piece.text is None:
                rows.append((ANY, -np.inf, owner, False))
            elif piece.text:
                units = [unit for character in piece.text for unit in _units(begin.get(character))]
                rows += [(unit, SKIP_CHARACTER, owner, False) for unit in units[:-1]]
                rows.append((units[-1], -np.inf, owner, False))  # a state of every sound must be visited
        if all(gap for *_, gap in rows):
            rows = []
        elif rows:
            rows += [(unit, 0.0, len(pieces) - 1, True) for unit in gaps]
        units, skip, owners, gap = zip(*rows) if rows else ((), (), (), ())
        return cls(np.array(units, np.int64), np.array(skip, np.float64), np.array(owners, np.int64), np.array(gap, np.bool_))

    def bounds(self, frames: int) -> tuple[np.ndarray, ...]:
        """That each state may have all frames, at no cost: opens, closes, first, past of `hmm.best_states`."""
        all_from, all_to = np.zeros(len(self.units), np.int64), np.full(len(self.units), frames, np.int64)
        return all_from, all_to, all_from, all_to

    def bounds_near(self, guess: Sequence[tuple[int, int]], margin: int, frames: int) -> tuple[np.ndarray, ...]:
        """That states lie near the guesses of their pieces, and gaps between those of their neighbours."""
        sounding = np.unique(self.owners[~self.gap])
        first, past = np.array([guess[piece] for piece in sounding], np.int64).T
        opens, closes = np.clip(first - margin, 0, frames - 1), np.clip(past + margin, 1, frames)
        closes[:-1] = np.maximum(closes[:-1], opens[1:] + 1)  # no frame between two sounds may be left to neither
        at = np.searchsorted(sounding, self.owners)  # the sound of each state; of a gap, the next
        last = self.gap & (np.cumsum(~self.gap) == (~self.gap).sum())  # the gap at the end
        at[last] = len(sounding) - 1
        earliest, latest = opens[at], np.where(last, frames, closes[at])
        inner = self.gap & ~last
        earliest[inner] = np.where(at[inner] == 0, 0, opens[at[inner] - 1])
        free = self.gap | (self.units == ANY)
        return earliest, latest, np.where(free, 0, first[at]), np.where(free, frames, past[at])


def _units(begin: int | None) -> Sequence[int]:
    """The units of a character; one that the model has never met sounds like anything."""
    return [ANY] * STATES if begin is None else range(begin, begin + STATES)


def _spans(owners: np.ndarray, pieces: Sequence[Piece]) -> list[tuple[int, int]]:
    """The frames of each piece, from the piece that each frame belongs to (-1: silence)."""
    sounding = np.array([index for index, piece in enumerate(pieces) if piece.text != ""], np.int64)
    at = np.flatnonzero(owners >= 0)
    first = at[np.searchsorted(owners[at], sounding, "left")].tolist()
    past = (at[np.searchsorted(owners[at], sounding, "right") - 1] + 1).tolist()
    spans: list[tuple[int, int]] = []
    done = 0  # sounding pieces so far
    for piece in pieces:
        if piece.text != "":
            spans.append((first[done], past[done]))
            done += 1
        else:  # from the end of the sound before it to the start of the one after it; at either edge, no frames
            edge = first[done] if done < len(first) else past[-1]
            spans.append((past[done - 1] if done else edge, edge))
    return spans


def _differences(values: np.ndarray) -> np.ndarray:
    """The slope of each dimension (T, D) over five frames, the edges held: Kaldi's deltas."""
    count = len(values)
    padded = values[np.arange(-2, count + 2).clip(0, count - 1)]
    return sum(step * (padded[2 + step:2 + step + count] - padded[2 - step:2 - step + count]) for step in (1, 2)) / 10
