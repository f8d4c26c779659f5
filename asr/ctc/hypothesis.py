"""What decoding finds in an utterance."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Hypothesis:
    """A decoded utterance. Scores are natural logarithms; ``frames``, ``ends`` and ``confidence`` run alongside ``tokens``."""

    tokens: list[int]
    score: float
    """What hypotheses are ranked by: greedy's best path, or a beam search's total (see `BeamSearch`)."""
    acoustic_score: float
    """The network's part of the score: of one path of frames (greedy), or summed over all that spell the tokens."""
    lm_score: float
    """Log-probability of the words (or tokens) in the language model, not weighted; 0 without one."""
    frames: list[int]
    """The first output frame of each token."""
    ends: list[int]
    """One past the last output frame of each token's run."""
    confidence: list[float]
    """The highest posterior of each token within its frames: it tells errors from words better than their mean does."""
    words: list[tuple[str, int, int]] | None = None
    """Where a lexicon chose the words: each with the positions of its first token and past its last one. Else None:
    the tokenizer's ``word_spans`` tells the words."""
