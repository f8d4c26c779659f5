"""Beam search beside flashlight-text's, the decoder behind ``torchaudio.models.decoder.ctc_decoder``, at the same settings.

flashlight's search starts and ends every utterance with its token of silence, and counts that token's frames at either edge as
the same text. So that both sum over the same paths, its silence is here a token that is never heard.
"""

from __future__ import annotations

import numpy as np
import plain_beam
import pytest
import torch

from asr.ctc import Lexicon, beam_search
from asr.text import CharTokenizer, NgramLM, build_ngram

pytest.importorskip("flashlight.lib.text.decoder")
from torchaudio.models import decoder as peer

TOKENIZER = CharTokenizer("abcdefgh ")
NAMES = ["-", "_", *TOKENIZER.tokens[2:], "|"]  # blank, our space, letters, and flashlight's silence in a column of its own
FRAMES, THRESHOLD = 60, 50.0
LENGTHS = torch.tensor([60, 31, 60, 1, 47, 60, 60, 12])
WORDS = ["abba", "bad", "bead", "deaf", "face", "cafe", "head", "hedge", "a", "be"]


def peaky(texts: list[str], seed: int, last: tuple[int, ...] = ()) -> torch.Tensor:
    """(B, FRAMES, V) float32 of a network that hears the texts: a peak a token, blanks between, some doubt about each."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (len(texts), FRAMES, TOKENIZER.vocab_size))
    for row, text, length in zip(logits, texts, LENGTHS.tolist()):
        tokens = [*TOKENIZER.encode(text), *last][:(length + 1) // 2]
        places = np.sort(rng.choice((length + 1) // 2, len(tokens), replace=False)) * 2
        row[:, 0] += 9
        row[places, 0] -= 9
        row[places, tokens] += rng.uniform(4, 10, len(tokens))
    return torch.from_numpy(logits).float().log_softmax(-1)


def sentences(seed: int) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, 5)) for _ in LENGTHS]


def flashlight(log_probs: torch.Tensor, beam: int, **options) -> list[tuple[list[int], list[str], float]]:
    """Tokens, words and score of the best of each utterance."""
    unheard = torch.full((*log_probs.shape[:2], 1), -1e4)
    search = peer.ctc_decoder(**{"lexicon": None, "lm": None, **options}, tokens=NAMES, nbest=1, beam_size=beam, log_add=True,
                              beam_threshold=THRESHOLD, blank_token="-", sil_token="|", unk_word="<unk>")
    best = [hypotheses[0] for hypotheses in search(torch.cat([log_probs, unheard], dim=-1), LENGTHS)]
    silence = NAMES.index("|")
    return [([int(token) for token in found.tokens if token != silence], list(found.words), float(found.score)) for found in best]


def test_peaky_emissions_have_the_same_best_transcripts():
    log_probs = peaky(sentences(1), 1)
    for beam in (5, 10, 50):
        ours = [found[0] for found in beam_search(log_probs, LENGTHS, beam=beam, beam_threshold=THRESHOLD)]
        theirs = flashlight(log_probs, beam)
        assert [mine.tokens for mine in ours] == [tokens for tokens, _, _ in theirs]
        assert all(mine.score >= score - 1e-4 for mine, (_, _, score) in zip(ours, theirs))


@pytest.mark.parametrize("beam", [5, 10, 50])
def test_the_score_of_our_best_is_never_lower(beam):
    """Also where the network is in doubt; both as reported, and as the probability of the whole transcript."""
    for seed in range(5):
        for doubt in (1.0, 2.0):
            log_probs = (peaky(sentences(seed), seed) / doubt).log_softmax(-1)
            ours = beam_search(log_probs, LENGTHS, beam=beam, beam_threshold=THRESHOLD)
            for row, ((mine, *_), (tokens, _, score)) in enumerate(zip(ours, flashlight(log_probs, beam))):
                assert mine.score >= score - 1e-4
                assert mine.score >= plain_beam.exact_log_prob(log_probs[row, :LENGTHS[row]].double().numpy(), tokens) - 1e-4


def test_the_words_of_a_lexicon_are_the_same(tmp_path):
    (tmp_path / "lexicon.txt").write_text("".join(f"{word} {' '.join(word)} _\n" for word in WORDS))
    log_probs = peaky(sentences(2), 2, last=(1,))  # flashlight wants a space after the last word too
    lexicon = Lexicon.from_words(WORDS, TOKENIZER)
    ours = beam_search(log_probs, LENGTHS, beam=50, beam_threshold=THRESHOLD, lexicon=lexicon, word_bonus=0.5)
    theirs = flashlight(log_probs, 50, lexicon=str(tmp_path / "lexicon.txt"), word_score=0.5)
    for mine, (_, words, _), text, length in zip(ours, theirs, sentences(2), LENGTHS):
        if length == FRAMES:  # else the last word is cut off
            assert [word for word, _, _ in mine[0].words] == words == text.split()


class Grams(peer.CTCDecoderLM):
    """Our n-gram model as flashlight calls a language model: over tokens, by their places in NAMES."""

    def __init__(self, lm: NgramLM) -> None:
        super().__init__()
        self.lm, self.said = lm, {}

    def start(self, start_with_nothing):
        state = peer.CTCDecoderLMState()
        self.said[state] = ""
        return state

    def score(self, state, token):
        child = state.child(token)
        if NAMES[token] == "|":
            self.said[child] = self.said[state]
            return child, 0.0
        before = self.said[state]
        self.said[child] = after = f"{before} {TOKENIZER.tokens[token]}"
        return child, plain_beam.LN10 * (self.lm.score(after, eos=False) - self.lm.score(before, eos=False))

    def finish(self, state):
        return state, plain_beam.LN10 * (self.lm.score(self.said[state]) - self.lm.score(self.said[state], eos=False))


def test_a_language_model_over_tokens_gives_the_same_best():
    spelled = (TOKENIZER.encode(text) for text in sentences(3) + sentences(4))
    lm = build_ngram([" ".join(TOKENIZER.tokens[token] for token in tokens) for tokens in spelled], order=3)
    log_probs = (peaky(sentences(3), 3) / 2).log_softmax(-1)
    ours = beam_search(log_probs, LENGTHS, beam=20, beam_threshold=THRESHOLD, lm=lm, lm_unit="token", lm_weight=0.7,
                       tokenizer=TOKENIZER)
    for (mine, *_), (tokens, _, score) in zip(ours, flashlight(log_probs, 20, lm=Grams(lm), lm_weight=0.7)):
        assert mine.tokens == tokens and mine.score >= score - 1e-3
