"""Prefix beam search with lexicon, language model and hotwords."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from asr.ctc.align import block_size, spans
from asr.ctc.backend import int32, takes_kernels
from asr.ctc.batch import check_finite, checked_batch, wide
from asr.ctc.hotwords import MOST_NATS
from asr.ctc.hypothesis import Hypothesis
from asr.ctc.kernels.beam.launch import WIDEST_BEAM, WIDEST_WITH_MODEL, Settings, decode
from asr.ctc.kernels.beam.tables import Tables, build_tables, unsupported
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
                 beam_threshold: float = math.inf, blank_skip: float = 1.0, blank: int = 0,
                 backend: str = "auto") -> None:
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
            backend: ``cpu``, ``triton`` (a CUDA device), or ``auto``: where the log-probabilities are, but on the CPU what the
                kernels do not know: float64, lexicons, hotwords, beams above 32, and above 16 with a language model. What is
                found is the same.

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

        self.backend = backend
        self._tables: dict[torch.device, Tables] = {}
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

        Raises UsageError for shapes that do not fit, DataError for log-probabilities that are NaN or infinite above, ValueError
        for a backend that cannot run here.
        """
        values, sizes = self._checked(log_probs, lengths)
        kernels = self._takes_kernels(values)
        check_finite(values.amax(dim=-1), values, sizes)
        if kernels:
            return _shared_out(self._rescore, self._search_on_device(values, sizes))
        return _shared_out(self._decode, [(row,) for row in _rows(values, sizes)])

    def skipped(self, log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike) -> list[int]:
        """How many frames of each utterance ``blank_skip`` takes for certain blanks."""
        values, sizes = self._checked(log_probs, lengths)
        check_finite(values.amax(dim=-1), values, sizes)
        return [int(self._certain(row).sum()) for row in _rows(values, sizes)]

    def _checked(self, log_probs: Tensor | ArrayLike, lengths: Tensor | ArrayLike) -> tuple[Tensor, NDArray[np.int64]]:
        """As `checked_batch`, and the number of tokens."""
        values, sizes = checked_batch(log_probs, lengths, self.blank, "beam search")
        if self._rules is not None and self._lexicon.vocab_size != values.shape[2]:
            raise UsageError(f"beam search: log_probs of {values.shape[2]} tokens, but the tokenizer or lexicon is for "
                             f"{self._lexicon.vocab_size}")
        return values, sizes

    def _takes_kernels(self, values: Tensor) -> bool:
        """Whether kernels search; raises UsageError where they are asked for and do not know how."""
        if not takes_kernels(self.backend, values):
            return False
        widest = WIDEST_BEAM if self._rules is None else WIDEST_WITH_MODEL
        reason = "float64" if values.dtype == torch.float64 else f"beams above {widest}" if self._limits.beam > widest else \
            unsupported(self._rules)
        if reason and self.backend == "triton":
            raise UsageError(f"beam search: backend triton does not know {reason}; choose auto or cpu")
        return not reason

    def _search_on_device(self, values: Tensor, sizes: NDArray[np.int64]) -> list[tuple[Any, ...]]:
        """What `_rescore` is to be given of each utterance."""
        device, rules, limits = values.device, self._rules, self._limits
        if device not in self._tables:
            self._tables[device] = build_tables(rules, self._lm, device)
        certain = float(np.float32(self._certain_above()))  # as the CPU compares it with float32
        settings = Settings(limits.beam, min(self.nbest, limits.beam), self.blank, limits.tokens, limits.token_threshold,
                            limits.beam_threshold, self.blank_penalty, certain, rules.lm_weight if rules else 0.0,
                            rules.word_bonus if rules else 0.0)
        found = decode(values, int32(sizes, device), settings, self._tables[device])
        rows = [row[:size] for row, size in zip(values, sizes.tolist())]
        return list(zip(rows, *(each.cpu().numpy() for each in found)))

    def _rescore(self, row: Tensor, scores: NDArray, counts: NDArray, texts: NDArray, states: NDArray, along: NDArray,
                 inexact: int) -> list[Hypothesis]:
        """One utterance's `asr.ctc.kernels.beam.launch.Found` as hypotheses; row (T, V) stays where it is."""
        if inexact:
            return self._decode(wide(row).cpu().numpy())
        hypotheses = []
        for index in np.flatnonzero(scores[0] > -math.inf):
            tokens, (score, mass, lm_score) = texts[index, :counts[index]], scores[:, index].tolist()
            acoustic = self._acoustic(row, tokens, mass)
            hypotheses.append(Hypothesis(tokens.tolist(), acoustic + (score - mass), acoustic, lm_score,
                                         *spans(states[index, :len(row)], along[index, :len(row)])))
        return _best_first(hypotheses) or [_nothing()]

    def _certain_above(self) -> float:
        """The log-probability above which a blank is taken for certain."""
        return math.log(self.blank_skip) if self.blank_skip else -math.inf

    def _certain(self, row: NDArray[np.floating]) -> NDArray[np.bool_]:
        return row[:, self.blank] > self._certain_above()

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
        return _best_first(hypotheses)

    def _hypothesis(self, row: NDArray[np.floating], nodes: NDArray, node: int, last_word: int, mass: float, worth: float,
                    lm_score: float) -> Hypothesis:
        """A prefix as a hypothesis; of its paths of frames, ``mass`` has those that never left the beam."""
        from asr.ctc.prefixes import trace

        tokens, completed = trace(nodes, node)
        acoustic = self._acoustic(row, tokens, mass)
        if acoustic == -math.inf:  # of a prefix that was cut, where the frames after it allow nothing else
            return _nothing()
        frames, ends, confidence = _times(row, tokens, self.blank)
        words = self._words(tokens.tolist(), completed.tolist(), last_word) if self._lexicon and self._lexicon.closed else None
        return Hypothesis(tokens.tolist(), acoustic + float(worth), acoustic, float(lm_score), frames, ends, confidence, words)

    def _acoustic(self, row: NDArray[np.floating] | Tensor, tokens: NDArray[np.int32], mass: float) -> float:
        """The log-probability of tokens over all their paths, no less than ``mass``, that of those which never left the beam."""
        return max(float(mass), _log_prob(row, tokens, self.blank, self.blank_penalty))

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


def _best_first(hypotheses: list[Hypothesis]) -> list[Hypothesis]:
    return sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)


def _rows(values: Tensor, sizes: NDArray[np.int64]) -> list[NDArray[np.floating]]:
    """Each utterance's frames (T, V) on the CPU, float64 or float32."""
    return [row[:size] for row, size in zip(wide(values).cpu().numpy(), sizes)]


def _shared_out(decode_one: Callable[..., list[Hypothesis]], utterances: list[tuple[Any, ...]]) -> list[list[Hypothesis]]:
    """One call for the arguments of every utterance, in as many threads as torch uses."""
    workers = min(torch.get_num_threads(), len(utterances))
    if workers < 2:
        return [decode_one(*utterance) for utterance in utterances]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda utterance: decode_one(*utterance), utterances))


def _log_prob(row: NDArray[np.floating] | Tensor, tokens: NDArray[np.int32], blank: int, blank_penalty: float) -> float:
    """Log-probability of all paths through the frames (T, V) that collapse to the tokens; only their columns leave a device."""
    from asr.ctc.finish import sum_paths

    kinds, columns = np.unique(tokens, return_inverse=True)
    part = torch.as_tensor(row)[:, torch.from_numpy(np.append(blank, kinds))].to("cpu", torch.float64).numpy()
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
    states, _ = best_path(np.ascontiguousarray(row), tokens.astype(np.int64), blank, block_size(len(row), len(tokens)))
    heard = np.where(states % 2 == 1, np.append(tokens, blank)[states // 2], blank)
    return spans(states, row[np.arange(len(row)), heard])


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
