"""What is counted in a data directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from asr.corpus import DataDir
from asr.corpus.info import DataInfo, describe, output_frames


def test_counts(plain: DataDir) -> None:
    info = describe(plain)
    assert (info.utterances, info.speakers, info.recordings, info.words, info.vocabulary) == (5, 3, 5, 9, 9)
    assert info.durations.sum() == pytest.approx(6.0)
    assert info.formats == {(8000, 1, "WAV"): 5}
    assert info.characters["e"] == "one two three four five six seven eight nine".count("e")
    assert info.characters[" "] == 4
    assert (info.untrainable, info.unreadable) == ([], [])


def test_utterances_too_short_for_their_characters(plain: DataDir) -> None:
    # 1.0 s: 98 frames of 10 ms, 49 kept at a subsampling of 2. Equal neighbours need a blank between them.
    plain.utterances[0] = replace(plain.utterances[0], text="ab" * 24 + "c")
    assert describe(plain).untrainable == []
    plain.utterances[0] = replace(plain.utterances[0], text="ab" * 24 + "b")
    assert describe(plain).untrainable == [("ann-1", 49, 50)]
    assert describe(plain, subsampling=1).untrainable == []


def test_segments_and_unreadable_recordings(segmented: DataDir) -> None:
    assert describe(segmented).durations.tolist() == [0.75, 1.5, 1.5, 1.5]
    Path(segmented.wav["call1"]).unlink()
    info = describe(segmented)
    assert info.durations.tolist() == [1.5, 1.5]
    assert len(info.unreadable) == 1
    assert "call1.flac: cannot read" in info.unreadable[0]


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)])
def test_frames_are_kaldi_s(samples: int, frames: int) -> None:
    assert output_frames(samples / 16000, 1) == frames
    assert output_frames(samples / 16000, 3) == (frames + 2) // 3


@pytest.mark.parametrize("durations", [[1.0], [0.37, 0.371, 0.372], [1, 15, 7.5, 3], [0.1, 3600]])
def test_the_histogram_counts_everybody_once(durations: list[float]) -> None:
    bars = DataInfo(1, 1, len(durations), np.asarray(durations, float)).histogram()
    assert sum(count for _, _, count in bars) == len(durations)
    assert len(bars) <= 12
    for low, high, count in bars:
        assert count == sum(low - 1e-9 <= duration < high - 1e-9 for duration in durations)
    assert DataInfo(0, 0, 0, np.zeros(0)).histogram() == []
