"""Sounds as inputs: the front-end and the augmentation of the recogniser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from asr import audio
from asr.classification.config import InputConfig
from asr.classification.reader import Reader
from asr.errors import DataError
from asr.features import CmvnStats, FrontEnd, SpecAugment, WaveAugment

CMVN_HOURS = 5.0
"""Global statistics are taken over at most this much audio: the mean of a million frames is settled."""


class AudioReader(Reader):
    """A file as samples (N,) float32 in [-1, 1], and frames of it: (T, F), normalised."""

    def __init__(self, config: InputConfig, training: bool = False) -> None:
        super().__init__(config)
        self.frontend = FrontEnd(config.features).eval()
        # Elsewhere the files of noise that training used need not be there.
        self.augment = WaveAugment(config.augment, config.features.sample_rate) if training else None
        self.spec_augment = SpecAugment(config.augment.spec_augment)

    @property
    def shape(self) -> int:
        return self.frontend.dim

    def read(self, source: str) -> np.ndarray:
        samples = audio.load(source, self.config.features.sample_rate)
        if not self.length(samples):
            raise DataError(f"{source}: {len(samples)} samples are less than one window of "
                            f"{self.config.features.frame_length_ms:g} ms")
        return samples

    def fit(self, items: Iterable[np.ndarray]) -> None:
        if self.config.features.cmvn != "global":
            return
        stats, samples = CmvnStats(self.frontend.dim), 0
        for item in items:
            stats.add(self._extract(item, None)[0].numpy())
            samples += len(item)
            if samples >= CMVN_HOURS * 3600 * self.config.features.sample_rate:
                break
        self.frontend.set_global(stats)

    def make(self, item: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        if rng is not None and self.augment is not None:
            item = self.augment(item, rng)
        features = self._extract(item, rng)
        lengths = torch.tensor([features.shape[1]])
        features = self.frontend.normalize(features, lengths)
        if rng is not None:
            features = self.spec_augment(features, lengths, torch.Generator().manual_seed(int(rng.integers(2**63))))
        return features[0].numpy()

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
        return int(self.frontend.num_frames(torch.tensor([len(item)]))[0])

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        return {name: tensor.numpy() for name, tensor in self.frontend.state_dict().items()}, {}

    def restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        self.frontend.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
