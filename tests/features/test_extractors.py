"""Extractors against kaldi-native-fbank and torchaudio's Kaldi compliance module, and their invariants."""

from __future__ import annotations

import kaldi_native_fbank as knf
import numpy as np
import pytest
import torch
import torchaudio.compliance.kaldi as kaldi
from hypothesis import given, settings
from hypothesis import strategies as st
from speech_signals import padded, speech

from asr.config import FeatureConfig
from asr.errors import ConfigError
from asr.features import Extractor, Fbank, Mfcc, Spectrogram, build_extractor
from asr.features.mel import mel_banks

TOLERANCE = 1e-3


def assert_equal(got: np.ndarray, expected: np.ndarray, kind: str, options: dict) -> None:
    """Within 1e-3; cepstra are sums of many log-mel values times up to 12, the blackman window hides less rounding."""
    assert got.shape == expected.shape
    factor = 10 if kind == "mfcc" else 2 if options.get("window") == "blackman" else 1
    np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * factor)


def native(wave: np.ndarray, kind: str = "fbank", **options) -> np.ndarray:
    """kaldi-native-fbank, which is Kaldi's own C++ code."""
    config = FeatureConfig(kind=kind, **options)
    chosen = knf.FbankOptions() if kind == "fbank" else knf.MfccOptions()
    frame, mel = chosen.frame_opts, chosen.mel_opts
    frame.dither, frame.samp_freq, frame.snip_edges = 0, config.sample_rate, config.snip_edges
    frame.frame_length_ms, frame.frame_shift_ms = config.frame_length_ms, config.frame_shift_ms
    frame.window_type, frame.preemph_coeff = config.window, config.preemphasis
    frame.remove_dc_offset = config.remove_dc_offset
    mel.num_bins, mel.low_freq, mel.high_freq = config.num_mel_bins, config.low_freq, config.high_freq
    if kind == "mfcc":
        chosen.num_ceps, chosen.cepstral_lifter, chosen.use_energy = config.num_ceps, config.cepstral_lifter, False
    online = (knf.OnlineFbank if kind == "fbank" else knf.OnlineMfcc)(chosen)
    online.accept_waveform(config.sample_rate, (wave * 32768).tolist())
    online.input_finished()
    return np.stack([online.get_frame(index) for index in range(online.num_frames_ready)])


def compliance(wave: np.ndarray, kind: str = "fbank", warp: float | None = None, **options) -> np.ndarray:
    """torchaudio.compliance.kaldi, one utterance."""
    config = FeatureConfig(kind=kind, **options)
    arguments = {"sample_frequency": config.sample_rate, "frame_length": config.frame_length_ms,
                 "frame_shift": config.frame_shift_ms, "window_type": config.window, "snip_edges": config.snip_edges,
                 "preemphasis_coefficient": config.preemphasis, "remove_dc_offset": config.remove_dc_offset,
                 "energy_floor": 0.0}
    if kind != "spectrogram":
        arguments |= {"num_mel_bins": config.num_mel_bins, "low_freq": config.low_freq, "high_freq": config.high_freq}
    if kind == "mfcc":
        arguments |= {"num_ceps": config.num_ceps, "cepstral_lifter": config.cepstral_lifter}
    if warp is not None:
        arguments["vtln_warp"] = warp
    return getattr(kaldi, kind)(torch.from_numpy(wave)[None] * 32768, **arguments).numpy()


def ours(wave: np.ndarray, kind: str = "fbank", warp: float | None = None, **options) -> np.ndarray:
    extractor = build_extractor(FeatureConfig(kind=kind, **options))
    factor = None if warp is None else torch.tensor([warp], dtype=torch.float64)
    features, frames = extractor(*padded([wave]), warp=factor)
    assert frames.tolist() == [features.shape[1]]
    return features[0].numpy()


OPTIONS = [
    {},
    {"num_mel_bins": 40},
    {"num_mel_bins": 23},
    {"sample_rate": 8000, "num_mel_bins": 40},
    {"sample_rate": 8000, "num_mel_bins": 23},
    {"snip_edges": False},
    {"sample_rate": 8000, "num_mel_bins": 23, "snip_edges": False},
    {"window": "hamming"},
    {"window": "hanning"},
    {"window": "rectangular"},
    {"window": "blackman"},
    {"window": "hamming", "remove_dc_offset": False},
    {"remove_dc_offset": False},
    {"preemphasis": 0.0},
    {"preemphasis": 0.0, "remove_dc_offset": False},
    {"frame_length_ms": 20.0, "frame_shift_ms": 12.5},
    {"frame_length_ms": 32.0},
    {"low_freq": 80.0, "high_freq": -400.0},
    {"high_freq": 7600.0},
    {"sample_rate": 22050, "num_mel_bins": 64},
]


def name(options: dict) -> str:
    return ",".join(f"{key}={value}" for key, value in options.items()) or "defaults"


@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
@pytest.mark.parametrize("options", OPTIONS, ids=name)
def test_equal_to_kaldi_native(kind, options):
    wave = speech(2.37, options.get("sample_rate", 16000))
    assert_equal(ours(wave, kind, **options), native(wave, kind, **options), kind, options)


@pytest.mark.parametrize("kind", ["fbank", "mfcc", "spectrogram"])
@pytest.mark.parametrize("options", OPTIONS, ids=name)
def test_equal_to_torchaudio(kind, options):
    wave = speech(2.37, options.get("sample_rate", 16000), seed=1)
    got, expected = ours(wave, kind, **options), compliance(wave, kind, **options)
    assert got.shape == expected.shape
    if kind == "spectrogram":
        # A single FFT bin far below its frame is decided by float32 rounding, in both: compare the upper 52 dB.
        heard = expected > expected[:, 1:].max(axis=1, keepdims=True) - 12
        assert heard.mean() > 0.4
        got, expected = got[heard], expected[heard]
    assert_equal(got, expected, kind, options)


@pytest.mark.parametrize("kind", ["fbank", "mfcc"])
@pytest.mark.parametrize("warp", [0.8, 0.9, 0.97, 1.0, 1.03, 1.1, 1.25])
@pytest.mark.parametrize("options", [{}, {"sample_rate": 8000, "num_mel_bins": 23}], ids=name)
def test_warp_equal_to_torchaudio(kind, warp, options):
    wave = speech(1.5, options.get("sample_rate", 16000), seed=2)
    assert_equal(ours(wave, kind, warp, **options), compliance(wave, kind, warp, **options), kind, options)


def test_warp_is_per_utterance():
    waves = [speech(seconds, seed=seed) for seed, seconds in enumerate((0.9, 1.7, 0.4, 0.4))]
    warps = torch.tensor([0.9, 1.1, 1.0, 0.9], dtype=torch.float64)
    features, frames = Fbank()(*padded(waves), warp=warps)
    for row, count, wave, warp in zip(features, frames.tolist(), waves, warps.tolist()):
        torch.testing.assert_close(row[:count], torch.from_numpy(ours(wave, warp=warp)), rtol=0, atol=1e-5)


def test_batch_equal_to_kaldi_native_one_by_one():
    waves = [speech(seconds, seed=seed) for seed, seconds in enumerate((7.1, 0.3, 2.0, 2.01, 5.5))]
    features, frames = Fbank()(*padded(waves))
    for row, count, wave in zip(features, frames.tolist(), waves):
        np.testing.assert_allclose(row[:count].numpy(), native(wave), rtol=0, atol=TOLERANCE)
        assert not row[count:].any()


# ------------------------------------------------------------------------------------------------- invariants


@settings(max_examples=40)
@given(lengths=st.lists(st.integers(0, 40000), min_size=1, max_size=6), extra=st.integers(0, 3000),
       kind=st.sampled_from(["fbank", "mfcc", "spectrogram"]), snip=st.booleans(),
       window=st.sampled_from(["povey", "hamming"]),
       fill=st.sampled_from([0.0, 1.0, float("nan")]), seed=st.integers(0, 99))
def test_alone_or_in_any_batch(lengths, extra, kind, snip, window, fill, seed):
    extractor = build_extractor(FeatureConfig(kind=kind, snip_edges=snip, window=window))
    waves = [speech(3.0, seed=seed + index)[:length] for index, length in enumerate(lengths)]
    order = np.random.default_rng(seed).permutation(len(waves)).tolist()
    features, frames = extractor(*padded([waves[index] for index in order], extra, fill))
    assert features.shape == (len(waves), int(frames.max()), extractor.dim)
    assert torch.isfinite(features).all()
    for place, index in enumerate(order):
        count = int(frames[place])
        assert count == extractor.num_frames(len(waves[index]))
        assert not features[place, count:].any()
        alone, _ = extractor(*padded([waves[index]]))
        torch.testing.assert_close(features[place, :count], alone[0], rtol=0, atol=2e-5)


@given(samples=st.integers(0, 5000), snip=st.booleans(), rate=st.sampled_from([8000, 11025, 16000, 22050]))
def test_num_frames_is_kaldis(samples, snip, rate):
    extractor = Fbank(sample_rate=rate, num_mel_bins=23, snip_edges=snip)
    options = knf.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.snip_edges = rate, snip
    online = knf.OnlineFbank(options)
    if samples:
        online.accept_waveform(rate, [0.0] * samples)
    online.input_finished()
    assert extractor.num_frames(samples) == online.num_frames_ready
    assert extractor.num_frames(torch.tensor([samples])).tolist() == [online.num_frames_ready]


@pytest.mark.parametrize("kind", ["fbank", "mfcc", "spectrogram"])
@pytest.mark.parametrize("snip", [True, False])
@pytest.mark.parametrize("samples", [0, 1, 79, 80, 399, 400])
def test_short_utterances(kind, snip, samples):
    extractor = build_extractor(FeatureConfig(kind=kind, snip_edges=snip))
    features, frames = extractor(*padded([np.full(samples, 0.1, np.float32)]))
    expected = (1 if samples >= 400 else 0) if snip else (samples + 80) // 160
    assert frames.tolist() == [expected]
    assert features.shape == (1, expected, extractor.dim)
    assert torch.isfinite(features).all()


def test_digital_silence_is_the_floor():
    features, _ = Fbank()(torch.zeros(1, 4000), torch.tensor([4000]))
    torch.testing.assert_close(features, torch.full_like(features, float(np.log(np.finfo(np.float32).eps))))


def test_dither_in_training_only_and_from_the_generator():
    batch = padded([speech(0.5)])
    extractor = Fbank(dither=1.0)
    plain, _ = Fbank()(*batch)
    draws = [extractor.train()(*batch, generator=torch.Generator().manual_seed(seed))[0] for seed in (1, 1, 2)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert torch.equal(extractor.eval()(*batch)[0], plain)
    assert 0 < (draws[0] - plain).abs().mean() < 1
    floor = extractor.train()(torch.zeros(1, 16000), torch.tensor([16000]), generator=torch.Generator().manual_seed(1))[0]
    assert 2 < floor.mean() < 8  # log-mel energies of white noise of one 16-bit step


def test_no_parameters_no_state_no_gradient():
    for extractor in (Fbank(), Mfcc(), Spectrogram()):
        assert not list(extractor.parameters())
        assert not extractor.state_dict()
    wave = torch.randn(1, 4000, requires_grad=True)
    assert not Fbank()(wave, torch.tensor([4000]))[0].requires_grad


def test_full_precision_inside_autocast_and_fast_matmul():
    batch = padded([speech(1.0)])
    plain, _ = Mfcc()(*batch)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features, _ = Mfcc()(*batch)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert features.dtype == torch.float32
    torch.testing.assert_close(features, plain, rtol=0, atol=1e-6)


def test_input_is_left_alone():
    wave, lengths = padded([speech(0.5), speech(0.4)])
    before = wave.clone()
    for options in ({}, {"snip_edges": False}, {"dither": 1.0}):
        Fbank(**options).train()(wave, lengths)
        assert torch.equal(wave, before)


def test_warped_banks_are_kept_but_not_for_ever():
    extractor = Fbank(num_mel_bins=23)
    for step in range(300):
        extractor(torch.zeros(1, 400), torch.tensor([400]), warp=torch.tensor([0.9 + step * 0.0005]))
    assert len(extractor._banks) <= 256


def test_mel_banks_cover_the_band():
    banks = mel_banks(40, 512, 16000, 20.0, 0.0)
    assert banks.shape == (40, 257) and banks.dtype == np.float32
    assert (banks >= 0).all() and (banks <= 1).all() and (banks.sum(axis=1) > 0).all()
    np.testing.assert_allclose(banks.sum(axis=0)[10:240], 1, atol=1e-3)  # neighbouring triangles add up


@pytest.mark.parametrize(("make", "said"), [
    (lambda: Fbank(num_mel_bin=40), "did you mean `num_mel_bins`"),
    (lambda: Fbank(low_freq=9000.0), "low_freq"),
    (lambda: Mfcc(num_ceps=90), "num_ceps"),
    (lambda: Fbank(frame_shift_ms=0.01), "frame_shift_ms"),
    (lambda: Fbank()(torch.zeros(1, 800), torch.tensor([800]), warp=torch.tensor([5.0])), "warp"),
    (lambda: Fbank()(torch.zeros(1, 800), torch.tensor([800]), warp=torch.tensor([0.0])), "warp"),
    (lambda: Fbank(high_freq=4000.0)(torch.zeros(1, 800), torch.tensor([800]), warp=torch.tensor([1.1])), "widen the band"),
    (lambda: Spectrogram()(torch.zeros(1, 800), torch.tensor([800]), warp=torch.tensor([1.1])), "augment.vtlp"),
])
def test_impossible_options_are_named(make, said):
    with pytest.raises(ConfigError, match=said):
        make()


@pytest.mark.parametrize(("waveforms", "lengths"), [((2, 800), [800]), ((800,), [800]), ((1, 800), [801]), ((1, 800), [-1])])
def test_shapes_that_do_not_fit(waveforms, lengths):
    with pytest.raises(ValueError, match=r"lengths|waveforms"):
        Fbank()(torch.zeros(waveforms), torch.tensor(lengths))


def test_extractors_share_one_interface():
    for kind, dim in (("fbank", 80), ("mfcc", 13), ("spectrogram", 257)):
        extractor = build_extractor(FeatureConfig(kind=kind))
        assert isinstance(extractor, Extractor) and (extractor.kind, extractor.dim) == (kind, dim)
