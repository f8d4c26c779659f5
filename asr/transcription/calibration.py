"""Confidences that are probabilities: of the words with confidence 0.9, nine in ten right.

A map from a decoder's confidence to a probability is fitted on words known to be right or wrong (those of a dev set) and
applied to others. Both kinds keep the order of words, so what ranks them well before does so after.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.errors import DataError, ModelError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

KINDS = ("temperature", "isotonic")
_EDGE = 1e-6  # confidences are kept this far from 0 and 1, where a logit is infinite


@dataclass(frozen=True)
class Calibration:
    """A rising map from confidence to probability, by linear interpolation between ``points`` of (confidence, probability).

    ``kind`` ``temperature``: ``points`` is one pair (scale, shift) of the logit instead.
    """

    kind: str
    points: tuple[tuple[float, float], ...]

    def __call__(self, confidences: ArrayLike) -> np.ndarray:
        """Confidences (N,) in [0, 1] -> probabilities (N,) float64."""
        values = np.asarray(confidences, np.float64)
        if self.kind == "temperature":
            scale, shift = self.points[0]
            return _sigmoid(scale * _logit(values) + shift)
        known, probable = np.array(self.points).T
        return np.interp(values, known, probable)

    def state(self) -> dict[str, Any]:
        """All there is to it, as plain JSON values; ``of`` reads it."""
        return {"kind": self.kind, "points": [list(point) for point in self.points]}

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Calibration:
        """The calibration of a ``state()``; raises ModelError where it is not one."""
        try:
            points = tuple((float(x), float(y)) for x, y in state["points"])
            if state["kind"] not in KINDS or not points or not np.isfinite(points).all():
                raise ValueError(f"kind {state['kind']!r}, {len(points)} points")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"not a calibration: {type(error).__name__}: {error}") from None
        return cls(state["kind"], points)


def fit_calibration(confidences: ArrayLike, correct: ArrayLike, kind: str = "temperature") -> Calibration:
    """The calibration of words with these confidences (N,), of which those are right that ``correct`` (N,) says.

    ``temperature``: the logit scaled and shifted to the highest likelihood (Platt, 1999; temperature scaling, Guo et al.,
    2017, is the scale alone): two numbers, for a few hundred words and up. ``isotonic``: the rising map of least square
    error (pool adjacent violators; Zadrozny and Elkan, 2002), for thousands. A word right and a word wrong are taken as
    seen beside the given ones, so that no probability is 0 or 1.
    Raises DataError where there are no words, or as many confidences as not; ValueError for another kind.
    """
    scores, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if not len(scores) or scores.shape != right.shape:
        raise DataError(f"calibration: {len(scores)} confidences of {len(right)} words; both must be there, and of one number")
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
        raise DataError("calibration: confidences must lie from 0 to 1")
    if kind == "temperature":
        return Calibration(kind, (_logistic(_logit(scores), right),))
    if kind == "isotonic":
        return Calibration(kind, _isotonic(scores, right))
    raise ValueError(f"kind {kind!r}: choose from {', '.join(KINDS)}")


def expected_calibration_error(confidences: ArrayLike, correct: ArrayLike, bins: int = 15) -> float:
    """How far confidence and share of right words lie apart, over equal bins weighted by their words (Guo et al., 2017)."""
    scores, right = np.asarray(confidences, np.float64), np.asarray(correct, np.float64)
    if not len(scores):
        return 0.0
    at = np.minimum((scores * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(at, scores, bins) - np.bincount(at, right, bins)
    return float(np.abs(gaps).sum() / len(scores))


def _logit(values: np.ndarray) -> np.ndarray:
    kept = np.clip(values, _EDGE, 1 - _EDGE)
    return np.log(kept / (1 - kept))


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def _logistic(logits: np.ndarray, right: np.ndarray) -> tuple[float, float]:
    """Scale (above zero) and shift of the highest likelihood, by Newton's method with halved steps where one goes too far."""
    x, y = np.append(logits, [logits.mean()] * 2), np.append(right, [0.0, 1.0])
    sign = np.where(y > 0.5, -1.0, 1.0)

    def loss(theta: np.ndarray) -> float:
        # A little weight towards scale 1: where all words are right, or all have one confidence, any scale is as likely.
        return float(np.logaddexp(0, sign * (theta[0] * x + theta[1])).sum()) + 1e-3 * (theta[0] - 1) ** 2

    theta, now = np.array([1.0, 0.0]), loss(np.array([1.0, 0.0]))
    for _ in range(100):
        p = _sigmoid(theta[0] * x + theta[1])
        weight = p * (1 - p)
        gradient = np.array([(x * (p - y)).sum() + 2e-3 * (theta[0] - 1), (p - y).sum()])
        hessian = np.array([[(weight * x * x).sum() + 2e-3, (weight * x).sum()], [(weight * x).sum(), weight.sum() + 1e-9]])
        step = np.linalg.solve(hessian, gradient)
        while (after := loss(theta - step)) > now and np.abs(step).max() > 1e-12:
            step = step / 2
        if now - after <= 1e-12 * len(x):
            break
        theta, now = theta - step, after
    return max(float(theta[0]), _EDGE), float(theta[1])


def _isotonic(scores: np.ndarray, right: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Blocks of words in the order of their scores, pooled while the share of right words in one is below the one before.

    A right word is added at the lowest score and a wrong one at the highest.
    """
    values, at = np.unique(np.append(scores, [scores.min(), scores.max()]), return_inverse=True)
    count, good = np.bincount(at), np.bincount(at, np.append(right, [1.0, 0.0]))
    blocks: list[list[float]] = []  # words, right words, lowest and highest score
    for value, words, rights in zip(values.tolist(), count.tolist(), good.tolist()):
        blocks.append([words, rights, value, value])
        while len(blocks) > 1 and blocks[-2][1] * blocks[-1][0] >= blocks[-1][1] * blocks[-2][0]:
            more_words, more_rights, _, highest = blocks.pop()
            blocks[-1] = [blocks[-1][0] + more_words, blocks[-1][1] + more_rights, blocks[-1][2], highest]
    return tuple((edge, rights / words) for words, rights, lowest, highest in blocks for edge in sorted({lowest, highest}))
