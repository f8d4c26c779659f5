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
from asr.ctc.hypothesis import Hypothesis
from asr.ctc.lexicon import Lexicon
from asr.ctc.rules import build_rules, phrases_of
from asr.errors import DataError, UsageError

if TYPE_CHECKING:
    from asr.text import NgramLM, Tokenizer


class BeamSearch:
    """A prefix beam search, made once and used on any number of batches, from several threads too.

    The score of a prefix is ``ln p(prefix | audio) + lm_weight * ln p_lm + word_bonus * words + boosts of hotwords``. Where the
    beam is wide enough for every prefix the search is exact: the probability is the sum over all paths of frames.
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
        tokens = math.inf if max_tokens is None else max_tokens
        _check("beam", beam, 1, whole=True)
        _check("nbest", nbest, 1, whole=True)
        _check("max_tokens", tokens, 1, whole=max_tokens is not None)
        _check("blank_skip", blank_skip, 0)
        _check("token_threshold", token_threshold, 0)
        _check("beam_threshold", beam_threshold, 0)
        _check_weights(lm_weight, word_bonus, blank_penalty)
        if lm_unit not in ("word", "token"):
            raise UsageError(f"beam search: lm_unit is {lm_unit!r}; choose word or token")
        from asr.ctc.prefix_search import Limits

        self.nbest, self.blank, self.blank_penalty, self.blank_skip = nbest, blank, float(blank_penalty), blank_skip
        self._limits = Limits(beam, int(min(tokens, 1 << 31)), float(token_threshold), float(beam_threshold))
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
        """Each utterance's frames (T, V)."""
        if isinstance(log_probs, Tensor):
            log_probs = log_probs.detach().cpu()
            log_probs = (log_probs if log_probs.dtype == torch.float64 else log_probs.float()).numpy()
        values, sizes = np.asarray(log_probs), np.asarray(lengths)
        if values.ndim != 3 or sizes.shape != values.shape[:1] or (len(sizes) and sizes.dtype.kind not in "iu"):
            raise UsageError(f"beam search: expected log_probs (B, T, V) and whole lengths (B,), got {values.shape} and "
                             f"{sizes.dtype} {sizes.shape}")
        if len(sizes) and not 0 <= sizes.min() <= sizes.max() <= values.shape[1]:
            raise UsageError(f"beam search: lengths from {sizes.min()} to {sizes.max()}, but log_probs has {values.shape[1]} "
                             "frames")
        if not 0 <= self.blank < values.shape[2]:
            raise UsageError(f"beam search: the blank is {self.blank}, but there are {values.shape[2]} tokens")
        if self._rules is not None and self._lexicon.vocab_size != values.shape[2]:
            raise UsageError(f"beam search: log_probs of {values.shape[2]} tokens, but the tokenizer or lexicon is for "
                             f"{self._lexicon.vocab_size}")
        rows = [row[:size] for row, size in zip(values, sizes)]
        for index, row in enumerate(rows):
            if not (row < np.inf).all():  # NaN is not below it either
                frame, token = np.argwhere(~(row < np.inf))[0]
                raise DataError(f"utterance {index} of the batch: its log-probability of token {token} at frame {frame} is "
                                f"{row[frame, token]}; the network's output is not finite")
        return rows

    def _certain(self, row: NDArray[np.floating]) -> NDArray[np.bool_]:
        return row[:, self.blank] > (math.log(self.blank_skip) if self.blank_skip else -math.inf)

    def _decode(self, row: NDArray[np.floating]) -> list[Hypothesis]:
        from asr.ctc.finish import finish, finish_cut
        from asr.ctc.fusion import NO_WORD
        from asr.ctc.prefix_search import search

        emissions = np.ascontiguousarray(row, np.float64)
        nodes, beam, size = search(emissions, self._certain(row), self.blank, self.blank_penalty, self._limits, self._rules,
                                   self._lm)
        if self._rules is None:
            mass = beam["mass"][:size]
            found = beam["node"][:size], np.full(size, NO_WORD), mass, mass, np.zeros(size)
        else:
            found = finish(self._rules, self._lm, nodes, beam, size)
            if size and not len(found[0]):
                found = finish_cut(emissions, self.blank, self.blank_penalty, self._rules, self._lm, nodes, beam, size)
        if not (found[3] > -math.inf).any():
            return [Hypothesis([], -math.inf, -math.inf, 0.0, [], [], [])]
        best = np.argsort(-found[3], kind="stable")[:self.nbest]
        return [self._hypothesis(row, nodes, *(values[index] for values in found)) for index in best]

    def _hypothesis(self, row: NDArray[np.floating], nodes: NDArray, node: int, last_word: int, acoustic: float,
                    score: float, lm_score: float) -> Hypothesis:
        from asr.ctc.prefixes import trace

        tokens, completed = trace(nodes, node)
        frames, ends, confidence = _times(row, tokens, self.blank)
        words = self._words(tokens.tolist(), completed.tolist(), last_word) if self._lexicon and self._lexicon.closed else None
        return Hypothesis(tokens.tolist(), float(score), float(acoustic), float(lm_score), frames, ends, confidence, words)

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
    _check("lm_weight", lm_weight, 0, math.inf)
    _check("word_bonus", word_bonus, -math.inf, math.inf)
    _check("blank_penalty", blank_penalty, -math.inf, math.inf)


def _check(name: str, value: float, low: float, below: float = math.nan, whole: bool = False) -> None:
    """Refuse a value that is below ``low`` or not a number, and infinities where there is a bound ``below``."""
    if isinstance(value, bool) or (whole and not isinstance(value, (int, np.integer))) or not (value >= low) \
            or value >= below or (value == low == -math.inf):
        wanted = ("a whole number" if whole else "a number") + (f" from {low:g} up" if math.isfinite(low) else "")
        raise UsageError(f"beam search: {name} is {value!r}; it must be {wanted}")
