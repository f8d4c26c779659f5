"""Batches of alignments: how a lattice is cut into segments and tiles, and the order in which the kernels run over them."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from asr.ctc.kernels.common import on_device

CHUNK = 32  # frames: as in `triton.py`
WIDEST = 512  # lanes of a tile, where one is all; of several, which have more to keep in registers, half as many
WHOLE = 1 << 30  # bytes of backpointers up to which all of them are kept


class Plan(NamedTuple):
    """How a lattice of (frames, labels) is cut.

    Attributes:
        tile: lanes of a program; a lane has a label and a blank.
        tiles: that side by side hold all labels.
        segment: frames between two kept rows of scores, a multiple of 32.
        segments: of them.
        window: tiles whose backpointers are kept at once: all where there is one segment.
    """

    tile: int
    tiles: int
    segment: int
    segments: int
    window: int


def plan(frames: int, labels: int, alignments: int, widest: int = WIDEST, whole: int = WHOLE) -> Plan:
    """The cut for a batch whose longest utterance and target are these.

    ``widest`` and ``whole`` are parameters so that tests can have many tiles and segments of small lattices. In more than one
    segment of n frames a path moves by n labels at most, so only that much of a row is computed a second time.
    """
    lanes = labels + 1
    tile = max(16, 1 << (lanes - 1).bit_length() if lanes <= widest else widest // 2)
    tiles = -(-lanes // tile)
    segment = CHUNK * max(1, -(-frames // CHUNK))
    if alignments * segment * tiles * tile * 3 // 8 > whole:
        # Rows take 2 x 4 bytes a label every segment, backpointers and maps 7 / 16 of a byte a label and frame of one segment.
        segment = min(segment, CHUNK * max(1, math.ceil(math.sqrt(frames * 8 * 16 / 7) / CHUNK)))
    segments = max(1, -(-frames // segment))
    return Plan(tile, tiles, segment, segments, tiles if segments == 1 else min(tiles, segment // tile + 2))


def best_paths(log_probs: Tensor, lengths: Tensor, targets: Tensor, counts: Tensor, blank: int, which: Tensor | None = None,
               cut: Plan | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Best paths through CTC lattices, equal to those of `asr.ctc.viterbi.best_path` to the last tie and bit. Nothing is checked.

    log_probs (B, T, V) float32, float64, float16 or bfloat16 with any strides; lengths (A,) frames; targets (A, L) labels, -1 for
    the wildcard; counts (A,) labels of each; which (A,): the utterance of each alignment (None: alignment a is utterance a). All on
    one device, integers int32.

    Returns states (A, T) int32, 2 k on blank k and 2 k + 1 on label k; the log-probability of each (A, T), 0 on a wildcard; both
    undefined at and after a length; and the scores (A,) of whole paths, -inf where there is none, 0 where there are no frames.
    """
    from asr.ctc.kernels.align import triton as kernels

    alignments, frames = len(lengths), log_probs.shape[1]
    dtype = torch.float64 if log_probs.dtype == torch.float64 else torch.float32
    new = log_probs.new_empty
    states, along = new((alignments, frames), dtype=torch.int32), new((alignments, frames), dtype=dtype)
    scores = torch.zeros(alignments, dtype=dtype, device=log_probs.device)
    if not alignments or not frames:
        return states, along, scores
    widest = WIDEST // 2 if dtype == torch.float64 else WIDEST
    tile, tiles, segment, segments, window = cut or plan(frames, targets.shape[1], alignments, widest)
    width, lanes, chunks, several = tiles * tile, window * tile, segment // CHUNK, segments > 1
    if which is None:
        which = torch.arange(alignments, dtype=torch.int32, device=log_probs.device)
    rows = new((alignments, segments + 1, 2, width), dtype=dtype)
    columns = new((alignments, 2, tiles, segment) if tiles > 1 else (1,), dtype=dtype)
    at = new((2, alignments), dtype=torch.int32)
    words = (new((alignments, chunks, 2, lanes), dtype=torch.int32), new((alignments, chunks, 2, lanes), dtype=torch.int16))
    shifts = new((alignments, chunks, 2 * lanes), dtype=torch.int8)
    shape = segment, segments, width, lanes
    source = (log_probs, *log_probs.stride(), which, lengths, targets, targets.stride(0), counts)
    block = min(256, 2 * tile)
    meta = {"TILE": tile, "WINDOW": several}
    forward_meta = {**meta, "TILED": tiles > 1, "num_warps": max(1, tile // 32), "num_stages": 1}
    offset = blank * log_probs.stride(2)
    with on_device(log_probs):
        for diagonal in range(segments + tiles - 1):  # tile i has segment diagonal - i: what it reads is from the diagonal before
            kernels.forward[(alignments, tiles)](*source, rows, columns, at[0], *words, diagonal, 0, *shape, offset,
                                                 **forward_meta | {"WINDOW": False}, KEEP=not several)
        for number in range(segments - 1, -1, -1):
            now, before = at[number % 2], at[1 - number % 2]
            for diagonal in range(window if several else 0):
                kernels.forward[(alignments, window)](*source, rows, columns, now, *words, diagonal, number, *shape, offset,
                                                      **forward_meta, KEEP=True)
            kernels.maps[(alignments, chunks, -(-2 * lanes // block))](
                lengths, counts, rows, now, *words, shifts, number, *shape, BLOCK=block, **meta, num_warps=4)
            kernels.walk[(alignments, chunks)](*source, rows, now, before, *words, shifts, states, along, scores, frames, number,
                                               *shape, blank, **meta, num_warps=1)
    return states, along, scores
