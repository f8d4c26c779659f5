"""Cutting at silence: nothing that sounds is lost, pieces keep their limits, and the blocks of the stream change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UsageError
from asr.transcription.longform_split import MARGIN_S, Limits, Piece, _Ahead, split

RATE, GRID = 4000, 160
LIMITS = Limits(shortest=0.5, longest=6.0, overlap=1.0)


def noise(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def speech(seconds: float, level: float, seed: int = 0) -> np.ndarray:
    """Noise that swells and fades by 14 dB, as syllables do: what is steady is taken for silence."""
    time = np.arange(round(seconds * RATE)) / RATE
    return noise(seconds, level, seed) * (0.2 + 0.8 * np.abs(np.sin(6.5 * time))).astype(np.float32)


def recording(parts: list[tuple[float, float]], bed: float = 1e-3) -> np.ndarray:
    """(seconds, level) of each part, over a bed of noise."""
    samples = np.concatenate([speech(seconds, level, index) for index, (seconds, level) in enumerate(parts)])
    return samples + noise(len(samples) / RATE, bed, 99)


def cut(samples: np.ndarray, block: int = 7000, limits: Limits = LIMITS) -> list[Piece]:
    return list(split((samples[first:first + block] for first in range(0, len(samples), block)), RATE, GRID, limits))


def check(samples: np.ndarray, pieces: list[Piece], limits: Limits = LIMITS) -> None:
    """Pieces are what they say, in order, within limits; they overlap only where they say so, and then on the grid."""
    past, before = 0, None
    for piece in pieces:
        end = piece.start + len(piece.samples)
        np.testing.assert_array_equal(piece.samples, samples[piece.start:end])
        assert 0 < len(piece.samples) <= limits.longest * RATE
        if before is not None and before.goes_on:
            assert (piece.start - before.start) % GRID == 0 and 0 < past - piece.start <= limits.overlap * RATE + GRID
            assert end > past
        else:
            assert piece.start >= past
        past, before = end, piece
    assert before is None or not before.goes_on


@given(st.lists(st.tuples(st.floats(0.02, 9), st.sampled_from([0.0, 0.0, 0.002, 0.01, 0.1])), min_size=1, max_size=8),
       st.sampled_from([0.0, 1e-4, 1e-3]), st.integers(100, 50000))
@settings(deadline=None, max_examples=60)
def test_any_recording(parts, bed, size):
    samples = recording(parts, bed)
    pieces = cut(samples, 10**9)
    check(samples, pieces)
    assert [(p.start, len(p.samples), p.goes_on) for p in cut(samples, size)] == [
        (p.start, len(p.samples), p.goes_on) for p in pieces]
    # What is louder than all else is in some piece, all of it.
    covered = np.zeros(len(samples), bool)
    for piece in pieces:
        covered[piece.start:piece.start + len(piece.samples)] = True
    at = 0
    for seconds, level in parts:
        size = round(seconds * RATE)
        if level == 0.1:
            assert covered[at:at + size][samples[at:at + size] != 0].all()
        at += size


def test_pieces_are_the_speech_and_its_margins():
    samples = recording([(1, 0), (2, 0.1), (1.5, 0), (3, 0.03), (0.3, 0), (1, 0.1), (2, 0)])
    spans = [(piece.start / RATE, (piece.start + len(piece.samples)) / RATE) for piece in cut(samples)]
    assert spans == [pytest.approx(span, abs=0.021) for span in
                     [(1 - MARGIN_S, 3 + MARGIN_S), (4.5 - MARGIN_S, 8.8 + MARGIN_S)]]  # 0.3 s of silence end no piece


def test_digital_silence_is_in_no_piece():
    samples = recording([(1.003, 0), (2.1, 0.1), (1.507, 0), (3, 0.0001)], bed=0)
    assert [(piece.start, len(piece.samples)) for piece in cut(samples)] == [(4012, 8400), (18440, 12000)]


@pytest.mark.parametrize("level", [0.0, 1e-4, 0.1])
def test_silence_alone_has_no_piece(level):
    assert cut(noise(47, level)) == []


def test_no_audio_has_no_piece():
    assert cut(np.zeros(0, np.float32)) == [] and list(split(iter([]), RATE, GRID, LIMITS)) == []


@pytest.mark.parametrize("offset", [0, -1, 1, 41])
def test_about_the_longest(offset):
    samples = recording([(6.2, 0.1)], bed=0)[:6 * RATE + offset]
    pieces = cut(samples)
    check(samples, pieces)
    assert len(pieces) == (1 if offset <= 0 else 2)
    assert pieces[-1].start + len(pieces[-1].samples) == len(samples)


def test_speech_without_pauses_is_windows():
    gaps = [(0.7, 0.1), (0.1, 0)] * 25  # 20 s
    samples = recording(gaps)
    pieces = cut(samples)
    check(samples, pieces)
    assert [piece.goes_on for piece in pieces] == [True] * (len(pieces) - 1) + [False] and len(pieces) == 4
    assert all(len(piece.samples) == 6 * RATE for piece in pieces[:-1])


def test_a_short_pause_does_where_there_is_no_longer_one():
    samples = recording([(4, 0.1), (0.35, 0), (4, 0.1), (2, 0)])
    first, second = cut(samples)
    assert not first.goes_on and first.start + len(first.samples) == second.start == pytest.approx(4.175 * RATE, abs=0.06 * RATE)


def test_a_short_piece_waits_for_a_longer_pause():
    ends = [len(cut(recording([(1, 0), (0.2, 0.1), (pause, 0), (2, 0.1), (2, 0)]))) for pause in (0.7, 1.1)]
    assert ends == [1, 2]


def test_a_change_of_loudness_or_an_offset_loses_nothing():
    quiet_talker = recording([(1, 0), (3, 0.3), (1, 0), (3, 0.004), (1, 0)], bed=2e-4)
    assert len(cut(quiet_talker)) == 2
    assert [piece.start for piece in cut(quiet_talker + np.float32(0.05))] == [piece.start for piece in cut(quiet_talker)]


def test_no_more_than_a_piece_is_held():
    drawn = []

    def blocks():
        for index in range(10**6):
            drawn.append(index)
            yield recording([(1, 0.1), (1, 0)])

    pieces = split(blocks(), RATE, GRID, LIMITS)
    for _ in range(5):
        next(pieces)
    assert len(drawn) <= 10 + (LIMITS.longest + 2) / 2


def test_levels_are_those_of_the_frames_about_their_means():
    samples = recording([(1, 0.1), (1, 0.0), (1, 0.01)])
    ahead = _Ahead(iter([samples]), 80)
    ahead.quiet_from(0, 10)
    deviations = np.std(samples.reshape(-1, 80).astype(np.float64), axis=1)
    np.testing.assert_allclose(ahead._levels, 20 * np.log10(np.maximum(deviations, 1e-6)), atol=1e-3)


@pytest.mark.parametrize("wrong", [{"longest": 1.0}, {"overlap": 20.0}, {"overlap": 0.0}, {"shortest": -1.0}, {"shortest": 10.0},
                                   {"longest": float("nan")}])
def test_wrong_limits(wrong):
    with pytest.raises(UsageError, match="windows that overlap"):
        Limits(**wrong)
