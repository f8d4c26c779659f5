"""The times of tokens, decoded or aligned: the one place where frames become seconds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from torch import Tensor

from asr.models.timing import Piece, TimingModel, cepstra_of

if TYPE_CHECKING:
    import numpy as np

    from asr.models.storage import SpeechModel
    from asr.text import Tokenizer

Span = tuple[float, float]
NEAR_S = 2.0
"""A sound is at most this far from where the network writes its token, which bounds memory, and the harm of a wrong word."""
PULL = 5.0
"""What a frame of a sound costs, in log density, for each second between it and its token: enough to keep a word that was
misheard about its token, and too little to keep one that was not from its place."""


def token_times(model: SpeechModel, timing: TimingModel | None, tokens: Sequence[int], frames: Sequence[tuple[int, int]],
                words: Sequence[tuple[str, int, int]], cepstra: np.ndarray | None, duration: float) -> list[Span]:
    """Start and end of each token, in seconds from the start of the audio.

    tokens: ids, `asr.ctc.align.WILDCARD` among them; ``frames``: of each token, the network's first output frame and one
    past its last; ``words``: of each word its text, its first token and one past its last; ``cepstra`` (T, D): what the
    timing model hears (`hear`); ``duration`` in seconds.

    With a timing model, tokens lie where it hears their letters, in steps of the front-end's frame shift. Without, and in
    the odd utterance of fewer such frames than tokens, a token has the time of its output frames (`frame_times`).
    Times never fall and lie within [0, duration]; a token with a sound lasts a frame, and words do not overlap.
    """
    places = None
    if timing is not None and cepstra is not None:
        opens = {first for _, first, _ in words}
        pieces = [Piece(_letters(model.tokenizer, token), index in opens) for index, token in enumerate(tokens)]
        shift, step = model.frontend.frame_shift, model.network.frame_subsampling
        places = timing.places(cepstra, pieces, [(first * step, past * step) for first, past in frames],
                               round(NEAR_S / shift), PULL * shift)
    if places is None:
        return frame_times(frames, model.seconds_per_frame, duration)
    extractor = model.frontend.extractor
    # The border between two frames lies half-way between the middles of their windows.
    offset = (extractor.window_size - extractor.shift) / 2 if model.config.features.snip_edges else 0.0
    return [tuple(min((edge * extractor.shift + offset) / extractor.config.sample_rate, duration) for edge in place)
            for place in places]


def frame_times(frames: Sequence[tuple[int, int]], seconds_per_frame: float, duration: float) -> list[Span]:
    """Output frame t is the audio from t to t + 1 times ``seconds_per_frame``; strides round up, hence the cut."""
    return [(min(first * seconds_per_frame, duration), min(past * seconds_per_frame, duration)) for first, past in frames]


def hear(features: Tensor, frames: Tensor, kind: str) -> list[np.ndarray]:
    """What a timing model hears of a batch: features before CMVN (B, T, F), frames (B,) -> B arrays (T, D) float32."""
    return [cepstra_of(row[:count].cpu().numpy(), kind) for row, count in zip(features, frames.tolist())]


@lru_cache(maxsize=4096)
def _letters(tokenizer: Tokenizer, token: int) -> str | None:
    """The characters that a token is heard by: none for a space; None, any sound, for the unknown token and the wildcard."""
    return None if token < 0 else tokenizer.sounds(token)
