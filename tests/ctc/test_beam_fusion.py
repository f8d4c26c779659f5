"""Beam search with lexicon, language model and hotwords: against every path of frames, and against the plain search."""

from __future__ import annotations

import functools
import tempfile
from dataclasses import replace

import numpy as np
import plain_beam
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_beam_search import random_log_probs

from asr.ctc import BeamSearch, Lexicon, beam_search, fusion, lookahead
from asr.errors import UsageError
from asr.text import BpeTokenizer, CharTokenizer, PhoneTokenizer, build_ngram

SENTENCES = ["ab a b", "b ab ab", "a a ba b", "ba ab b a", "aba b a ab", "bb b ba ba aa", "c ab"]


@functools.cache
def language_model(order=3, unit="word"):
    lines = SENTENCES if unit == "word" else [" ".join("<space>" if letter == " " else letter for letter in line)
                                              for line in SENTENCES]
    return build_ngram(lines * 3, order=order)


@functools.cache
def characters():
    """Tokens: blank, space, a, b."""
    return CharTokenizer("ab ")


CHARACTERS = ((), (" ",), ("a",), ("b",))


@functools.cache
def pieces():
    return BpeTokenizer.train(["ab aba ba ab ab ba aba b a ab aba"] * 3, vocab_size=7)


def piece_symbols():
    names = ["", *pieces().tokens[1:]]
    return tuple(tuple(name.replace("\u2581", " ")) for name in names)


def words_of(lm):
    return [(word, tuple(word)) for word in lm.words if word not in ("<s>", "</s>", "<unk>")]


def spelled_with(spellings, letters):
    return [(word, symbols) for word, symbols in spellings if set(symbols) <= set(letters)]


@functools.cache
def setting(name):
    """(options of BeamSearch, arguments of plain_beam.Knowledge, tokens) of a way to decode."""
    lm = language_model()
    spellings = spelled_with(words_of(lm), "ab")
    if name == "open":
        return {"lm": lm, "tokenizer": characters()}, {"tokens": CHARACTERS, "spellings": spellings, "lm": lm}, 4
    if name == "closed":
        lexicon = Lexicon.from_words(["ab", "b", "bab"], characters())  # the language model does not know the last
        spelled = [(word, tuple(word)) for word in lexicon.words]
        return {"lm": lm, "lexicon": lexicon}, {"tokens": CHARACTERS, "spellings": spelled, "lm": lm, "closed": True}, 4
    if name == "pieces":
        symbols = piece_symbols()
        return {"lm": lm, "tokenizer": pieces()}, {"tokens": symbols, "spellings": spellings, "lm": lm}, len(symbols)
    if name == "many":  # more tokens than are worth looking at: the others are no words of the language model's
        others = [chr(0x4E00 + index) for index in range(90)]
        tokens = (*CHARACTERS, *((other,) for other in others))
        options = {"lm": lm, "tokenizer": CharTokenizer(["a", "b", " ", *others]), "max_tokens": 4}
        return options, {"tokens": tokens, "spellings": spellings, "lm": lm}, len(tokens)
    if name == "tokens":
        over = language_model(unit="token")
        options = {"lm": over, "lm_unit": "token", "tokenizer": characters()}
        return options, {"tokens": CHARACTERS, "lm": over, "by_token": characters().tokens}, 4
    if name == "pronounced":  # homophones, a word with two pronunciations, and one that the language model does not know
        tokenizer = PhoneTokenizer({"a": ["X"], "aba": ["X"], "b": ["Y", "XY"], "ab": ["XXY"], "bab": ["YY"]})
        spelled = [("a", "X"), ("aba", "X"), ("b", "Y"), ("b", "XY"), ("ab", "XXY"), ("bab", "YY")]
        known = {"tokens": ((), (" ",), ("X",), ("Y",)), "spellings": [(word, tuple(phones)) for word, phones in spelled], "lm": lm,
                 "closed": True}
        return {"lm": lm, "tokenizer": tokenizer}, known, 4
    raise KeyError(name)


@functools.cache
def phones():
    """Homophones (a and aba), a word with two spellings (b), words that are the beginnings of others; no separator."""
    spelled = [("a", "X"), ("aba", "X"), ("b", "Y"), ("b", "XY"), ("ab", "XXY"), ("ba", "YY")]
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{word} {' '.join(symbols)}\n" for word, symbols in spelled))
        file.flush()
        return Lexicon.load(file.name, ["<blank>", "X", "Y"]), [(word, tuple(symbols)) for word, symbols in spelled]


weights = st.fixed_dictionaries({"lm_weight": st.sampled_from([0.0, 0.5, 2.0]), "word_bonus": st.sampled_from([0.0, 1.0, -0.7])})
boosts = st.sampled_from([{}, {"ab": 2.0}, {"ab": 3.0, "b ab": 1.5, "a b": 4.0, "ba": 2.5}])


def hot(hotwords, spell):
    return [((" ", *(symbol for word in phrase.split() for symbol in (*spell(word), " "))), boost)
            for phrase, boost in hotwords.items()]


def check(log_probs, options, knowledge, beam=None):
    """Our beam and all hypotheses against the plain search's; without a beam, against those of all paths of frames."""
    search = BeamSearch(beam=beam or 4000, nbest=4000, **options)
    found = search(log_probs[None], [len(log_probs)])[0]
    held = plain_beam.search(log_probs, beam=beam, knowledge=knowledge, max_tokens=options.get("max_tokens")) if beam else \
        plain_beam.enumerate_paths(log_probs, knowledge=knowledge)
    plain_beam.assert_same_beam(search, log_probs, held)
    expected = plain_beam.finished(held, knowledge, log_probs if beam else None)
    assert found  # where the plain search has nothing, a prefix that was cut
    if expected:
        named = found[0].words is not None
        got = sorted((hypothesis.tokens, [word for word, _, _ in hypothesis.words or ()], hypothesis.score,
                      hypothesis.acoustic_score, hypothesis.lm_score) for hypothesis in found)
        wanted = sorted((tokens, words if named else [], *scores) for tokens, words, *scores in expected)
        assert [tokens for tokens, *_ in got] == [tokens for tokens, *_ in wanted]
        for (_, words, *_), (_, expected_words, *_) in zip(got, wanted):
            # Without a language model, readings of as many words are worth the same, and either will do.
            assert words == expected_words or (options.get("lm") is None and not options.get("hotwords")
                                               and len(words) == len(expected_words))
        np.testing.assert_allclose([entry[2:] for entry in got], [entry[2:] for entry in wanted], rtol=0, atol=1e-9)
        assert [hypothesis.score for hypothesis in found] == sorted((entry[2] for entry in got), reverse=True)


@pytest.mark.parametrize("name", ["open", "closed", "pieces", "tokens", "pronounced"])
@given(seed=st.integers(0, 10**6), frames=st.integers(0, 5), weights=weights, hotwords=boosts)
def test_exact_with_a_wide_beam(name, seed, frames, weights, hotwords):
    options, known, tokens = setting(name)
    frames = min(frames, 4) if tokens > 4 else frames
    hotwords = {} if name == "pronounced" or (name == "closed" and "ba" in hotwords) else hotwords
    known = plain_beam.Knowledge(**known, **weights, hotwords=hot(hotwords, tuple))
    check(random_log_probs(seed, frames, tokens), {**options, **weights, "hotwords": hotwords}, known)


@pytest.mark.parametrize("name", ["open", "closed", "pieces", "tokens", "pronounced", "many"])
@given(seed=st.integers(0, 10**6), frames=st.integers(1, 20), beam=st.integers(1, 9), weights=weights, hotwords=boosts)
def test_a_narrow_beam_keeps_what_the_plain_search_keeps(name, seed, frames, beam, weights, hotwords):
    options, known, tokens = setting(name)
    hotwords = {} if name == "pronounced" or (name == "closed" and "ba" in hotwords) else hotwords
    known = plain_beam.Knowledge(**known, **weights, hotwords=hot(hotwords, tuple))
    log_probs = random_log_probs(seed, frames, tokens, sharp=1.0)
    log_probs[:, 10:] -= 2.0
    check(log_probs, {**options, **weights, "hotwords": hotwords}, known, beam)


@pytest.mark.parametrize("seed", range(30))
def test_more_tokens_than_are_sorted(seed):
    """All of them may be in the next beam, so none can be left out by its emission, and each is scored with its own prefix."""
    options, known, tokens = setting("many")
    known = plain_beam.Knowledge(**known, lm_weight=0.5 * (seed % 3))
    log_probs = random_log_probs(seed, 8, tokens, sharp=0.3)
    log_probs[:, 1:4] += 0.5 * (seed % 2)
    check(log_probs, {**options, "max_tokens": None, "lm_weight": 0.5 * (seed % 3)}, known, beam=6)


@pytest.mark.parametrize("with_lm", [True, False])
@given(seed=st.integers(0, 10**6), frames=st.integers(0, 8), beam=st.sampled_from([None, 1, 3, 8]), weights=weights)
def test_words_without_a_separator_and_homophones(with_lm, seed, frames, beam, weights):
    lexicon, spelled = phones()
    lm = language_model() if with_lm else None
    known = plain_beam.Knowledge(((), ("X",), ("Y",)), spelled, closed=True, lm=lm, **weights)
    log_probs = random_log_probs(seed, frames if beam else min(frames, 5), 3)
    check(log_probs, {"lexicon": lexicon, "lm": lm, **weights}, known, beam)


@pytest.mark.parametrize("name", ["open", "pieces", "tokens"])
def test_weight_nought_is_no_language_model(name):
    """To the last bit, but for the language model's own score."""
    options, _, tokens = setting(name)
    for seed in range(20):
        log_probs = random_log_probs(seed, 30, tokens)[None]
        plain = beam_search(log_probs, [30], beam=7, nbest=7)[0]
        weightless = beam_search(log_probs, [30], beam=7, nbest=7, lm_weight=0.0, **options)[0]
        assert [replace(hypothesis, lm_score=0.0) for hypothesis in weightless] == plain
        assert all(hypothesis.lm_score < 0 for hypothesis in weightless)


def test_other_weights_are_another_search():
    options, _, tokens = setting("open")
    log_probs = random_log_probs(0, 30, tokens)[None]
    base = BeamSearch(beam=7, nbest=7, lm_weight=0.3, **options)
    before = base(log_probs, [30])
    assert base.reweighted(1.2, 0.4, 0.1)(log_probs, [30]) == \
        beam_search(log_probs, [30], beam=7, nbest=7, lm_weight=1.2, word_bonus=0.4, blank_penalty=0.1, **options) != before
    assert base(log_probs, [30]) == before


def spell(text, frames_each=2, sure=6.0, tokenizer=None):
    """(1, T, V) of a network that hears the text, a blank after every letter."""
    ids = [token for letter in (tokenizer or characters()).encode(text) for token in [letter] * frames_each + [0]]
    logits = np.zeros((len(ids), (tokenizer or characters()).vocab_size))
    logits[np.arange(len(ids)), ids] = sure
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))[None]


def test_a_narrow_closed_beam_without_a_whole_word_is_cut():
    """The beam holds only beginnings of words at the end: the words before them remain, and the score is theirs."""
    log_probs = spell("ab a")
    lexicon = Lexicon.from_words(["ab", "aab"], characters())
    best, = beam_search(log_probs, [log_probs.shape[1]], beam=1, lexicon=lexicon)[0]
    assert (best.tokens, best.words) == ([*characters().encode("ab"), 1], [("ab", 0, 2)])
    loss = torch.nn.functional.ctc_loss(torch.from_numpy(log_probs[0]), torch.tensor(best.tokens),
                                        torch.tensor(log_probs.shape[1]), torch.tensor(3), reduction="sum")
    assert best.score == pytest.approx(-float(loss), abs=1e-9)


def test_a_cut_prefix_that_nothing_can_follow_is_no_transcript():
    """One token is certain in every frame and begins the lexicon's only word, which never ends."""
    log_probs = np.full((1, 3, 4), -np.inf)
    log_probs[..., 2] = 0.0
    best, = beam_search(log_probs, [3], lexicon=Lexicon.from_words(["ab"], characters()))[0]
    assert (best.tokens, best.score, best.acoustic_score) == ([], -np.inf, -np.inf)


def test_words_have_the_positions_of_their_tokens():
    lexicon = Lexicon.from_words(["ab", "b"], characters())
    log_probs = spell("ab b ab")
    best, = beam_search(log_probs, [log_probs.shape[1]], lexicon=lexicon)[0]
    assert best.words == [("ab", 0, 2), ("b", 3, 4), ("ab", 5, 7)] == characters().word_spans(best.tokens)
    best, = beam_search(random_log_probs(0, 9, 3)[None], [9], lexicon=phones()[0])[0]
    assert [first for _, first, _ in best.words[1:]] == [past for _, _, past in best.words[:-1]]
    assert best.words[0][1] == 0 and best.words[-1][2] == len(best.tokens)


def test_a_language_model_in_another_case_is_refused():
    upper = build_ngram(["AB A", "B A"] * 3, order=2)
    with pytest.raises(UsageError, match="language model is in upper case and what the tokens spell in lower case"):
        BeamSearch(lm=upper, tokenizer=characters())
    with pytest.raises(UsageError, match="build it from a text in lower case"):
        BeamSearch(lm=upper, lexicon=Lexicon.from_words(["ab"], characters()))
    BeamSearch(lm=build_ngram(["AB a", "b A"] * 3, order=2), tokenizer=characters())  # no case of its own


def test_a_language_model_that_knows_nothing_of_it_is_refused(caplog):
    with pytest.raises(UsageError, match=r"knows none of the tokens: <space>, a, b; its own words are like .*`lm_unit`"):
        BeamSearch(lm=build_ngram(["xx yy"] * 3, order=2), lm_unit="token", tokenizer=characters())
    BeamSearch(lm=language_model(), lexicon=Lexicon.from_words(["ab", "bab", "bbb"], characters()))
    assert "does not know 2 of 3 words of the lexicon; they score as unknown: bab, bbb" in caplog.text
    with pytest.raises(UsageError, match="no token of this model ends a word"):
        BeamSearch(lm=language_model(), tokenizer=CharTokenizer("ab"))
    with pytest.raises(UsageError, match="log_probs of 5 tokens, but the tokenizer or lexicon is for 4"):
        beam_search(np.zeros((1, 2, 5)), [2], lm=language_model(), tokenizer=characters())


def test_words_the_tokens_cannot_spell_are_named(caplog):
    BeamSearch(lm=language_model(), tokenizer=characters())
    assert "1 of 8 words are left out, the tokens cannot spell them: c (c)" in caplog.text


@pytest.mark.parametrize("name", ["open", "closed", "pieces", "phones", "many"])
@pytest.mark.parametrize("hotwords", [{}, {"ab": 3.0, "b ab": 1.5, "a b": 4.0, "b": 2.5}], ids=["", "hotwords"])
def test_what_is_foretold_of_one_more_token_is_what_comes(name, hotwords):
    """All tokens at once is each by itself, and none is above the bounds: a search that trusted wrong ones would not be exact."""
    if name == "closed":
        hotwords = {phrase: boost for phrase, boost in hotwords.items() if phrase != "a b"}  # not of its words
    options, _, tokens = setting(name) if name != "phones" else ({"lexicon": phones()[0], "lm": language_model()}, None, 3)
    search = BeamSearch(**options, hotwords=hotwords, lm_weight=0.7, word_bonus=0.3)
    rules, lm = search._rules, search._lm
    row, scratch = np.zeros(tokens), np.zeros(tokens)
    nodes = np.zeros(1, fusion.NODE)
    fusion.begin(rules, lm, nodes[0])
    for length in range(5):
        following = []
        for node in nodes:
            lookahead.fill(rules, lm, node, row, scratch)
            each = [lookahead.extended_worth(rules, lm, node, np.int32(token)) for token in range(1, tokens)]
            np.testing.assert_allclose(row[1:], each, rtol=0, atol=1e-12)
            assert max(row[1:]) <= min(row[0], node["limit"]) + 1e-12
            for token in range(1, min(tokens, 7) if length < 4 else 1):
                low, high, plain = fusion.completions(rules, node["place"], np.int32(token))
                for word in range(low - plain, high):
                    allowed, state = fusion.extend(rules, lm, node, np.int32(token), np.int32(word if word >= low else -1))
                    after = np.zeros(1, fusion.NODE)
                    fusion.settle(rules, lm, after[0], node, state)
                    assert after[0]["worth"] == fusion.worth(rules, state)
                    following += [after] * allowed
        nodes = np.concatenate(following[::max(1, len(following) // 100)]) if following else []
