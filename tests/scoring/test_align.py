"""The compiled alignment against a plain one, whole and in blocks."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_edit_distance import edit_distance

from asr.scoring import kernels
from asr.scoring.align import FEWEST_ERRORS, SCLITE, Counts, align, count, count_characters, jiwer_counts, pairs

TEXT = st.lists(st.sampled_from("abcd"), max_size=12)


def plain_cost(ref: list[str], hyp: list[str], substitution: int, gap: int) -> int:
    row = [gap * column for column in range(len(hyp) + 1)]
    for ours in ref:
        above, row[0] = row[0], row[0] + gap
        for column, theirs in enumerate(hyp, start=1):
            best = min(above + (substitution if ours != theirs else 0), row[column] + gap, row[column - 1] + gap)
            above, row[column] = row[column], best
    return row[-1]


@given(TEXT, TEXT, st.sampled_from([FEWEST_ERRORS, SCLITE]))
def test_the_lightest_alignment(ref: list[str], hyp: list[str], weights) -> None:
    operations = next(iter(align([ref], [hyp], weights)))
    counts = count(operations)
    assert weights.substitution * counts.substitutions + weights.gap * (counts.insertions + counts.deletions) == \
        plain_cost(ref, hyp, *weights)
    steps = list(pairs(operations, ref, hyp))
    assert [ours for _, ours, _ in steps if ours is not None] == ref
    assert [theirs for _, _, theirs in steps if theirs is not None] == hyp
    assert all((letter == "C") == (ours == theirs) for letter, ours, theirs in steps)
    assert (counts.reference, counts.hypothesis) == (len(ref), len(hyp))


@given(TEXT, TEXT)
def test_the_fewest_errors_fix_every_count(ref: list[str], hyp: list[str]) -> None:
    """Fewest errors, then fewest substitutions: the division of the errors is not a matter of the path."""
    counts = count(next(iter(align([ref], [hyp]))))
    assert counts.errors == edit_distance(ref, hyp) == jiwer_counts([ref], [hyp]).errors
    back = count(next(iter(align([ref[::-1]], [hyp[::-1]]))))
    assert counts == back
    assert next(iter(count_characters(["".join(ref)], ["".join(hyp)]))) == counts


@pytest.mark.parametrize("cells", [1, 7, 100, 1000])
def test_long_pairs_are_walked_in_blocks(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    rnd = random.Random(cells)
    refs, hyps = ([[rnd.choice("abcde") for _ in range(rnd.randint(0, 60))] for _ in range(50)] for _ in range(2))
    whole = [list(align(refs, hyps, weights)) for weights in (SCLITE, FEWEST_ERRORS)]
    monkeypatch.setattr(kernels, "CELLS", cells)
    assert [list(align(refs, hyps, weights)) for weights in (SCLITE, FEWEST_ERRORS)] == whole


@pytest.mark.parametrize("errors", [0, 3, 40, 400])
def test_characters_of_long_texts(errors: int) -> None:
    """Beyond the first band: the same as all the cells give."""
    rnd = random.Random(errors)
    ref = "".join(rnd.choice("abcdefgh") for _ in range(300))
    hyp = list(ref)
    for _ in range(errors):
        place = rnd.randrange(len(hyp))
        hyp[place:place + rnd.randint(0, 1)] = rnd.choice(["", "x", "xy", "a"])
    counts = next(iter(count_characters([ref], ["".join(hyp)])))
    assert counts == count(next(iter(align([list(ref)], [hyp]))))


def test_other_rates_are_jiwers() -> None:
    import jiwer

    refs, hyps = ["a b c d", "e f", "g"], ["a x c", "e f f f", "h i"]
    theirs = jiwer.process_words(refs, hyps)
    total = jiwer_counts([text.split() for text in refs], [text.split() for text in hyps])
    assert total.match_error_rate == pytest.approx(theirs.mer) and total.information_lost == pytest.approx(theirs.wil)
    assert (Counts(0).information_lost, Counts(3, 0, 3).information_lost, Counts(0, 2).match_error_rate) == (0.0, 1.0, 1.0)
    assert Counts(0).match_error_rate == 0.0
