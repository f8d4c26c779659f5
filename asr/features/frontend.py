"""The front-end of a recogniser: an extractor and its normalisation, from one configuration section."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from asr.config import FeatureConfig
from asr.errors import ConfigError, DataError
from asr.features.cmvn import CmvnStats, normalize_by, normalize_utterances
from asr.features.extractors import build_extractor


class FrontEnd(nn.Module):
    """Waveforms to normalised features, batched and masked; no trainable parameters.

    With ``cmvn: global`` the mean and scale are buffers, set once by :meth:`set_global` and carried by the state dict.
    With ``speaker`` they come with each batch, and with ``utterance`` (or ``speaker`` and no statistics) from the
    utterance itself.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, config: FeatureConfig) -> None:
        super().__init__()
        self.config = config
        self.extractor = build_extractor(config)
        self.dim = self.extractor.dim
        self.sample_rate = config.sample_rate
        self.frame_shift = self.extractor.shift / config.sample_rate
        """Seconds from one frame to the next."""
        self._ready = config.cmvn != "global"
        if config.cmvn == "global":
            self.register_buffer("mean", torch.zeros(self.dim))
            self.register_buffer("scale", torch.ones(self.dim))
            self.register_load_state_dict_post_hook(lambda module, _: setattr(module, "_ready", True))

    def num_frames(self, lengths: Any) -> Any:
        """Frames of so many samples (int, or int64 tensor)."""
        return self.extractor.num_frames(lengths)

    def set_global(self, stats: CmvnStats) -> None:
        """Take the mean and scale of the training data; raises DataError when they do not fit the features."""
        if self.config.cmvn != "global":
            raise ConfigError(f"features.cmvn is `{self.config.cmvn}`: global statistics belong to `global`")
        if stats.dim != self.dim or stats.count <= 0:
            raise DataError(f"global CMVN: statistics of {stats.dim} features over {stats.count:g} frames do not fit "
                            f"{self.dim} {self.config.kind} features; compute them again with this configuration")
        mean, scale = stats.normalizer(self.config.cmvn_variance)
        self.mean.copy_(mean)
        self.scale.copy_(scale)
        self._ready = True

    def extract(self, waveforms: Tensor, lengths: Tensor, warp: Tensor | None = None,
                generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Raw features, as ``asr features`` stores them: (B, N) in [-1, 1], (B,) -> (B, T, F), (B,)."""
        return self.extractor(waveforms, lengths, warp, generator)

    @torch.no_grad()
    def normalize(self, features: Tensor, frames: Tensor, stats: Tensor | None = None) -> Tensor:
        """Normalise raw features (B, T, F) of (B,) frames; the input is left as it is, the padding of the output is zero.

        stats (B, 2, F): mean and scale of each utterance's speaker, for ``cmvn: speaker`` only.
        """
        if features.shape[-1] != self.dim:
            raise DataError(f"features have {features.shape[-1]} dimensions, this front-end ({self.config.kind}) makes "
                            f"{self.dim}; write the archive again with `asr features --config` and the configuration in use")
        kind = self.config.cmvn
        if kind == "none":
            return normalize_by(features, frames, features.new_zeros(()), features.new_ones(()))
        if kind == "global":
            if not self._ready:
                raise ConfigError("features.cmvn is `global`, and no statistics have been set: call set_global(), "
                                  "or load a trained front-end")
            return normalize_by(features, frames, self.mean, self.scale)
        if kind == "speaker" and stats is not None:
            stats = stats.to(features)
            return normalize_by(features, frames, stats[:, :1], stats[:, 1:])
        return normalize_utterances(features, frames, self.config.cmvn_variance)

    def forward(self, waveforms: Tensor, lengths: Tensor, warp: Tensor | None = None, stats: Tensor | None = None,
                generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Normalised features: (B, N) float32 in [-1, 1], (B,) samples -> (B, T, F) float32, (B,) frames.

        warp (B,) is the vocal-tract-length warp of each utterance; stats as in :meth:`normalize`.
        """
        features, frames = self.extract(waveforms, lengths, warp, generator)
        return self.normalize(features, frames, stats), frames
