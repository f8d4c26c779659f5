"""A weighted grammar of sentences: read from YAML, checked, and expanded by a seeded random generator.

The notation is explained at the head of grammar.yaml. Every fault of the file is an error that names the rule.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from asr.errors import DataError

TOKEN = re.compile(r"<[a-z_]+>|[a-z]+|[\[\]()|]")
START = "command"


@dataclass(frozen=True)
class Word:
    """A word of the sentence."""

    text: str


@dataclass(frozen=True)
class Reference:
    """The place of another rule."""

    rule: str


@dataclass(frozen=True)
class Sequence:
    """Parts that follow each other."""

    parts: tuple[Node, ...]


@dataclass(frozen=True)
class Choice:
    """Exactly one of the options, drawn by weight."""

    options: tuple[Node, ...]
    weights: tuple[float, ...]


Node = Word | Reference | Sequence | Choice


class Grammar:
    """Rules by name; `command` is where a sentence begins."""

    def __init__(self, rules: dict[str, Choice]):
        """Raises DataError for a rule that is absent, leads back to itself, or is reached from nowhere."""
        self.rules = rules
        reached: set[str] = set()
        self._visit(START, (), reached)
        if unused := sorted(set(rules) - reached):
            raise DataError(f"grammar: no way leads from `{START}` to {', '.join(f'<{name}>' for name in unused)}; "
                            "use or remove")

    @classmethod
    def load(cls, path: str | Path) -> Grammar:
        """Read a YAML file of rules. Raises DataError that says where the file breaks the notation."""
        try:
            tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"{path}: cannot read: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise DataError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
        if not isinstance(tree, dict) or not all(isinstance(phrases, list) and phrases for phrases in tree.values()):
            raise DataError(f"{path}: expected rules, each a name and a list of phrases (`name:` and lines of `- phrase`)")
        return cls({str(name): _parse_rule(str(name), phrases, path) for name, phrases in tree.items()})

    def words(self) -> list[str]:
        """Every word that a sentence can contain, sorted."""
        return sorted({node.text for rule in self.rules.values() for node in _walk(rule) if isinstance(node, Word)})

    def draw(self, rng: random.Random) -> str:
        """One sentence."""
        return " ".join(self._expand(self.rules[START], rng))

    def _expand(self, node: Node, rng: random.Random) -> Iterator[str]:
        if isinstance(node, Word):
            yield node.text
        elif isinstance(node, Reference):
            yield from self._expand(self.rules[node.rule], rng)
        elif isinstance(node, Sequence):
            for part in node.parts:
                yield from self._expand(part, rng)
        else:
            yield from self._expand(rng.choices(node.options, node.weights)[0], rng)

    def _visit(self, name: str, path: tuple[str, ...], reached: set[str]) -> None:
        if name in path:
            raise DataError(f"grammar: a rule leads back to itself: {' -> '.join((*path, name))}")
        if name not in self.rules:
            where = f"rule `{path[-1]}` names <{name}>, which" if path else f"the first rule, `{name}`,"
            raise DataError(f"grammar: {where} is not there")
        reached.add(name)
        for node in _walk(self.rules[name]):
            if isinstance(node, Reference):
                self._visit(node.rule, (*path, name), reached)


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for part in node.parts if isinstance(node, Sequence) else node.options if isinstance(node, Choice) else ():
        yield from _walk(part)


def _parse_rule(name: str, phrases: list[object], path: str | Path) -> Choice:
    options, weights = [], []
    for phrase in phrases:
        if not isinstance(phrase, str):  # YAML reads a bare `on`, `no` or `12` as something else than text
            raise DataError(f"{path}: rule `{name}`: {phrase!r} is not a phrase; put it in quotes")
        weight, star, text = phrase.partition("*")
        if not star:
            weight, text = "1", phrase
        where = f"{path}: rule `{name}`: `{phrase}`"
        if not re.fullmatch(r"\s*\d+(\.\d+)?\s*", weight) or float(weight) <= 0:
            raise DataError(f"{where}: the weight before `*` must be a number above zero")
        if leftover := TOKEN.sub("", text).strip():
            raise DataError(f"{where}: cannot read `{leftover}`; words are lower-case letters, and the notation is "
                            "<rule> (a | b) [a]")
        tokens = TOKEN.findall(text)
        node = _parse_options(tokens, where)
        if tokens:
            raise DataError(f"{where}: `{tokens[0]}` without its opening bracket")
        options.append(node)
        weights.append(float(weight))
    return Choice(tuple(options), tuple(weights))


def _parse_options(tokens: list[str], where: str) -> Node:
    """Phrases separated by `|`, up to a closing bracket or the end; takes what it reads off the front of `tokens`."""
    options = [_parse_sequence(tokens, where)]
    while tokens and tokens[0] == "|":
        tokens.pop(0)
        options.append(_parse_sequence(tokens, where))
    return options[0] if len(options) == 1 else Choice(tuple(options), (1.0,) * len(options))


def _parse_sequence(tokens: list[str], where: str) -> Node:
    parts: list[Node] = []
    while tokens and tokens[0] not in ")]|":
        token = tokens.pop(0)
        if token in "([":
            closing = ")" if token == "(" else "]"
            node = _parse_options(tokens, where)
            if not tokens or tokens.pop(0) != closing:
                raise DataError(f"{where}: `{token}` without its `{closing}`")
            parts.append(node if token == "(" else Choice((node, Sequence(())), (1.0, 1.0)))
        else:
            parts.append(Reference(token[1:-1]) if token.startswith("<") else Word(token))
    if not parts:
        raise DataError(f"{where}: an empty phrase; write [a] for `a or nothing`")
    return Sequence(tuple(parts)) if len(parts) > 1 else parts[0]
