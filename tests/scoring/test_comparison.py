from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from made_utterance import utterance

from asr.errors import DataError, UsageError
from asr.scoring import Comparison, Scores, compare, score
from asr.scoring.comparison import _detectable, describe, paired_bootstrap, write_comparison
from asr.scoring.intervals import bootstrap_interval, outer_tail
from asr.scoring.matched_pairs import mapsswe

REFERENCES = {f"u{number:03d}": "a b c d e f g h i j" for number in range(200)}


def scored(wrong: dict[int, int], **options) -> Scores:
    """So many of the ten words of each utterance are wrong."""
    hypotheses = {name: " ".join(["x"] * wrong.get(number, 0) + text.split()[wrong.get(number, 0):])
                  for number, (name, text) in enumerate(REFERENCES.items())}
    return score(REFERENCES, hypotheses, **options)


def test_a_real_difference() -> None:
    comparison = compare(scored(dict.fromkeys(range(40), 1)), scored(dict.fromkeys(range(10), 1)), ("old", "new"))
    assert comparison.difference == pytest.approx(0.015) and comparison.better == "new"
    assert comparison.bootstrap.p < 0.001 and comparison.segments.p < 0.001 and comparison.bootstrap.second_better > 0.999
    low, high = comparison.bootstrap.interval
    assert 0.009 < low < 0.012 and 0.018 < high < 0.022
    assert re.fullmatch(r"new is better than old: 1.50 points of WER, 75 % of its errors; chance hardly makes such a difference "
                        r"\(bootstrap p below 0.001, MAPSSWE p below 0.001\)\.", comparison.verdict)
    back = compare(comparison.second, comparison.first, ("new", "old"))
    assert back.better == "new" and back.bootstrap.p == comparison.bootstrap.p and back.detectable == comparison.detectable


def test_no_difference_is_not_called_one() -> None:
    comparison = compare(scored({1: 2, 5: 1, 9: 1}), scored({2: 1, 5: 1}))
    assert comparison.better is None and comparison.bootstrap.p > 0.2
    assert comparison.verdict.startswith("No difference shown: B has 0.10 points less WER than A, which chance makes easily")
    detectable = re.search(r"would show a difference of ([\d.]+) points, four times in five", comparison.verdict)
    assert detectable and float(detectable[1]) == pytest.approx(100 * comparison.detectable, abs=0.005)


def test_equal_systems() -> None:
    alike = compare(scored({1: 2}), scored({1: 2}))
    assert alike.alike and alike.bootstrap.p == 1.0 and alike.detectable is None
    assert alike.verdict == "No difference: A and B make as many errors in every utterance."
    even = compare(scored({1: 2}), scored({2: 2}))
    assert even.verdict.startswith("No difference shown: both make 2 errors, not the same ones")


def test_tests_that_part_are_undecided() -> None:
    """All errors of A in one speaker: a matter of chance between speakers, not between segments."""
    speakers = {name: f"s{number // 20}" for number, name in enumerate(REFERENCES)}
    comparison = compare(scored(dict.fromkeys(range(20), 2), utt2spk=speakers), scored({}, utt2spk=speakers))
    assert comparison.unit == "speaker" and comparison.units == 10
    assert comparison.segments.p < 0.001 and comparison.bootstrap.p > 0.5 and comparison.better is None
    assert comparison.verdict.startswith("Undecided: B has 2.00 points less WER than A; whether it is real, MAPSSWE says yes, the "
                                         "bootstrap no")


def test_few_speakers_can_show_nothing() -> None:
    speakers = {name: f"s{number % 5}" for number, name in enumerate(REFERENCES)}
    comparison = compare(scored(dict.fromkeys(range(200), 2), utt2spk=speakers), scored({}, utt2spk=speakers))
    assert comparison.bootstrap.p == pytest.approx(2 / 2**5, abs=0.01) and comparison.detectable is None
    assert "5 speakers are too few to show any difference." in comparison.verdict
    assert "5 speakers (few: take it as a rough one)" in describe(comparison)


@pytest.mark.parametrize(("change", "message"), [
    (lambda: (scored({}), score({"u000": "a"}, {"u000": "a"})), "B has no score of 199 utterances: u001, u002"),
    (lambda: (scored({}), score(REFERENCES | {"u007": "z"}, REFERENCES)), "the references of 1 utterances differ: u007"),
    (lambda: (scored({}), scored({}, normalizer="basic")), r"their normalisers are none \(version 1\) and basic"),
    (lambda: (scored({}), scored({}, rules="sclite")), r"their rules are edit \(version 1\) and sclite"),
])
def test_what_cannot_be_compared(change, message: str) -> None:
    with pytest.raises(DataError, match=f"A and B cannot be compared: .*{message}"):
        compare(*change())


def test_two_names() -> None:
    with pytest.raises(UsageError, match="both systems are called x"):
        compare(scored({}), scored({}), ("x", "x"))


def test_files(tmp_path: Path) -> None:
    comparison: Comparison = compare(scored({3: 2, 4: 1}), scored({3: 1, 5: 3}))
    write_comparison(comparison, tmp_path)
    totals = json.loads((tmp_path / "compare.json").read_text())
    assert totals["errors"] == [3, 4] and totals["bootstrap"]["p"] == comparison.bootstrap.p
    assert totals["mapsswe"]["z"] == comparison.segments.z and totals["verdict"] == comparison.verdict
    rows = [line.split("\t") for line in (tmp_path / "utterances.tsv").read_text().splitlines()]
    assert rows[0][:5] == ["id", "speaker", "words", "errors_a", "errors_b"] and len(rows) == 201
    assert [row[0] for row in rows[1:4]] == ["u005", "u003", "u004"]


def test_exchange_is_a_sign_test() -> None:
    """Of units that differ by one error each, six of seven one way: 16 of 128 patterns are as far out."""
    assert paired_bootstrap([1] * 6 + [-1] + [0] * 50, [10] * 57).p == pytest.approx(16 / 128, abs=0.01)


def test_detectable_is_found_four_times_in_five() -> None:
    """Draw test sets whose true difference is what one of them says that it could show."""
    generator = np.random.default_rng(3)
    references = np.full(300, 10)

    def draw(extra: float) -> np.ndarray:
        return generator.binomial(10, 0.1 + extra, 300) - generator.binomial(10, 0.1, 300)

    detectable = float(np.mean([_detectable(draw(0), references) for _ in range(20)]))
    found = np.mean([paired_bootstrap(draw(detectable), references).p < 0.05 for _ in range(200)])
    assert 0.7 < found < 0.9  # 0.8, standard error 0.028


def test_the_interval_covers_with_few_speakers() -> None:
    """Speakers with error rates of their own: the plain percentiles would cover less than 90 % with six of them."""
    generator = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        rates = generator.gamma(4, 0.05, 6)  # mean 0.2
        errors = generator.binomial(200, np.minimum(rates, 1))
        low, high = bootstrap_interval(errors, [200] * 6, replicates=2000)
        covered += low <= 0.2 <= high
    assert covered >= 368  # 92 %
    assert outer_tail(0.025, 6) < 0.004 and outer_tail(0.025, 1000) == pytest.approx(0.0248, abs=2e-4)


def null(generator: np.random.Generator, speakers: int, utterances: int, spread: float) -> tuple[list[str], list[str], list[int]]:
    """Two equal systems: utterances of a speaker share its difficulty, each system draws its errors on its own; with
    ``spread``, each also finds some speakers easier than others."""
    sides: tuple[list[str], list[str]] = ([], [])
    who = []
    letters = np.array(["S", "D", "C"])
    for speaker in range(speakers):
        rates = 0.15 * np.exp(generator.normal(0, spread, 2))
        for _ in range(utterances):
            words = generator.integers(4, 16)
            for side, rate in zip(sides, rates):
                said = letters[np.searchsorted([0.7 * rate, rate], generator.random(words))]
                inserted = np.where(generator.random(words + 1) < rate / 5, "I", "")
                side.append("".join(map("".join, zip(inserted, [*said, ""]))))
            who.append(speaker)
    return *sides, who


@pytest.mark.parametrize(("speakers", "utterances", "spread", "trials"), [(1, 150, 0.0, 400), (12, 12, 0.3, 400)])
def test_equal_systems_are_told_apart_one_time_in_twenty(monkeypatch: pytest.MonkeyPatch, speakers: int, utterances: int,
                                                         spread: float, trials: int) -> None:
    monkeypatch.setattr("asr.scoring.comparison.REPLICATES", 1000)
    generator = np.random.default_rng(speakers)
    bootstrap, segments, both = [], [], []
    for _ in range(trials):
        first, second, who = null(generator, speakers, utterances, spread)
        counts = [[(len(side) - side.count("I"), sum(map(side.count, "SDI"))) for side in sides] for sides in (first, second)]
        units = who if speakers > 1 else range(len(who))
        differences, references = np.zeros(max(units) + 1), np.zeros(max(units) + 1)
        for unit, (words, one), (_, other) in zip(units, *counts):
            differences[unit] += one - other
            references[unit] += words
        bootstrap.append(paired_bootstrap(differences, references).p < 0.05)
        segments.append(mapsswe(map(utterance, first), map(utterance, second)).p < 0.05)
        both.append(bootstrap[-1] and segments[-1])
    error = (0.05 * 0.95 / trials) ** 0.5  # 0.011
    assert abs(np.mean(bootstrap) - 0.05) < 2.6 * error
    assert np.mean(both) < 0.05 + 2.6 * error  # the verdict
    if speakers == 1:  # segments are independent
        assert abs(np.mean(segments) - 0.05) < 2.6 * error
