"""Lexicons: what tokens spell, and what is said about words they cannot."""

from __future__ import annotations

import numpy as np
import pytest

from asr.ctc import Lexicon, beam_search
from asr.errors import DataError, UsageError
from asr.text import BpeTokenizer, CharTokenizer


def heard(tokens, vocabulary):
    """(1, T, V) log-probabilities of a network that is sure of these tokens, a blank after each."""
    path = [frame for token in tokens for frame in (token, 0)]
    logits = np.zeros((len(path), vocabulary))
    logits[np.arange(len(path)), path] = 9.0
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[None], [len(path)]


def words(lexicon, tokens, **options):
    best, = beam_search(*heard(tokens, lexicon.vocab_size), lexicon=lexicon, **options)[0]
    return [word for word, _, _ in best.words]


def test_a_file_of_spellings(tmp_path, caplog):
    path = tmp_path / "lexicon.txt"
    path.write_text("read R E D\nread R I D\nred R E D\n\nroad\tR O D\n<SIL> SIL\nzoo Z U Z\n", encoding="utf-8")
    tokens = ["<blank>", "R", "E", "D", "I", "O"]
    lexicon = Lexicon.load(path, tokens)
    assert lexicon.words == ["read", "red", "road"] and lexicon.closed and lexicon.implicit
    assert lexicon.spell("read") == [(1, 2, 3), (1, 4, 3)] and lexicon.spell("zoo") == []
    assert lexicon.unspellable == {"<SIL>": ["SIL"], "zoo": ["Z", "U", "Z"]}
    assert f"{path}: 2 of 6 words are left out, the tokens cannot spell them: <SIL> (SIL), zoo (Z U)" in caplog.text
    assert words(lexicon, [1, 4, 3, 1, 5, 3]) == ["read", "road"]
    assert words(lexicon, [1, 2, 3]) == ["read"]  # of words spelled alike, the first


def test_a_dictionary_of_cmu_is_read_as_for_phones(tmp_path, caplog):
    path = tmp_path / "cmudict"
    path.write_text(";;; a comment\nREAD R E D\nREAD(2) R I D # past, or present\n", encoding="utf-8")
    lexicon = Lexicon.load(path, ["<blank>", "R", "E", "D", "I"])
    assert lexicon.words == ["READ"] and lexicon.spell("READ") == [(1, 2, 3), (1, 4, 3)] and not caplog.records
    path.write_text("C# C #\n")
    assert Lexicon.load(path, ["<blank>", "#", "C"]).spell("C#") == [(2, 1)]  # among characters it is one


def test_a_separator_stands_between_words(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("ab a b <space>\nb b\n")
    lexicon = Lexicon.load(path, ["<blank>", "<space>", "a", "b"])
    assert not lexicon.implicit and lexicon.spell("ab") == [(2, 3)]
    assert words(lexicon, [2, 3, 1, 3]) == ["ab", "b"]
    assert words(lexicon, [2, 3, 3], beam=50) == ["ab"]  # the second b begins no word


def test_a_file_of_pieces_needs_no_separator(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text("ab \u2581a b\nb \u2581b\nbab \u2581b a b\n", encoding="utf-8")
    lexicon = Lexicon.load(path, ["<blank>", "\u2581a", "\u2581b", "a", "b"])
    assert words(lexicon, [1, 4, 2, 3, 4, 2]) == ["ab", "bab", "b"]


def test_the_name_of_the_unknown_token_lends_no_letters():
    tokenizer = CharTokenizer.train(["\u043f\u0440\u0438"], unk=True)
    with pytest.raises(DataError, match=r"no word can be spelled .*: nun \(n u\)"):
        Lexicon.from_words(["nun"], tokenizer)
    with pytest.raises(DataError, match="nun"):
        beam_search(*heard([2], tokenizer.vocab_size), hotwords=["nun"], tokenizer=tokenizer)
    lexicon = Lexicon.from_words(["\u043f\u0440\u0438"], tokenizer, closed=False)
    best, = beam_search(*heard([*tokenizer.encode("\u043f\u0440\u0438"), 1], tokenizer.vocab_size), lexicon=lexicon)[0]
    assert tokenizer.decode(best.tokens) == "\u043f\u0440\u0438<unk>"


def test_any_pieces_that_spell_a_word_are_that_word():
    tokenizer = BpeTokenizer.train(["ab aba ba ab ab ba aba b a ab aba"] * 3, vocab_size=7)
    lexicon = Lexicon.from_words(["aba", "b"], tokenizer)
    index = {name: number for number, name in enumerate(tokenizer.tokens)}
    for spelling in (["\u2581ab", "a"], ["\u2581", "a", "b", "a"], ["\u2581a", "b", "a"]):
        assert words(lexicon, [*(index[name] for name in spelling), index["\u2581b"]]) == ["aba", "b"]


def test_words_of_a_tokenizer(caplog):
    lexicon = Lexicon.from_words(["ab", "b", "ab", "bäb", "a-b", ""], CharTokenizer("ab "))
    assert lexicon.words == ["ab", "b"] and lexicon.unspellable == {"bäb": ["ä"], "a-b": ["-"], "": ["no letter"]}
    assert "3 of 5 words are left out, the tokens cannot spell them: bäb (ä), a-b (-),  (no letter)" in caplog.text


def test_spaces_more_than_one_are_one():
    lexicon = Lexicon.from_words(["ab"], CharTokenizer("ab "))
    assert words(lexicon, [1, 2, 3, 1, 1, 2, 3, 1]) == ["ab", "ab"]


@pytest.mark.parametrize(("content", "error", "message"), [
    ("ab a b\nx\n", DataError, r"lexicon.txt:2: x has no spelling; expected `word token token"),
    ("x Y\nz Q\n", DataError, r"no word can be spelled with the model's tokens: x \(Y\), z \(Q\)"),
    ("\n", DataError, "it has no words"), (None, UsageError, "cannot read")])
def test_a_lexicon_that_cannot_be_used(tmp_path, content, error, message):
    path = tmp_path / "lexicon.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message):
        Lexicon.load(path, ["<blank>", "a", "b"])


def test_a_closed_vocabulary_of_nothing_is_refused():
    with pytest.raises(DataError, match=r"no word can be spelled.*: xyz \(x y z\)"):
        Lexicon.from_words(["xyz"], CharTokenizer("ab "))
