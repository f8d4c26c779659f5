"""NIST's notation for what may be said in more than one way, as a network of words.

    {um / uh / @}    any of these; ``@`` is no word at all; alternatives may be of several words, and hold alternations
    (uh)             optional: no error where the hypothesis leaves it out

Also as sclite has it: of ``word;tag`` only the word counts, and one ``*`` at the end of a word is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Union

NULL = "@"
Item = Union[str, "list[list[Item]]"]  # a word, or an alternation: a list of sequences

_SPACE = " \t\r\f\v\n"


@dataclass(frozen=True)
class Network:
    """Words on arcs. Arc 0 is an empty head; ``links[k]`` are the arcs before arc k, all of a lower number; ``slots[k]`` is
    the place of arc k in the text, where a whole alternation is one place."""

    words: list[str]
    links: list[list[int]]
    slots: list[int]
    ends: list[int]


def has_notation(text: str) -> bool:
    """Whether a text may hold anything but plain words."""
    return any(mark in text for mark in "{}@(;*")


def parse(text: str) -> list[Item]:
    """The words and alternations of a text. Raises ValueError that says what is malformed."""
    return _sequence(text, 0, 0)[0]


def is_optional(word: str) -> bool:
    """Whether a word is written ``(word)``."""
    return len(word) > 1 and word[0] == "(" and word[-1] == ")"


def bare(word: str) -> str:
    """The word itself, without the parentheses of an optional one."""
    return word[1:-1] if is_optional(word) else word


def rewrite(items: list[Item], change: Callable[[str], str]) -> list[Item]:
    """Apply a change of text (a normaliser) between the marks: to each run of plain words, and to each optional word."""
    changed: list[Item] = []
    run: list[str] = []
    for item in [*items, ""]:
        if isinstance(item, str) and item not in ("", NULL) and not is_optional(item):
            run.append(item)
            continue
        changed += change(" ".join(run)).split()
        run = []
        if isinstance(item, list):
            alternatives = [rewrite(alternative, change) or [NULL] for alternative in item]
            changed.append(alternatives)
        elif item == NULL:
            changed.append(item)
        elif item:
            changed += [f"({word})" for word in change(bare(item)).split()]
    return changed


def build(items: list[Item]) -> Network:
    """The network of a parsed text, its arcs in the order of sclite's (which decides between equally good paths)."""
    words: list[str] = [""]
    slots = [-1]
    tails, heads = [0], [1]  # nodes that an arc leads from and to: 0 begins the network, 1 the text
    outgoing: list[list[int]] = [[0], []]
    incoming: list[list[int]] = [[], [0]]

    def node() -> int:
        outgoing.append([])
        incoming.append([])
        return len(outgoing) - 1

    def chain(sequence: list[Item], begin: int, end: int | None, slot: int | None) -> int:
        here = begin
        for index, item in enumerate(sequence):
            last = index == len(sequence) - 1
            there = end if last and end is not None else node()
            place = index if slot is None else slot
            if isinstance(item, str):
                outgoing[here].append(len(words))
                incoming[there].append(len(words))
                words.append(item)
                slots.append(place)
                tails.append(here)
                heads.append(there)
            else:
                for alternative in item:
                    chain(alternative, here, there, place)
            here = there
        return here

    last = chain(items, 1, None, None)
    order = _in_order(outgoing, incoming, heads)
    number = {arc: index for index, arc in enumerate(order)}
    return Network([words[arc] for arc in order], [[number[before] for before in incoming[tails[arc]]] for arc in order],
                   [slots[arc] for arc in order], [number[arc] for arc in incoming[last]])


def _in_order(outgoing: list[list[int]], incoming: list[list[int]], heads: list[int]) -> list[int]:
    waiting = [len(arcs) for arcs in incoming]
    ready, order = deque([0]), []
    while ready:
        for arc in outgoing[ready.popleft()]:
            order.append(arc)
            waiting[heads[arc]] -= 1
            if not waiting[heads[arc]]:
                ready.append(heads[arc])
    return order


def _sequence(text: str, at: int, depth: int) -> tuple[list[Item], int]:
    """Words and alternations from ``at`` on, up to the end, or within an alternation up to its next ``/`` or ``}``."""
    items: list[Item] = []
    while True:
        while at < len(text) and text[at] in _SPACE:
            at += 1
        if at == len(text):
            if depth:
                raise ValueError("an alternation { ... is not closed by }")
            return items, at
        if text[at] == "{":
            alternation, at = _alternation(text, at + 1, depth + 1)
            items.append(alternation)
        elif depth and text[at] in "/}":
            return items, at
        else:
            begin = at
            while at < len(text) and text[at] not in _SPACE and not (depth and text[at] in "/}") and text[at] != "{":
                at += 1
            word = text[begin:at]
            if at < len(text) and text[at] == "{":
                raise ValueError(f"a brace within a word: {word}{{; alternations stand between spaces")
            if "}" in word:
                raise ValueError(f"a closing brace without an opening one: {word}")
            items.append(_cut(word))


def _alternation(text: str, at: int, depth: int) -> tuple[list[list[Item]], int]:
    alternatives = []
    while True:
        alternative, at = _sequence(text, at, depth)
        if alternative:
            alternatives.append(alternative)
        if text[at] == "}":
            if not alternatives:
                raise ValueError("an alternation without a word in it; write @ for no word")
            return alternatives, at + 1
        at += 1  # the /


def _cut(word: str) -> str:
    word = word.partition(";")[0] or ";"
    return word[:-1] if len(word) > 1 and word[-1] == "*" else word
