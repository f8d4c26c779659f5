from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.text import NORMALIZERS, get_normalizer, normalize


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


@pytest.mark.parametrize("name", ["nfc", "basic"])
def test_every_character_normalises_once_and_for_all(name: str) -> None:
    change = NORMALIZERS[name]
    for point in range(sys.maxunicode + 1):
        if not 0xD800 <= point <= 0xDFFF:
            once = change(f"a{chr(point)}b {chr(point)}")
            assert change(once) == once and unicodedata.is_normalized("NFC", once)


def test_names_and_versions() -> None:
    assert {name: normalizer.version for name, normalizer in NORMALIZERS.items()} == {"none": 1, "nfc": 1, "basic": 1}
    assert str(get_normalizer("basic")) == "basic (version 1)"
    with pytest.raises(UsageError, match=r"unknown normaliser 'Basic'; did you mean basic\? known: none, nfc, basic"):
        normalize("text", "Basic")
