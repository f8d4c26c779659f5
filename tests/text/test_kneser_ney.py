from __future__ import annotations

import itertools
import logging
import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from text.plain_ngram import PlainKneserNey, entries, log10_after, story

from asr.errors import DataError, UsageError
from asr.text import build_ngram

WORDS = ["a", "b", "c", "d"]
texts = st.lists(st.lists(st.sampled_from(WORDS), max_size=7), min_size=1, max_size=12).filter(any)
prunings = st.lists(st.integers(0, 3), max_size=4).map(lambda rest: [0, *sorted(rest)])


def contexts(words: list[str], longest: int) -> list[tuple[str, ...]]:
    """All contexts up to a length, those at the beginning of a sentence included."""
    inside = [context for length in range(longest + 1) for context in itertools.product(words, repeat=length)]
    return inside + [("<s>", *context) for context in inside if len(context) < longest]


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(1, 5), prunings, st.sampled_from([None, ["a", "b", "x"]]))
@example([["a"]], 5, [0], None)
@example([["a", "b", "a", "b", "a", "c"], ["a"], ["b", "b", "d"]], 3, [0, 1, 1], ["a", "b"])
def test_probabilities_are_those_of_the_formulas_and_sum_to_1(text, order, prune, vocabulary):
    prune = prune[:order]
    lm = build_ngram(map(" ".join, text), order, prune, vocabulary)
    longest = max(map(len, text)) + 2  # beyond it the model falls back to a lower order
    plain = PlainKneserNey(text, min(order, longest), prune, vocabulary)
    assert plain.words | {"<s>"} == set(lm.words)
    known = sorted(plain.words - {"</s>"})
    for context in [*contexts(known, 2), *(("<s>", *line[:3]) for line in text), *(tuple(line[-4:]) for line in text)]:
        context = tuple(word if word in lm.index else "<unk>" for word in context)
        found = {word: 10 ** log10_after(lm, context, word) for word in plain.words}
        assert found == pytest.approx({word: plain.prob(context, word) for word in plain.words}, rel=1e-5)
        assert sum(found.values()) == pytest.approx(1, abs=1e-5)


def test_discounts_come_from_the_text_where_it_is_large_enough(caplog):
    text = story()
    with caplog.at_level(logging.WARNING, "asr"):
        lm = build_ngram(text, 3)
    assert not caplog.records
    plain = PlainKneserNey([line.split() for line in text], 3, [0])
    assert all(discount != [0.0, 0.5, 1.0, 1.5] for discount in plain.discounts)
    for context in [(), ("<s>",), ("w5",), ("<s>", text[1].split()[0]), tuple(text[2].split()[:2]), ("end",)]:
        found = {word: 10 ** log10_after(lm, context, word) for word in plain.words}
        assert found == pytest.approx({word: plain.prob(context, word) for word in plain.words}, rel=1e-5)


# log10 probabilities that KenLM gives to three sentences with models that its lmplz built from story():
# `lmplz -o ORDER --prune PRUNE --discount_fallback`, then kenlm.Model(...).score(sentence).
KENLM = {
    (2, (0,)): [-7.94199, -13.25175, -4.33053],
    (3, (0,)): [-7.20879, -13.52433, -4.29776],
    (3, (0, 0, 1)): [-8.01205, -13.49633, -4.39376],
    (5, (0, 0, 1, 1, 2)): [-7.97055, -13.49633, -4.39376],
}
SENTENCES = ["w0 w4 w114 w151 w399", "w25 never w170 w352 w1", "the end"]


@pytest.mark.parametrize(("order", "prune"), KENLM)
def test_scores_are_those_of_lmplz(order, prune):
    lm = build_ngram(story(), order, prune)
    assert [lm.score(sentence) for sentence in SENTENCES] == pytest.approx(KENLM[order, prune], abs=1e-4)


def test_pruned_ngrams_are_gone_and_the_rest_stays():
    text = story()
    whole, pruned = (entries(build_ngram(text, 3, prune)) for prune in ([0], [0, 0, 1]))
    occurs = PlainKneserNey([line.split() for line in text], 3, [0]).occurs
    assert pruned.keys() == {gram for gram in whole if len(gram) < 3 or occurs[gram] > 1}
    assert len(pruned) < len(whole)


def test_the_order_of_the_lines_does_not_matter():
    text = story(50)
    assert entries(build_ngram(text, 3)) == entries(build_ngram(reversed(text), 3))


def test_words_of_the_vocabulary():
    lm = build_ngram(["a b b q", "b a r"], 2, vocabulary=["b", "a", "zebra"])
    assert lm.words == ["<unk>", "<s>", "</s>", "a", "b", "zebra"]
    assert log10_after(lm, (), "zebra") < log10_after(lm, (), "<unk>")  # q and r were seen, zebra was not
    assert lm.score("a q") == lm.score("a zzz") == lm.score("a <unk>")


def test_text_may_hold_unk_and_line_ends():
    assert entries(build_ngram(["a <unk> b\n", "b\ta \r\n"], 2)) == entries(build_ngram(["a Q b", "b a"], 2, vocabulary=["a", "b"]))


def test_an_empty_line_is_an_empty_sentence():
    lm = build_ngram(["a", "", ""], 2)
    assert 10 ** lm.score("") > 0.5 > 10 ** lm.score("a")


def test_too_little_text_is_said(caplog):
    with caplog.at_level(logging.WARNING, "asr"):
        lm = build_ngram(["a b", "b a"], 5)
    assert lm.order == 4
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0] == "no sentence has 5 words, its ends <s> and </s> counted: the model is of order 4"
    assert messages[1] == ("too little text for the discounts of 1-grams (0 count once, 3 twice, 0 three times, 0 four times); "
                           "0.5, 1.0 and 1.5 are used")
    assert len(messages) == 5


def test_pruning_may_leave_nothing_of_an_order(caplog):
    lm = build_ngram(["a b c", "c b a"], 3, [0, 0, 5])
    assert lm.order == 2 and caplog.messages[-1] == "pruning leaves no 3-gram: the model is of order 2"
    total = sum(10 ** log10_after(lm, ("a", "b"), word) for word in lm.words if word != "<s>")
    assert total == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(("order", "prune", "message"), [
    (0, [], "order 0: a model has n-grams of 1 word or more"),
    (2, [0, 0, 1], "3 of them for a model of order 2"),
    (3, [1, 1], "thresholds 1,1: the first, that of single words, is to be 0"),
    (3, [0, 2, 1], "none below the one before it"),
    (2, [0, -1], "none below the one before it"),
    (-3, [], "order -3: a model has n-grams of 1 word or more"),
    (2.5, [], "order 2.5"),
    (2, [0, 0.5], "whole numbers are needed"),
])
def test_settings_that_cannot_be(order, prune, message):
    with pytest.raises(UsageError, match=message):
        build_ngram(["a b"], order, prune)


@pytest.mark.parametrize(("lines", "vocabulary", "message"), [
    ([], None, "no text to build a language model of"),
    (["", " "], None, "no text to build a language model of"),
    (["a", "b </s> c"], None, "line 2 of the text holds <s> or </s>"),
    (["a"], ["new york"], "'new york', which is not one word"),
    (["a"], [], "the vocabulary has no word"),
])
def test_text_that_cannot_be(lines, vocabulary, message):
    with pytest.raises(DataError, match=message):
        build_ngram(lines, 2, vocabulary=vocabulary)


def test_one_text_is_not_taken_for_lines():
    with pytest.raises(UsageError, match=r"lines: expected lines, .* not one text; write `text.splitlines\(\)`"):
        build_ngram("a b", 2)
    with pytest.raises(UsageError, match="vocabulary: expected lines"):
        build_ngram(["a b"], 2, vocabulary="a b")


def test_an_order_far_beyond_the_text_costs_nothing(caplog):
    assert build_ngram(["a b"], 10**12, [0, 0]).order == 4
    assert "the model is of order 4" in caplog.text


def test_probabilities_are_never_above_1_in_the_file(tmp_path):
    """Where one word is as good as certain, rounding must not lift it over 1, which a reader refuses."""
    lm = build_ngram(["a a a a"] * 1000, 2)
    assert all(prob <= 0 and math.isfinite(prob) for prob, _ in entries(lm).values())
