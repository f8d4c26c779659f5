"""Two named, versioned sets of rules by which texts become words and words are aligned.

``edit`` counts the fewest errors, as Kaldi and jiwer do: words are what lies between spaces, compared exactly. ``sclite``
counts as NIST's sclite does with its option ``-D``: a substitution weighs 4, a deletion or insertion 3, upper case is lower
case (A to Z), and `asr.scoring.network` says what ``{a / b}``, ``(uh)`` and ``@`` mean. sclite seeks the lightest
alignment, not the one with the fewest errors, so on bad transcripts its total can be a little larger.
"""

from __future__ import annotations

import difflib
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asr.errors import DataError, UsageError
from asr.scoring.align import FEWEST_ERRORS, SCLITE, align
from asr.scoring.network import NULL, Item, Network, bare, build, has_notation, is_optional, parse, rewrite
from asr.text.normalize import Normalizer
from asr.text.tables import words

if TYPE_CHECKING:
    import numpy as np

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
_CELLS = 30_000_000  # of one alignment of networks: 360 MB


@dataclass(frozen=True)
class Rules:
    """A way of counting, with a name, a version and one line that says what it does."""

    name: str
    version: int
    summary: str

    def __str__(self) -> str:
        return f"{self.name} (version {self.version})"


RULES: dict[str, Rules] = {rules.name: rules for rules in (
    Rules("edit", 1, "fewest errors, and among those fewest substitutions; words compared exactly"),
    Rules("sclite", 1, "as NIST's sclite -D: weights 4, 3 and 3, {a / b}, (optional) and @, A to Z as a to z"),
    Rules("sclite-cased", 1, "as NIST's sclite -D -s: the same with upper and lower case told apart"),
)}


@dataclass(frozen=True)
class Aligned:
    """One utterance: its words as they were aligned (of each alternation the branch that was taken), the alignment, and
    for each step the place in the reference text (-1 for an insertion); None where every word is a place of its own."""

    reference: list[str]
    hypothesis: list[str]
    operations: str
    slots: tuple[int, ...] | None = None


def get_rules(name: str) -> Rules:
    """The rules of this name; raises UsageError that lists the known ones."""
    if name in RULES:
        return RULES[name]
    close = difflib.get_close_matches(name, RULES, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UsageError(f"unknown rules {name!r}; {hint}known: {', '.join(RULES)}")


def key(rules: Rules, word: str) -> str:
    """What of a word is compared."""
    if rules.name == "edit":
        return word
    return bare(word) if rules.name == "sclite-cased" else bare(word).translate(_LOWER)


def align_texts(rules: Rules, normalizer: Normalizer, ids: Sequence[str], references: Sequence[str],
                hypotheses: Sequence[str]) -> list[Aligned]:
    """Align each reference with the hypothesis at the same place, both normalised.

    Raises DataError with the utterance for a malformed alternation.
    """
    if rules.name == "edit":
        ours = [words(normalizer(text)) for text in references]
        theirs = [words(normalizer(text)) for text in hypotheses]
        return [Aligned(*row) for row in zip(ours, theirs, align(ours, theirs, FEWEST_ERRORS))]
    aligned: dict[int, Aligned] = {}
    plain: list[tuple[int, list[str], list[str]]] = []
    for index, (utterance, ref, hyp) in enumerate(zip(ids, references, hypotheses)):
        sides = _items(utterance, "reference", ref, normalizer), _items(utterance, "hypothesis", hyp, normalizer)
        if any(_is_special(item) for side in sides for item in side):
            aligned[index] = _align_networks(rules, utterance, build(sides[0]), build(sides[1]))
        else:
            plain.append((index, [str(item) for item in sides[0]], [str(item) for item in sides[1]]))
    keys = [[[key(rules, word) for word in row[side]] for row in plain] for side in (1, 2)]
    for (index, ref_words, hyp_words), operations in zip(plain, align(keys[0], keys[1], SCLITE)):
        aligned[index] = Aligned(ref_words, hyp_words, operations)
    return [aligned[index] for index in range(len(ids))]


def _items(utterance: str, side: str, text: str, normalizer: Normalizer) -> list[Item]:
    if not has_notation(text):
        return list(words(normalizer(text)))
    try:
        items = parse(text)
    except ValueError as error:
        raise DataError(f"utterance {utterance}: the {side} is malformed: {error}") from None
    return items if normalizer.name == "none" else rewrite(items, normalizer)


def _is_special(item: Item) -> bool:
    return isinstance(item, list) or item == NULL or is_optional(item)


def _align_networks(rules: Rules, utterance: str, ours: Network, theirs: Network) -> Aligned:
    from asr.scoring.kernels import align_networks

    if len(ours.words) * len(theirs.words) > _CELLS:
        raise DataError(f"utterance {utterance}: {len(ours.words)} words with alternations against {len(theirs.words)} are too "
                        f"many to align at once; cut the recording into segments (an stm file)")
    ids = {NULL: 0}
    path = align_networks(*_arrays(rules, ours, ids), *_arrays(rules, theirs, ids))[::-1].tolist()
    reference, hypothesis, operations, slots = [], [], [], []
    for a, b in path:
        ref, hyp = ours.words[a] if a >= 0 else None, theirs.words[b] if b >= 0 else None
        if ref in (None, NULL) and hyp in (None, NULL):
            continue
        if hyp is None:
            letter = "d" if is_optional(str(ref)) else "D"
        elif ref is None:
            letter = "i" if is_optional(hyp) else "I"
        else:
            letter = "C" if key(rules, ref) == key(rules, hyp) else "S"
        reference += [] if ref is None else [ref]
        hypothesis += [] if hyp is None else [hyp]
        operations.append(letter)
        slots.append(-1 if ref is None else ours.slots[a])
    return Aligned(reference, hypothesis, "".join(operations), tuple(slots))


def _arrays(rules: Rules, network: Network, ids: dict[str, int]) -> tuple[np.ndarray, ...]:
    """The five arrays that `align_networks` takes of a side."""
    import numpy as np

    keys = [NULL if word == NULL else key(rules, word) for word in network.words]
    gaps = [0.001 if word == NULL else 2.0 if is_optional(word) else 3.0 for word in network.words]
    starts = np.zeros(len(keys) + 1, dtype=np.int64)
    np.cumsum([len(links) for links in network.links], out=starts[1:])
    return (np.array([ids.setdefault(each, len(ids)) for each in keys], dtype=np.int32), np.array(gaps, dtype=np.float32),
            np.array([link for links in network.links for link in links], dtype=np.int32), starts,
            np.array(network.ends, dtype=np.int32))
