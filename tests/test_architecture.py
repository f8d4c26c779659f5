"""docs/architecture.md is true: what imports what, which files there are, and which tests it names."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted((ROOT / "asr").rglob("*.py"))
BASE = {"errors", "config", "system"}  # every room may import these


@cache
def allowed() -> dict[str, set[str]]:
    """The table of imports on the page: room -> rooms it may import."""
    table = PAGE.split("| room | may import |\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    rows = [re.findall(r"`(\w+)`", line) for line in table]
    return {room: set(others) for room, *others in rows}


def room(module: str) -> str:
    """`asr.corpus.tables` -> `corpus`; the package itself is ``."""
    return module.partition(".")[2].partition(".")[0]


def imports(path: Path, top_only: bool = False) -> set[str]:
    """The modules that a file imports, anywhere in it or at its top (outside functions and TYPE_CHECKING)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in (tree.body if top_only else ast.walk(tree)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"asr.{alias.name}" for alias in node.names} if node.module == "asr" else {node.module or ""}
    return found


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_every_room_is_in_the_table_and_the_table_has_no_circle():
    rooms = {room(module_of(path)) for path in FILES} - {"", "__main__"}
    assert rooms == allowed().keys()
    above: list[str] = []  # the table's own order goes from the bottom up
    for name, others in allowed().items():
        assert others <= {*above}, f"{name} imports what comes after it"
        above.append(name)


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_imports_go_one_way(path):
    mine = room(module_of(path))
    if mine in ("", "__main__"):  # the package's door: nothing at its top, so `import asr` is light
        assert all(not name.startswith("asr.") or room(name) == "cli" for name in imports(path, top_only=True))
        return
    if mine in BASE:
        others = {room(name) for name in imports(path) if name.startswith("asr")} - {mine, "__version__"}
        assert others <= {"errors"}
        return
    others = {room(name) for name in imports(path) if name.split(".")[0] == "asr"} - {"__version__"}
    assert others <= allowed()[mine] | BASE | {mine}, f"{path.name}: {mine} must not import {others - allowed()[mine]}"


def test_every_import_that_is_allowed_is_used():
    """So the table says what is, not only what might be."""
    used: dict[str, set[str]] = {name: set() for name in allowed()}
    for path in FILES:
        if (mine := room(module_of(path))) in used:
            used[mine] |= {room(name) for name in imports(path) if name.split(".")[0] == "asr"}
    assert {name: used[name] & others for name, others in allowed().items()} == allowed()


@pytest.mark.parametrize("path", sorted((ROOT / "asr" / "cli").glob("*.py")), ids=lambda path: path.name)
def test_commands_are_light_at_their_top(path):
    for name in imports(path, top_only=True):
        outer = name.split(".")[0]
        assert outer in sys.stdlib_module_names or outer == "typer" or name in ("asr.errors", "asr.__version__") \
            or room(name) == "cli", f"{path.name} imports {name} at its top; do it inside the command"


@pytest.mark.parametrize("module", ["asr.config", "asr.system", "asr.audio", "asr.corpus", "asr.series.evaluation",
                                    "asr.series.report"])
def test_imports_without_torch(module):
    """What stands below the networks; `asr.text` and `asr.scoring`: tests/text/test_without_torch.py."""
    code = f"import sys, {module}; sys.exit(bool({{'torch', 'librosa', 'lightning'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_file_is_too_long():
    sources = [path for folder in ("asr", "tests", "benchmarks", "recipes") for path in (ROOT / folder).rglob("*.py")]
    assert len(sources) > 100
    assert {path.name: lines for path in sources if (lines := len(path.read_bytes().splitlines())) > 600} == {}


def test_the_page_names_every_file_and_no_other():
    """Each room's paragraph (it begins with `**`) lists the room's files."""
    for name in sorted({path.parent for path in FILES} - {ROOT / "asr"}):
        paragraph = PAGE.split(f"**`{name.name}/`**", 1)[1].split("\n\n", 1)[0]
        listed = set(re.findall(r"`(?:\w+/)?(\w+\.py)`", paragraph.replace("`corpus/tables.py` is the lenient reader", "")))
        assert listed == {path.name for path in name.glob("*.py")} - {"__init__.py"}, name.name


def test_the_page_names_files_and_tests_that_exist():
    for name in re.findall(r"`((?:asr|tests|benchmarks|recipes|docs)/[\w./]+\.\w+)`", PAGE):
        assert (ROOT / name).is_file(), name
    for name in re.findall(r"`((?:corpus|features|text|models|ctc|training|transcription|scoring|cli)/\w+\.py)`", PAGE):
        assert (ROOT / "asr" / name).is_file(), name
    suite = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    for name in re.findall(r"`(test_\w+)`", PAGE):
        assert f"def {name}(" in suite, name
