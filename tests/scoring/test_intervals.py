from __future__ import annotations

import numpy as np
import pytest

from asr.scoring import bootstrap_interval, score
from asr.scoring.intervals import crossed_interval, outer_tail, upper_bound_without_errors


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


# ------------------------------------------------------------------------------------------------ units and runs


def plain_crossed(first: np.ndarray, second: np.ndarray, references: np.ndarray, replicates: int, seed: int) -> tuple[float, float]:
    """Draw indices of units and of runs, look up, sum, divide."""
    generator = np.random.default_rng(seed)
    units = len(references)
    rates = []
    for _ in range(replicates):
        drawn = generator.integers(0, units, units)
        ours, theirs = (runs[generator.integers(0, len(runs), len(runs) - 1)][:, drawn].sum(axis=1).mean()
                        for runs in (first, second))
        rates.append((ours - theirs) / references[drawn].sum())
    tail = 100 * outer_tail(0.025, units)
    low, high = np.percentile(rates, [tail, 100 - tail])
    return float(low), float(high)


def draw_runs(generator: np.random.Generator, runs: int, units: int, spread: float) -> np.ndarray:
    """(runs, units) right or wrong of runs whose log-odds differ by ``spread``."""
    odds = -1.5 + spread * generator.standard_normal((runs, 1)) + np.linspace(-1, 1, units)
    return (generator.random((runs, units)) < 1 / (1 + np.exp(-odds))).astype(int)


def test_equals_the_plain_crossed_bootstrap(monkeypatch) -> None:
    generator = np.random.default_rng(2)
    first, second = draw_runs(generator, 4, 90, 0.5), draw_runs(generator, 6, 90, 0.5)
    references = generator.integers(1, 4, 90)
    ours = crossed_interval(first, second, references)
    assert ours == pytest.approx(plain_crossed(first, second, references, 10_000, seed=5), abs=0.004)
    assert ours == crossed_interval(first, second, references)
    monkeypatch.setattr("asr.scoring.intervals._CELLS", 1000)  # in many steps
    assert ours == pytest.approx(crossed_interval(first, second, references), abs=0.004)
    turned = crossed_interval(second, first, references)
    assert (-turned[1], -turned[0]) == pytest.approx(ours, abs=0.004)


def test_of_systems_whose_runs_differ_it_covers_and_the_interval_over_units_does_not() -> None:
    """Equal systems: their true difference is none."""
    generator = np.random.default_rng(4)
    references = np.ones(100, int)
    units_alone = crossed = 0
    for _ in range(200):
        first, second = draw_runs(generator, 4, 100, 0.6), draw_runs(generator, 4, 100, 0.6)
        low, high = bootstrap_interval((first.mean(axis=0) - second.mean(axis=0)).tolist(), references.tolist(), replicates=500)
        units_alone += low <= 0 <= high
        low, high = crossed_interval(first, second, references, replicates=500)
        crossed += low <= 0 <= high
    # 95 % of 200 is 190 with a standard deviation of 3.1; percentiles of so few runs cover a little less.
    assert units_alone < 150 and crossed >= 178


def test_a_single_run_tells_nothing_of_others() -> None:
    with pytest.raises(ValueError, match="of a single one"):
        crossed_interval(np.zeros((1, 5)), np.zeros((3, 5)), np.ones(5))
    with pytest.raises(ValueError, match="without a reference item"):
        crossed_interval(np.zeros((2, 5)), np.zeros((3, 5)), np.zeros(5))
    # Draws of the first unit alone have no rate.
    assert crossed_interval(np.ones((2, 2)), np.zeros((2, 2)), np.array([0, 1])) == (1.0, 2.0)
