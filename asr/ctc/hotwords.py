"""Phrases to listen for: an automaton that raises the score of a prefix while it spells one of them.

Aho and Corasick (1975) over the symbols of a lexicon. A phrase of n symbols with boost b is worth b * k / n to a prefix that
has just spelled its first k symbols, from the start of a word on. The prefix gives that back when it goes on with something
else, and keeps b for good once the word after the phrase begins, or the utterance ends. A phrase inside another counts too.
Where nothing tells words apart (no token is a space, and the vocabulary is open), a phrase may stand anywhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.ctc.lexicon import BOUNDARY, SHOWN, Lexicon
from asr.ctc.trie import Trie, build_trie
from asr.errors import DataError, UsageError
from asr.text.tables import read_lines

MOST_NATS = 1e6  # a boost, weight or bonus of more drowns all other scores, and at last what float64 can hold
MOST_SPELLINGS = 64  # of a phrase whose words have several each


class Hotwords:
    """The automaton of phrases over the symbols of a lexicon; a state is a node of their trie.

    Attributes:
        fail: (S,) int32, the state of the longest proper suffix that begins a phrase.
        arcs: where tokens lead: offsets (S + 1,), tokens, targets; a state without an arc goes by its ``fail``.
        at_boundary: (S,) int32, the state after the end of a word.
        potential: (S,) float64, what a prefix in a state has on loan.
        gain: (S,) float64, what it keeps on entering the state.
        reach: (S,) float64, an upper bound of gain and potential after one more token.
        start: the state at the start of an utterance.
    """

    def __init__(self, phrases: Mapping[str, float], lexicon: Lexicon) -> None:
        """``phrases``: words between white space, and their boosts in nats.

        Raises UsageError for an empty phrase and for a boost that is not above zero, or is above `MOST_NATS`; DataError that
        names the phrases the lexicon cannot spell.
        """
        for phrase, boost in phrases.items():
            if not phrase.split():
                raise UsageError("hotwords: an empty phrase; give one word or more")
            if not 0 < boost <= MOST_NATS:
                raise UsageError(f"hotwords: the boost of {phrase!r} is {boost}; it must be a number above zero and at most "
                                 f"{MOST_NATS:,.0f}")
        patterns = _patterns(phrases, lexicon)
        trie, ends = build_trie([symbols for symbols, _ in patterns])
        self.potential, self.gain = np.zeros((2, len(trie.parents)))
        for (symbols, boost), end in zip(patterns, ends):
            self.gain[end] = max(self.gain[end], boost)  # what sounds alike is one phrase or the other
            self._lend(trie, symbols, boost, end)
        by_depth = np.argsort(_depths(trie), kind="stable")[1:].tolist()
        self.fail, self.at_boundary = _links(trie, by_depth)
        self.arcs = lexicon.arcs(trie, starts_at_root=False)
        for state in by_depth:  # what runs on or ends in its suffixes, the shortest of which come first
            self.potential[state] = max(self.potential[state], self.potential[self.fail[state]])
            self.gain[state] += self.gain[self.fail[state]]
        self.reach = self._reach(by_depth)
        self.start = int(self.at_boundary[0])

    def _lend(self, trie: Trie, symbols: tuple[int, ...], boost: float, end: int) -> None:
        """Enter a phrase's shares, from its end to its start; the boundary at its end turns the loan into a gain."""
        count = sum(symbol != BOUNDARY for symbol in symbols)
        done = count - (symbols[-1] != BOUNDARY)
        node = trie.parents[end]
        for symbol in reversed(symbols[:-1]):
            self.potential[node] = max(self.potential[node], boost * done / count)
            done -= symbol != BOUNDARY
            node = trie.parents[node]

    def _reach(self, by_depth: list[int]) -> NDArray[np.float64]:
        offsets, _, targets = self.arcs
        best = np.zeros(len(self.fail))  # by a token that ends no word: nothing, what an arc of it or its suffixes leads to,
        np.maximum.at(best, np.repeat(np.arange(len(best)), np.diff(offsets)), self.gain[targets] + self.potential[targets])
        for state in by_depth:
            best[state] = max(best[state], best[self.fail[state]])
        best = np.maximum(best, self.potential)  # or what it has, by a token that spells nothing
        return np.maximum(best, self.gain[self.at_boundary] + best[self.at_boundary])


def read_hotwords(path: str | Path, boost: float) -> dict[str, float]:
    """Phrases of a file, one a line, each with its boost after a tab or else ``boost``.

    Raises UsageError where the file cannot be read, DataError for a boost that is no number.
    """
    found: dict[str, float] = {}
    for number, line in read_lines(path):
        phrase, _, own = line.partition("\t")
        if phrase.strip():
            try:
                found[phrase.strip()] = float(own) if own.strip() else boost
            except ValueError:
                raise DataError(f"{path}:{number}: the boost {own.strip()!r} is no number; expected `phrase<TAB>boost`") from None
    return found


def _patterns(phrases: Mapping[str, float], lexicon: Lexicon) -> list[tuple[tuple[int, ...], float]]:
    """The symbols of every spelling of every phrase, boundaries around each word, and its boost."""
    spelled = {phrase: list(itertools.islice(_spellings(phrase, lexicon), MOST_SPELLINGS)) for phrase in phrases}
    if missing := [phrase for phrase, spellings in spelled.items() if not spellings]:
        named = ", ".join(map(repr, missing[:SHOWN])) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
        cure = "add their words to the lexicon" if lexicon.closed else "write them in the model's characters"
        raise DataError(f"hotwords that cannot be spelled ({len(missing)} of {len(phrases)}): {named}; {cure}, or leave them out")
    return [(symbols, phrases[phrase]) for phrase, spellings in spelled.items() for symbols in dict.fromkeys(spellings)]


def _spellings(phrase: str, lexicon: Lexicon) -> Iterator[tuple[int, ...]]:
    for parts in itertools.product(*map(lexicon.spell, phrase.split())):
        if lexicon.delimited:
            yield (BOUNDARY, *itertools.chain.from_iterable((*part, BOUNDARY) for part in parts))
        else:
            yield tuple(itertools.chain.from_iterable(parts))


def _depths(trie: Trie) -> NDArray[np.int32]:
    depths = np.zeros(len(trie.parents), np.int32)
    for node in range(1, len(depths)):
        depths[node] = depths[trie.parents[node]] + 1
    return depths


def _links(trie: Trie, by_depth: list[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(S,) the state of each one's longest proper suffix that begins a phrase, and (S,) the state after a boundary."""
    symbol_to = np.zeros(len(trie.parents), np.int32)
    symbol_to[trie.targets] = trie.symbols
    arcs = {(int(trie.parents[node]), int(symbol_to[node])): node for node in by_depth}
    fail, at_boundary = np.zeros((2, len(trie.parents)), np.int32)
    at_boundary[0] = arcs.get((0, BOUNDARY), 0)
    for node in by_depth:
        symbol, state = int(symbol_to[node]), int(trie.parents[node])
        while state:
            state = int(fail[state])
            if (state, symbol) in arcs:
                fail[node] = arcs[state, symbol]
                break
        at_boundary[node] = arcs.get((node, BOUNDARY), at_boundary[fail[node]])
    return fail, at_boundary
