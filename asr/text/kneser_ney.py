"""n-gram models built from text: interpolated modified Kneser-Ney smoothing (Chen and Goodman, 1998).

It is what KenLM's lmplz computes (Heafield et al., 2013):

- An n-gram of the highest order counts as often as it occurs, and so does one that begins with ``<s>``; any other counts
  as many times as there are different words before it.
- Three discounts an order (for counts of 1, 2, and 3 or more) follow from how many n-grams count 1, 2, 3 and 4.
- Probabilities are interpolated with those of the order below; those of single words with the uniform distribution over
  all words, ``</s>`` and ``<unk>``, so ``<unk>`` has a probability though no text holds it.
- Pruned n-grams still count towards the others; the probability taken from them goes to the order below.

Two things differ from lmplz. ``<s>``, which is never foretold, has log10 probability -99, as in SRILM's files, not 0. And in
the statistics of the discounts lmplz takes the last n-gram of each lower order by its occurrences (the end of
AdjustCounts::Run); here every n-gram goes by the count of the first point, so discounts differ a little on small texts.
"""

from __future__ import annotations

import logging
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise, repeat

import numpy as np

from asr.errors import DataError, UsageError
from asr.text.ngram import NgramLM, marked_ends, refuse_text
from asr.text.ngram_tables import BOS, EOS, UNK, NgramTable, keys
from asr.text.tables import words as words_of

_SPECIAL = [UNK, BOS, EOS]  # ids 0, 1 and 2
_NEVER = -99.0
_FALLBACK = (0.5, 1.0, 1.5)  # lmplz --discount_fallback

_log = logging.getLogger("asr")


def build_ngram(lines: Iterable[str], order: int = 3, prune: Sequence[int] = (),
                vocabulary: Iterable[str] | None = None) -> NgramLM:
    """Build a model from sentences, one a line; an empty line is a sentence without words.

    Args:
        lines: words with blanks between them. ``<unk>`` is read as an unknown word.
        order: words in the longest n-gram, 1 or more.
        prune: one number for each order from 1 up, the last for all that follow: n-grams that occur so often or less are
            left out. The first is 0 (words stay), and none is below the one before it. ``(0, 0, 1)`` leaves out
            what occurs once, from 3-grams up.
        vocabulary: the model's words. Others in the text are read as ``<unk>``, which so gets a probability from the
            text; those that the text lacks get the probability of a word never seen. Without it, the words of the text.

    Returns:
        The model; its order is lower where the text has no sentence long enough, or where pruning left nothing, and that
        is logged as a warning. So are discounts that the text is too small to tell, for which 0.5, 1 and 1.5 stand.

    Raises:
        UsageError: ``order`` or ``prune`` is not as above, or ``lines`` or ``vocabulary`` is one text.
        DataError: the text or the vocabulary has no word, or a line holds ``<s>`` or ``</s>``.
    """
    thresholds = _thresholds(order, prune)
    words, ids, lengths = _encode(lines, vocabulary)
    levels = _count(ids, lengths, order, len(words))
    for level, threshold in zip(levels, thresholds):
        level.kept = level.occurs > threshold
    levels[0].kept[:] = True
    _smooth(levels)
    return NgramLM(words, _tables(levels))


@dataclass
class _Level:
    """The n-grams of one order, M of them, sorted by context and then word.

    ``context`` and ``suffix`` are rows of the order below (without the last word, without the first); ``begins`` marks
    n-grams whose first word is ``<s>``. ``counts`` are those that Kneser-Ney goes by; the backoff weight is 1 where
    nothing extends an n-gram.
    """

    context: np.ndarray
    word: np.ndarray
    suffix: np.ndarray
    begins: np.ndarray
    occurs: np.ndarray
    counts: np.ndarray
    kept: np.ndarray
    prob: np.ndarray
    backoff: np.ndarray

    @classmethod
    def make(cls, context: np.ndarray, word: np.ndarray, suffix: np.ndarray, begins: np.ndarray, occurs: np.ndarray) -> _Level:
        size = len(word)
        return cls(context, word, suffix, begins, occurs, occurs, np.ones(size, bool), np.zeros(size), np.ones(size))


def _thresholds(order: int, prune: Sequence[int]) -> Iterator[int]:
    """That of each order from 1 up, without end; raises UsageError."""
    if not all(isinstance(number, (int, np.integer)) for number in (order, *prune)):
        raise UsageError(f"order {order!r}, pruning thresholds {_join(prune)}: whole numbers are needed")
    if order < 1:
        raise UsageError(f"order {order}: a model has n-grams of 1 word or more, commonly of 3")
    if len(prune) > order:
        raise UsageError(f"pruning thresholds {_join(prune)}: {len(prune)} of them for a model of order {order}")
    if prune and (prune[0] != 0 or list(prune) != sorted(prune)):
        raise UsageError(f"pruning thresholds {_join(prune)}: the first, that of single words, is to be 0, and none below the "
                         "one before it (an n-gram can only stay where its context stays); for example 0,0,1")
    return chain(prune, repeat(prune[-1] if prune else 0))


def _encode(lines: Iterable[str], vocabulary: Iterable[str] | None) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The words by id; the ids of the text (T,) int32, each sentence in ``<s>`` and ``</s>``; lengths, those included."""
    for name, given in (("lines", lines), ("vocabulary", vocabulary)):
        refuse_text(given, name)
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    unknown, bos, eos = (index[word] for word in _SPECIAL)
    ids, lengths = array("i"), array("q")
    if vocabulary is not None:
        for word in vocabulary:
            if words_of(word) != [word]:
                raise DataError(f"the vocabulary holds {word!r}, which is not one word; write one on each line, without blanks")
            index[word]
        if len(index) == len(_SPECIAL):
            raise DataError("the vocabulary has no word")
    size = len(index)
    if vocabulary is not None:
        index.default_factory = lambda: unknown  # words outside become entries as well, after the first `size`
    for number, line in enumerate(lines, start=1):
        words = words_of(line)
        if BOS in words or EOS in words:
            raise marked_ends(number)
        ids.append(bos)
        ids.extend(map(index.__getitem__, words))
        ids.append(eos)
        lengths.append(len(words) + 2)
    if len(ids) == 2 * len(lengths):
        raise DataError("no text to build a language model of: it has no word")
    words = list(index) if vocabulary is None else list(index)[:size]
    rank = np.empty(len(words), np.int32)  # so that the model does not depend on the order of the lines
    by_name = [*range(len(_SPECIAL)), *sorted(range(len(_SPECIAL), len(words)), key=words.__getitem__)]
    rank[by_name] = np.arange(len(words))
    return [words[place] for place in by_name], rank[np.frombuffer(ids, np.int32)], np.frombuffer(lengths, np.int64)


def _count(ids: np.ndarray, lengths: np.ndarray, order: int, vocabulary: int) -> list[_Level]:
    """The n-grams of the orders 1 up to ``order``, or to the longest sentence."""
    remaining = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(ids))  # words to the sentence's end
    none = np.zeros(vocabulary, np.int32)
    levels = [_Level.make(none, np.arange(vocabulary, dtype=np.int32), none, np.arange(vocabulary) == _SPECIAL.index(BOS),
                          np.bincount(ids, minlength=vocabulary))]
    gram = ids  # row of the n-gram that starts at each place of the text
    for n in range(2, order + 1):
        starts = np.flatnonzero(remaining >= n)
        if not len(starts):
            _log.warning("no sentence has %d words, its ends <s> and </s> counted: the model is of order %d", n, n - 1)
            break
        found, rows, occurs = np.unique(keys(gram[starts], ids[starts + n - 1], vocabulary), return_inverse=True,
                                        return_counts=True)
        context, word = (part.astype(np.int32) for part in np.divmod(found, vocabulary))
        suffix = np.empty(len(found), np.int32)
        suffix[rows] = gram[starts + 1]
        levels.append(_Level.make(context, word, suffix, levels[-1].begins[context], occurs))
        longer = np.zeros(len(ids), np.int32)
        longer[starts] = rows
        gram = longer
    for level, above in pairwise(levels):
        level.counts = np.where(level.begins, level.occurs, np.bincount(above.suffix, minlength=len(level.word)))
    levels[0].counts = np.where(levels[0].begins, 0, levels[0].counts)
    return levels


def _smooth(levels: Sequence[_Level]) -> None:
    """Fill in ``prob``, and ``backoff`` of the orders below the highest."""
    for order, level in enumerate(levels, start=1):
        discounts = np.array([0.0, *_discounts(level.counts, order)])[np.minimum(level.counts, 3)]
        contexts = len(levels[order - 2].word) if order > 1 else 1
        totals = np.bincount(level.context, level.counts, contexts)
        freed = np.bincount(level.context, np.where(level.kept, discounts, level.counts), contexts)
        weight = np.divide(freed, totals, out=np.ones(contexts), where=totals > 0)
        if order == 1:
            below = np.full(len(level.word), 1 / (len(level.word) - 1))  # every word but <s>
        else:
            levels[order - 2].backoff = weight
            below = levels[order - 2].prob[level.suffix]
        level.prob = (level.counts - discounts) / totals[level.context] + weight[level.context] * below


def _discounts(counts: np.ndarray, order: int) -> tuple[float, ...]:
    """What is taken from counts of 1, of 2, and of 3 or more."""
    once, twice, thrice, four = (int(number) for number in np.bincount(np.minimum(counts, 5), minlength=5)[1:5])
    if once and twice and thrice:
        share = once / (once + 2 * twice)
        found = 1 - 2 * share * twice / once, 2 - 3 * share * thrice / twice, 3 - 4 * share * four / thrice
        if min(found) > 0:
            return found
    _log.warning("too little text for the discounts of %d-grams (%d count once, %d twice, %d three times, %d four times); "
                 "%s, %s and %s are used", order, once, twice, thrice, four, *_FALLBACK)
    return _FALLBACK


def _tables(levels: Sequence[_Level]) -> list[NgramTable]:
    tables: list[NgramTable] = []
    rows = np.zeros(1, np.int64)  # of the n-grams kept, among those of the order below
    for order, level in enumerate(levels, start=1):
        if not level.kept.any():
            _log.warning("pruning leaves no %d-gram: the model is of order %d", order, order - 1)
            tables[-1] = tables[-1]._replace(backoff=np.zeros(0, np.float32))
            break
        log10_prob = np.minimum(np.log10(level.prob), 0)  # a rounding error above 1 would be a broken file
        log10_prob[level.begins & (order == 1)] = _NEVER
        backoff = np.log10(level.backoff[level.kept]).astype(np.float32) if order < len(levels) else np.zeros(0, np.float32)
        tables.append(NgramTable(rows[level.context[level.kept]].astype(np.int32), level.word[level.kept],
                                 log10_prob[level.kept].astype(np.float32), backoff))
        rows = np.cumsum(level.kept) - 1
    return tables


def _join(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))
