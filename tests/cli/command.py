"""How a test calls `asr`: as a process of its own, or in this one (faster, and open to what a test plants)."""

from __future__ import annotations

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
