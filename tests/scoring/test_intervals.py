from __future__ import annotations

import numpy as np
import pytest

from asr.scoring import bootstrap_interval, score
from asr.scoring.intervals import upper_bound_without_errors


def plain_bootstrap(errors: np.ndarray, references: np.ndarray, replicates: int, seed: int) -> tuple[float, float]:
    """The bootstrap as the paper writes it: draw indices, sum, divide."""
    generator = np.random.default_rng(seed)
    rates = []
    for _ in range(replicates):
        drawn = generator.integers(0, len(errors), len(errors))
        rates.append(errors[drawn].sum() / references[drawn].sum())
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def draw(generator: np.random.Generator, utterances: int) -> tuple[np.ndarray, np.ndarray]:
    """Utterances of 1 to 12 words, each with its own error probability (mean 0.1)."""
    references = generator.integers(1, 13, utterances)
    return generator.binomial(references, generator.beta(1, 9, utterances)), references


def test_equals_the_plain_bootstrap() -> None:
    errors, references = draw(np.random.default_rng(3), 200)
    ours = bootstrap_interval(errors, references)
    plain = plain_bootstrap(errors, references, 10_000, seed=5)
    assert ours == pytest.approx(plain, abs=0.002)  # the interval is 0.05 wide; each edge has a noise of about 0.0005


def test_covers_the_true_rate() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        low, high = bootstrap_interval(*draw(generator, 120), replicates=500)
        covered += low <= 0.1 <= high
    # 95 % of 400 is 380 with a standard deviation of 4.4; the percentile bootstrap covers a little less at this size.
    assert 360 <= covered <= 393


def test_same_at_every_call_and_in_every_order() -> None:
    errors, references = draw(np.random.default_rng(2), 50)
    assert bootstrap_interval(errors, references) == bootstrap_interval(errors[::-1], references[::-1])


def test_memory_is_bounded_without_changing_the_law(monkeypatch) -> None:
    errors, references = draw(np.random.default_rng(4), 300)
    whole = bootstrap_interval(errors, references)
    monkeypatch.setattr("asr.scoring.intervals._CELLS", 1000)
    assert bootstrap_interval(errors, references) == pytest.approx(whole, abs=0.002)


def test_edges() -> None:
    assert bootstrap_interval([0, 0], [3, 4]) == (0.0, 0.0)
    assert bootstrap_interval([2], [4]) == (0.5, 0.5)
    low, high = bootstrap_interval([1, 0], [0, 5])  # replicates of the first alone have no rate
    assert (low, high) == (0.0, 0.2)
    with pytest.raises(ValueError, match="undefined"):
        bootstrap_interval([1], [0])


def test_no_errors_in_n_words() -> None:
    assert upper_bound_without_errors(1) == pytest.approx(0.95)
    assert upper_bound_without_errors(300) == pytest.approx(3 / 300, rel=0.01)


def test_scores_carry_it() -> None:
    references = {f"u{number}": "a b c" for number in range(60)}
    scores = score(references, {u: "a b" if int(u[1:]) % 6 == 0 else text for u, text in references.items()}, cer=True)
    assert scores.ci == bootstrap_interval([1] * 10 + [0] * 50, [3] * 60)
    assert scores.ci[0] < scores.wer < scores.ci[1] and scores.cer_ci[0] < scores.cer < scores.cer_ci[1]
    assert score({"u": "a"}, {"u": "a"}).cer_ci is None
