"""Scores, intervals and comparisons, against the formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.classification.comparison import compare, mcnemar
from asr.classification.metrics import macro_f1, score
from asr.classification.pictures import draw_confusion
from asr.classification.predictions import Predictions, read_predictions
from asr.errors import DataError

LABELS = ("a", "b", "c")


def plain_macro_f1(references, predictions):
    """As it is written down: harmonic means of precision and recall, of the classes that occur."""
    found = []
    for label in sorted({*references, *predictions}):
        both = sum(r == p == label for r, p in zip(references, predictions))
        precision = both / max(1, sum(p == label for p in predictions))
        recall = both / max(1, sum(r == label for r in references))
        found.append(2 * precision * recall / (precision + recall) if both else 0.0)
    return sum(found) / len(found)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30))
def test_rates_are_those_of_the_formulas(pairs):
    references, predictions = zip(*pairs)
    confusion = np.zeros((3, 3), int)
    for pair in pairs:
        confusion[pair] += 1
    assert macro_f1(confusion) == pytest.approx(plain_macro_f1(references, predictions))


def test_a_score_worked_out_by_hand():
    scores = score([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 1], LABELS)
    assert scores.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 1, 0]]
    assert (scores.correct, scores.items, scores.accuracy) == (3, 6, 0.5)
    assert [(c.precision, c.recall, c.f1) for c in scores.classes] == [(1, 2 / 3, 0.8), (1 / 3, 0.5, 0.4), (0, 0, 0)]
    assert scores.macro_f1 == pytest.approx(0.4)
    assert "accuracy 50.00 % [ 3 / 6 ]" in scores.summary() and "over 6 items" in scores.summary()
    never = score([0, 1], [0, 1], LABELS).classes[2]
    assert (never.precision, never.recall, never.f1) == (None, None, None)
    with pytest.raises(DataError, match="no item"):
        score([], [], LABELS)


def test_intervals_are_those_of_resampling():
    """Against a bootstrap written out, item by item; tails of 200 items are close to the plain percentiles."""
    rng = np.random.default_rng(1)
    references = rng.integers(0, 3, 200)
    predictions = np.where(rng.random(200) < 0.8, references, rng.integers(0, 3, 200))
    scores = score(references, predictions, LABELS)
    accuracy, f1 = [], []
    for _ in range(2000):
        drawn = rng.integers(0, 200, 200)
        accuracy.append(np.mean(references[drawn] == predictions[drawn]))
        f1.append(plain_macro_f1(references[drawn].tolist(), predictions[drawn].tolist()))
    np.testing.assert_allclose(scores.accuracy_interval, np.percentile(accuracy, [2.5, 97.5]), atol=0.01)
    np.testing.assert_allclose(scores.f1_interval, np.percentile(f1, [2.5, 97.5]), atol=0.01)


def test_groups_are_drawn_whole():
    """Ten groups in which all items fare alike: the interval is that of ten draws, not of two hundred."""
    groups = [f"g{n // 20}" for n in range(200)]
    predictions = [0 if n // 20 < 8 else 1 for n in range(200)]
    alone, grouped = score([0] * 200, predictions, LABELS), score([0] * 200, predictions, LABELS, groups)
    assert (alone.unit, alone.units, grouped.unit, grouped.units) == ("item", 200, "group", 10)
    width = lambda scores: scores.accuracy_interval[1] - scores.accuracy_interval[0]  # noqa: E731
    assert width(grouped) > 3 * width(alone)
    assert score([0, 1], [0, 0], LABELS, ["g", "g"]).unit == "item"  # one group says nothing of others


def test_without_an_error_the_interval_still_says_something():
    low, high = score([0, 1] * 50, [0, 1] * 50, LABELS).accuracy_interval
    assert high == 1 and low == pytest.approx(0.05 ** (1 / 100))


# ---------------------------------------------------------------------------------------------------- predictions


def predictions(right: list[bool], groups: list[str] | None = None, ids: list[str] | None = None) -> Predictions:
    """Items of class a, some called b."""
    chances = np.array([[0.7, 0.3] if good else [0.2, 0.8] for good in right])
    return Predictions(ids or [f"i{n}" for n in range(len(right))], ("a", "b"), chances, ["a"] * len(right), groups)


def test_predictions_as_a_file(tmp_path):
    written = predictions([True, False], ["g", "h"])
    written.write(tmp_path / "p.tsv")
    assert (tmp_path / "p.tsv").read_text().splitlines()[2] == "i1\th\ta\tb\t0.200000\t0.800000"
    read = read_predictions(tmp_path / "p.tsv")
    assert (read.ids, read.labels) == (written.ids, written.labels)
    assert (read.references, read.groups) == (written.references, written.groups)
    np.testing.assert_allclose(read.probabilities, written.probabilities, atol=1e-6)
    assert read.predicted == ["a", "b"] and read.numbers == ([0, 0], [0, 1])


def test_only_the_end_of_a_line_ends_a_row_of_predictions(tmp_path):
    ids = ["one\u2028line", "another\x0bone\x85"]
    Predictions(ids, ("a", "b"), np.array([[0.2, 0.8], [1, 0]])).write(tmp_path / "p.tsv")
    assert read_predictions(tmp_path / "p.tsv").ids == ids


@pytest.mark.parametrize(("text", "message"), [
    ("", "not a table of predictions"), ("id\tlabel\n", "not a table of predictions"),
    ("id\tgroup\tlabel\tpredicted\tp:a\nx\t\ta\ta\n", "p.tsv:2: 4 fields, the header has 5"),
    ("id\tgroup\tlabel\tpredicted\tp:a\nx\t\ta\ta\tmuch\n", "no number"),
    ("id\tgroup\tlabel\tpredicted\tp:a\nx\t\tz\ta\t1\n", "labels without a column of probabilities: z")])
def test_files_that_are_no_predictions(tmp_path, text, message):
    (tmp_path / "p.tsv").write_text(text)
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "p.tsv")


# ----------------------------------------------------------------------------------------------------- comparison


def binomial_p(one: int, other: int) -> float:
    """Two-sided exact: the probability of every split that is no more likely than this one."""
    total = one + other
    chance = [math.comb(total, k) / 2**total for k in range(total + 1)]
    return sum(p for p in chance if p <= chance[one] * (1 + 1e-9))


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 5))
def test_mcnemar_is_exact(one, other, both):
    first = np.array([True] * one + [False] * other + [True] * both, bool)
    second = np.array([False] * one + [True] * other + [True] * both, bool)
    test = mcnemar(first, second)
    assert (test.first_only, test.second_only) == (one, other)
    assert test.p == pytest.approx(binomial_p(one, other)) and test.p <= 1


def test_a_clear_difference_and_none():
    better = compare([predictions([False] * 30 + [True] * 70)], [predictions([True] * 100)], ("old", "new"))
    assert better.difference == pytest.approx(0.3) and better.bootstrap.interval[0] > 0.1 and better.bootstrap.p < 0.001
    assert better.mcnemar[0].second_only == 30 and "new is better than old" in better.describe()
    alike = compare([predictions([True, False] * 20)], [predictions([False, True] * 20)])
    assert alike.difference == 0 and alike.mcnemar[0].p == 1 and "No difference shown" in alike.describe()


def test_several_runs_are_taken_together():
    rng = np.random.default_rng(0)
    runs = [[predictions((rng.random(200) < rate).tolist()) for _ in range(3)] for rate in (0.6, 0.8)]
    found = compare(runs[0], runs[1], ("A", "B"))
    assert len(found.mcnemar) == 3 and len(found.accuracies[0]) == 3
    assert found.difference == pytest.approx(np.mean(found.accuracies[1]) - np.mean(found.accuracies[0]))
    single = compare(runs[0][:1], runs[1][:1])
    wide = lambda c: c.bootstrap.interval[1] - c.bootstrap.interval[0]  # noqa: E731
    assert wide(found) < wide(single)  # the mean of three runs says more
    assert compare(runs[0], runs[1][:1]).mcnemar == []
    assert single.crossed is None and compare(runs[0], runs[1][:1]).crossed is None and "other runs" not in single.describe()
    assert found.as_json()["interval_with_other_runs"] == list(found.crossed) and "with other runs of both" in found.describe()
    assert found.as_json()["mcnemar"][0]["p"] == found.mcnemar[0].p


def test_runs_that_differ_show_no_difference_of_systems():
    """One run of five is much worse: of just these runs a difference is shown, of others none."""
    rng = np.random.default_rng(1)
    good = [predictions((rng.random(400) < 0.9).tolist()) for _ in range(9)]
    odd = predictions((rng.random(400) < 0.6).tolist())
    found = compare(good[:5], [*good[5:], odd], ("A", "B"))
    assert found.bootstrap.interval[1] < 0 < found.crossed[1] and found.crossed[0] < found.bootstrap.interval[0]
    assert "No difference shown" in found.describe()


def test_groups_and_order_of_items():
    ids = [f"i{n}" for n in range(40)]
    groups = [f"g{n // 10}" for n in range(40)]
    right = [n % 3 > 0 for n in range(40)]
    one = predictions(right, groups, ids)
    backwards = predictions(right[::-1], groups[::-1], ids[::-1])
    found = compare([one], [backwards])
    assert (found.unit, found.units, found.difference) == ("group", 4, 0) and found.bootstrap.interval == (0, 0)


def test_systems_that_cannot_be_compared():
    one = predictions([True, False])
    with pytest.raises(DataError, match=r"not of the same items: 2 and 3, 0 of them"):
        compare([one], [predictions([True] * 3)])
    with pytest.raises(DataError, match=r"first: i1"):
        compare([one], [predictions([True] * 2, ids=["i0", "other"])])
    with pytest.raises(DataError, match="1 items have other labels"):
        compare([one], [Predictions(one.ids, one.labels, one.probabilities, ["a", "b"])])
    with pytest.raises(DataError, match="without labels"):
        compare([one], [Predictions(one.ids, one.labels, one.probabilities)])


# -------------------------------------------------------------------------------------------------------- picture


@pytest.mark.parametrize("classes", [2, 70])
def test_the_picture_of_confusions(tmp_path, classes):
    from PIL import Image

    labels = [f"a class of the name {n}" for n in range(classes)]
    scores = score(list(range(classes)) * 3, [*range(classes), *range(classes), *([0] * classes)], labels)
    draw_confusion(scores, tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    blue = (pixels[..., 2] - pixels[..., 0] > 60).mean()
    assert min(pixels.shape[:2]) > 100 and max(pixels.shape[:2]) < 2500 and blue > 0.005
