"""Forced alignment: which frames of an utterance belong to which token of a text that is known."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from asr.ctc.backend import int32, takes_kernels
from asr.ctc.batch import not_finite, readable, wide
from asr.ctc.kernels.align.launch import best_paths
from asr.errors import DataError
from asr.system import usable_cores

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

WILDCARD = -1
"""In place of a token: any sound at all, of one frame or more."""
_ONE_BLOCK = 1 << 20  # frames x labels up to which all backpointers are kept at once: a megabyte


@dataclass(frozen=True)
class Alignment:
    """The best path of an utterance through its text; the lists run alongside each other, one entry a token."""

    tokens: list[int]
    start: list[int]
    """The first output frame of each token."""
    end: list[int]
    """One past the last output frame of each token."""
    confidence: list[float]
    """Each token's highest posterior within its frames; 1 for a wildcard."""
    score: float
    """Log-probability of the path of frames, natural logarithm."""
    frames: np.ndarray | None = None
    """Where asked for: the token of every frame (T,) int32, blanks included."""


def align(log_probs: Tensor | np.ndarray, lengths: ArrayLike | Tensor, targets: ArrayLike | Tensor,
          target_lengths: ArrayLike | Tensor, blank: int = 0, frames: bool = False, threads: int | None = None,
          backend: str = "auto") -> list[Alignment]:
    """The most probable path of frames that writes each target (Viterbi in the lattice of Graves et al., 2006).

    log_probs (B, T, V) float; lengths (B,); targets (B, L) token ids, padded with anything; target_lengths (B,).
    ``frames``: also give the token of every frame. ``threads``: how many utterances are aligned at once (all cores).
    ``backend``: ``cpu``, ``triton`` (a CUDA device), or ``auto``, which goes where log_probs are. The paths are the same.

    The path is that of ``torchaudio.functional.forced_align``, for a batch, and in memory that grows with frames x tokens
    to the power 2/3 where the lattice does not fit in a megabyte: an hour takes tens of megabytes. Scores are summed in
    the type of log_probs (at least float32), as torchaudio does; over many thousands of frames float64 rounds less.
    Only where two ways into a token have exactly equal scores may the paths differ: there torchaudio can stay with a token
    although both other ways score higher, and this path has the higher score.

    A target may hold ``WILDCARD`` (-1), for a stretch whose text is unknown, at its beginning, middle or end: it takes one
    frame or more at log-probability 0 each, as torchaudio's ``<star>`` does, so every frame that the known text does not
    need for itself goes to it.

    Raises DataError where the frames do not suffice for a target, with both numbers, and where every path has
    probability zero; ValueError for types, shapes and ids that do not fit, for NaN, and for a backend that cannot run here.
    """
    emissions, sizes, labels = _checked(log_probs, lengths, targets, target_lengths, blank)
    kernels = takes_kernels(backend, emissions)
    short = [f"utterance {index}: its {len(row)} labels need {needed} output frames, its audio gives {size}"
             for index, (row, size) in enumerate(zip(labels, sizes)) if (needed := frames_needed(row.tolist())) > size]
    if short:
        raise DataError("text longer than the audio allows: " + "; ".join(short))
    found = _align_on_device(emissions, sizes, labels, blank, frames) if kernels else \
        _align_on_cpu(emissions, sizes, labels, blank, frames, threads)
    dead = [str(index) for index, alignment in enumerate(found) if alignment.score == -np.inf]
    if dead:
        raise DataError(f"utterance {', '.join(dead)}: no path through the text has a probability above zero")
    return found


def frames_needed(tokens: Sequence[int]) -> int:
    """The fewest output frames on which CTC can write the tokens: one each, and a blank between two that are equal."""
    return len(tokens) + sum(before == after for before, after in pairwise(tokens))


def _align_on_cpu(emissions: Tensor, sizes: list[int], labels: list[np.ndarray], blank: int, frames: bool,
                  threads: int | None) -> list[Alignment]:
    values = wide(emissions).cpu().contiguous().numpy()
    parts = [(values[index, :size], row) for index, (size, row) in enumerate(zip(sizes, labels))]
    workers = min(threads or usable_cores(), len(parts))
    if workers < 2:
        return [_align_one(*part, blank, frames) for part in parts]
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda part: _align_one(*part, blank, frames), parts))


def _align_one(log_probs: np.ndarray, targets: np.ndarray, blank: int, frames: bool) -> Alignment:
    from asr.ctc.viterbi import best_path

    if not len(log_probs):
        return _alignment(np.empty(0, np.int32), log_probs[:, 0], targets, blank, 0.0, frames)
    states, best = best_path(log_probs, targets, blank, block_size(len(log_probs), len(targets)))
    tokens = _tokens_of(states, targets, blank)
    along = np.where(tokens == WILDCARD, log_probs.dtype.type(0), log_probs[np.arange(len(tokens)), tokens])
    return _alignment(states, along, targets, blank, best, frames)


def _align_on_device(emissions: Tensor, sizes: list[int], labels: list[np.ndarray], blank: int, frames: bool) -> list[Alignment]:
    device = emissions.device
    padded = torch.zeros(len(labels), max(map(len, labels), default=0), dtype=torch.int32)
    for row, known in zip(padded, labels):
        row[:len(known)] = torch.from_numpy(known)
    states, along, best = (values.cpu().numpy() for values in best_paths(
        emissions, int32(sizes, device), padded.to(device), int32([len(row) for row in labels], device), blank))
    return [_alignment(states[index, :size], along[index, :size], row, blank, best[index], frames)
            for index, (size, row) in enumerate(zip(sizes, labels))]


def _tokens_of(states: np.ndarray, targets: np.ndarray, blank: int) -> np.ndarray:
    """The token of each frame, from the states of `asr.ctc.viterbi.best_path`."""
    path = np.full(len(states), blank, np.int32)
    spoken = states % 2 == 1
    path[spoken] = targets[states[spoken] // 2]
    return path


def _alignment(states: np.ndarray, along: np.ndarray, targets: np.ndarray, blank: int, best: float, frames: bool) -> Alignment:
    """From a path's states (T,) and their log-probabilities (T,), 0 on a wildcard; ``best`` is -inf where there is no path."""
    if best == -np.inf:
        return Alignment([], [], [], [], -np.inf)
    start, end, confidence = spans(states, along)
    path = _tokens_of(states, targets, blank)
    score = float(along[path != WILDCARD].sum(dtype=np.float64))
    return Alignment(targets.tolist(), start, end, confidence, score, path if frames else None)


def spans(states: np.ndarray, along: np.ndarray) -> tuple[list[int], list[int], list[float]]:
    """First frames, ends and highest posteriors of the tokens of a path: its states (T,), and their log-probabilities (T,).

    CTC is sure of a token at its peak and unsure where the peak rises and falls, right or wrong, so the highest posterior
    tells errors from words better than the mean does.
    """
    if not len(states):
        return [], [], []
    edges = np.flatnonzero(np.diff(states, prepend=-1))
    spoken = states[edges] % 2 == 1
    peaks = np.maximum.reduceat(along, edges)
    return edges[spoken].tolist(), np.append(edges[1:], len(states))[spoken].tolist(), np.exp(peaks[spoken]).tolist()


def block_size(frames: int, labels: int) -> int:
    """Frames between two kept rows of scores: all where the backpointers are small, else what makes the sum smallest.

    Rows take frames / block x labels x 8 bytes, the backpointers of a block block x block bytes.
    """
    if frames * (labels + 1) <= _ONE_BLOCK:
        return max(1, frames)
    return max(1, round((4 * frames * (labels + 1)) ** (1 / 3)))


def _checked(log_probs: Tensor | np.ndarray, lengths: ArrayLike | Tensor, targets: ArrayLike | Tensor,
             target_lengths: ArrayLike | Tensor, blank: int) -> tuple[Tensor, list[int], list[np.ndarray]]:
    """Emissions (B, T, V) where they were, frames, and the labels of each utterance; raises ValueError."""
    emissions = torch.as_tensor(log_probs).detach()
    if not emissions.is_floating_point():
        raise ValueError(f"log_probs must be of a floating type, not {emissions.dtype}")
    ids, sizes, counts = _whole("targets", targets), _whole("lengths", lengths), _whole("target_lengths", target_lengths)
    if emissions.ndim != 3:
        raise ValueError(f"log_probs must be (B, T, V), not {tuple(emissions.shape)}")
    batch, longest, vocab = emissions.shape
    if ids.ndim != 2 or len(ids) != batch or sizes.shape != (batch,) or counts.shape != (batch,):
        raise ValueError(f"for {batch} utterances: targets {tuple(ids.shape)} must be (B, L), lengths {tuple(sizes.shape)} and "
                         f"target_lengths {tuple(counts.shape)} (B,)")
    if not 0 <= blank < vocab:
        raise ValueError(f"blank {blank} is no token: there are {vocab}")
    for name, values, limit in (("lengths", sizes, longest), ("target_lengths", counts, ids.shape[1])):
        for index in torch.nonzero((values < 0) | (values > limit)).flatten().tolist():
            raise ValueError(f"utterance {index}: {name} must be from 0 to {limit}, not {int(values[index])}")
    labels = [np.ascontiguousarray(row[:count]) for row, count in zip(ids.numpy(), counts.tolist())]
    for index, row in enumerate(labels):
        wrong = sorted({int(token) for token in row if token == blank or not (token == WILDCARD or 0 <= token < vocab)})
        if wrong:
            raise ValueError(f"targets of utterance {index}: no tokens, or the blank: {wrong}")
    emissions = readable(emissions)
    for index, _ in not_finite(emissions.amax(dim=-1), sizes):
        raise ValueError(f"log_probs of utterance {index} hold NaN or plus infinity; the network's output is not finite")
    return emissions, sizes.tolist(), labels


def _whole(name: str, values: ArrayLike | Tensor) -> Tensor:
    """As int64 on the CPU; raises ValueError where they are no whole numbers."""
    found = torch.as_tensor(values).cpu()
    if found.numel() and (found.is_floating_point() or found.is_complex() or found.dtype == torch.bool):
        raise ValueError(f"{name} must be whole numbers, not {found.dtype}")
    return found.long()
