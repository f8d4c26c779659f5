"""Calibration: the maps against other ways to the same, what they promise, and what they refuse."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import DataError, ModelError
from asr.transcription.calibration import Calibration, expected_calibration_error, fit_calibration


def words(count: int, seed: int, scale: float = 0.5, shift: float = -0.7) -> tuple[np.ndarray, np.ndarray]:
    """Confidences of a decoder that is too sure, and whether each word is right: the true logit is scale * logit + shift."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(2, 2, count)
    return 1 / (1 + np.exp(-logits)), rng.random(count) < 1 / (1 + np.exp(-scale * logits - shift))


def test_the_error_of_guo_et_al_by_hand():
    # Fifteen bins of a fifteenth: 0.95 and 0.96 share one (half right), 0.5 has its own (right).
    assert expected_calibration_error([0.95, 0.96, 0.5], [1, 0, 1]) == pytest.approx((2 * abs(0.955 - 0.5) + 0.5) / 3)
    assert expected_calibration_error([1.0, 0.0], [True, False]) == 0 == expected_calibration_error([], [])
    assert expected_calibration_error([0.2, 0.8], [0, 1], bins=1) == 0


@pytest.mark.parametrize("kind", ["temperature", "isotonic"])
def test_what_was_too_sure_is_calibrated_on_other_words(kind):
    before, _ = words(20_000, 1)
    confidences, right = words(20_000, 2)
    calibration = fit_calibration(*words(20_000, 1), kind)
    assert expected_calibration_error(confidences, right) > 0.15
    assert expected_calibration_error(calibration(confidences), right) < 0.02
    assert calibration(before).shape == before.shape


def test_the_logistic_map_is_found_again():
    (scale, shift), = fit_calibration(*words(50_000, 3)).points
    assert scale == pytest.approx(0.5, abs=0.02) and shift == pytest.approx(-0.7, abs=0.05)


def test_isotonic_is_the_least_square_error_of_all_rising_maps():
    """Against the min-max formula (Robertson et al., 1988): g(i) = max over a <= i of min over b >= i of mean(a..b)."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        confidences, right = np.sort(rng.random(30)), rng.random(30) < 0.6
        x = np.concatenate([[confidences[0]], confidences, [confidences[-1]]])
        y = np.concatenate([[1.0], right, [0.0]])  # the two words that are added at the ends
        levels = np.unique(x)
        means = {(a, b): y[(x >= levels[a]) & (x <= levels[b])].mean() for a in range(len(levels)) for b in range(a, len(levels))}
        expected = [max(min(means[a, b] for b in range(i, len(levels))) for a in range(i + 1)) for i in range(len(levels))]
        np.testing.assert_allclose(fit_calibration(confidences, right, "isotonic")(levels), expected, atol=1e-12)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=30), st.sampled_from(["temperature", "isotonic"]))
def test_any_words_give_a_rising_map_to_probabilities(rows, kind):
    confidences, right = map(np.array, zip(*rows))
    calibration = fit_calibration(confidences, right, kind)
    asked = np.linspace(0, 1, 50)
    found = calibration(asked)
    assert np.isfinite(found).all() and (np.diff(found) >= -1e-12).all() and found[0] >= 0 and found[-1] <= 1
    assert Calibration.of(json.loads(json.dumps(calibration.state()))) == calibration


@pytest.mark.parametrize(("confidences", "right"), [([], []), ([0.5], [1, 0]), ([1.5], [1]), ([float("nan")], [1])])
def test_words_that_are_none_are_refused(confidences, right):
    with pytest.raises(DataError, match="calibration: "):
        fit_calibration(confidences, right)


@pytest.mark.parametrize("state", [{}, {"kind": "magic", "points": [[0, 1]]}, {"kind": "isotonic", "points": []},
                                   {"kind": "isotonic", "points": [[0]]}, {"kind": "temperature", "points": [[0, float("inf")]]}])
def test_a_state_that_is_none_is_refused(state):
    with pytest.raises(ModelError, match="not a calibration"):
        Calibration.of(state)


def test_an_unknown_kind():
    with pytest.raises(ValueError, match="kind 'magic': choose from temperature, isotonic"):
        fit_calibration([0.5], [1], "magic")
