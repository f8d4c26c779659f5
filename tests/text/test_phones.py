"""Phones: lexicons as they are found, words there and back, words that sound alike, and what is refused."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import DataError, ModelError, UsageError
from asr.text import CharTokenizer, PhoneTokenizer, Tokenizer, check_round_trip, load_tokenizer
from asr.text.phones import read_pronunciations

LEXICON = {"CAT": [["K", "AE", "T"]], "OH": [["OW"]], "O": [["OW"]], "TWO": [["T", "UW"], ["T", "AH"]],
           "TO": [["T", "AH"], ["T", "UW"]]}
PHONES = st.lists(st.sampled_from(["p", "pp", "q", "é"]), min_size=1, max_size=3)
LEXICONS = st.dictionaries(st.text("ABCDE", min_size=1, max_size=3), st.lists(PHONES, min_size=1, max_size=3), min_size=1,
                           max_size=8)


def test_lexicons_of_kaldi_and_of_cmu(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text(";;; a comment\nTWO  T\tUW\n\nTWO(2) T AH\nTWO T UW\nSMILE(1) S M AY L\nCAT K AE T\n"
                    "AALBORG AO1 L # place, danish\n# HH AE SH\n")
    assert read_pronunciations(path) == {"TWO": [("T", "UW"), ("T", "AH")], "SMILE(1)": [("S", "M", "AY", "L")],
                                         "CAT": [("K", "AE", "T")], "AALBORG": [("AO1", "L")], "#": [("HH", "AE", "SH")]}


@pytest.mark.parametrize(("content", "said"), [
    ("CAT K AE T\nDOG\n", ":2: DOG has no pronunciation; expected `word phone phone ...`"),
    ("CAT # meows\n", ":1: CAT has no pronunciation"),
    ("CAT K <space> T\n", ":1: <space> is a token of its own"),
    ("\n\n", ": no pronunciations"),
    ("CAT K \udcff T\n", ":1: not UTF-8")])
def test_lexicons_that_are_none(tmp_path, content, said):
    path = tmp_path / "lexicon.txt"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError) as raised:
        read_pronunciations(path)
    assert str(raised.value).startswith(f"{path}{said}")
    with pytest.raises(UsageError, match="absent.txt: cannot read"):
        read_pronunciations(tmp_path / "absent.txt")


def test_there_and_back():
    tokenizer = PhoneTokenizer(LEXICON)
    assert tokenizer.tokens == ["<blank>", "<space>", "AE", "AH", "K", "OW", "T", "UW"]
    ids = tokenizer.encode("TWO CAT")
    assert [tokenizer.tokens[token] for token in ids] == ["T", "UW", "<space>", "K", "AE", "T"]
    assert tokenizer.word_spans(ids) == [("TWO", 0, 2), ("CAT", 3, 6)]
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""
    # Spaces and blanks anywhere part words and are none; what no word sounds like is told by its phones.
    assert tokenizer.word_spans([1, 0, 6, 3, 1, 1, 4, 0, 2, 1]) == [("TO", 2, 4), ("K-AE", 6, 9)]


def test_of_words_that_sound_alike_the_more_frequent_one_is_heard():
    assert PhoneTokenizer(LEXICON).decode(PhoneTokenizer(LEXICON).encode("O OH TO")) == "OH OH TO"
    tokenizer = PhoneTokenizer.train(["O O OH", "TWO TO TO"], LEXICON)
    assert tokenizer.decode(tokenizer.encode("O OH TWO TO")) == "O O TWO TO"  # usual pronunciations come before others
    assert tokenizer.alike == {"OH": "O"}


def test_words_without_a_pronunciation():
    with pytest.raises(DataError, match=r"no pronunciation of 'BAT', 'DOG' in 'DOG CAT BAT'; add them to the lexicon, or .*--unk"):
        PhoneTokenizer(LEXICON).encode("DOG CAT BAT")
    tokenizer = PhoneTokenizer(LEXICON, unk=True)
    ids = tokenizer.encode("DOG CAT BAT")
    assert tokenizer.tokens[ids[0]] == "<unk>" and tokenizer.decode(ids) == "<unk> CAT <unk>"
    assert tokenizer.unencodable("DOG CAT BAT DOG") == ["BAT", "DOG"]


def test_the_check_names_words_and_warns_of_those_that_sound_alike(caplog):
    tokenizer = PhoneTokenizer.train(["O O OH"], LEXICON)
    check_round_trip(tokenizer, {"u1": "CAT O", "u2": "OH OH CAT", "u3": ""})
    assert "OH is heard as O: u2" in caplog.text and "u1" not in caplog.text
    with pytest.raises(DataError, match=r"(?s)no pronunciation of 'DOG': u2.*in a row are not kept: u1.*add them to the lexicon"):
        check_round_trip(tokenizer, {"u1": "OH  CAT", "u2": "DOG"})


def test_each_phone_has_a_sound_of_its_own():
    tokenizer = PhoneTokenizer(LEXICON, unk=True)
    sounds = [tokenizer.sounds(token) for token in range(tokenizer.vocab_size)]
    assert tokenizer.sounds_of("CAT DOG") == f"{sounds[tokenizer.tokens.index('K')]}" + "".join(
        sounds[tokenizer.tokens.index(phone)] for phone in ("AE", "T")) + " " + chr(0xF0000 + 1)
    assert sounds[:3] == ["", None, ""] and len(set(sounds[3:])) == len(sounds) - 3 and all(len(sound) == 1 for sound in sounds[3:])


def test_the_normaliser_is_for_the_lexicon_too():
    lexicon = {"TWO": [["T", "UW"]], "two": [["T", "AH"]], "CATS": [["K", "S"]], "FORTY-ONE": [["F"]]}
    tokenizer = PhoneTokenizer.train(["Two cats!"], lexicon, normalizer="basic")
    assert list(tokenizer.pronunciations) == ["two", "cats"] and len(tokenizer.pronunciations["two"]) == 2
    assert tokenizer.decode(tokenizer.encode("Two CATS, two")) == "two cats two"
    composed, apart = "caf\u00e9", "cafe\u0301"
    for text, word in ((composed, apart), (apart, composed)):
        accented = PhoneTokenizer.train([text], {word: [["K"]]})
        assert accented.decode(accented.encode(text)) == composed
    with pytest.raises(DataError, match="no word that is one after the normaliser basic"):
        PhoneTokenizer.train([], {"A-B": [["A"]]}, normalizer="basic")


@given(lexicon=LEXICONS, unk=st.booleans(), data=st.data())
def test_any_text_sounds_the_same_after_any_way(lexicon, unk, data):
    tokenizer = PhoneTokenizer(lexicon, unk=unk)
    text = " ".join(data.draw(st.lists(st.sampled_from(sorted(lexicon)), max_size=6)))
    ids = tokenizer.encode(text)
    # The reference says it in Python's simplest words.
    spelled = [[tokenizer.tokens[token] for token in group] for space, group in
               itertools.groupby(ids, lambda token: tokenizer.tokens[token] == "<space>") if not space]
    assert spelled == [lexicon[word][0] for word in text.split()]
    heard = tokenizer.decode(ids)
    assert tokenizer.encode(heard) == ids
    assert [tokenizer.alike.get(word, word) for word in text.split()] == heard.split()
    again = Tokenizer.from_state(json.loads(json.dumps(tokenizer.state())))
    assert again.tokens == tokenizer.tokens and again.state() == tokenizer.state() and again.decode(ids) == heard


def test_saved_and_loaded(tmp_path: Path):
    PhoneTokenizer(LEXICON, unk=True).save(tmp_path)
    assert read_pronunciations(tmp_path / "lexicon.txt") == {word: [tuple(each) for each in LEXICON[word]] for word in LEXICON}
    assert load_tokenizer(tmp_path).encode("TWO DOG") == PhoneTokenizer(LEXICON, unk=True).encode("TWO DOG")
    CharTokenizer.train(["ab"]).save(tmp_path)
    assert not (tmp_path / "lexicon.txt").exists()


@pytest.mark.parametrize("lexicon", [None, ["CAT"], 3, [7]])
def test_a_damaged_state(lexicon):
    state = PhoneTokenizer(LEXICON).state() | {"lexicon": lexicon}
    with pytest.raises(ModelError, match="not a tokenizer's state"):
        Tokenizer.from_state(state)
