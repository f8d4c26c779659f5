"""Recordings of any length, in memory that does not depend on it.

    blocks ─► split at silence ─► pieces, in batches ─► log-probabilities ─► windows joined ─► decoded ─► one Result
              (longform_split)                          of each              (longform_stitch)

A piece is an utterance to the model, as those that it learned from, and all that is kept of one is its words. Where there is
no silence, windows overlap, and their log-probabilities are joined before they are decoded.

CMVN: an ``utterance`` is a piece (and a window). Statistics of an hour are not what the network was trained with: those of
several speakers, and of the silences between them. A ``speaker`` is the recording: a first pass over it adds up all pieces.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from asr import audio
from asr.features import CmvnStats
from asr.system import trim_memory
from asr.transcription.batches import batches_by_length
from asr.transcription.longform_split import Limits, Piece, split
from asr.transcription.longform_stitch import Stretch
from asr.transcription.recognizer import Recognizer, emissions_of, pad
from asr.transcription.result import Alternative, Result

LIMITS = Limits()
BATCH_S = 120.0
BLOCK_S = 30
LONGEST_STRETCH_S = 300.0
Blocks = Callable[[], Iterable[np.ndarray]]
"""Begins a recording anew: its samples (N,) float32 at the model's rate, in blocks."""


def transcribe_long(recognizer: Recognizer, path: str | Path, channel: int | None = None, limits: Limits = LIMITS,
                    batch_seconds: float = BATCH_S) -> Result:
    """Transcribe a file of any length, in memory that does not depend on it.

    ``channel`` picks one, counted from 0; None averages all. ``batch_seconds``: padded audio seconds in a batch of pieces.
    Words have times in the recording. The n best are those of the only stretch of speech; of several, there is one: the best
    of each in their order, with the sum of their scores. Raises AudioError, even where the file turns out to be cut at its end.
    """
    return transcribe_blocks(recognizer, lambda: audio.blocks(path, recognizer.sample_rate, channel), audio.probe(path).duration,
                             limits, batch_seconds)


def transcribe_long_array(recognizer: Recognizer, samples: np.ndarray, rate: int, limits: Limits = LIMITS,
                          batch_seconds: float = BATCH_S) -> Result:
    """`transcribe_long` of samples (N,) float32 at ``rate`` Hz: the memory beside them does not depend on their number."""
    blocks = [samples[first:first + BLOCK_S * rate] for first in range(0, len(samples), BLOCK_S * rate)]  # views
    return transcribe_blocks(recognizer, lambda: audio.resample_blocks(blocks, rate, recognizer.sample_rate), len(samples) / rate,
                             limits, batch_seconds)


def transcribe_blocks(recognizer: Recognizer, blocks: Blocks, duration: float, limits: Limits = LIMITS,
                      batch_seconds: float = BATCH_S) -> Result:
    """`transcribe_long` of a recording of ``duration`` seconds that comes in blocks."""
    found = list(transcribed(recognizer, blocks, limits, batch_seconds))
    if len(found) == 1:
        nbest = found[0].nbest
    else:
        said = [result.nbest[0] for result in found]
        text, *scores = zip(*said) if said else ((),) * 4
        nbest = [Alternative(" ".join(filter(None, text)), *(float(sum(each)) for each in scores))]
    words, tokens = ([each for result in found for each in getattr(result, name)] for name in ("words", "tokens"))
    return Result(nbest[0].text, words, tokens, nbest, duration)


def transcribed(recognizer: Recognizer, blocks: Blocks, limits: Limits = LIMITS,
                batch_seconds: float = BATCH_S) -> Iterator[Result]:
    """The stretches of speech of a recording as they are done, in order; times are those in the recording."""
    rate = recognizer.sample_rate
    for group in _groups(_stretches(recognizer, blocks, limits, batch_seconds), batch_seconds, rate):
        done: dict[int, Result] = {}
        for batch in batches_by_length([stretch.samples / rate for stretch in group], batch_seconds):
            chosen = [group[index] for index in batch]
            log_probs, frames = _padded([stretch.log_probs for stretch in chosen])
            results = recognizer.results(log_probs, frames, [stretch.samples / rate for stretch in chosen],
                                         _padded([stretch.features for stretch in chosen]))
            done.update(zip(batch, map(_moved, results, (stretch.start / rate for stretch in chosen))))
        yield from (done[index] for index in range(len(group)))


def _stretches(recognizer: Recognizer, blocks: Blocks, limits: Limits, batch_seconds: float) -> Iterator[Stretch]:
    """Pieces through the network, in batches; windows of a stretch joined."""
    model, rate = recognizer.model, recognizer.sample_rate
    grid, subsampling = round(model.seconds_per_frame * rate), model.network.frame_subsampling
    stats = _speaker(recognizer, split(blocks(), rate, grid, limits)) if model.config.features.cmvn == "speaker" else None
    open_stretch: Stretch | None = None
    for group in _groups(split(blocks(), rate, grid, limits), batch_seconds, rate):
        for piece, heard in zip(group, _heard(recognizer, group, stats, batch_seconds)):
            stretch = heard if open_stretch is None else open_stretch.joined(heard, grid, subsampling)
            open_stretch = None
            if piece.goes_on and stretch.samples > LONGEST_STRETCH_S * rate:
                done, stretch = stretch.divided(model.tokenizer, grid, subsampling, math.ceil(limits.overlap * rate / grid) + 1)
                yield done
            if piece.goes_on:
                open_stretch = stretch
            else:
                yield stretch


def _heard(recognizer: Recognizer, pieces: Sequence[Piece], stats: Tensor | None, batch_seconds: float) -> list[Stretch]:
    """What the network makes of each piece."""
    found: dict[int, Stretch] = {}
    durations = [len(piece.samples) / recognizer.sample_rate for piece in pieces]
    for batch in batches_by_length(durations, batch_seconds):
        shared = None if stats is None else stats.expand(len(batch), -1, -1)
        waveforms = pad([pieces[index].samples for index in batch])
        log_probs, frames, (features, counts) = emissions_of(recognizer.model, *recognizer.model.extract(*waveforms), shared,
                                                               recognizer.bf16)
        for row, index in enumerate(batch):
            piece = pieces[index]
            # Copies: a row of a batch would keep all of it.
            found[index] = Stretch(piece.start, log_probs[row, :frames[row]].cpu().clone(),
                                   features[row, :counts[row]].cpu().clone(), len(piece.samples))
        del log_probs, features
        trim_memory()
    return [found[index] for index in range(len(pieces))]


def _speaker(recognizer: Recognizer, pieces: Iterable[Piece]) -> Tensor:
    """Mean and scale (2, F) of all pieces."""
    model = recognizer.model
    stats = CmvnStats(model.frontend.dim)
    for piece in pieces:
        features, frames = model.extract(torch.from_numpy(piece.samples)[None], torch.tensor([len(piece.samples)]))
        stats.add(features[0, :int(frames[0])].cpu())
    return stats.normalizer(model.config.features.cmvn_variance)


def _groups(items: Iterable[Piece | Stretch], batch_seconds: float, rate: int) -> Iterator[list]:
    """Neighbours, so many that batches of like lengths can be made of them."""
    group: list[Piece | Stretch] = []
    seconds = 0.0
    for item in items:
        group.append(item)
        seconds += (len(item.samples) if isinstance(item, Piece) else item.samples) / rate
        if seconds >= 2 * batch_seconds:
            yield group
            group, seconds = [], 0.0
    if group:
        yield group


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Rows (T, D) -> (B, longest T, D), zero at padding, and their lengths (B,) int64."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True), torch.tensor([len(row) for row in rows])


def _moved(result: Result, seconds: float) -> Result:
    """The result with times that much later."""
    return replace(result, **{name: [word._replace(start=word.start + seconds, end=word.end + seconds)
                                     for word in getattr(result, name)] for name in ("words", "tokens")})
