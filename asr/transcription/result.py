"""What a transcription is made of, and how a decoded path of frames becomes words with times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from asr.ctc.align import WILDCARD
from asr.transcription.times import Span, frame_times

if TYPE_CHECKING:
    from asr.ctc import Hypothesis
    from asr.text import Tokenizer
    from asr.transcription.calibration import Calibration


class Word(NamedTuple):
    """A word (or a token) in the audio; times are seconds from the start of the audio."""

    text: str
    start: float
    end: float
    confidence: float
    """From 0 to 1, see `words_of`."""


class Alternative(NamedTuple):
    """One of the n best transcripts."""

    text: str
    score: float
    """What they are ranked by, a natural logarithm: of greedy's path of frames, or the total of a beam search."""
    acoustic_score: float
    """The network's part of it."""
    lm_score: float
    """Log-probability in the language model, not weighted; 0 without one."""


@dataclass(frozen=True)
class Result:
    """A transcript.

    ``words`` joined with spaces are ``text``; ``tokens`` are the model's units (characters or pieces) with the same
    four fields; ``nbest`` holds the best transcript first (greedy decoding knows no second); ``duration`` is that of
    the audio, in seconds.
    """

    text: str
    words: list[Word]
    tokens: list[Word]
    nbest: list[Alternative]
    duration: float


def result_of(hypotheses: Sequence[Hypothesis], tokenizer: Tokenizer, seconds_per_frame: float, duration: float,
              times: Sequence[Span] | None = None) -> Result:
    """The Result of a decoded utterance of ``duration`` seconds: the first hypothesis, and all as its n best.

    ``times``: start and end of each token in seconds, as `asr.transcription.times.token_times` finds them; without them
    each token has the time of its output frames.
    """
    hypothesis = hypotheses[0]
    if times is None:
        times = frame_times(list(zip(hypothesis.frames, hypothesis.ends)), seconds_per_frame, duration)
    tokens = [Word(tokenizer.tokens[token] if token != WILDCARD else "*", *span, confidence)
              for token, span, confidence in zip(hypothesis.tokens, times, hypothesis.confidence)]
    spans = [spans_of(each, tokenizer) for each in hypotheses]
    words = words_of(spans[0], tokens)
    nbest: dict[str, Alternative] = {}  # tokens can spell the same words in several ways: the best stands for all
    for each, found in zip(hypotheses, spans):
        written = " ".join(text for text, _, _ in found)
        nbest.setdefault(written, Alternative(written, each.score, each.acoustic_score, each.lm_score))
    return Result(next(iter(nbest)), words, tokens, list(nbest.values()), duration)


def calibrated(result: Result, calibration: Calibration) -> Result:
    """The result with the confidences of its words as probabilities; tokens keep theirs."""
    if not result.words:
        return result
    probable = calibration([word.confidence for word in result.words])
    return replace(result, words=[word._replace(confidence=float(value)) for word, value in zip(result.words, probable)])


def spans_of(hypothesis: Hypothesis, tokenizer: Tokenizer) -> list[tuple[str, int, int]]:
    """The words of a hypothesis, each with its first token and one past its last: a lexicon's, or the tokenizer's."""
    return hypothesis.words if hypothesis.words is not None else tokenizer.word_spans(hypothesis.tokens)


def words_of(spans: Sequence[tuple[str, int, int]], tokens: Sequence[Word]) -> list[Word]:
    """Words from the start of their first token to the end of their last, which are measured both.

    Silence, and the space of a character model, belong to no word, so the end of a word is not the start of the next.

    The confidence of a word is the product of its tokens', each the highest posterior of its run: the probability that
    all are right, were they independent. It ranks words well; `asr.transcription.calibration` makes it a probability.
    """
    return [Word(text, tokens[first].start, tokens[past - 1].end,
                 math.prod(token.confidence for token in tokens[first:past])) for text, first, past in spans]
