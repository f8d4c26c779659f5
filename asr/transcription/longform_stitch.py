"""Windows of a stretch of speech without silence, put together as if the network had heard it whole.

Two windows overlap by some seconds. At its edges a window lacks what the network would have heard beyond them, so one is left
for the next in the inner half of the overlap, at a frame where both write a blank and agree on what is around it: no token is
then written by both, or by neither. What is joined is the log-probabilities, before anything is decoded.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asr.ctc import greedy
from asr.text import Tokenizer
from asr.transcription.result import spans_of

AROUND = 8  # frames to each side of the seam on which windows should agree: the same token may come some frames apart


class Stretch(NamedTuple):
    """Speech that is decoded as one: a piece, or windows put together. On the CPU."""

    start: int
    """Its first sample in the recording."""
    log_probs: Tensor
    """(T, V) float32"""
    features: Tensor
    """(T', F) float32, before normalisation"""
    samples: int
    """How many it spans."""

    def joined(self, window: Stretch, grid: int, subsampling: int) -> Stretch:
        """The stretch and a window that begins within it; ``grid``: samples, ``subsampling``: feature frames to an output frame."""
        offset = (window.start - self.start) // grid
        common = min(len(self.log_probs) - offset, len(window.log_probs))
        cut = seam(self.log_probs[offset:offset + common], window.log_probs[:common])
        return Stretch(self.start, torch.cat([self.log_probs[:offset + cut], window.log_probs[cut:]]),
                       torch.cat([self.features[:(offset + cut) * subsampling], window.features[cut * subsampling:]]),
                       window.start - self.start + window.samples)

    def divided(self, tokenizer: Tokenizer, grid: int, subsampling: int, overlap: int) -> tuple[Stretch, Stretch]:
        """The stretch in two, cut between two words; the second has ``overlap`` frames at least, for the next window to join."""
        cut = between_words(self.log_probs, tokenizer, len(self.log_probs) - overlap)
        left = Stretch(self.start, self.log_probs[:cut], self.features[:cut * subsampling], cut * grid)
        return left, Stretch(self.start + cut * grid, self.log_probs[cut:], self.features[cut * subsampling:],
                             self.samples - cut * grid)


def seam(left: Tensor, right: Tensor, blank: int = 0) -> int:
    """Where to leave one window for the next: the first of the frames (T, V), log-probabilities of both, to take from the right.

    It costs what the two say against each other within `AROUND` frames, -ln sum_v p_left(v) p_right(v) for each, and the
    improbability of a blank, in both; of equals, the middlemost is taken.
    """
    count = len(left)
    if count < 2:
        return 0
    dispute = -torch.logsumexp((left + right).double(), dim=1)  # (T, V) -> (T,)
    total = torch.nn.functional.pad(dispute.cumsum(0), (1, 0))
    frames = torch.arange(count // 4, count - count // 4)
    cost = total[(frames + AROUND + 1).clamp(max=count)] - total[(frames - AROUND).clamp(min=0)]
    cost -= (left[frames, blank] + right[frames, blank]).double()
    cost += 0.01 * (frames - count / 2).abs() / count
    return int(frames[cost.argmin()])


def between_words(log_probs: Tensor, tokenizer: Tokenizer, latest: int) -> int:
    """A frame of (T, V), in the latter half and not after ``latest``, between two words: the middle of the widest gap there."""
    count = len(log_probs)
    earliest = min(count // 2, latest)
    best = greedy(log_probs[None], torch.tensor([count]))[0]
    words = spans_of(best, tokenizer)
    gaps = zip([0] + [best.ends[past - 1] for _, _, past in words], [best.frames[first] for _, first, _ in words] + [count])
    inside = [(max(first, earliest), min(past, latest)) for first, past in gaps]
    width, middle = max(((past - first, (first + past) // 2) for first, past in inside), default=(0, latest))
    return middle if width >= 0 else latest
