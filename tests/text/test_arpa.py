from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from text.plain_ngram import entries
from text.test_ngram import TOY

from asr.errors import DataError, UsageError
from asr.text import NgramLM

Write = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(content: str | bytes) -> Path:
        path = tmp_path / "lm.arpa"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def message(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        NgramLM.load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    return text.removeprefix(str(path))


@pytest.mark.parametrize("change", [
    lambda text: "made by a tool\n\n" + text,
    lambda text: "\ufeff" + text,
    lambda text: text.replace("\n", "\r\n"),
    lambda text: text.replace("\t", " "),
    lambda text: text.replace("ngram 1=5", "ngram  1 = 5"),
    lambda text: text.replace("\n\n", "\n"),
    lambda text: text.replace("\n\n", "\n\n\n"),
    lambda text: text.replace("<s> a b\n", "<s> a b\t0\n"),
    lambda text: text + "\nwhat follows\n",
    lambda text: text.rstrip(),
])
def test_forms_that_other_tools_write(write, change):
    assert entries(NgramLM.load(write(change(TOY)))) == entries(NgramLM.load(write(TOY)))


def test_gzip_is_known_by_its_content(write):
    assert entries(NgramLM.load(write(gzip.compress(TOY.encode())))) == entries(NgramLM.load(write(TOY)))


def test_any_order_of_words_and_ngrams(write):
    unigrams, bigrams = TOY.split("\n\n")[1:3]
    shuffled = TOY
    for section in (unigrams, bigrams):
        head, *lines = section.split("\n")
        shuffled = shuffled.replace(section, "\n".join([head, *reversed(lines)]))
    assert shuffled != TOY
    assert entries(NgramLM.load(write(shuffled))) == entries(NgramLM.load(write(TOY)))


def test_an_order_may_be_empty(write):
    text = TOY.replace("3=2", "3=0").replace("-0.1875\t<s> a b\n-0.3125\ta b </s>\n", "")
    assert NgramLM.load(write(text)).score("a b") == -0.25 + (-0.0625 - 0.5) + (-1 - 0.375)


def test_words_with_other_unicode_spaces_are_one_word(write):
    lm = NgramLM.load(write(TOY.replace("\tb\t", "\tb\u3000b\t").replace(" b", " b\u3000b").replace("\tb ", "\tb\u3000b ")))
    assert "b\u3000b" in lm.index and lm.score("a b\u3000b") == -0.75


@pytest.mark.parametrize(("old", "new", "line", "what"), [
    ("ngram 1=5", "ngram 1=6", 12, "\\1-grams: ends after 5 n-grams, but \\data\\ promises 6; mend the number there"),
    ("ngram 2=4", "ngram 2=3", 17, '\\2-grams: goes on after the 3 n-grams that \\data\\ promises: "-0.375 b </s>"'),
    ("ngram 2=4", "ngram 3=4", 3, "expected the number of 2-grams, found that of 3-grams"),
    ("ngram 2=4", "ngrams 2=4", 3, 'expected `ngram 2=NUMBER` or \\1-grams:, found "ngrams 2=4"'),
    ("ngram 1=5", "ngram 1=0", 6, "\\data\\ names no 1-grams"),
    ("\\3-grams:", "\\4-grams:", 19, 'expected \\3-grams:, found "\\4-grams:"; \\data\\ names the orders 1 to 3'),
    ("\\2-grams:\n", "", 13, "\\1-grams: goes on after the 5 n-grams"),
    ("\\2-grams:", "\\2-gram:", 13, 'expected \\2-grams:, found "\\2-gram:"'),
    ("\\end\\\n", "", 22, "the file ends before \\end\\; copy the file again"),
    ("-0.5\ta\t", "-0,5\ta\t", 10, '"-0,5" is no log10 probability'),
    ("-0.5\ta\t", "nan\ta\t", 10, '"nan" is no log10 probability; a finite number is needed (-99 stands for log10 of 0)'),
    ("-0.5\ta\t", "-inf\ta\t", 10, '"-inf" is no log10 probability'),
    ("-0.5\ta\t", "-1e60\ta\t", 10, '"-1e60" is no log10 probability'),
    ("-0.5\ta\t", "0.5\ta\t", 10, '"0.5" is the log10 of a probability above 1'),
    ("a\t-0.25", "a\tx", 10, '"x" is no backoff weight'),
    ("a\t-0.25", "a\tnan", 10, '"nan" is no backoff weight'),
    ("a\t-0.25", "a", 10, "no backoff weight, but the 2-gram on line 15 begins with these words"),
    ("a b\t-1", "a b", 15, "no backoff weight, but the 3-gram on line 21 begins with these words"),
    ("-0.1875\t<s> a b", "-0.1875\t<s> a b\t-1", 20, '"-1" is a backoff weight, which an n-gram of the highest order cannot have'),
    ("-1.25\tb b", "-1.25\tb", 16, "expected a log10 probability, 2 words and perhaps a backoff weight, found \"-1.25 b\""),
    ("-1.25\tb b", "-1.25\tb b b b", 16, "expected a log10 probability, 2 words"),
    ("-1.25\tb b", "-1.25\tb x", 16, 'the word "x" is not among the 1-grams'),
    ("-1.25\tb b", "-1.25\ta b", 16, 'the 2-gram "a b" comes a second time (first on line 15)'),
    ("-1\tb\t", "-1\ta\t", 11, 'the 1-gram "a" comes a second time'),
    ("a b </s>", "b a </s>", 21, 'the 3-gram "b a </s>" has no context: "b a" is not among the 2-grams'),
    ("\t<s>\t", "\tx\t", 14, 'the word "<s>" is not among the 1-grams'),
])
def test_a_broken_file_is_named_with_its_line(write, old, new, line, what):
    assert TOY.count(old) == 1
    found = message(write(TOY.replace(old, new)))
    assert found.replace("\t", " ").startswith(f":{line}: {what}")


@pytest.mark.parametrize(("content", "what"), [
    (b"", ": has no line \\data\\, so it is no ARPA file"),
    (b"hello\nworld\n", ": has no line \\data\\, so it is no ARPA file"),
    (b"mmap lm http://kheafield.com/code format version 5\n\x00" + b"\x00" * 90, ": is KenLM's binary form"),
    (b"\\data\\\n", ":1: \\data\\ names no n-grams"),
    (b"\\data\\\n\\1-grams:\n", ":2: \\data\\ names no n-grams"),
    (b"\\data\\\nngram 1=2\n", ":2: the file ends before \\1-grams:"),
    (b"\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t<s>\n", ":5: the file ends after 1 of 2 1-grams; copy the file again"),
    (b"\\data\\\nngram 1=2\n\n\\1-grams:\n-1\t<s>\n-1\tcaf\xe9\n\\end\\\n", ":6: \"-1\tcaf\ufffd\": not UTF-8"),
    (b"\\data\\\nngram 1=1\n\\1-grams:\n-1\t<s>\n\\end\\\n", ": </s> is not among the 1-grams"),
])
def test_files_that_are_no_models(write, content, what):
    assert message(write(content)).startswith(what)


@pytest.mark.parametrize("keep", [30, 60, 100, -8, -1])
def test_gzip_that_is_cut_off(write, keep):
    packed = gzip.compress((TOY * 3).encode())
    found = message(write(packed[:keep]))
    assert "gzip data are damaged or cut off" in found and "copy the file again" in found


def test_gzip_that_is_damaged(write):
    packed = bytearray(gzip.compress(TOY.encode()))
    packed[40] ^= 0xFF
    assert "gzip data are damaged" in message(write(bytes(packed)))


def test_a_fault_far_into_a_file_has_its_line(write, monkeypatch):
    monkeypatch.setattr("asr.text.arpa._CHUNK", 2)
    assert message(write(TOY.replace("-0.375\tb", "x\tb"))).startswith(':17: "x" is no log10 probability')
    assert message(write(TOY.replace("-1\tb\t", "-1\ta\t"))).startswith(':11: the 1-gram "a" comes a second time')
    assert NgramLM.load(write(TOY)).order == 3


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="nothing.arpa: cannot read: No such file"):
        NgramLM.load(tmp_path / "nothing.arpa")
    with pytest.raises(UsageError, match="cannot read: Is a directory"):
        NgramLM.load(tmp_path)
