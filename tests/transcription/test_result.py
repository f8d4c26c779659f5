"""Words, times and confidence from a planted path, recovered exactly."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transcription.tiny import LETTERS, SENTENCES

from asr.ctc import greedy
from asr.text import BpeTokenizer, CharTokenizer
from asr.transcription.result import result_of

CHAR = CharTokenizer("abc ")  # ids: blank 0, space 1, a 2, b 3, c 4
BPE = BpeTokenizer.train(SENTENCES, 30)


def emissions(path: list[int], vocab_size: int, posterior: list[float] | None = None) -> torch.Tensor:
    """(1, T, V) log-probabilities whose best token of frame t is path[t], at the given posterior."""
    posterior = posterior or [0.9] * len(path)
    probs = torch.empty(1, len(path), vocab_size, dtype=torch.float64)
    for frame, (token, value) in enumerate(zip(path, posterior)):
        probs[0, frame] = (1 - value) / (vocab_size - 1)
        probs[0, frame, token] = value
    return probs.log()


def decode(path, tokenizer, seconds_per_frame=0.02, duration=None, posterior=None):
    hypothesis = greedy(emissions(path, tokenizer.vocab_size, posterior), torch.tensor([len(path)]))[0]
    seconds = len(path) * seconds_per_frame if duration is None else duration
    return result_of([hypothesis], tokenizer, seconds_per_frame, seconds)


def test_words_and_times_of_characters():
    #      0  1  2  3  4  5  6  7  8  9 10 11 12
    path = [0, 2, 2, 0, 3, 1, 1, 0, 0, 4, 0, 4, 0]
    result = decode(path, CHAR)
    assert result.text == "ab cc"
    assert [(word.text, word.start, word.end) for word in result.words] == [
        ("ab", pytest.approx(0.02), pytest.approx(0.10)), ("cc", pytest.approx(0.18), pytest.approx(0.24))]
    assert [(token.text, round(token.start / 0.02), round(token.end / 0.02)) for token in result.tokens] == [
        ("a", 1, 3), ("b", 4, 5), ("<space>", 5, 7), ("c", 9, 10), ("c", 11, 12)]


def test_confidence_is_the_product_of_token_posteriors():
    result = decode([2, 2, 3, 1, 4], CHAR, posterior=[0.6, 0.8, 0.5, 0.9, 0.75])
    assert [word.confidence for word in result.words] == [pytest.approx(0.8 * 0.5), pytest.approx(0.75)]
    assert [token.confidence for token in result.tokens] == [pytest.approx(value) for value in (0.8, 0.5, 0.9, 0.75)]
    assert result.nbest[0].text == result.text
    assert result.nbest[0].score == pytest.approx(sum(map(math.log, [0.6, 0.8, 0.5, 0.9, 0.75])))


def test_the_last_frame_does_not_outlast_the_audio():
    result = decode([0, 2], CHAR, seconds_per_frame=0.04, duration=0.07)
    assert result.words == [("a", pytest.approx(0.04), 0.07, pytest.approx(0.9))]


@pytest.mark.parametrize("path", [[], [0, 0, 0], [1, 1, 0, 1]], ids=["no frames", "blanks", "spaces"])
def test_no_words(path):
    result = decode(path, CHAR)
    assert (result.text, result.words) == ("", [])


@given(text=st.text(LETTERS, max_size=20), gaps=st.lists(st.integers(1, 4), min_size=20, max_size=20),
       holds=st.lists(st.integers(1, 3), min_size=20, max_size=20))
def test_any_planted_text_comes_back_with_its_times(text, gaps, holds):
    tokenizer = CharTokenizer(LETTERS)
    path, spans, word = [], [], None
    for character, gap, hold in zip(text, gaps, holds):
        path += [0] * gap
        if character == " ":
            word = None
        elif word is None:
            word = [len(path), 0]
            spans.append(word)
        path += [tokenizer.tokens.index("<space>" if character == " " else character)] * hold
        if word is not None:
            word[1] = len(path)
    result = decode(path, tokenizer, seconds_per_frame=0.01)
    assert [word.text for word in result.words] == text.split()
    assert [[round(word.start * 100), round(word.end * 100)] for word in result.words] == spans


@given(sentence=st.sampled_from(SENTENCES), hold=st.integers(1, 3), gap=st.integers(1, 3))
def test_pieces_make_the_words_of_the_sentence(sentence, hold, gap):
    tokens = BPE.encode(sentence)
    path = [frame for token in tokens for frame in [0] * gap + [token] * hold]
    result = decode(path, BPE, seconds_per_frame=0.01)
    assert result.text == sentence == BPE.decode(tokens)
    assert [word.text for word in result.words] == sentence.split()
    # A piece that starts a word opens it (a mark alone is a space), and each word ends with its own last piece.
    first = [index for index, token in enumerate(result.tokens) if token.text.startswith("▁")]
    for word, begin, end in zip(result.words, first, [*first[1:], len(result.tokens)]):
        sounding = [token for token in result.tokens[begin:end] if token.text != "▁"]
        assert (word.start, word.end) == (sounding[0].start, sounding[-1].end)
