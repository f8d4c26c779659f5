"""Prefix beam search in plain Python: a prefix is a tuple of (token, word that the token completed or None), a dictionary holds
the beam, and what a prefix is worth is computed from its text anew every time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch

from asr.ctc.prefixes import trace

LN10 = math.log(10)
UNKNOWN = "\u2047"  # a word that no language model of the tests knows
Prefix = tuple[tuple[int, object], ...]


class Acoustics:
    """Nothing beside the acoustics; and the names that `Knowledge` answers to."""

    def choices(self, prefix: Prefix, token: int) -> list[object]:
        """The words that a token may complete after a prefix; None is no word."""
        return [None]

    def worth(self, prefix: Prefix) -> float:
        return 0.0

    def endings(self, prefix: Prefix) -> list[tuple[object, float, float]]:
        """(last word, worth, LM log-probability) of the prefix as a whole utterance."""
        return [(None, 0.0, 0.0)]


class Knowledge(Acoustics):
    """Lexicon, language model and hotwords.

    ``tokens``: what each token spells, a tuple of symbols, the first of them " " where it ends the word before it;
    ``spellings``: (word, symbols).
    """

    def __init__(self, tokens, spellings=(), closed=False, lm=None, by_token=None, lm_weight=0.0, word_bonus=0.0, hotwords=()):
        self.tokens, self.spellings, self.closed = tokens, list(spellings), closed
        self.implicit = not any(symbols[:1] == (" ",) for symbols in tokens)
        self.lm, self.by_token, self.lm_weight, self.word_bonus = lm, by_token, lm_weight, word_bonus
        self.hotwords = [(tuple(symbols), boost) for symbols, boost in hotwords]

    def log_prob(self, words, bos=True, eos=False):
        return LN10 * self.lm.score(" ".join(words), bos=bos, eos=eos) if self.lm else 0.0

    def words_at(self, spelling):
        words = list(dict.fromkeys(word for word, symbols in self.spellings if tuple(symbols) == spelling))
        return words if self.lm and not self.by_token else words[:1]

    def begins(self, spelling):
        return any(tuple(symbols[:len(spelling)]) == spelling for _, symbols in self.spellings)

    def read(self, prefix):
        """The words before the one being spelled (UNKNOWN for those outside the lexicon), that one, and all symbols."""
        words, current, heard = [], (), [" "]
        for token, word in prefix:
            symbols = self.tokens[token]
            if word is not None or (symbols[:1] == (" ",) and current):
                words.append(UNKNOWN if word is None else word)
                current = ()
                heard.append(" ")
            current += tuple(symbol for symbol in symbols if symbol != " ")
            heard += [symbol for symbol in symbols if symbol != " "]
        return words, current, tuple(heard)

    def choices(self, prefix, token):
        _, current, _ = self.read(prefix)
        symbols = self.tokens[token]
        found: list[object] = [None]
        if current and self.begins(current) and (self.implicit or symbols[:1] == (" ",)):
            known = self.words_at(current)
            found = ([None] if self.implicit or not (known or self.closed) else []) + known
        if self.closed:
            added = tuple(symbol for symbol in symbols if symbol != " ")
            found = [word for word in found
                     if self.begins(added if word is not None or symbols[:1] == (" ",) else current + added)]
        return found

    def parts(self, prefix):
        words, current, heard = self.read(prefix)
        if self.by_token:
            named = [self.by_token[token] for token, _ in prefix]
            return self.log_prob(named), 0.0, len(named), heard
        if current and not self.begins(current):
            return self.log_prob([*words, UNKNOWN]), 0.0, len(words), heard
        best = max((self.log_prob([word], bos=False) for word, symbols in self.spellings
                    if tuple(symbols[:len(current)]) == current), default=0.0) if current else 0.0
        return self.log_prob(words), best, len(words), heard

    def worth(self, prefix):
        log_prob, best, units, heard = self.parts(prefix)
        return self.lm_weight * (log_prob + best) + self.word_bonus * units + self.kept(heard) + self.lent(heard)

    def endings(self, prefix):
        words, current, heard = self.read(prefix)
        if current:
            known = self.words_at(current)
            lasts = known or ([] if self.closed else [None])
            heard = (*heard, " ")
        else:
            lasts = [None]
        found = []
        for last in lasts:
            said = [*words, *([UNKNOWN if last is None else last] if current else [])]
            if self.by_token:
                said = [self.by_token[token] for token, _ in prefix]
            log_prob = self.log_prob(said, eos=True)
            found.append((last, self.lm_weight * log_prob + self.word_bonus * len(said) + self.kept(heard), log_prob))
        return found

    def kept(self, heard):
        return sum(boost for symbols, boost in self.hotwords for start in range(len(heard))
                   if heard[start:start + len(symbols)] == symbols)

    def lent(self, heard):
        best = 0.0
        for symbols, boost in self.hotwords:
            size = sum(symbol != " " for symbol in symbols)
            for length in range(1, len(symbols)):
                if heard[-length:] == symbols[:length]:
                    best = max(best, boost * sum(symbol != " " for symbol in symbols[:length]) / size)
        return best


def search(log_probs, blank=0, beam=1 << 30, max_tokens=None, token_threshold=math.inf, beam_threshold=math.inf, blank_penalty=0.0,
           certain=(), knowledge=None):
    """The final beam: a list of (prefix, log-probability), in no order."""
    knowledge = knowledge or Acoustics()
    held: dict[Prefix, tuple[float, float]] = {(): (0.0, -math.inf)}
    for frame, row in enumerate(log_probs):
        by_blank = row[blank] - blank_penalty
        if len(certain) and certain[frame]:
            held = {prefix: (np.logaddexp(*both) + by_blank, -math.inf) for prefix, both in held.items()}
            continue
        others = sorted((token for token in range(len(row)) if token != blank and row[token] >= max(row) - token_threshold),
                        key=lambda token: -row[token])[:max_tokens]
        stay = {prefix: [np.logaddexp(*both) + by_blank, both[1] + row[prefix[-1][0]] if prefix else -math.inf]
                for prefix, both in held.items()}
        new: dict[Prefix, list[float]] = {}
        for prefix, both in held.items():
            for token in range(len(row)):
                if token == blank:
                    continue
                mass = (both[0] if prefix and prefix[-1][0] == token else np.logaddexp(*both)) + row[token]
                for word in knowledge.choices(prefix, token):
                    child = (*prefix, (token, word))
                    if child in stay:
                        stay[child][1] = np.logaddexp(stay[child][1], mass)
                    elif token in others:
                        new[child] = [-math.inf, mass]
        scored = [(np.logaddexp(*both) + knowledge.worth(prefix), prefix, both) for prefix, both in [*stay.items(), *new.items()]]
        scored = sorted((entry for entry in scored if entry[0] > -math.inf), key=lambda entry: -entry[0])[:beam]
        held = {prefix: tuple(both) for score, prefix, both in scored if score >= scored[0][0] - beam_threshold}
    return [(prefix, float(np.logaddexp(*both))) for prefix, both in held.items()]


def finished(held, knowledge=None, log_probs=None, blank=0):
    """(tokens, words, score, log-probability, LM log-probability) of every way to end, the best first.

    The log-probabilities are those of ``held``, or of all paths of frames where ``log_probs`` are given.
    """
    knowledge = knowledge or Acoustics()
    found = []
    for prefix, mass in held:
        if log_probs is not None:
            mass = exact_log_prob(log_probs, [token for token, _ in prefix], blank)
        for last, worth, log_prob in knowledge.endings(prefix):
            words = [word for _, word in prefix if word is not None] + ([last] if last is not None else [])
            found.append(([token for token, _ in prefix], words, mass + worth, mass, log_prob))
    return sorted(found, key=lambda entry: -entry[2])


def exact_log_prob(log_probs, tokens, blank=0):
    """Of all paths of frames that collapse to the tokens, as torch has it."""
    if not len(log_probs):
        return 0.0
    loss = torch.nn.functional.ctc_loss(torch.from_numpy(log_probs), torch.as_tensor(tokens, dtype=torch.long),
                                        torch.tensor(len(log_probs)), torch.tensor(len(tokens)), blank=blank, reduction="sum")
    return -float(loss)


def final_beam(search, log_probs):
    """Tokens and log-probability of what is in our beam at the end."""
    nodes, beam = search._search(log_probs)
    return sorted((trace(nodes, entry["node"])[0].tolist(), entry["mass"]) for entry in beam)


def assert_same_beam(search, log_probs, held):
    """Our beam at the end against that of the plain search."""
    found, expected = final_beam(search, log_probs), sorted(([token for token, _ in prefix], mass) for prefix, mass in held)
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([mass for _, mass in found], [mass for _, mass in expected], rtol=0, atol=1e-9)


def enumerate_paths(log_probs, blank=0, blank_penalty=0.0, knowledge=None):
    """As ``search`` with no limits: every path of frames, summed by what it collapses to."""
    knowledge = knowledge or Acoustics()
    frames, vocabulary = log_probs.shape
    masses: dict[tuple[int, ...], list[float]] = {}
    for path in itertools.product(range(vocabulary), repeat=frames):
        tokens = tuple(token for token, _ in itertools.groupby(path) if token != blank)
        masses.setdefault(tokens, []).append(sum(log_probs[t, token] - blank_penalty * (token == blank)
                                                 for t, token in enumerate(path)))
    return [(prefix, float(np.logaddexp.reduce(scores))) for tokens, scores in masses.items()
            if np.logaddexp.reduce(scores) > -math.inf for prefix in _readings(tokens, knowledge.choices)]


def _readings(tokens: tuple[int, ...], choices: Callable[[Prefix, int], list[object]]) -> Iterator[Prefix]:
    if not tokens:
        yield ()
        return
    for prefix in _readings(tokens[:-1], choices):
        for word in choices(prefix, tokens[-1]):
            yield (*prefix, (tokens[-1], word))
