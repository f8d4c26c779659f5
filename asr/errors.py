"""The errors that are the user's to mend.

Every message says what is wrong, where, and what to do. The command line prints the message alone (no traceback):
``AsrError`` ends a command with exit status 1, ``UsageError`` with 2 (wrong use: found before any work began).
"""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable
from pathlib import Path


class AsrError(Exception):
    """Something in the input or the machine prevents the work; the message names it and its cure."""

    def __init__(self, message: object = "") -> None:
        # What a data worker raised, torch raises anew, with the worker's traceback as its text: the message is the end of that.
        head, _, said = str(message).rpartition(f"\n{type(self).__module__}.{type(self).__qualname__}: ")
        super().__init__(said.rstrip("\n") if head.startswith("Caught ") else message)


class UsageError(AsrError):
    """The request itself is wrong (an option, a configuration key, a missing path)."""


class ConfigError(UsageError):
    """A configuration file or override that cannot be accepted; lists every fault at once."""


class AudioError(AsrError):
    """An audio file that cannot be read: ``<path>: cannot read: <why>``."""


class DataError(AsrError):
    """A data directory, table, archive or transcript that breaks its contract."""


class ModelError(AsrError):
    """A model file that is absent, truncated, foreign, or does not fit what is asked of it."""


def of_the_machine(error: OSError) -> str:
    """A full disk, a folder that may not be written to: nobody's bug, so a line and no traceback."""
    cure = "; free some space, then run the same again" if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) else ""
    return f"{error.filename}: {error.strerror}{cure}" if error.filename else f"{error}{cure}"


def run_script(name: str, work: Callable[[], None]) -> int:
    """Do the work of a script and give its exit status: 0, or 1 (2 for wrong use) after a line that says what is wrong."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        work()
    except AsrError as error:
        print(f"{Path(name).name}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except OSError as error:
        print(f"{Path(name).name}: error: {of_the_machine(error)}", file=sys.stderr)
        return 1
    return 0
