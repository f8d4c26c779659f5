"""Prefix beam search with lexicon, language model and hotwords."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from asr.ctc.align import block_size, token_confidences
from asr.ctc.batch import check_finite, checked_batch
from asr.ctc.hotwords import MOST_NATS
from asr.ctc.hypothesis import Hypothesis
from asr.ctc.lexicon import Lexicon
from asr.ctc.rules import build_rules, phrases_of
from asr.errors import UsageError

if TYPE_CHECKING:
    from asr.text import NgramLM, Tokenizer

WIDEST = 1_000_000  # a beam of more would need more memory than there is
MOST_TOKENS = 1 << 30


class BeamSearch:
    """A prefix beam search, made once and used on any number of batches, from several threads too.

    The score of a prefix is ``ln p(prefix | audio) + lm_weight * ln p_lm + word_bonus * words + boosts of hotwords``. Where the
    beam is wide enough for every prefix the search is exact. The probability of what was found is always the sum over all paths
    of frames: those that left the beam on the way are added at the end.
    """

    def __init__(self, *, beam: int = 16, nbest: int = 1, lm: NgramLM | None = None, lexicon: Lexicon | None = None,
                 hotwords: Mapping[str, float] | Iterable[str] | None = None, tokenizer: Tokenizer | None = None,
                 lm_unit: str = "word", lm_weight: float = 0.5, word_bonus: float = 0.0, hotword_boost: float = 5.0,
                 blank_penalty: float = 0.0, max_tokens: int | None = None, token_threshold: float = math.inf,
                 beam_threshold: float = math.inf, blank_skip: float = 1.0, blank: int = 0) -> None:
        """
        Args:
            beam: prefixes kept at each frame.
            nbest: hypotheses wanted of an utterance, at most.
            lm: a language model of words or, with ``lm_unit="token"``, of the tokenizer's tokens.
            lexicon: the words. Without one, and with a language model of words, the words are its own, spelled by the
                tokenizer; whatever else the tokens spell is its unknown word.
            hotwords: phrases with boosts in nats, or phrases that all get ``hotword_boost``.
            tokenizer: the model's; needed for all but a search by acoustics alone.
            lm_weight: of the natural logarithm of the language model's probability.
            word_bonus: added for every word; with ``lm_unit="token"``, for every token.
            blank_penalty: taken off the blank's log-probability at every frame; it is a part of the acoustic score.
            max_tokens: so many tokens of a frame may begin new prefixes, the blank not counted; None for all.
            token_threshold: and only those at most so many nats below the frame's best.
            beam_threshold: prefixes more nats than this below the best one are dropped.
            blank_skip: a frame whose blank has a higher posterior than this is taken for a certain blank; 1 takes none.
            blank: the blank's id; a tokenizer's is 0.

        Raises UsageError for values out of range, and for a language model that does not fit the tokens; DataError for
        hotwords that cannot be spelled.
        """
        tokens = MOST_TOKENS if max_tokens is None else max_tokens
        _check("beam", beam, 1, WIDEST, whole=True)
        _check("nbest", nbest, 1, whole=True)
        _check("max_tokens", tokens, 1, whole=True)
        _check("blank", blank, 0, whole=True)
        _check("blank_skip", blank_skip, 0)
        _check("token_threshold", token_threshold, 0)
        _check("beam_threshold", beam_threshold, 0)
        _check_weights(lm_weight, word_bonus, blank_penalty)
        if lm_unit not in ("word", "token"):
            raise UsageError(f"beam search: lm_unit is {lm_unit!r}; choose word or token")
        from asr.ctc.prefix_search import Limits

        self.nbest, self.blank, self.blank_penalty, self.blank_skip = nbest, blank, float(blank_penalty), blank_skip
        self._limits = Limits(beam, min(tokens, MOST_TOKENS), float(token_threshold), float(beam_threshold))
        self._rules, self._lm, self._lexicon = None, None, lexicon
        phrases = phrases_of(hotwords, hotword_boost, tokenizer)
        if lm is not None or lexicon is not None or phrases or word_bonus:
            self._rules, self._lm, self._lexicon = build_rules(lexicon, lm, lm_unit == "token", phrases, tokenizer, lm_weight,
                                                               word_bonus)
            if blank != 0:
                raise UsageError(f"beam search: the blank is {blank}; with a lexicon, language model or hotwords it is token 0")

    def reweighted(self, lm_weight: float, word_bonus: float, blank_penalty: float) -> BeamSearch:
        """The same search with other weights; nothing is built anew, so this is what to tune with.

        Raises UsageError for weights out of range, and where there is nothing to weigh.
        """
        _check_weights(lm_weight, word_bonus, blank_penalty)
        if self._rules is None and word_bonus:
            raise UsageError("beam search: a word bonus for a search that knows of no words")
        other = copy.copy(self)
        other.blank_penalty = float(blank_penalty)
        if self._rules is not None:
            other._rules = self._rules._replace(lm_weight=float(lm_weight), word_bonus=float(word_bonus))
        return other

    def __call__(self, log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike) -> list[list[Hypothesis]]:
        """The best hypotheses of each utterance, the best first; always one at least.

        log_probs (B, T, V) float, lengths (B,) integer; frames at and after a length are ignored. Utterances are shared out among
        as many threads as torch uses. An utterance without frames, and one of which no path is possible (score minus
        infinity), has one hypothesis without tokens.

        Raises UsageError for shapes that do not fit, DataError for log-probabilities that are NaN or infinite above.
        """
        rows = self._rows(log_probs, lengths)
        workers = min(torch.get_num_threads(), len(rows))
        if workers < 2:
            return [self._decode(row) for row in rows]
        with ThreadPoolExecutor(workers) as pool:
            return list(pool.map(self._decode, rows))

    def skipped(self, log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike) -> list[int]:
        """How many frames of each utterance ``blank_skip`` takes for certain blanks."""
        return [int(self._certain(row).sum()) for row in self._rows(log_probs, lengths)]

    def _rows(self, log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike) -> list[NDArray[np.floating]]:
        """Each utterance's frames (T, V), float64 or float32."""
        values, sizes = checked_batch(log_probs, lengths, self.blank, "beam search")
        if self._rules is not None and self._lexicon.vocab_size != values.shape[2]:
            raise UsageError(f"beam search: log_probs of {values.shape[2]} tokens, but the tokenizer or lexicon is for "
                             f"{self._lexicon.vocab_size}")
        rows = [row[:size] for row, size in zip(values.cpu().numpy(), sizes)]
        for index, row in enumerate(rows):
            check_finite(row, None, index)
        return rows

    def _certain(self, row: NDArray[np.floating]) -> NDArray[np.bool_]:
        return row[:, self.blank] > (math.log(self.blank_skip) if self.blank_skip else -math.inf)

    def _search(self, row: NDArray[np.floating]) -> tuple[NDArray, NDArray]:
        """All prefixes made and the beam at the end, see `asr.ctc.prefixes`."""
        from asr.ctc.prefix_search import search

        nodes, beam, size = search(np.ascontiguousarray(row, np.float64), self._certain(row), self.blank, self.blank_penalty,
                                   self._limits, self._rules, self._lm)
        return nodes, beam[:size]

    def _decode(self, row: NDArray[np.floating]) -> list[Hypothesis]:
        from asr.ctc.finish import cut, finish
        from asr.ctc.fusion import NO_WORD

        nodes, beam = self._search(row)
        if not len(beam):
            return [_nothing()]
        if self._rules is None:
            found = beam["node"], np.full(len(beam), NO_WORD), beam["mass"], np.zeros(len(beam)), np.zeros(len(beam))
        else:
            found = finish(self._rules, self._lm, nodes, beam)
            if not len(found[0]):  # a closed lexicon, and all prefixes within a word
                node = cut(self._rules, nodes, beam)
                beam = beam[:1].copy()
                beam["node"], beam["mass"] = node, -math.inf
                found = finish(self._rules, self._lm, nodes, beam)
        best = np.argsort(-(found[2] + found[3]), kind="stable")[:self.nbest]
        hypotheses = [self._hypothesis(row, nodes, *(values[index] for values in found)) for index in best]
        return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)

    def _hypothesis(self, row: NDArray[np.floating], nodes: NDArray, node: int, last_word: int, mass: float, worth: float,
                    lm_score: float) -> Hypothesis:
        """A prefix as a hypothesis; of its paths of frames, ``mass`` has those that never left the beam."""
        from asr.ctc.prefixes import trace

        tokens, completed = trace(nodes, node)
        acoustic = max(float(mass), _log_prob(row, tokens, self.blank, self.blank_penalty))
        if acoustic == -math.inf:  # of a prefix that was cut, where the frames after it allow nothing else
            return _nothing()
        frames, ends, confidence = _times(row, tokens, self.blank)
        words = self._words(tokens.tolist(), completed.tolist(), last_word) if self._lexicon and self._lexicon.closed else None
        return Hypothesis(tokens.tolist(), acoustic + float(worth), acoustic, float(lm_score), frames, ends, confidence, words)

    def _words(self, tokens: list[int], completed: list[int], last: int) -> list[tuple[str, int, int]]:
        """The lexicon's words with the positions of their tokens; ``completed[n]`` is the word that token n ended, or -1."""
        found, start = [], None
        for position, word in enumerate([*completed, last]):
            if word >= 0:
                found.append((self._lexicon.words[self._rules.words[word]["word"]], start, position))
                start = None
            if start is None and position < len(tokens) and self._lexicon.spells[tokens[position]]:
                start = position
        return found


def beam_search(log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike, beam: int = 16, nbest: int = 1,
                lm: NgramLM | None = None, lexicon: Lexicon | None = None,
                hotwords: Mapping[str, float] | Iterable[str] | None = None, **options: Any) -> list[list[Hypothesis]]:
    """The best hypotheses of each utterance, the best first. All options are those of `BeamSearch`, which is to be made once
    where more than one batch is decoded.

    log_probs (B, T, V) float, lengths (B,) integer -> a list of at most ``nbest`` hypotheses for every utterance.
    """
    search = BeamSearch(beam=beam, nbest=nbest, lm=lm, lexicon=lexicon, hotwords=hotwords, **options)
    return search(log_probs, lengths)


def _nothing() -> Hypothesis:
    """Of an utterance of which no path is possible."""
    return Hypothesis([], -math.inf, -math.inf, 0.0, [], [], [])


def _log_prob(row: NDArray[np.floating], tokens: NDArray[np.int32], blank: int, blank_penalty: float) -> float:
    """Log-probability of all paths through the frames (T, V) that collapse to the tokens."""
    from asr.ctc.finish import sum_paths

    kinds, columns = np.unique(tokens, return_inverse=True)
    part = row[:, np.concatenate([[blank], kinds])].astype(np.float64)
    part[:, 0] -= blank_penalty
    peaks = part.max(axis=1, initial=-math.inf, keepdims=True)
    if not np.isfinite(peaks).all():
        return -math.inf
    apart = np.append(0.0, tokens[1:] != tokens[:-1])[:len(tokens)]
    return sum_paths(np.exp(part - peaks), columns + 1, apart) + float(peaks.sum())


def _times(row: NDArray[np.floating], tokens: NDArray[np.int32], blank: int) -> tuple[list[int], list[int], list[float]]:
    """First frames, ends and highest posteriors of tokens on their best path through the frames (T, V)."""
    from asr.ctc.viterbi import best_path

    if not len(tokens):
        return [], [], []
    path, _ = best_path(np.ascontiguousarray(row), tokens.astype(np.int64), blank, block_size(len(row), len(tokens)))
    states = 2 * np.arange(len(tokens)) + 1
    starts, ends = np.searchsorted(path, states), np.searchsorted(path, states, side="right")
    return starts.tolist(), ends.tolist(), token_confidences(row, tokens.tolist(), starts.tolist(), ends.tolist())


def _check_weights(lm_weight: float, word_bonus: float, blank_penalty: float) -> None:
    _check("lm_weight", lm_weight, 0, MOST_NATS)
    _check("word_bonus", word_bonus, -MOST_NATS, MOST_NATS)
    _check("blank_penalty", blank_penalty, -MOST_NATS, MOST_NATS)


def _check(name: str, value: float, low: float, high: float = math.inf, whole: bool = False) -> None:
    """Refuse a value that is no number, not a whole one where it is to be one, or not from ``low`` to ``high``."""
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        bounds = f"from {low:,.0f} " + (f"to {high:,.0f}" if high < math.inf else "up")
        raise UsageError(f"beam search: {name} is {value!r}; it must be a {'whole ' if whole else ''}number {bounds}")
