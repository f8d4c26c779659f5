"""Texts as numbers: words, hashed n-grams, pretrained vectors."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.classification.config import TextConfig
from asr.classification.embedding import SPREAD, TextEmbedding
from asr.classification.vocabulary import UNKNOWN, Vocabulary, read_vectors, split
from asr.errors import DataError

TEXTS = ["The cat sat .", "the dog , the cat", "A DOG"]


def test_words_by_how_often_they_are_seen():
    vocabulary = Vocabulary.build(TEXTS, TextConfig(min_count=2))
    assert vocabulary.words == ["the", "cat", "dog"] and len(vocabulary) == 5
    assert vocabulary.encode("the zebra CAT")[:, 0].tolist() == [2, UNKNOWN, 3]
    with pytest.raises(DataError, match="no word is seen 9 times"):
        Vocabulary.build(TEXTS, TextConfig(min_count=9))


def test_marks_and_blanks():
    assert split("Don't stop, e.g. 1.5!", TextConfig()) == ["don't", "stop", ",", "e", ".", "g", ".", "1", ".", "5", "!"]
    assert split("Don't stop, e.g.", TextConfig(words="blanks", lowercase=False)) == ["Don't", "stop,", "e.g."]
    assert split("caf\u00e9 \u4f60\u597d", TextConfig(normalizer="basic-zh")) == ["caf\u00e9", "\u4f60", "\u597d"]


def test_hashed_grams_are_those_of_the_definition():
    config = TextConfig(char_ngrams=(3, 4), word_ngrams=3, buckets=97)
    coded = Vocabulary(["ab", "c"], config).encode("ab c ab")
    number = lambda gram: 1 + zlib.crc32(gram.encode()) % 97  # noqa: E731
    assert coded[0].tolist() == [2, *map(number, ["c <ab", "c ab>", "c <ab>"]), 0, 0][:coded.shape[1]]
    assert coded[1, :3].tolist() == [3, number("c <c>"), number("w ab c")] and not coded[1, 3:].any()
    assert coded[2].tolist() == [2, *map(number, ["c <ab", "c ab>", "c <ab>", "w c ab", "w ab c ab"])]


@given(st.text(max_size=40), st.integers(1, 3))
def test_any_text_can_be_coded(text, longest):
    config = TextConfig(char_ngrams=(2, 3), word_ngrams=longest, buckets=11)
    coded = Vocabulary(["a"], config).encode(text)
    assert len(coded) == len(split(text, config)) and coded.dtype == np.int64
    assert coded.min(initial=0) >= 0 and coded[:, 1:].max(initial=0) <= 11


def test_a_vector_is_the_word_and_the_mean_of_its_grams():
    torch.manual_seed(0)
    config = TextConfig(dim=3, char_ngrams=(2, 2), buckets=5)
    vocabulary = Vocabulary(["ab", "abcd"], config)
    embedding = TextEmbedding(vocabulary, config).eval()
    coded = vocabulary.encode("ab zz abcd")
    batch = torch.zeros(2, 4, coded.shape[1], dtype=torch.int64)
    batch[0, :3] = torch.from_numpy(coded)
    found = embedding(batch)
    for row in range(3):
        grams = [embedding.grams.weight[number] for number in coded[row, 1:] if number]
        torch.testing.assert_close(found[0, row], embedding.words.weight[coded[row, 0]] + torch.stack(grams).mean(dim=0))
    assert not found[0, 3].any() and not found[1].any()


# ------------------------------------------------------------------------------------------------- pretrained vectors


def vectors_file(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("head", ["", "3 2\n"])  # GloVe's format, and word2vec's
def test_pretrained_vectors_are_read(tmp_path, head):
    vocabulary = Vocabulary(["cat", "dog"], TextConfig(dim=2))
    path = vectors_file(tmp_path / "v.txt", head + "cat 1 -2\nzebra 5 5\ndog 3e-1 4\n. . . 1 2\ncat 9 9\n")
    found = read_vectors(path, vocabulary, 2)
    assert {number: vector.tolist() for number, vector in found.items()} == {
        2: [1, -2], 3: [pytest.approx(0.3), 4]}


def test_pretrained_vectors_take_the_place_of_random_ones(tmp_path):
    config = TextConfig(dim=2, vectors=str(vectors_file(tmp_path / "v.txt", "cat 10 -10\ndog 30 40\n")), freeze=True)
    vocabulary = Vocabulary(["cat", "dog", "owl"], config)
    torch.manual_seed(0)
    embedding = TextEmbedding(vocabulary, config)
    before = embedding.words.weight.detach().clone()
    assert embedding.load_vectors(vocabulary, config) == 2
    weight = embedding.words.weight.detach()
    torch.testing.assert_close(weight[2:4], torch.tensor([[10.0, -10], [30, 40]]) * weight[2, 0] / 10)
    assert weight[2:4].std() == pytest.approx(SPREAD, rel=1e-4)
    torch.testing.assert_close(weight[4], before[4])
    assert not embedding.words.weight.requires_grad


@pytest.mark.parametrize(("text", "message"), [
    ("cat 1 2 3\n", "v.txt:1: more than 2 numbers; set text.dim"), ("cat 1\ndog 1\n", "v.txt:2: 1 numbers, not 2"),
    ("cat 1 x\n", "v.txt:1: could not convert"), ("cat 1 inf\n", "v.txt:1: a number that is not finite"),
    ("zebra 1 2\n", "none of the 1 words"), ("", "none of the 1 words")])
def test_files_that_are_no_vectors(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        read_vectors(vectors_file(tmp_path / "v.txt", text), Vocabulary(["cat"], TextConfig(dim=2)), 2)


def test_an_absent_file_of_vectors(tmp_path):
    with pytest.raises(DataError, match="v.txt: cannot read: No such file"):
        read_vectors(tmp_path / "v.txt", Vocabulary(["cat"], TextConfig(dim=2)), 2)
