"""The largest resident size of a process. getrusage's will not do: a process begins with that of the one which started it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_BETWEEN = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE, text=True)
print(json.dumps([done.stdout, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss]))
"""
"""A small process that runs a command: what the command begins with is its 10 MB."""


def high_water() -> int:
    """That of this process so far, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def run_measured(command: Sequence[str]) -> tuple[str, int]:
    """Run a command; what it printed, and its largest size in bytes. Raises CalledProcessError where it fails."""
    done = subprocess.run([sys.executable, "-S", "-E", "-c", _BETWEEN, *command], check=True, stdout=subprocess.PIPE, text=True)
    printed, kilobytes = json.loads(done.stdout)
    return printed, 1024 * kilobytes
