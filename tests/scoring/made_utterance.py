"""An utterance of which only the alignment is told."""

from __future__ import annotations

from asr.scoring import UtteranceScore
from asr.scoring.align import count


def utterance(operations: str, name: str = "u") -> UtteranceScore:
    """Its words are of no account."""
    words = ["w"] * len(operations)
    return UtteranceScore(name, None, words, words, operations, count(operations), None)
