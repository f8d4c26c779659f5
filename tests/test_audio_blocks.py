"""Reading in blocks: joined, the blocks are what is read at once, at every rate, in every codec, of every channel."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from test_audio import CODECS, IDS, sweep, written

from asr import audio
from asr.errors import AudioError


@pytest.mark.parametrize("codec", CODECS, ids=IDS)
def test_blocks_are_the_file(tmp_path, codec):
    path, rate = written(tmp_path, codec), codec[3]
    for new_rate, bound in ((rate, 2e-7 if codec[0] == "mp3" else 0.0), (16000, 1e-6)):  # mpg123 rounds by the place in its buffer
        whole = audio.load(path, new_rate)
        for seconds in (0.0731, 0.5, 30.0):
            parts = list(audio.blocks(path, new_rate, seconds=seconds))
            joined = np.concatenate(parts)
            assert joined.dtype == np.float32 and joined.shape == whole.shape
            assert np.abs(joined - whole).max() <= bound
            assert seconds > 2 or len(parts) > 2


@given(st.sampled_from([(8000, 16000), (44100, 16000), (16000, 11025), (48000, 8000), (22050, 8000), (800, 799), (1601, 1600),
                        (7, 3)]),
       st.lists(st.integers(0, 3000), min_size=1, max_size=6), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_resampling_knows_no_seams(rates, lengths, seed):
    rate, new_rate = rates
    random = np.random.default_rng(seed)
    parts = [random.standard_normal(length).astype(np.float32) for length in lengths]
    whole = np.concatenate(parts)
    made = list(audio.resample_blocks(iter(parts), rate, new_rate))
    joined = np.concatenate([np.zeros(0, np.float32), *made])
    expected = audio.resample(whole, rate, new_rate) if len(whole) else whole
    assert joined.shape == expected.shape
    assert np.abs(joined - expected).max(initial=0) < 2e-6


def test_channels_of_blocks(tmp_path):
    path = tmp_path / "two.wav"
    soundfile.write(path, np.stack([sweep(8000), 0.5 * sweep(8000)[::-1]], axis=1), 8000, subtype="FLOAT")
    for channel in (None, 0, 1):
        joined = np.concatenate(list(audio.blocks(path, 8000, channel, 0.3)))
        np.testing.assert_array_equal(joined, audio.read(path, channel=channel)[0])
    with pytest.raises(AudioError, match="no channel 2"):
        next(audio.blocks(path, 8000, 2, 0.3))


def test_a_resampled_stream_is_held_by_blocks():
    drawn = []

    def blocks():
        for index in range(1000):
            drawn.append(index)
            yield np.zeros(4410, np.float32)

    made = audio.resample_blocks(blocks(), 44100, 16000)
    next(made)
    assert len(drawn) == 1


def test_what_is_wrong_late_in_a_file_is_found_there(tmp_path):
    samples = sweep(8000)
    samples[-3] = np.nan
    path = tmp_path / "a.wav"
    soundfile.write(path, samples, 8000, subtype="FLOAT")
    blocks = audio.blocks(path, 8000, seconds=0.5)
    assert len([next(blocks), next(blocks), next(blocks)]) == 3
    with pytest.raises(AudioError, match=r"a\.wav: cannot read: .*not finite"):
        next(blocks)
    cut = tmp_path / "cut.flac"
    soundfile.write(cut, sweep(8000), 8000)
    cut.write_bytes(cut.read_bytes()[:-2000])
    with pytest.raises(AudioError, match=r"cut\.flac: cannot read: cut or corrupt"):
        list(audio.blocks(cut, 8000, seconds=0.5))
