"""The errors that are the user's to mend.

Every message says what is wrong, where, and what to do. The command line prints the message alone (no traceback):
``AsrError`` ends a command with exit status 1, ``UsageError`` with 2 (wrong use: found before any work began).
"""

from __future__ import annotations


class AsrError(Exception):
    """Something in the input or the machine prevents the work; the message names it and its cure."""


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
