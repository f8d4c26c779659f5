"""Beam search of a batch: three launches, then the times of what was found by the kernels of alignment."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from asr.ctc.kernels.align.launch import best_paths
from asr.ctc.kernels.beam.tables import NOTHING, Tables
from asr.ctc.kernels.common import on_device

WIDEST_BEAM = 32
WIDEST_WITH_MODEL = 16  # more would not fit the registers
LIST = 128  # tokens of a frame that are listed at most, loudest first, where a language model may prefer a quiet one
AT_ONCE = 256  # extensions of prefixes that are scored at once
WIDEST = 1024  # tokens a program of the shortlist looks at at once


class Settings(NamedTuple):
    """How to search; all as in `asr.ctc.BeamSearch`, with ``most_tokens`` a number always and ``certain`` a log-probability."""

    beam: int
    nbest: int
    blank: int
    most_tokens: int
    token_threshold: float
    beam_threshold: float
    blank_penalty: float
    certain: float
    lm_weight: float
    word_bonus: float


class Found(NamedTuple):
    """What was found in each utterance, the best first; A is nbest.

    Attributes:
        scores: (B, 3, A) float64: score, log-probability of the paths in the beam, LM log-probability; -inf past what there is.
        sizes: (B, A) int32, tokens of each.
        tokens: (B, A, L) int32.
        states, along: (B, A, T) the tokens' best path of frames and its log-probabilities, as `best_paths` gives them.
        inexact: (B,) int32: not 0 where tokens that were not listed might have changed something.
    """

    scores: Tensor
    sizes: Tensor
    tokens: Tensor
    states: Tensor
    along: Tensor
    inexact: Tensor


def decode(log_probs: Tensor, lengths: Tensor, settings: Settings, tables: Tables, listed: int = LIST,
           at_once: int = AT_ONCE) -> Found:
    """log_probs (B, T, V) float32, float16 or bfloat16 with any strides; lengths (B,) int32 on the same device. Nothing is checked.

    ``listed`` and ``at_once`` are parameters so that tests can have short lists and small tiles.
    """
    from asr.ctc.kernels.beam import triton as kernels

    batch, frames, vocabulary = log_probs.shape
    device, new = log_probs.device, log_probs.new_empty
    beam = _power_of_two(max(settings.beam, 4))
    # Of the extensions of one prefix at most `beam` are new in the next beam and fewer than that are there already, so without a
    # language model the 2 * beam loudest tokens are all that can matter.
    count = min(_power_of_two(vocabulary), 2 * beam if tables.mode == NOTHING else max(_power_of_two(listed), 4))
    tile = min(count, max(4, at_once // beam))
    values = torch.tensor([settings.blank_penalty, settings.beam_threshold, settings.token_threshold, settings.lm_weight,
                           settings.word_bonus, settings.certain], dtype=torch.float64).to(device)
    tokens, scores = new((batch, frames, count), dtype=torch.int32), new((batch, frames, count), dtype=torch.float32)
    there, allowed = new((2, batch, frames), dtype=torch.int32)
    parents, symbols = new((2, batch, frames * beam), dtype=torch.int32)
    found, (lasts, sizes) = new((batch, 3, beam), dtype=torch.float64), new((2, batch, beam), dtype=torch.int32)
    inexact = new(batch, dtype=torch.int32)
    source = (log_probs, *log_probs.stride(), lengths, values, tokens, scores, there, allowed)
    block = max(count, min(WIDEST, _power_of_two(vocabulary)))
    rows = max(1, WIDEST // block)
    with on_device(log_probs):
        if batch and frames:
            kernels.shortlist[(batch, -(-frames // rows))](*source, frames, vocabulary, settings.blank, settings.most_tokens,
                                                           ROWS=rows, BLOCK=block, COUNT=count, num_warps=4)
        if batch:
            kernels.search[(batch,)](*source, tables.lm, tables.words, parents, symbols, found, lasts, sizes, inexact, frames,
                                     settings.blank * log_probs.stride(2), settings.beam, tables.initial, tables.eos,
                                     MODE=tables.mode, STEPS=tables.steps, BEAM=beam, LIST=count,
                                     TILE=tile, BITS=(beam + beam * count).bit_length(), num_warps=4, num_stages=1)
        order = found[:, 0].sort(dim=1, descending=True, stable=True).indices[:, :settings.nbest]
        found = found.gather(2, order[:, None].expand(-1, 3, -1))
        sizes, lasts = sizes.gather(1, order), lasts.gather(1, order)
        sizes = sizes.where(found[:, 0] > -torch.inf, 0)
        hypotheses, longest = order.shape[1], int(sizes.max()) if batch else 0
        texts = torch.zeros((batch, hypotheses, longest), dtype=torch.int32, device=device)
        if batch and longest:
            kernels.trace[(batch,)](parents, symbols, lasts, sizes, texts, frames * beam, hypotheses, longest,
                                    COUNT=_power_of_two(hypotheses), num_warps=1)
    which = torch.arange(batch, dtype=torch.int32, device=device).repeat_interleave(hypotheses)
    states, along, _ = best_paths(log_probs, lengths.repeat_interleave(hypotheses), texts.flatten(0, 1), sizes.flatten(),
                                  settings.blank, which)
    return Found(found, sizes, texts, states.unflatten(0, (batch, hypotheses)), along.unflatten(0, (batch, hypotheses)), inexact)


def _power_of_two(value: int) -> int:
    return 1 << (value - 1).bit_length()
