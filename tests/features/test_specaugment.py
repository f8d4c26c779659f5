"""SpecAugment: where masks may fall, how wide they are, and that the generator decides everything."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from asr.config import SpecAugmentConfig
from asr.features import SpecAugment


def masked(config: SpecAugmentConfig, frames: list[int], bins: int = 40, seed: int = 0) -> torch.Tensor:
    """Which cells are zero after masking features of ones: bool (B, T, F)."""
    features = torch.ones(len(frames), max(frames), bins)
    out = SpecAugment(config)(features, torch.tensor(frames), torch.Generator().manual_seed(seed))
    assert features.all() and out.shape == features.shape
    return out == 0


def longest_run(cells: torch.Tensor) -> int:
    best = run = 0
    for cell in cells.tolist():
        run = run + 1 if cell else 0
        best = max(best, run)
    return best


@given(frames=st.lists(st.integers(0, 120), min_size=1, max_size=6), width=st.integers(1, 150), fraction=st.floats(0, 1),
       seed=st.integers(0, 1000))
def test_time_masks(frames, width, fraction, seed):
    cells = masked(SpecAugmentConfig(time_masks=1, time_width=width, time_fraction=fraction), frames, seed=seed)
    for row, count in zip(cells, frames):
        assert torch.equal(row.any(dim=1), row.all(dim=1))  # whole frames
        assert not row[count:].any()
        assert longest_run(row[:, 0]) == row[:, 0].sum() <= min(width, fraction * count)


@given(bins=st.integers(3, 80), width=st.integers(1, 100), seed=st.integers(0, 1000))
def test_frequency_masks(bins, width, seed):
    cells = masked(SpecAugmentConfig(freq_masks=1, freq_width=width), [30, 12], bins, seed)
    for row in cells:
        assert torch.equal(row.any(dim=0), row.all(dim=0))  # whole bins
        assert longest_run(row[0]) == row[0].sum() <= min(width, bins)


def test_every_width_and_place_occurs():
    widths, places = set(), set()
    for seed in range(400):
        cells = masked(SpecAugmentConfig(freq_masks=1, freq_width=3), [2], 6, seed)[0, 0]
        widths.add(int(cells.sum()))
        places |= set(cells.nonzero()[:, 0].tolist())
    assert widths == {0, 1, 2, 3}
    assert places == set(range(6))


def test_rows_and_masks_are_drawn_apart():
    cells = masked(SpecAugmentConfig(time_masks=2, time_width=20), [200] * 8)
    assert len({tuple(row[:, 0].tolist()) for row in cells}) == 8
    assert max(longest_run(row[:, 0]) for row in cells) < max(int(row[:, 0].sum()) for row in cells)


def test_the_generator_decides():
    config = SpecAugmentConfig(freq_masks=2, time_masks=2)
    assert torch.equal(masked(config, [50, 70], seed=3), masked(config, [50, 70], seed=3))
    assert not torch.equal(masked(config, [50, 70], seed=3), masked(config, [50, 70], seed=4))


@pytest.mark.parametrize("config", [SpecAugmentConfig(), SpecAugmentConfig(time_masks=2, time_width=0),
                                    SpecAugmentConfig(freq_masks=2, freq_width=0)])
def test_nothing_to_mask(config):
    assert not masked(config, [50]).any()
