"""The options of decoding: what they choose, what they refuse, and that all ways in choose alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transcription.tiny import LETTERS, plant, planted_model, spell

from asr.ctc import greedy
from asr.errors import DataError, UsageError
from asr.text import CharTokenizer, build_ngram
from asr.transcription import Recognizer
from asr.transcription.decoder import GREEDY, Decoder, DecoderOptions, Weights, load_lexicon
from asr.transcription.result import spans_of

TOKENIZER = CharTokenizer(LETTERS)


def emissions(text: str, doubt: dict[str, tuple[str, float]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities (1, T, V) that write ``text``; each letter in ``doubt`` shares its frame with another one."""
    rows = []
    for token, letter in zip(TOKENIZER.encode(text), text):
        row = np.full(TOKENIZER.vocab_size, 1e-4)
        other, share = doubt.get(letter, (letter, 0.0))
        row[token] = 1 - share
        if share:
            row[TOKENIZER.encode(other)[0]] = share
        blank = np.full(TOKENIZER.vocab_size, 1e-4)
        blank[0] = 1
        rows += [row / row.sum(), blank / blank.sum()]
    return torch.tensor(np.log(rows))[None].float(), torch.tensor([len(rows)])


def read(decoder: Decoder, log_probs: torch.Tensor, frames: torch.Tensor) -> list[str]:
    return [" ".join(word for word, _, _ in spans_of(each, TOKENIZER)) for each in decoder(log_probs, frames)[0]]


DOUBTED = emissions("the cot sat", {"o": ("a", 0.45)})  # by acoustics alone it is "cot"


def test_greedy_is_the_best_path():
    log_probs, frames = DOUBTED
    decoder = Decoder(GREEDY, TOKENIZER)
    assert decoder(log_probs, frames) == [[hypothesis] for hypothesis in greedy(log_probs, frames)]
    assert read(decoder, log_probs, frames) == ["the cot sat"] and decoder.skipped(log_probs, frames) == 0


def test_language_model_lexicon_and_hotwords_each_turn_the_doubtful_word(tmp_path):
    assert read(Decoder(DecoderOptions("beam"), TOKENIZER), *DOUBTED) == ["the cot sat"]
    lm = build_ngram(["the cat sat"] * 5, order=2)
    lm.save(tmp_path / "lm.arpa.gz")
    for given in (lm, tmp_path / "lm.arpa.gz", str(tmp_path / "lm.arpa.gz")):
        decoder = Decoder(DecoderOptions("beam", lm=given), TOKENIZER)
        assert read(decoder, *DOUBTED) == ["the cat sat"]
        assert read(decoder.reweighted(Weights(lm_weight=0.0)), *DOUBTED) == ["the cot sat"]
    (tmp_path / "words").write_text("the\ncat\nsat\n")
    (tmp_path / "spelled").write_text("the t h e\nCAT c a t\nsat s a t\n")
    assert read(Decoder(DecoderOptions("beam", lexicon=tmp_path / "words"), TOKENIZER), *DOUBTED) == ["the cat sat"]
    assert read(Decoder(DecoderOptions("beam", lexicon=tmp_path / "spelled"), TOKENIZER), *DOUBTED) == ["the CAT sat"]
    (tmp_path / "hot").write_text("cat\t2.5\n\nsome dog\n")
    assert read(Decoder(DecoderOptions("beam", hotwords=tmp_path / "hot"), TOKENIZER), *DOUBTED) == ["the cat sat"]
    assert read(Decoder(DecoderOptions("beam", hotwords=["cat"], hotword_boost=0.01), TOKENIZER), *DOUBTED) == ["the cot sat"]


def test_nbest_and_skipped_frames():
    log_probs, frames = DOUBTED
    decoder = Decoder(DecoderOptions("beam", nbest=2, blank_skip=0.99), TOKENIZER)
    assert read(decoder, log_probs, frames)[:2] == ["the cot sat", "the cat sat"]
    assert decoder.skipped(log_probs, frames) == 11  # a blank after each letter
    assert Decoder(DecoderOptions("beam"), TOKENIZER).skipped(log_probs, frames) == 0


@pytest.mark.parametrize("given, words", [
    ({"method": "viterbi"}, "--method viterbi: choose from greedy, beam"),
    ({"beam": 8}, "beam: greedy decoding takes the best token"),
    ({"lm": "lm.arpa", "weights": Weights(1.0)}, "lm, weights: greedy decoding .* add --method beam")])
def test_options_that_nothing_would_read_are_refused(given, words):
    with pytest.raises(UsageError, match=words):
        DecoderOptions(**given)


def test_a_lexicon_needs_spellings_for_all_or_none(tmp_path):
    (tmp_path / "mixed").write_text("the t h e\ncat\n")
    with pytest.raises(DataError, match=r"mixed:2: cat has no spelling"):
        load_lexicon(tmp_path / "mixed", TOKENIZER)


def test_transcribe_takes_the_options_of_a_beam_search():
    recognizer = Recognizer(planted_model())
    samples = plant(spell(recognizer.model.tokenizer, "so it is"))
    plain, searched = recognizer.transcribe(samples), recognizer.transcribe(samples, beam=4, nbest=2)
    assert searched.text == plain.text == "so it is" and searched.words == plain.words
    assert len(plain.nbest) == 1 and searched.nbest[0].text == "so it is"
    lm = build_ngram(["so it was"] * 3, order=2)
    assert recognizer.transcribe(samples, lm=lm, lm_weight=0.1).nbest[0].lm_score < 0
    assert recognizer.transcribe(samples, lm=lm, lm_weight=60.0).text != "so it is"
    with pytest.raises(UsageError, match="unknown option beem; known: beam"):
        recognizer.transcribe(samples, beem=4)
    with pytest.raises(UsageError, match="nbest"):
        recognizer.transcribe(samples, nbest=0)


def test_hypotheses_that_read_alike_do_not_cost_places_among_the_n_best():
    """Any frame may be a space: one space or two, the words are the same."""
    log_probs, frames = emissions("a b c", {"a": ("e", 0.2), "b": ("d", 0.2), "c": ("t", 0.2)})
    log_probs[0, :, TOKENIZER.encode("a b")[1]].clamp_(min=np.log(0.3))
    recognizer = Recognizer(planted_model())
    for count in (1, 3, 5):
        decoder = Decoder(DecoderOptions("beam", nbest=count), TOKENIZER)
        (found,) = recognizer.with_decoder(decoder).results(torch.log_softmax(log_probs, -1), frames, [1.0])
        assert [each.text for each in found.nbest] == ["a b c", "a b", "b c", "a d c", "a b t"][:count]
