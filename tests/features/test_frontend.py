"""Normalisation: statistics as Kaldi keeps them, and the front-end that applies them to padded batches."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_signals import padded, speech

from asr.config import FeatureConfig
from asr.corpus import DataDir, Utterance
from asr.errors import ConfigError, DataError
from asr.features import CmvnStats, FrontEnd, compute_cmvn, speaker_stats
from asr.features.cmvn import total


def frontend(cmvn: str, **options) -> FrontEnd:
    return FrontEnd(FeatureConfig(cmvn=cmvn, num_mel_bins=40, **options))


WAVES = [speech(seconds, seed=seed) for seed, seconds in enumerate((1.3, 0.5, 2.1))]


def test_statistics_are_kaldis():
    features = np.random.default_rng(1).normal(3, 2, (50, 7)).astype(np.float32)
    stats = CmvnStats(7)
    stats.add(features[:20])
    stats.add(torch.from_numpy(features[20:]))
    np.testing.assert_allclose(stats.matrix, np.asarray(knf.compute_cmvn_stats(features)), rtol=1e-5)
    np.testing.assert_allclose(stats.mean, features.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(stats.scale(), 1 / features.std(axis=0), rtol=1e-4)
    np.testing.assert_array_equal(stats.scale(variance=False), np.ones(7))
    assert stats.normalizer().shape == (2, 7)
    again = CmvnStats.from_matrix(stats.to_matrix())
    np.testing.assert_array_equal(again.matrix, stats.matrix)


def test_statistics_add_up():
    rng = np.random.default_rng(2)
    items = [(key, rng.normal(size=(count, 3))) for key, count in (("b", 4), ("a", 5), ("b", 0), ("b", 6))]
    found = compute_cmvn(items)
    assert {key: stats.count for key, stats in found.items()} == {"a": 5, "b": 10}
    everything = np.concatenate([features for _, features in items])
    np.testing.assert_allclose(total(found.values()).mean, everything.mean(axis=0))


@pytest.mark.parametrize("matrix", [np.zeros((2, 5)), np.ones((3, 5)), np.full((2, 5), np.nan), np.ones(5)])
def test_statistics_that_are_none(matrix):
    with pytest.raises(DataError, match="CMVN statistics"):
        CmvnStats.from_matrix(matrix)


def test_statistics_of_other_features():
    stats = CmvnStats(3)
    with pytest.raises(DataError, match="3 features"):
        stats.add(np.ones((4, 5)))
    with pytest.raises(DataError, match="3 features"):
        stats.merge(CmvnStats(4))
    with pytest.raises(DataError, match="nothing"):
        total([])


@pytest.mark.parametrize("variance", [True, False])
def test_utterance_normalisation(variance):
    features, frames = frontend("utterance", cmvn_variance=variance)(*padded(WAVES))
    raw, _ = frontend("none")(*padded(WAVES))
    for row, plain, count in zip(features, raw, frames.tolist()):
        assert row[:count].mean(dim=0).abs().max() < 1e-4
        spread = row[:count].std(dim=0, correction=0)
        expected = torch.ones(40) if variance else plain[:count].std(dim=0, correction=0)
        torch.testing.assert_close(spread, expected, rtol=1e-3, atol=1e-3)
        assert not row[count:].any()


def test_global_normalisation_travels_in_the_state():
    one = frontend("global")
    raw, frames = one.extract(*padded(WAVES))
    stats = CmvnStats(40)
    for row, count in zip(raw, frames.tolist()):
        stats.add(row[:count])
    one.set_global(stats)
    features, frames = one(*padded(WAVES))
    valid = torch.cat([row[:count] for row, count in zip(features, frames.tolist())])
    assert valid.mean(dim=0).abs().max() < 1e-4
    torch.testing.assert_close(valid.std(dim=0, correction=0), torch.ones(40), rtol=1e-3, atol=1e-3)
    assert set(one.state_dict()) == {"mean", "scale"}
    other = frontend("global")
    with pytest.raises(ConfigError, match="set_global"):
        other(*padded(WAVES))
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(*padded(WAVES))[0], features)


def test_speaker_normalisation():
    one = frontend("speaker")
    batch = padded(WAVES)
    stats = torch.stack([torch.stack([torch.full((40,), 5.0 + index), torch.full((40,), 0.5)]) for index in range(3)])
    raw, frames = one.extract(*batch)
    features, _ = one(*batch, stats=stats)
    for index, count in enumerate(frames.tolist()):
        torch.testing.assert_close(features[index, :count], (raw[index, :count] - 5 - index) * 0.5)
        assert not features[index, count:].any()
    assert torch.equal(one(*batch)[0], frontend("utterance")(*batch)[0])


def test_statistics_of_speakers(tmp_path):
    from asr import audio

    utterances = []
    for index, wave in enumerate(WAVES):
        audio.write(tmp_path / f"{index}.wav", wave, 16000)
        utterances.append(Utterance(f"{index}", f"{index}", "ab"[index % 2]))
    data = DataDir.from_utterances(utterances, {f"{index}": str(tmp_path / f"{index}.wav") for index in range(3)})
    one = frontend("speaker")
    found = speaker_stats(data, one)
    raw, frames = one.extract(*padded(WAVES))
    mine = torch.cat([raw[index, :frames[index]] for index in (0, 2)])
    np.testing.assert_allclose(found["a"][0], mine.mean(dim=0).numpy(), rtol=1e-4)
    np.testing.assert_allclose(found["a"][1], 1 / mine.std(dim=0, correction=0).numpy(), rtol=1e-4)
    assert set(found) == {"a", "b"}


@settings(max_examples=20)
@given(cmvn=st.sampled_from(["none", "utterance", "global"]), variance=st.booleans(), extra=st.integers(0, 2000),
       lengths=st.lists(st.integers(0, 20000), min_size=1, max_size=5))
def test_alone_or_in_any_batch(cmvn, variance, extra, lengths):
    one = frontend(cmvn, cmvn_variance=variance)
    if cmvn == "global":
        stats = CmvnStats(40)
        stats.add(np.random.default_rng(0).normal(5, 3, (100, 40)))
        one.set_global(stats)
    waves = [speech(1.5, seed=index)[:length] for index, length in enumerate(lengths)]
    features, frames = one(*padded(waves, extra))
    assert torch.isfinite(features).all()
    for row, count, wave in zip(features, frames.tolist(), waves):
        assert not row[count:].any()
        torch.testing.assert_close(row[:count], one(*padded([wave]))[0][0], rtol=0, atol=2e-5)


def test_normalize_leaves_its_input():
    for kind in ("none", "utterance"):
        one = frontend(kind)
        raw, frames = one.extract(*padded(WAVES))
        before = raw.clone()
        one.normalize(raw, frames)
        assert torch.equal(raw, before)


def test_frames_that_never_move_are_not_blown_up():
    features, _ = frontend("utterance")(torch.zeros(1, 8000), torch.tensor([8000]))
    assert not features.any()
    features, _ = frontend("utterance")(*padded([speech(0.025)]))  # a single frame
    assert features.abs().max() < 1e-3


def test_what_does_not_fit_is_named():
    with pytest.raises(DataError, match="7 dimensions"):
        frontend("utterance").normalize(torch.zeros(1, 4, 7), torch.tensor([4]))
    with pytest.raises(DataError, match="do not fit"):
        frontend("global").set_global(CmvnStats(7))
    with pytest.raises(DataError, match="do not fit"):
        frontend("global").set_global(CmvnStats(40))  # no frames
    with pytest.raises(ConfigError, match="utterance"):
        frontend("utterance").set_global(CmvnStats(40))


def test_frame_shift_and_frames():
    one = FrontEnd(FeatureConfig(sample_rate=11025, num_mel_bins=40))
    assert one.frame_shift == 110 / 11025
    assert one.num_frames(11025) == int(one.num_frames(torch.tensor(11025))) == (11025 - 275) // 110 + 1
