"""The front-end as a graph: waveforms to normalised features.

Everything from the raw samples of a frame to its spectrum is linear (mean taken off, pre-emphasis, window, Fourier transform), so
it is one matrix, made in float64, and the frames are what a strided convolution with it sees. Where the mean is taken off, it is
given the steps from sample to sample, which hold no offset: of one, float32 would leave enough to drown what is nearly silent.
"""

from __future__ import annotations

import math

import numpy as np

from asr.errors import UsageError
from asr.export.graph import DOUBLE, FLOAT, Graph
from asr.features import FrontEnd
from asr.features.cmvn import VARIANCE_FLOOR
from asr.features.extractors import EPSILON, SCALE, Extractor, Mfcc
from asr.features.mel import cepstral_matrix, mel_banks, window


def waveforms_to_features(graph: Graph, frontend: FrontEnd, waveforms: str, lengths: str) -> tuple[str, str]:
    """waveforms (B, N) in [-1, 1], lengths (B,) samples -> features before normalisation (B, T, F), frames (B,).

    T is at least 1; what stands at padding says nothing. Raises UsageError for features whose frames reach beyond the samples,
    and for spectrograms.
    """
    extractor, config = frontend.extractor, frontend.config
    if not config.snip_edges or config.kind == "spectrogram":
        what = "features.kind: spectrogram" if config.kind == "spectrogram" else "features.snip_edges: false"
        raise UsageError(f"{what} cannot be part of an ONNX file: choose --input features, and compute them as `asr features` does")
    frames = graph.add("Max", graph.ints(0), graph.add(
        "Add", graph.add("Div", graph.add("Sub", lengths, graph.ints(extractor.window_size)), graph.ints(extractor.shift)),
        graph.ints(1)))
    # Whole numbers are divided towards zero: what is shorter than a window must not have a frame.
    frames = graph.add("Where", graph.add("Less", lengths, graph.ints(extractor.window_size)), graph.ints(0), frames)
    longest = graph.longest(frames)
    # One window of zeros at the end, so that even an empty batch has a frame to compute.
    seen = graph.add("Pad", waveforms, graph.ints(0, 0, 0, extractor.window_size))
    if config.remove_dc_offset:
        later = graph.slice(seen, graph.ints(1), graph.ints(np.iinfo(np.int64).max), 1)
        seen = graph.add("Sub", later, graph.slice(seen, graph.ints(0), graph.ints(-1), 1))
    spectra = graph.add("Conv", graph.unsqueeze(seen, 1), graph.constant(spectral_matrix(extractor)[:, None], np.float32),
                        strides=[extractor.shift])
    spectra = graph.slice(spectra, graph.ints(0), longest, 2)
    spectra = graph.add("Transpose", spectra, perm=[0, 2, 1])  # (B, 2 bins, T) -> (B, T, 2 bins)
    banks = mel_banks(config.num_mel_bins, extractor.fft_size, config.sample_rate, config.low_freq, config.high_freq)
    # Real and imaginary parts stand one after the other; each filter weight stands twice, so the product adds them up.
    mel = graph.add("MatMul", graph.add("Mul", spectra, spectra), graph.constant(np.concatenate([banks, banks], 1).T, np.float32))
    features = graph.add("Log", graph.add("Max", mel, graph.number(EPSILON)))
    if isinstance(extractor, Mfcc):
        features = graph.add("MatMul", features, graph.constant(
            cepstral_matrix(config.num_mel_bins, config.num_ceps, config.cepstral_lifter), np.float32))
    return features, frames


def spectral_matrix(extractor: Extractor) -> np.ndarray:
    """(2 bins, window_size) float64: the samples of a frame to the real, then the imaginary parts of its windowed spectrum.

    With ``remove_dc_offset`` (2 bins, window_size - 1): from the steps between the samples.
    """
    config, size = extractor.config, extractor.window_size
    frame = np.eye(size)
    if config.remove_dc_offset:
        frame -= 1 / size
    before = np.vstack([frame[:1], frame[:-1]])  # Kaldi's first sample of a frame is its own predecessor
    emphasized = (frame - config.preemphasis * before) * (window(config.window, size) * SCALE)[:, None]
    angles = -2 * math.pi / extractor.fft_size * np.outer(np.arange(extractor.fft_size // 2 + 1), np.arange(size))
    matrix = np.concatenate([np.cos(angles) @ emphasized, np.sin(angles) @ emphasized])
    if not config.remove_dc_offset:
        return matrix
    # A step lifts all samples after it; the first sample lifts all of them, which makes no difference.
    return np.cumsum(matrix[:, :0:-1], axis=1)[:, ::-1]


def normalize(graph: Graph, frontend: FrontEnd, features: str, frames: str) -> str:
    """Features (B, T, F) of (B,) frames -> normalised, zero at padding; a speaker's statistics are those of the utterance."""
    kind = frontend.config.cmvn
    if kind == "none":
        return graph.silence(features, frames)
    if kind == "global":
        centred = graph.add("Sub", features, graph.constant(frontend.mean, np.float32))
        return graph.silence(graph.add("Mul", centred, graph.constant(frontend.scale, np.float32)), frames)
    count = graph.unsqueeze(graph.add("Cast", graph.add("Max", frames, graph.ints(1)), to=DOUBLE), 1, 2)

    def mean_of(values: str) -> str:
        """(B, T, F), zero at padding -> (B, 1, F), summed in float64 as `asr.features.cmvn.normalize_utterances` does."""
        return graph.add("Div", graph.add("ReduceSum", graph.add("Cast", values, to=DOUBLE), graph.ints(1)), count)

    mean = graph.add("Cast", mean_of(graph.silence(features, frames)), to=FLOAT)
    centred = graph.silence(graph.add("Sub", features, mean), frames)
    if not frontend.config.cmvn_variance:
        return centred
    spread = graph.add("Max", mean_of(graph.add("Mul", centred, centred)), graph.constant(VARIANCE_FLOOR, np.float64))
    return graph.add("Mul", centred, graph.add("Cast", graph.add("Reciprocal", graph.add("Sqrt", spread)), to=FLOAT))
