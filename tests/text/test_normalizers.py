from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.text import NORMALIZERS, get_normalizer, normalize
from asr.text.english import _ONES, _TENS, cardinal


@pytest.mark.parametrize(("text", "expected"), [
    ("Hello,  World!", "hello world"),
    ("don't 'quote' dogs' rock\u2019n\u2019roll", "don't quote dogs rock'n'roll"),
    ("twenty-one", "twenty one"),
    ("Stra\u00dfe \u00c9TUDE", "strasse \u00e9tude"),
    ("\uff21\uff22 \ufb01ne", "ab fine"),
    ("\u00bfqu\u00e9? \u00abs\u00ed\u00bb", "qu\u00e9 s\u00ed"),
    ("\u6771\u4eac\u3002\u3053\u3093", "\u6771\u4eac \u3053\u3093"),
    ("''", ""), ("'", ""), ("a''b", "a b"), ("3 < 5 $", "3 < 5 $"),
])
def test_basic_by_hand(text: str, expected: str) -> None:
    assert normalize(text, "basic") == expected


def test_nfc_by_hand() -> None:
    assert normalize(" e\u0301\t\u00a0B ", "nfc") == "\u00e9 B"


@given(st.text())
def test_none_changes_nothing(text: str) -> None:
    assert normalize(text) == text


@pytest.mark.parametrize("name", NORMALIZERS)
@given(text=st.text())
def test_twice_is_once(name: str, text: str) -> None:
    once = normalize(text, name)
    assert normalize(once, name) == once


@given(text=st.text(st.sampled_from("a1' \u2019\u6211\u30ab-")))
def test_apostrophes_among_spaceless_words_twice_is_once(text: str) -> None:
    once = normalize(text, "basic-zh")
    assert normalize(once, "basic-zh") == once


@pytest.mark.parametrize("name", ["nfc", "basic", "basic-ar", "basic-tr"])
def test_every_character_normalises_once_and_for_all(name: str) -> None:
    change = NORMALIZERS[name]
    for point in range(sys.maxunicode + 1):
        kind = unicodedata.category(chr(point))
        if kind in ("Cn", "Co") and point % 101:  # nine in ten are no characters, or private: all alike
            continue
        if kind != "Cs":
            once = change(f"a{chr(point)}b {chr(point)}")
            assert change(once) == once and unicodedata.is_normalized("NFC", once)


@given(text=st.text(st.sampled_from("0123456789.,:/-$%&'s th5st am1 and hundred\u00bd\u00b2\u20ac")))
def test_english_twice_is_once(text: str) -> None:
    once = normalize(text, "english")
    assert normalize(once, "english") == once and not any(digit in once for digit in "0123456789")


@pytest.mark.parametrize(("text", "expected"), [
    ("I have 1,234 dogs.", "i have one thousand two hundred thirty four dogs"),
    ("1984, 2005, 2019, 1900 or 1905",
     "nineteen eighty four two thousand five twenty nineteen nineteen hundred or nineteen oh five"),
    ("$5.25, \u00a33, $1, $0.99", "five dollars twenty five cents three pounds one dollar ninety nine cents"),
    ("$5.5 million", "five point five million dollars"),
    ("at 3:30 or 3:05 or 3:00 or 3:00 pm", "at three thirty or three oh five or three o'clock or three pm"),
    ("1/2, 3/4, 2/3; 24/7", "one half three quarters two thirds twenty four seven"),
    ("555-1234", "five five five one two three four"),
    ("the 1990s and the '80s", "the nineteen nineties and the eighties"),
    ("1st 22nd 13th 100th", "first twenty second thirteenth one hundredth"),
    ("-5\u00b0, 3.14, .5", "minus five degrees three point one four point five"),
    ("mp3 covid19 007", "mp three covid nineteen zero zero seven"),
    ("one hundred and five", "one hundred five"),
    ("Mr. & Mrs. Smith vs. Dr. No", "mister and missus smith versus doctor no"),
    ("50% of 10-20", "fifty percent of ten twenty"),
    ("12,345.67 and 1,23456", "twelve thousand three hundred forty five point six seven and one twenty three thousand four hundred "
                             "fifty six"),
    ("1000000 $1,000,000.00", "one zero zero zero zero zero zero one million dollars"),
])
def test_english_by_hand(text: str, expected: str) -> None:
    assert normalize(text, "english") == expected


def test_numbers_in_words_against_their_figures() -> None:
    values = {word: number for number, word in enumerate(_ONES)} | {word: 10 * number for number, word in enumerate(_TENS)}
    scales = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
    for number in [*range(1, 3000), *(10**power + offset for power in range(3, 15) for offset in (-1, 0, 7, 1001))]:
        total = group = 0
        for word in cardinal(number).split():
            if word == "hundred":
                group *= 100
            elif word in scales:
                total, group = total + group * scales[word], 0
            else:
                group += values[word]
        assert total + group == number


@pytest.mark.parametrize(("name", "text", "expected"), [
    ("basic-tr", "ISPARTA \u0130ZM\u0130R", "\u0131sparta izmir"),
    ("basic-az", "I\u0130", "\u0131i"),
    ("basic-de", "Stra\u00dfe, GRO\u1e9e", "stra\u00dfe gro\u00df"),
    ("basic-fr", "L'eau, d\u2019\u00c9t\u00e9", "l eau d \u00e9t\u00e9"),
    ("basic-it", "dell'arte", "dell arte"),
    ("basic-zh", "\u4eca\u592912\u70b9hello\u4e16\u754c\u3002", "\u4eca \u5929 12 \u70b9 hello \u4e16 \u754c"),
    ("basic-zh", "\u6211's don't", "\u6211 s don't"),
    ("basic-ja", "\uff76\uff9e\u30fc\u65e5\u672c", "\u30ac \u30fc \u65e5 \u672c"),
    ("basic-ar", "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f\u064c \u0640\u0640", "\u0645\u062d\u0645\u062f"),
    ("basic-he", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "\u05e9\u05dc\u05d5\u05dd"),
])
def test_languages_by_hand(name: str, text: str, expected: str) -> None:
    assert normalize(text, name) == expected


def test_names_and_versions() -> None:
    languages = {f"basic-{language}": 1 for language in ("ar", "az", "de", "fr", "he", "it", "tr")} | {"basic-ja": 2, "basic-zh": 2}
    assert {name: normalizer.version for name, normalizer in NORMALIZERS.items()} == \
        {"none": 1, "nfc": 1, "basic": 1, "english": 1} | languages
    assert str(get_normalizer("basic")) == "basic (version 1)"
    with pytest.raises(UsageError, match=r"unknown normaliser 'Basic'; did you mean basic\? known: none, nfc, basic, english"):
        normalize("text", "Basic")
