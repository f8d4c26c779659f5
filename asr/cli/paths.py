"""One rule for what a command is told to read: a path that is not there is wrong use (exit 2), said before any work."""

from __future__ import annotations

from pathlib import Path

from asr.errors import UsageError


def need_dir(*paths: Path) -> None:
    """Raise UsageError for a path that is not a data directory's folder."""
    for path in paths:
        if not path.is_dir():
            raise UsageError(f"{path}: not a data directory, which is a folder" if path.exists()
                             else f"{path}: no such data directory; check the path")


def need_file(path: Path | None, what: str, cure: str = "check the path") -> None:
    """Raise UsageError where a file is named (not None) that is absent, or a folder."""
    if path is not None and not path.exists():
        raise UsageError(f"{path}: no such {what}; {cure}")
    if path is not None and path.is_dir():
        raise UsageError(f"{path}: is a folder; name the {what} itself")


def need_model(path: Path) -> None:
    """`need_file` for a trained model."""
    need_file(path, "model file", "train one with `asr train`, or check the path")
