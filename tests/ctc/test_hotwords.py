"""Hotwords: what a boost does, and to what."""

from __future__ import annotations

import math

import numpy as np
import pytest

from asr.ctc import BeamSearch, Lexicon, beam_search, read_hotwords
from asr.ctc.hotwords import Hotwords
from asr.errors import DataError, UsageError
from asr.text import BpeTokenizer, CharTokenizer

TOKENIZER = CharTokenizer("abcdehlnorty ")


def unsure(text, other, tokenizer=TOKENIZER, lead=1.0):
    """(1, T, V): a network that hears ``text``, but where the letters differ finds ``other`` only ``lead`` nats less likely."""
    frames = [(first, second) for pair in zip(tokenizer.encode(text), tokenizer.encode(other)) for first, second in (pair, (0, 0))]
    logits = np.full((len(frames), tokenizer.vocab_size), -9.0)
    for frame, (first, second) in enumerate(frames):
        logits[frame, second] = -lead
        logits[frame, first] = 0.0
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[None]


def decode(log_probs, hotwords, tokenizer=TOKENIZER, **options):
    best = beam_search(log_probs, [log_probs.shape[1]], hotwords=hotwords, tokenizer=tokenizer, **options)[0][0]
    return tokenizer.decode(best.tokens), best


def test_a_boost_changes_the_word_and_stays_in_the_score():
    log_probs = unsure("hello bob", "hello rob")
    assert decode(log_probs, {})[0] == "hello bob"
    text, best = decode(log_probs, {"rob": 1.5})
    assert text == "hello rob" and best.score == pytest.approx(best.acoustic_score + 1.5)
    assert decode(log_probs, {"rob": 0.9})[0] == "hello bob"
    assert decode(log_probs, ["rob"], hotword_boost=1.5)[0] == "hello rob"


@pytest.mark.parametrize(("heard", "hotword"), [
    ("on rob", "bon"), ("bon rob", "bo"), ("bon rob", "on"), ("bon rob", "rob bon"), ("bon rob", "bonrob"), ("bon rob", "rob b")])
def test_a_phrase_counts_only_whole(heard, hotword):
    """Not within a word, not at its beginning or end, not across other words; what was lent on the way is paid back."""
    _, best = decode(unsure(heard, heard), {hotword: 3.0})
    assert best.score == pytest.approx(best.acoustic_score, abs=1e-12)


def test_phrases_within_phrases_and_one_after_the_other():
    hotwords = {"new york": 2.0, "york": 0.5, "york rob": 0.25, "rob": 0.125}
    text = "new york rob rob"
    tokenizer = CharTokenizer("newyorkb ")
    _, best = decode(unsure(text, text, tokenizer), hotwords, tokenizer)
    assert best.score - best.acoustic_score == pytest.approx(2.0 + 0.5 + 0.25 + 0.125 * 2)


def test_a_word_is_boosted_while_it_is_being_spelled():
    """A beam of two would lose the word at its first letter."""
    log_probs = unsure("hello bonn", "hello cthn", lead=1.2)
    assert decode(log_probs, {"cthn": 8.0}, beam=2)[0] == "hello cthn"
    automaton = Hotwords({"cthn": 8.0}, Lexicon.from_words([], TOKENIZER, closed=False))
    assert sorted(set(automaton.potential)) == [0.0, 2.0, 4.0, 6.0, 8.0]


def test_any_pieces_may_spell_a_phrase():
    tokenizer = BpeTokenizer.train(["ab aba ba ab ab ba aba b a ab aba"] * 3, vocab_size=7)
    index = {name: number for number, name in enumerate(tokenizer.tokens)}
    for spelling in (["\u2581ab", "a"], ["\u2581", "a", "b", "a"], ["\u2581a", "b", "a"]):
        path = [frame for name in [*spelling, "\u2581b"] for frame in (index[name], 0)]
        logits = np.zeros((len(path), tokenizer.vocab_size))
        logits[np.arange(len(path)), path] = 20.0
        log_probs = (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[None]
        _, best = decode(log_probs, {"aba b": 2.0, "ab": 1.0}, tokenizer)
        assert best.score - best.acoustic_score == pytest.approx(2.0)


def test_where_nothing_tells_words_apart_a_phrase_may_stand_anywhere():
    tokenizer = CharTokenizer("abc")
    _, best = decode(unsure("cabab", "cabab", tokenizer), {"ab": 1.0, "ba": 0.5}, tokenizer)
    assert best.score - best.acoustic_score == pytest.approx(2.5)


def test_phrases_are_written_as_the_model_writes():
    tokenizer = CharTokenizer("abo r", normalizer="basic")
    log_probs = unsure("bob", "rob", tokenizer)
    assert decode(log_probs, {"  ROB ": 3.0, "rob": 0.1}, tokenizer)[0] == "rob"


def test_a_lexicons_hotwords_are_spelled_as_the_lexicon_says(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("read R E D\nread R I D\nroad R O D\n")
    lexicon = Lexicon.load(path, ["<blank>", "R", "E", "D", "I", "O"])
    logits = np.log(np.maximum([[0.9, 0.1, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0.4, 0.6], [0, 0, 0, 1, 0, 0]], 1e-30))
    best = {boost: beam_search(logits[None], [4], lexicon=lexicon, hotwords={"read": boost} if boost else None)[0][0]
            for boost in (0, 1.0)}
    assert [best[boost].words[0][0] for boost in (0, 1.0)] == ["road", "read"]
    with pytest.raises(DataError, match=r"cannot be spelled \(1 of 2\): 'the road'; add their words to the lexicon"):
        BeamSearch(lexicon=lexicon, hotwords=["read", "the road"])


def test_of_phrases_that_sound_alike_the_largest_boost_counts(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("red R E D\nread R E D\n")
    lexicon = Lexicon.load(path, ["<blank>", "R", "E", "D"])
    log_probs = np.log(np.eye(4)[[1, 2, 3]] * 0.99 + 0.0025)[None]
    for hotwords in ({"red": 2.0, "read": 3.0}, {"red": 3.0, "read": 2.0}, {"red": 3.0}):
        best = beam_search(log_probs, [3], lexicon=lexicon, hotwords=hotwords)[0][0]
        assert best.tokens == [1, 2, 3] and best.score == pytest.approx(best.acoustic_score + 3.0)


@pytest.mark.parametrize(("hotwords", "error", "message"), [
    ({"rob": 0.0}, UsageError, "the boost of 'rob' is 0.0"), ({"rob": math.inf}, UsageError, "above zero"),
    ({"rob": 1e308}, UsageError, "at most 1,000,000"), ({"rob": "much"}, UsageError, "the boost of 'rob' is 'much'"),
    ([("rob", 2.0)], UsageError, r"\('rob', 2.0\) is no text"), (["  "], UsageError, "empty phrase"),
    (["rob", "xylo"], DataError, r"cannot be spelled \(1 of 2\): 'xylo'; write them in the model's characters")])
def test_wrong_hotwords_are_refused(hotwords, error, message):
    with pytest.raises(error, match=message):
        BeamSearch(hotwords=hotwords, tokenizer=TOKENIZER)


def test_a_file_of_hotwords(tmp_path):
    path = tmp_path / "hotwords.txt"
    path.write_text("new york\t7.5\nrob\n\n  bob  \n")
    assert read_hotwords(path, 4.0) == {"new york": 7.5, "rob": 4.0, "bob": 4.0}
    path.write_text("new york\tmuch\n")
    with pytest.raises(DataError, match=r"hotwords.txt:1: the boost 'much' is no number"):
        read_hotwords(path, 4.0)
