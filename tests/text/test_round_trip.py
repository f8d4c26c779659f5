from __future__ import annotations

import pytest

from asr.errors import DataError
from asr.text import BpeTokenizer, CharTokenizer, check_round_trip


@pytest.mark.parametrize("make", [CharTokenizer.train, lambda texts: BpeTokenizer.train(texts, 16)])
def test_every_fault_is_named_with_its_utterances(make) -> None:
    tokenizer = make(["hello world", "\u00fc"])
    check_round_trip(tokenizer, {"fine": "hello \u00fc", "empty": ""})
    with pytest.raises(DataError) as raised:
        check_round_trip(tokenizer, {"u1": "hello  world", "u2": " hello", "u3": "hello\u00a0world", "u4": "u\u0308 hello",
                                     "u5": "qed", "u6": "Q", "u7": "fed Q"})
    message = str(raised.value)
    assert "no token for 'Q' (U+0051): u6, u7" in message
    assert "no token for 'q' (U+0071): u5" in message
    assert "no token for 'f' (U+0066): u7" in message
    assert "spaces at the start, at the end or in a row are not kept: u1, u2" in message
    assert "U+00A0 NO-BREAK SPACE" in message and "u3" in message
    assert "not in Unicode NFC (composed) form: u4" in message
    assert "--unk" in message and "normaliser nfc" in message


def test_many_utterances_are_counted() -> None:
    with pytest.raises(DataError, match="u0, u1, u2, u3, u4 and 95 more"):
        check_round_trip(CharTokenizer.train(["a"]), {f"u{number}": "b" for number in range(100)})


def test_with_unk_unknown_characters_are_a_warning_and_other_faults_an_error(caplog) -> None:
    tokenizer = CharTokenizer.train(["ab"], unk=True)
    check_round_trip(tokenizer, {"u1": "abc"})
    assert "'c' (U+0063): u1" in caplog.text
    with pytest.raises(DataError, match="in a row"):
        check_round_trip(tokenizer, {"u1": "abc", "u2": "a  b"})


def test_the_cure_cures() -> None:
    bad = {"u1": "hello  world", "u2": "u\u0308\u3000hello "}
    with pytest.raises(DataError):
        check_round_trip(CharTokenizer.train(bad.values()), bad)
    check_round_trip(CharTokenizer.train(bad.values(), normalizer="nfc"), bad)
