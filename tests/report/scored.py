"""A folder as `asr score --out` leaves it, and what the tests' two systems are."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from asr.corpus import DataDir
from asr.scoring import score, write_scores


class Scored(NamedTuple):
    """Two decode folders over the same data directory, and its ids."""

    one: Path
    other: Path
    data: DataDir
    ids: list[str]


def scored_folder(folder: Path, references: dict[str, str], hypotheses: dict[str, str], **options) -> Path:
    """Score, write, and give the folder back."""
    write_scores(score(references, hypotheses, **options), folder)
    return folder
