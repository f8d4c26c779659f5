"""A copy of the project's shell side in a folder of its own, and a Python that only pretends to install.

Recipes write data/ and exp/ beside run.sh; in a copy they leave the user's own alone. The pretended Python makes
"virtual environments" whose `python` and `asr` are those the tests run under, so no test waits for pip; and `asr` is
forked from a process that has imported PyTorch already (warm_server.py), so no test waits for that either.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from warm_server import WarmServer

ROOT = Path(__file__).resolve().parent.parent

# What pip is asked goes to $FAKE_LOG. With $FAKE_PIP_SAYS it prints that and fails; it takes $FAKE_PIP_SECONDS.
FAKE_PYTHON = """#!/usr/bin/env bash
here=$(dirname "$0")
case "$1 $2" in
  "-m venv")
    mkdir -p "$3/bin"
    ln -s "@SELF@" "$3/bin/python"
    touch "$3/pyvenv.cfg" ;;
  "-m pip")
    echo "pip ${!#}" >>"$FAKE_LOG"
    [ -z "${FAKE_PIP_SAYS-}" ] || { echo "ERROR: $FAKE_PIP_SAYS"; exit 1; }
    sleep "${FAKE_PIP_SECONDS:-0}"
    ln -sf "@ASR@" "$here/asr"
    printf '#!/bin/sh\\necho "ruff $*"\\nexit ${FAKE_RUFF:-0}\\n' >"$here/ruff"
    chmod +x "$here/ruff" ;;
  "-m pytest")
    echo "pytest threads=$OMP_NUM_THREADS in $PWD: $*"
    echo "=== ${FAKE_TESTS:-1 passed} in 0.10s ==="
    case ${FAKE_TESTS-} in *failed*) exit 1 ;; esac ;;
  *) exec "@REAL@" "$@" ;;
esac
"""


warm_server = cache(WarmServer)  # one for all tests of this process, from the first that needs it


class ProjectCopy:
    """run.sh, .ci and the recipes in ``folder``; ``run`` calls the copy's run.sh."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.root.mkdir(parents=True)
        for name in ("run.sh", "setup.cfg", "pyproject.toml"):
            shutil.copy(ROOT / name, self.root / name)
        for name in (".ci", "recipes"):
            shutil.copytree(ROOT / name, self.root / name, ignore=shutil.ignore_patterns("__pycache__"))
        self.python = folder / "fake-python"
        self.python.write_text(FAKE_PYTHON.replace("@SELF@", str(self.python)).replace("@REAL@", sys.executable)
                               .replace("@ASR@", str(warm_server().asr)))
        self.python.chmod(0o755)
        self.log = folder / "asked.log"
        self.log.touch()
        kept = {name: value for name, value in os.environ.items() if name not in ("ASR_VENV", "ASR_DISK_GB")}
        self.environment = kept | {"PYTHON": str(self.python), "FAKE_LOG": str(self.log), "ASR_DISK_GB": "0",
                                   "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

    @property
    def asked(self) -> list[str]:
        """What pip was asked to install, call by call."""
        return self.log.read_text().splitlines()

    def command(self, *arguments: object, script: Path | str | None = None) -> list[str]:
        return ["bash", str(script or self.root / "run.sh"), *map(str, arguments)]

    def run(self, *arguments: object, script: Path | str | None = None, cwd: Path | None = None,
            **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; a keyword sets a variable of the environment, an empty one removes it."""
        settings = {name: value for name, value in (self.environment | environment).items() if value}
        return subprocess.run(self.command(*arguments, script=script), cwd=cwd or self.root, env=settings,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False)
