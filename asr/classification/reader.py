"""What every kind of input can do: be read, be fitted to the training items, and be made into frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from asr.classification.config import InputConfig
from asr.errors import DataError

if TYPE_CHECKING:
    from torch import Generator, Tensor

Shape = int | tuple[int, int, int]


class Reader(ABC):
    """One input of an item, from a cell of the table to the frames a network is given.

    ``read`` answers the same at every call, and is what may be kept in memory; ``make`` draws augmentation from the generator it
    is given, and draws nothing without one. ``learn`` and ``fit`` see training items alone.
    """

    def __init__(self, config: InputConfig) -> None:
        self.config = config

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """Of one frame: its width, or (height, width, channels) of a picture."""

    def learn(self, sources: Sequence[str]) -> None:
        """What must be known of the training cells before the first is read (a vocabulary)."""
        return

    @abstractmethod
    def read(self, source: str) -> np.ndarray:
        """A cell of the table as an array whose first axis is time. Raises AsrError for what cannot be read, or is empty."""

    @abstractmethod
    def fit(self, items: Iterable[np.ndarray]) -> None:
        """Take statistics of the training items, as read."""

    @abstractmethod
    def make(self, item: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
        """An item as read -> frames (T, ...) for the network: augmented where ``rng`` is given, then normalised."""

    def mask(self, inputs: Tensor, lengths: Tensor, generator: Generator) -> Tensor:
        """In training, a batch of frames (B, T, ...) with lengths (B,) on its way to the network, parts of it masked."""
        return inputs

    @abstractmethod
    def length(self, item: np.ndarray) -> int:
        """Frames that ``make`` gives without augmentation."""

    def reads_as(self, other: Reader) -> bool:
        """Whether ``read`` answers what that of the other one does; what was fitted is a matter of ``make``."""
        return self.config == other.config and self.shape == other.shape and self.state()[1] == other.state()[1]

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """What was learned and fitted: arrays, and plain values for JSON."""
        return {}, {}

    @abstractmethod
    def restore(self, arrays: dict[str, np.ndarray], values: dict[str, Any]) -> None:
        """The inverse of ``state``."""


class Moments:
    """Mean and standard deviation of columns, of arrays as they come (float64 sums, shifted by the first value)."""

    def __init__(self) -> None:
        self.count = 0
        self.first = self.sum = self.squares = np.zeros(0)

    def add(self, rows: np.ndarray) -> None:
        """Rows (N, C) of any real type."""
        if not self.count:
            self.first = rows[0].astype(np.float64)
            self.sum = np.zeros_like(self.first)
            self.squares = np.zeros_like(self.first)
        shifted = rows.astype(np.float64) - self.first
        self.sum = self.sum + shifted.sum(axis=0)
        self.squares = self.squares + np.square(shifted).sum(axis=0)
        self.count += len(rows)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, deviation), (C,) float32 each; the deviation of a constant column is 1, so that it can be divided by."""
        if not self.count:
            raise DataError("there is nothing to take the mean of")
        mean = self.sum / self.count
        variance = np.maximum(self.squares / self.count - np.square(mean), 0.0)
        # Relative to what was summed: rounding must not turn a constant column into one of tiny waves.
        deviation = np.where(variance > 1e-12 * np.maximum(1.0, np.square(self.first + mean)), np.sqrt(variance), 1.0)
        return (self.first + mean).astype(np.float32), deviation.astype(np.float32)


def build_reader(config: InputConfig, training: bool = False) -> Reader:
    """The reader of this kind of input; ``training``: one that can augment, for which files of noise are looked up."""
    if config.kind == "audio":
        from asr.classification.audio import AudioReader

        return AudioReader(config, training)
    if config.kind == "video":
        from asr.classification.video import VideoReader

        return VideoReader(config)
    if config.kind == "series":
        from asr.classification.series import SeriesReader

        return SeriesReader(config)
    from asr.classification.text import TextReader

    return TextReader(config)
