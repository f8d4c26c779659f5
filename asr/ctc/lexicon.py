"""The words a search knows, and how tokens spell them."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.ctc.trie import Trie, build_trie, group
from asr.errors import DataError
from asr.text import BpeTokenizer, PhoneTokenizer, Tokenizer
from asr.text.phones import lexicon_lines
from asr.text.tokenizer import UNK

SPACE = "<space>"  # the name of the character tokenizer's space
BOUNDARY = 0  # the symbol between words; those that spell start at 1
SHOWN = 20
NO_LETTER = "\uffff"  # what an unknown token adds to a spelling: no word has it, Unicode keeps it out of texts

_log = logging.getLogger("asr")


class Lexicon:
    """Words, their spellings as a trie, and what each token adds to a spelling.

    A spelling is a sequence of symbols: characters where a tokenizer knows its tokens' text (`from_words`), so that any
    pieces that spell a word are that word; tokens where a file (`load`) or the tokenizer's pronunciations say which. A token
    that is, or begins with, a space ends the word before it. Where no token does, a word may end wherever its spelling does.

    Attributes:
        words: the words; several spellings a word and several words a spelling (homophones) are possible.
        closed: whether words outside are forbidden. In an open lexicon they are the language model's unknown word.
        unspellable: the words that were left out, each with the symbols no token has.
        implicit: whether words end without a token that says so.
        starts: (V,) bool, whether a token ends the word before it.
        spells: (V,) bool, whether it adds something to a spelling.
        trie, word_offsets, word_ids: the words spelled at node ``n`` are ``word_ids[word_offsets[n]:word_offsets[n + 1]]``.
    """

    def __init__(self, spellings: Sequence[tuple[str, Sequence[int]]], symbols: Sequence[Sequence[int]],
                 starts: Sequence[bool], closed: bool, unspellable: Mapping[str, list[str]]) -> None:
        """``spellings``: (word, symbols from 1 up); ``symbols`` and ``starts``: for every token."""
        self.words = list(dict.fromkeys(word for word, _ in spellings))
        self.closed = closed
        self.unspellable = dict(unspellable)
        self.implicit = not any(starts)
        self.starts = np.array(starts, bool)
        self.spells = np.array([len(added) > 0 for added in symbols], bool)
        self._token_trie, token_ends = build_trie(symbols)
        self._token_ends = group(token_ends, len(self._token_trie.parents))
        index = {word: number for number, word in enumerate(self.words)}
        self.trie, ends = build_trie([spelling for _, spelling in spellings])
        self.word_offsets, order = group(ends, len(self.trie.parents))
        ids = np.array([index[word] for word, _ in spellings], np.int32)
        self.word_ids = ids[order]
        self._spellings: dict[str, list[tuple[int, ...]]] = {}
        for word, spelling in spellings:
            self._spellings.setdefault(word, []).append(tuple(spelling))
        self._symbol_of: dict[str, int] | None = None

    @property
    def delimited(self) -> bool:
        """Whether the search sees where a word ends."""
        return self.closed or not self.implicit

    @property
    def vocab_size(self) -> int:
        """Number of tokens, the blank included."""
        return len(self.starts)

    @classmethod
    def from_words(cls, vocabulary: Iterable[str], tokenizer: Tokenizer, closed: bool = True) -> Lexicon:
        """The lexicon of words that a tokenizer's tokens spell, letter by letter; of phones, in all their pronunciations.

        Words that hold a character without a token, or have no pronunciation, are left out, named on the log, and kept in
        ``unspellable``. Raises DataError where a closed vocabulary has no word left.
        """
        if isinstance(tokenizer, PhoneTokenizer):
            return cls._pronounced(vocabulary, tokenizer, closed)
        texts = [tokenizer.decode([token]) for token in range(tokenizer.vocab_size)]
        if tokenizer.unk:
            texts[tokenizer.tokens.index(UNK)] = NO_LETTER  # the letters of its name would pass for letters that a token spells
        mark = "\u2581" if isinstance(tokenizer, BpeTokenizer) else SPACE
        starts = [name.startswith(mark) and token > 0 for token, name in enumerate(tokenizer.tokens)]
        symbol_of = {character: number for number, character in enumerate(sorted(set("".join(texts))), start=BOUNDARY + 1)}
        spellings: list[tuple[str, Sequence[int]]] = []
        missing: dict[str, list[str]] = {}
        for word in dict.fromkeys(vocabulary):
            written = unicodedata.normalize("NFC", word)
            if missing_here := sorted(set(written) - symbol_of.keys()) if written else ["no letter"]:
                missing[word] = missing_here
            else:
                spellings.append((word, [symbol_of[character] for character in written]))
        _report(missing, len(spellings), "the vocabulary", closed)
        found = cls(spellings, [[symbol_of[character] for character in text] for text in texts], starts, closed, missing)
        found._symbol_of = symbol_of
        return found

    @classmethod
    def _pronounced(cls, vocabulary: Iterable[str], tokenizer: PhoneTokenizer, closed: bool) -> Lexicon:
        spellings: list[tuple[str, Sequence[int]]] = []
        missing: dict[str, list[str]] = {}
        for word in dict.fromkeys(vocabulary):
            known = tokenizer.pronunciations.get(unicodedata.normalize("NFC", word), [])
            spellings += [(word, phones) for phones in known]
            if not known:
                missing[word] = ["no pronunciation"]
        _report(missing, len(spellings), "the vocabulary", closed)
        return cls(spellings, *_tokens_as_symbols(tokenizer.tokens, SPACE), closed, missing)

    @classmethod
    def load(cls, path: str | Path, tokens: Sequence[str], separator: str = SPACE) -> Lexicon:
        """A closed lexicon from a file: a line a spelling, ``word token token ...`` (Kaldi's ``lexicon.txt``), or in the CMU form.

        ``tokens``: the names of all tokens, the blank first (``tokenizer.tokens``). A separator that is among the tokens must
        stand between words; it may end the spellings of the file. Without one, and in a file of pieces, each spelling simply
        follows the one before. Words that hold what is no token are left out, named on the log, and kept in ``unspellable``.
        Raises UsageError where the file cannot be read, DataError where a line has no spelling or no word is left.
        """
        index = {name: number for number, name in enumerate(tokens) if number}
        spellings: dict[tuple[str, tuple[int, ...]], None] = {}
        missing: dict[str, list[str]] = {}
        for number, word, names in lexicon_lines(path, comments="#" not in index):
            if names and names[-1] == separator:
                names.pop()
            if not names:
                raise DataError(f"{path}:{number}: {word} has no spelling; expected `word token token ...`")
            if unknown := [name for name in names if name not in index or name == separator]:
                missing.setdefault(word, []).extend(unknown)
            else:
                spellings[word, tuple(index[name] for name in names)] = None
        _report(missing, len(spellings), str(path), closed=True)
        return cls(list(spellings), *_tokens_as_symbols(tokens, separator), True, missing)

    def arcs(self, trie: Trie, starts_at_root: bool) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
        """Where tokens lead in a trie of this lexicon's symbols: offsets (N + 1,), tokens (sorted for each node) and targets.

        ``starts_at_root``: tokens that end the word before them lead from the root alone.
        """
        from asr.ctc.token_arcs import token_arcs

        return token_arcs(*trie[:3], *self._token_trie[:3], *self._token_ends, self.starts & starts_at_root)

    def spell(self, word: str) -> list[tuple[int, ...]]:
        """The spellings of a word; none where the lexicon does not know it, or an open one has no symbols for it."""
        if word in self._spellings:
            return self._spellings[word]
        written = unicodedata.normalize("NFC", word)
        if self.closed or self._symbol_of is None or not self._symbol_of.keys() >= set(written):
            return []
        return [tuple(self._symbol_of[character] for character in written)]


def _tokens_as_symbols(tokens: Sequence[str], separator: str) -> tuple[list[list[int]], list[bool]]:
    """Symbols and starts of tokens by name, where each spells itself."""
    symbols = [[token] if token and name != separator else [] for token, name in enumerate(tokens)]
    return symbols, [name == separator for name in tokens]


def _report(missing: Mapping[str, list[str]], kept: int, where: str, closed: bool) -> None:
    """Name the words that no tokens spell; end where that is all of a closed vocabulary."""
    named = ", ".join(f"{word} ({' '.join(dict.fromkeys(symbols))})" for word, symbols in list(missing.items())[:SHOWN])
    more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
    if closed and not kept:
        raise DataError(f"{where}: no word can be spelled with the model's tokens: {named or 'it has no words'}{more}")
    if missing:
        _log.warning("%s: %d of %d words are left out, the tokens cannot spell them: %s%s", where, len(missing),
                     len(missing) + kept, named, more)
