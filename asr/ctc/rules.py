"""Lexicon, language model and hotwords, checked against each other and made ready for the compiled search."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr.ctc.hotwords import Hotwords
from asr.ctc.lexicon import SHOWN, Lexicon
from asr.errors import UsageError
from asr.text import NgramLM, PhoneTokenizer

if TYPE_CHECKING:
    from asr.ctc.fusion import Rules
    from asr.text import Tokenizer
    from asr.text.ngram_query import NgramArrays

_log = logging.getLogger("asr")


def build_rules(lexicon: Lexicon | None, lm: NgramLM | None, by_token: bool, hotwords: Mapping[str, float],
                tokenizer: Tokenizer | None, lm_weight: float, word_bonus: float) -> tuple[Rules, NgramArrays, Lexicon]:
    """What the search goes by beside the acoustics: rules, language model (without one, one that takes everything for certain), and
    the lexicon: without one, that of a tokenizer of phones; for another, an open one of the language model's words, or of none if
    there is none or it is over tokens.

    Raises UsageError where something is missing or does not fit, DataError for hotwords that cannot be spelled.
    """
    from asr.ctc.fusion import ARC, HOT, OUTSIDE, PLACE, ROOT, TOKEN, WORD, Rules
    from asr.ctc.lookahead import smear

    if lm is not None and not isinstance(lm, NgramLM):
        raise UsageError(f"beam search: lm is {lm!r}, not a language model; read an ARPA file with `NgramLM.load(path)`")
    if lexicon is not None and not isinstance(lexicon, Lexicon):
        raise UsageError(f"beam search: lexicon is {lexicon!r}; make one with `Lexicon.from_words(words, tokenizer)` or "
                         "`Lexicon.load(path, tokenizer.tokens)`")
    if tokenizer is None and (lexicon is None or by_token):
        raise UsageError("beam search: give `tokenizer`, the model's: a language model, hotwords and a word bonus need to know "
                         "what the tokens spell")
    if lexicon is None and isinstance(tokenizer, PhoneTokenizer):
        lexicon = Lexicon.from_words(tokenizer.pronunciations, tokenizer)
    over_words = lm is not None and not by_token
    if lm is not None:
        _check_case(lm, lexicon.words if over_words and lexicon else _names(tokenizer))
    if lexicon is None:
        lexicon = Lexicon.from_words(_words(lm) if over_words else [], tokenizer, closed=False)
    if over_words and not lexicon.delimited:
        raise UsageError("beam search: no token of this model ends a word, so a language model over words needs a closed "
                         "vocabulary (`lexicon`); or use one over tokens (lm_unit=\"token\")")
    word_offsets, word_ids = lexicon.word_offsets, lexicon.word_ids
    if not over_words:  # nothing tells homophones apart: the lexicon's first stands for all
        word_offsets, word_ids = _first_words(word_offsets, word_ids)
    offsets, *arcs = lexicon.arcs(lexicon.trie, starts_at_root=True)
    places = _records(PLACE, first_arc=offsets, first_word=word_offsets)
    words = _records(WORD, word=word_ids, lm_word=-1)
    tokens = _records(TOKEN, starts=lexicon.starts, from_root=np.where(lexicon.spells, OUTSIDE, ROOT), lm_word=-1)
    tokens["from_root"][arcs[0][:offsets[1]]] = arcs[1][:offsets[1]]
    starting = np.arange(1, lexicon.vocab_size) if lexicon.implicit else np.flatnonzero(lexicon.starts)
    if lm is not None and by_token:
        tokens["lm_word"][1:] = _lm_words(lm, tokenizer.tokens[1:], "tokens")
    if over_words:
        words["lm_word"] = _lm_words(lm, lexicon.words, "words of the lexicon")[word_ids]
        smear(lm.arrays, places, lexicon.trie.parents, words)
    heard = Hotwords(hotwords, lexicon)
    hot_offsets, *hot_arcs = heard.arcs
    hot_states = _records(HOT, first_arc=hot_offsets)
    for name in ("fail", "at_boundary", "potential", "gain", "reach"):
        hot_states[name][:-1] = getattr(heard, name)
    rules = Rules(lexicon.closed, lexicon.implicit, by_token, bool(hotwords), float(lm_weight), float(word_bonus), heard.start,
                  tokens, starting.astype(np.int32), places, _records(ARC, token=arcs[0], target=arcs[1]), words, hot_states,
                  _records(ARC, token=hot_arcs[0], target=hot_arcs[1]))
    return rules, lm.arrays if lm is not None else _certain(), lexicon


def phrases_of(hotwords: Mapping[str, float] | Iterable[str] | None, boost: float, tokenizer: Tokenizer | None) -> dict[str, float]:
    """Hotwords as the model writes them (normalised, one space between words), with their boosts; of equals the largest.

    Raises UsageError for what is neither a list of texts nor a mapping of texts to numbers.
    """
    if isinstance(hotwords, str):
        raise UsageError(f"hotwords: expected a list of phrases or a mapping to their boosts, not one text; write [{hotwords!r}]")
    given = hotwords if isinstance(hotwords, Mapping) else dict.fromkeys(hotwords or (), boost)
    found: dict[str, float] = {}
    for phrase, value in given.items():
        if not isinstance(phrase, str):
            raise UsageError(f"hotwords: {phrase!r} is no text; expected a list of phrases, or a mapping {{phrase: boost}}")
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise UsageError(f"hotwords: the boost of {phrase!r} is {value!r}; it must be a number above zero")
        written = " ".join((tokenizer.normalize(phrase) if tokenizer else phrase).split())
        found[written] = max(value, found.get(written, value))
    return found


def _records(kind: np.dtype, **columns: NDArray | int) -> NDArray:
    """An array of records, as long as the first column; the columns that are not given are 0."""
    made = np.zeros(len(next(iter(columns.values()))), kind)
    for name, column in columns.items():
        made[name] = column
    return made


def _certain() -> NgramArrays:
    """A language model in which everything has probability 1."""
    from asr.text.ngram_tables import BOS, EOS, UNK, NgramTable

    nothing = np.zeros(3, np.float32)
    table = NgramTable(np.zeros(3, np.int32), np.arange(3, dtype=np.int32), nothing, nothing[:0])
    return NgramLM([BOS, EOS, UNK], [table]).arrays


def _words(lm: NgramLM) -> list[str]:
    """Its words, but for the marks of sentences and of the unknown."""
    marks = {lm.bos, lm.eos, lm.unk}
    return [word for index, word in enumerate(lm.words) if index not in marks]


def _names(tokenizer: Tokenizer) -> list[str]:
    """What the tokens spell; phones spell nothing."""
    if isinstance(tokenizer, PhoneTokenizer):
        return []
    return [tokenizer.decode([token]) for token in range(1, tokenizer.vocab_size) if tokenizer.tokens[token] != "<unk>"]


def _check_case(lm: NgramLM, spelled: Iterable[str]) -> None:
    """Refuse a language model all in upper case for tokens (or a lexicon) all in lower case, and the other way round."""
    model, tokens = _case("".join(_words(lm))), _case("".join(spelled))
    if {model, tokens} == {"upper", "lower"}:
        raise UsageError(f"the language model is in {model} case and what the tokens spell in {tokens} case, so it knows none of "
                         f"the words; build it from a text in {tokens} case, or change the words of the ARPA file to {tokens} case")


def _case(text: str) -> str | None:
    upper, lower = any(map(str.isupper, text)), any(map(str.islower, text))
    return None if upper == lower else "upper" if upper else "lower"


def _lm_words(lm: NgramLM, wanted: Sequence[str], what: str) -> NDArray[np.int32]:
    """The language model's ids of words (or tokens). Those it does not know (-1) are named on the log; all of them are refused."""
    found = np.array([lm.index.get(name, -1) for name in wanted], np.int32)
    missing = [name for name, index in zip(wanted, found) if index < 0]
    if not missing:
        return found
    named = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
    if len(missing) == len(wanted):
        own = f"its own words are like {', '.join(_words(lm)[:5])}" if _words(lm) else "it has no words of its own"
        raise UsageError(f"the language model knows none of the {what}: {named}; {own}; `lm_unit` says whether they are words or "
                         "tokens")
    _log.warning("the language model does not know %d of %d %s; they score as unknown: %s", len(missing), len(wanted), what, named)
    return found


def _first_words(offsets: NDArray[np.int32], ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    some = np.diff(offsets) > 0
    return np.concatenate([[0], np.cumsum(some)]).astype(np.int32), ids[offsets[:-1][some]]
