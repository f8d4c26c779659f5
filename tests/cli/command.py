"""How a test calls `asr`: as a process of its own, or in this one (seconds faster, and open to what a test plants)."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import pytest

from asr.cli import main


def process(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`asr ARGUMENTS` as a process."""
    return subprocess.run([sys.executable, "-m", "asr", *map(str, arguments)], capture_output=True, text=True, check=False)


def here(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """`asr ARGUMENTS` in this process; the exit status."""
    monkeypatch.setattr(sys, "argv", ["asr", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code or 0


def heard(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`asr ARGUMENTS` in this process, with what it printed, as `process` gives it; what escapes as an exception does so here."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as stdout, \
            contextlib.redirect_stderr(io.StringIO()) as stderr:
        status = here(patch, *arguments)
    return subprocess.CompletedProcess(["asr", *map(str, arguments)], status, stdout.getvalue(), stderr.getvalue())
