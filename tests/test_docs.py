"""The documentation says what is so: keys and defaults, links, commands and their options.

`python tests/test_docs.py` prints every key of every configuration as a row of its page, its meaning left open.
"""

from __future__ import annotations

import re
import shlex
import types
import typing
from pathlib import Path

import pytest
import typer
from pydantic.fields import FieldInfo

from asr.classification.config import ClassifyConfig, InputConfig
from asr.cli.main import app
from asr.config import AugmentConfig, Config, ConvLayerConfig, FeatureConfig, LoopConfig, ModelConfig, Section
from asr.series.config import ForecastConfig

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/*/*.md"), *ROOT.glob("benchmarks/*.md")])
# Each kind of configuration has a page; what all of them share stands in configuration.md alone.
ROOTS: dict[str, tuple[type[Section], tuple[type[Section], ...]]] = {
    "configuration.md": (Config, ()),
    "classification.md": (ClassifyConfig, (FeatureConfig, AugmentConfig, ModelConfig, LoopConfig)),
    "forecasting.md": (ForecastConfig, ())}
NAMES: dict[object, str] = {int: "integer", float: "number", bool: "true or false", str: "text", type(None): "null",
                            ConvLayerConfig: "layer", InputConfig: "input"}


# ------------------------------------------------------------------------------------------------- configuration


def section_in(annotation: object) -> type[Section] | None:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) and issubclass(annotation, Section):
        return annotation
    return next((found for inner in typing.get_args(annotation) if inner is not Ellipsis and (found := section_in(inner))), None)


def keys(section: type[Section] = Config, shared: tuple[type[Section], ...] = (), path: str = "") -> list[tuple[str, FieldInfo]]:
    """(key path, field) of every leaf; the members of a list of sections stand under `path[]`. Keys of ``shared`` sections, and
    those that a section has of one of them, are left out."""
    found: list[tuple[str, FieldInfo]] = []
    inherited = {name for parent in section.__mro__[1:] if parent in shared for name in parent.model_fields}
    for name, field in section.model_fields.items():
        inner = section_in(field.annotation)
        if name in inherited or inner in shared:
            continue
        if inner is field.annotation:
            found += keys(inner, shared, f"{path}{name}.")
        else:
            found.append((f"{path}{name}", field))
            if inner:
                found += keys(inner, shared, f"{path}{name}[].")
    return found


def differing(found: list[tuple[str, FieldInfo]]) -> list[tuple[str, FieldInfo]]:
    """The keys that a recogniser's tree does not have, or not with this type, default and meaning."""
    known = {path: (type_of(field), default_of(field), field.description) for path, field in keys()}
    return [(path, field) for path, field in found if known.get(path) != (type_of(field), default_of(field), field.description)]


def type_of(field: FieldInfo) -> str:
    """The type in words, with the bounds of a number: `integer, >= 1`."""
    text = words(field.annotation)
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    bounds = [f"{sign} {getattr(rule, name):g}" for rule in field.metadata for name, sign in signs.items() if hasattr(rule, name)]
    return ", ".join([text, *bounds])


def words(annotation: object) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin is typing.Annotated:  # a bound on one of several kinds of value
        return type_of(FieldInfo.from_annotation(annotation))
    if origin in (types.UnionType, typing.Union):
        return " or ".join(map(words, inner))
    if origin is tuple:
        what = words(inner[0]) + ("" if typing.get_origin(inner[0]) is typing.Literal else "s")
        return f"list of {what}" if inner[-1] is Ellipsis else f"pair of {what}" if len(inner) == 2 else f"three {what}"
    return NAMES[annotation]


def default_of(field: FieldInfo) -> str:
    def plain(value: object) -> str:
        if isinstance(value, Section):
            return "{" + ", ".join(f"{name}: {plain(getattr(value, name))}" for name in type(value).model_fields) + "}"
        if isinstance(value, tuple):
            return "[" + ", ".join(map(plain, value)) + "]"
        return {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else str(value)

    return "required" if field.is_required() else f"`{plain(field.default)}`"


KEYS = [(page, path, field) for page, (root, shared) in ROOTS.items()
        for path, field in (differing if root is ForecastConfig else list)(keys(root, shared))]


def documented(page: str) -> dict[str, tuple[str, str, str]]:
    """Key path -> type, default and meaning of a page of docs/."""
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \| (.*?) \| (.*) \|$", (ROOT / "docs" / page).read_text(), re.MULTILINE)
    assert len(rows) == len({row[0] for row in rows}), "a key comes twice"
    return {key: (kind, default, meaning) for key, kind, default, meaning in rows}


@pytest.mark.parametrize("page", ROOTS)
def test_every_key_is_documented_and_no_other(page):
    assert sorted(documented(page)) == sorted(path for where, path, _ in KEYS if where == page)
    assert len(documented(page)) > (70 if page == "configuration.md" else 30)


@pytest.mark.parametrize(("page", "path", "field"), KEYS, ids=[path for _, path, _ in KEYS])
def test_a_key_has_its_type_default_and_a_meaning(page, path, field):
    kind, default, meaning = documented(page)[path]
    assert (kind, default) == (type_of(field), default_of(field))
    assert len(meaning) > 5 and (not field.description or meaning.startswith(field.description))


# ----------------------------------------------------------------------------------------------------------- links


def anchor(heading: str) -> str:
    """As GitHub makes it: lower case, punctuation gone, blanks to hyphens."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def links() -> list[tuple[Path, str]]:
    return [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text()))
            if not link.startswith(("http://", "https://", "mailto:"))]


def without_code(text: str) -> str:
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


@pytest.mark.parametrize(("page", "link"), links(), ids=lambda part: part.name if isinstance(part, Path) else part)
def test_a_link_leads_somewhere(page, link):
    file, _, part = link.partition("#")
    target = (page.parent / file).resolve() if file else page
    assert target.exists(), f"{page.relative_to(ROOT)}: {link}"
    assert target.is_relative_to(ROOT)
    if part:
        headings = re.findall(r"^#+ (.*)$", without_code(target.read_text()), re.MULTILINE)
        assert part in map(anchor, headings), f"{page.relative_to(ROOT)}: no heading of {target.name} gives #{part}"


def test_there_are_links_to_follow():
    assert len(links()) > 10


# ------------------------------------------------------------------------------------------------------- commands


def commands() -> dict[str, set[str]]:
    """`asr x` or `asr x y` -> its options."""
    found: dict[str, set[str]] = {}

    def walk(command: typing.Any, name: str) -> None:
        for key, inner in getattr(command, "commands", {}).items():
            walk(inner, f"{name} {key}")
        if not hasattr(command, "commands"):
            options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            found[name] = {option for option in options if option.startswith("-")} | {"-h", "--help"}

    walk(typer.main.get_command(app), "asr")
    return found


def calls(page: Path) -> list[str]:
    """The `asr ...` calls of a page's code blocks, or of the help in a source: lines joined, comments, prompts and what follows a
    pipe cut off."""
    fences = r"Examples?:\n(.*?)\n *(?:\n|\"{3})" if page.suffix == ".py" else r"```(?:sh|bash|console)?\n(.*?)```"
    found = []
    for block in re.findall(fences, page.read_text(), re.DOTALL):
        for line in re.sub(r"\\+\n\s*", "", block).splitlines():
            for call in re.findall(r"(?:^\s*|[;&|]\s*|\$ )(asr [a-z].*?)(?=\s#|\s[;&|]|;|$)", line):
                found.append(call)
    return found


CALLS = [(page.name, call) for page in (*PAGES, *sorted((ROOT / "asr" / "cli").glob("*.py")))
         for call in calls(page) if not call.startswith("asr: ")]


@pytest.mark.parametrize(("page", "call"), CALLS)
def test_a_call_in_the_documentation_uses_what_there_is(page, call):
    known = commands()
    parts = shlex.split(call, comments=True)
    name = next((name for name in (" ".join(parts[:3]), " ".join(parts[:2])) if name in known), None)
    assert name, f"{page}: no such command: {call}"
    used = {part.partition("=")[0] for part in parts if re.fullmatch(r"--?[a-zA-Z].*", part)}
    assert used <= known[name], f"{page}: {name} has no {', '.join(sorted(used - known[name]))}"


def test_there_are_calls_to_check():
    assert sum(page.endswith(".md") for page, _ in CALLS) > 15
    commands = {path.name for path in (ROOT / "asr" / "cli").glob("*.py") if "Example" in path.read_text()}
    assert len(commands) > 12 and {page for page, _ in CALLS if page.endswith(".py")} == commands


def named_files() -> list[tuple[str, str]]:
    """(where, path) of the recipes' own files that pages and the commands' sources name; a user's recipe is called `mine`."""
    return [(place.name, path) for place in (*PAGES, *sorted((ROOT / "asr").rglob("*.py")))
            for path in dict.fromkeys(re.findall(r"\b(recipes/\w+/(?:conf|local)/[\w./-]+\.(?:yaml|py|sh))\b", place.read_text()))
            if not path.startswith("recipes/mine/")]


@pytest.mark.parametrize(("where", "path"), named_files())
def test_a_file_that_is_named_is_there(where, path):
    assert (ROOT / path).is_file(), f"{where}: no {path}"


def test_help_names_files():
    assert {where for where, _ in named_files()} >= {"classify.py", "features.py", "train.py"}


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_is_in_the_documentation(name):
    text = "\n".join(page.read_text() for page in ROOT.glob("docs/*.md"))
    group, _, last = name.rpartition(" ")
    together = group != "asr" and re.search(rf"{group} [a-z|]*\b{last}\b", text)
    assert name in text or together, f"no page of docs/ mentions `{name}`"


if __name__ == "__main__":
    for _, path, field in KEYS:
        print(f"| `{path}` | {type_of(field)} | {default_of(field)} | {field.description or ''} |")
