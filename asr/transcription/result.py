"""What a transcription is made of, and how a decoded path of frames becomes words with times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asr.ctc import Hypothesis
    from asr.text import Tokenizer


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
    """Natural logarithm of the probability of its path of frames."""


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


def result_of(hypothesis: Hypothesis, tokenizer: Tokenizer, seconds_per_frame: float, duration: float) -> Result:
    """The Result of a decoded utterance of ``duration`` seconds."""
    tokens = tokens_of(hypothesis, tokenizer, seconds_per_frame, duration)
    words = words_of(hypothesis, tokenizer, tokens)
    text = " ".join(word.text for word in words)
    return Result(text, words, tokens, [Alternative(text, hypothesis.score)], duration)


def tokens_of(hypothesis: Hypothesis, tokenizer: Tokenizer, seconds_per_frame: float, duration: float) -> list[Word]:
    """The tokens of a hypothesis with their times and posteriors.

    Output frame ``t`` stands for the audio from ``t * seconds_per_frame`` to ``(t + 1) * seconds_per_frame``. A token
    starts with the first frame of its run and ends where the last frame of its run ends, so it always lasts one frame
    or more; strides round the number of frames up, hence the cut at ``duration``.
    """
    return [Word(tokenizer.tokens[token], min(first * seconds_per_frame, duration), min(end * seconds_per_frame, duration),
                 confidence)
            for token, first, end, confidence in zip(hypothesis.tokens, hypothesis.frames, hypothesis.ends,
                                                     hypothesis.confidence)]


def words_of(hypothesis: Hypothesis, tokenizer: Tokenizer, tokens: list[Word]) -> list[Word]:
    """The words of a hypothesis: from the start of the first token of the word to the end of its last.

    The end is not guessed from the next word: silence, and the space of a character model, belong to no word. CTC
    lights up a token for a frame or two where it is surest of it, so a long last sound may go on after this end.

    The confidence of a word is the product of its tokens' posteriors (each the mean over the frames of the token):
    the probability that all are right, were they independent. Greedy posteriors are sharper than they are true, so it
    ranks words well and is not a calibrated probability.
    """
    spans = [(text, tokens[first:past]) for text, first, past in tokenizer.word_spans(hypothesis.tokens)]
    return [Word(text, parts[0].start, parts[-1].end, math.prod(part.confidence for part in parts)) for text, parts in spans]
