"""From waveforms to normalised features: extractors, CMVN, augmentation, archives."""

from __future__ import annotations

from asr.features.cmvn import CmvnStats, compute_cmvn, raw_features, speaker_stats
from asr.features.extractors import Extractor, Fbank, Mfcc, Spectrogram, build_extractor
from asr.features.frontend import FrontEnd
from asr.features.specaugment import SpecAugment
from asr.features.waveform import WaveAugment

__all__ = ["CmvnStats", "Extractor", "Fbank", "FrontEnd", "Mfcc", "SpecAugment", "Spectrogram", "WaveAugment",
           "build_extractor", "compute_cmvn", "raw_features", "speaker_stats"]
