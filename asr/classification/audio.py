"""Sounds as inputs: the front-end and the augmentation of the recogniser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from asr import audio
from asr.classification.config import InputConfig
from asr.classification.reader import Reader
from asr.config import AugmentConfig
from asr.errors import DataError
from asr.features import CmvnStats, FrontEnd, SpecAugment, WaveAugment

CMVN_HOURS = 5.0
"""Global statistics are taken over at most this much audio: the mean of a million frames is settled."""


class AudioReader(Reader):
    """A file as samples (N,) float32 in [-1, 1], and frames of it: (T, F), normalised.

    Where nothing is done to samples, and features are the same at every look, a file is read as its features (T, F), normalised if
    that takes no other file: they are what is kept in memory, and not made anew in every epoch.
    """

    def __init__(self, config: InputConfig, training: bool = False) -> None:
        super().__init__(config)
        self.frontend = FrontEnd(config.features).eval()
        # Elsewhere the files of noise that training used need not be there.
        self.augment = WaveAugment(config.augment, config.features.sample_rate) if training else None
        self.spec_augment = SpecAugment(config.augment.spec_augment)
        untouched = config.augment == AugmentConfig(spec_augment=config.augment.spec_augment) and not config.features.dither
        self.as_features = untouched or not training
        self.alone = config.features.cmvn != "global"

    @property
    def shape(self) -> int:
        return self.frontend.dim

    def read(self, source: str) -> np.ndarray:
        samples = audio.load(source, self.config.features.sample_rate)
        if not int(self.frontend.num_frames(torch.tensor([len(samples)]))[0]):
            raise DataError(f"{source}: {len(samples)} samples are less than one window of "
                            f"{self.config.features.frame_length_ms:g} ms")
        if not self.as_features:
            return samples
        features = self._extract(samples, None)
        return (self._normalize(features) if self.alone else features)[0].numpy()

    def fit(self, items: Iterable[np.ndarray]) -> None:
        if self.alone:
            return
        stats = CmvnStats(self.frontend.dim)
        frames, enough = 0, CMVN_HOURS * 3600 / self.frontend.frame_shift
        for item in items:
            features = item if self.as_features else self._extract(item, None)[0].numpy()
            stats.add(features)
            frames += len(features)
            if frames >= enough:
                break
        self.frontend.set_global(stats)

    def make(self, item: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        if self.as_features and self.alone:
            return item
        if self.as_features:
            return self._normalize(torch.from_numpy(item).unsqueeze(0))[0].numpy()
        if rng is not None and self.augment is not None:
            item = self.augment(item, rng)
        return self._normalize(self._extract(item, rng))[0].numpy()

    def mask(self, inputs: torch.Tensor, lengths: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return self.spec_augment(inputs, lengths, generator)

    def _normalize(self, features: torch.Tensor) -> torch.Tensor:
        """(1, T, F) features of one file, normalised."""
        return self.frontend.normalize(features, torch.tensor([features.shape[1]]))

    @torch.no_grad()
    def _extract(self, samples: np.ndarray, rng: np.random.Generator | None) -> torch.Tensor:
        """(N,) -> (1, T, F), not normalised."""
        warp, dither = None, None
        extractor = self.frontend.extractor.train(rng is not None)
        if rng is not None and self.config.augment.vtlp is not None:
            # Steps of a hundredth: the extractor makes one filterbank for each factor it meets, and keeps it.
            warp = torch.tensor([round(rng.uniform(*self.config.augment.vtlp), 2)])
        if rng is not None and self.config.features.dither:
            dither = torch.Generator().manual_seed(int(rng.integers(2**63)))
        features, _ = extractor(torch.from_numpy(samples).unsqueeze(0), torch.tensor([len(samples)]), warp, dither)
        extractor.eval()
        return features

    def length(self, item: np.ndarray) -> int:
        return len(item) if self.as_features else int(self.frontend.num_frames(torch.tensor([len(item)]))[0])

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {name: tensor.numpy() for name, tensor in self.frontend.state_dict().items()}, {}

    def restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        self.frontend.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
