"""n-gram models a second time, slow and plain: backoff as the ARPA format defines it, and Kneser-Ney from its formulas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from asr.text import NgramLM
from asr.text.ngram_query import advance, initial_state

Gram = tuple[str, ...]


def entries(lm: NgramLM) -> dict[Gram, tuple[float, float]]:
    """Every n-gram of a model, with its log10 probability and backoff weight (0 at the highest order)."""
    found: dict[Gram, tuple[float, float]] = {}
    rows: list[Gram] = [()]
    for table in lm.tables:
        grams = [(*rows[context], lm.words[word]) for context, word in zip(table.context, table.word)]
        backoff = table.backoff if len(table.backoff) else [0.0] * len(grams)
        found |= {gram: (float(prob), float(weight)) for gram, prob, weight in zip(grams, table.log10_prob, backoff)}
        rows = grams
    return found


def plain_log10(entries: dict[Gram, tuple[float, float]], context: Gram, word: str) -> float:
    """log10 p(word | context): the longest n-gram there is, and the backoff weights of the contexts on the way to it."""
    if (*context, word) in entries:
        return entries[(*context, word)][0]
    if not context:
        return -100.0
    weight = entries[context][1] if context in entries else 0.0
    return weight + plain_log10(entries, context[1:], word)


def plain_score(entries: dict[Gram, tuple[float, float]], words: Sequence[str], bos: bool, eos: bool) -> float:
    """log10 probability of a sentence."""
    known = [word if (word,) in entries else "<unk>" for word in words]
    history: Gram = ("<s>",) if bos else ()
    total = 0.0
    for word in [*known, *(["</s>"] if eos else [])]:
        total += plain_log10(entries, history, word)
        history = (*history, word)
    return total


def log10_after(lm: NgramLM, context: Sequence[str], word: str) -> float:
    """log10 p(word | context) by the compiled functions; a context that begins with ``<s>`` begins a sentence."""
    state = 0
    for position, before in enumerate(context):
        state = initial_state(lm.arrays) if position == 0 and before == "<s>" else \
            advance(lm.arrays, state, lm.index.get(before, -1))[1]
    return advance(lm.arrays, state, lm.index.get(word, -1))[0]


def story(sentences: int = 400) -> list[str]:
    """A made-up text with common and rare words, the same everywhere; its last word is said once."""
    state, lines = 12345, []
    for _ in range(sentences):
        line, word = [], 0
        while True:
            state = (state * 1103515245 + 12345) % 2**31
            word = (word * 5 + int(300 * (state / 2**31) ** 4)) % 499
            if word % 7 == 3 or len(line) > 12:
                break
            line.append(f"w{word}")
        lines.append(" ".join(line))
    return [*lines, "the end"]


class PlainKneserNey:
    """p(word | context) of interpolated modified Kneser-Ney, by recursion over dictionaries."""

    def __init__(self, sentences: Iterable[Sequence[str]], order: int, prune: Sequence[int],
                 vocabulary: Iterable[str] | None = None) -> None:
        known = None if vocabulary is None else {*vocabulary, "<unk>"}
        texts = [["<s>", *(word if known is None or word in known else "<unk>" for word in sentence), "</s>"]
                 for sentence in sentences]
        self.words = ({word for text in texts for word in text} | (known or {"<unk>"})) - {"<s>"}
        self.order = order
        self.prune = [*prune, *[prune[-1]] * (order - len(prune))]
        self.occurs = Counter(tuple(text[start:start + length]) for text in texts for length in range(1, order + 1)
                              for start in range(len(text) - length + 1))
        before: dict[Gram, set[str]] = {}
        for gram in self.occurs:
            before.setdefault(gram[1:], set()).add(gram[0])
        self.counts = {gram: occurs if len(gram) == order or gram[0] == "<s>" else len(before[gram])
                       for gram, occurs in self.occurs.items() if gram != ("<s>",)}
        self.discounts = [self._discounts(length) for length in range(1, order + 1)]

    def _discounts(self, length: int) -> list[float]:
        numbers = Counter(count for gram, count in self.counts.items() if len(gram) == length)
        n1, n2, n3, n4 = (numbers[count] for count in (1, 2, 3, 4))
        if n1 and n2 and n3:
            share = n1 / (n1 + 2 * n2)
            found = [0.0, 1 - 2 * share * n2 / n1, 2 - 3 * share * n3 / n2, 3 - 4 * share * n4 / n3]
            if min(found[1:]) > 0:
                return found
        return [0.0, 0.5, 1.0, 1.5]

    def prob(self, context: Gram, word: str) -> float:
        """p(word | context), the context cut to what the order allows."""
        context = context[max(0, len(context) - self.order + 1):]
        below = self.prob(context[1:], word) if context else 1 / len(self.words)
        following = {gram: count for gram, count in self.counts.items() if gram[:-1] == context}
        total = sum(following.values())
        if total == 0:
            return below
        discount = self.discounts[len(context)]
        kept = {gram: count for gram, count in following.items()
                if len(gram) == 1 or self.occurs[gram] > self.prune[len(context)]}
        freed = sum(discount[min(count, 3)] if gram in kept else count for gram, count in following.items())
        own = kept.get((*context, word), 0)
        return (own - discount[min(own, 3)]) / total + freed / total * below
