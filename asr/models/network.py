"""Networks whole: an encoder that the configuration describes, and what stands on top of it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from asr.config import ModelConfig
from asr.errors import ConfigError
from asr.models.cascade import Cascade
from asr.models.parallel import Parallel
from asr.models.recurrent import unpack

Encoder = Cascade | Parallel


def build_encoder(config: ModelConfig, input_shape: int | tuple[int, int, int], second_dim: int | None = None) -> Encoder:
    """The encoder for frames of ``input_shape`` (bins, or height, width and colours of a video's frames): frames in, frames out.

    ``second_dim``: width of the input that the context of a parallel network has to itself. Raises ConfigError for a second
    input of a cascade, which has one way in.
    """
    if config.architecture == "parallel":
        return Parallel(config, input_shape, second_dim)
    if second_dim is not None:
        raise ConfigError("two inputs need two branches: model.architecture: parallel")
    return Cascade(config, input_shape)


class Crnn(nn.Module):
    """An encoder and one linear layer: a distribution over tokens and blank at every frame, for CTC.

    An utterance has the same logits alone and in any batch, whatever the encoder.
    """

    def __init__(self, config: ModelConfig, input_dim: int, vocab_size: int):
        super().__init__()
        self.config, self.input_dim, self.vocab_size = config, input_dim, vocab_size
        self.encoder = build_encoder(config, input_dim)
        self.dropout = nn.Dropout(config.dropout)
        self.output = nn.Linear(self.encoder.dim, vocab_size)

    @property
    def frame_subsampling(self) -> int:
        """Input frames to one output frame."""
        return self.encoder.frame_subsampling

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames (B,) int64 of ``lengths`` (B,) feature frames, by walking the layers."""
        return self.encoder.output_lengths(lengths)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """features (B, T, F) float, lengths (B,) int64 -> logits (B, T', V), zero at padding, and lengths (B,) int64."""
        if features.dim() != 3 or features.shape[2] != self.input_dim:
            raise ValueError(f"features must be (batch, frames, {self.input_dim}), not {tuple(features.shape)}")
        if features.shape[1] == 0:  # no utterance has a frame, and a convolution of nothing is an error in torch
            return features.new_zeros(len(lengths), 0, self.vocab_size), lengths
        frames, lengths = self.encoder.packed(features, lengths)
        return self._logits(frames, lengths), lengths

    def layer_logits(self, features: Tensor, lengths: Tensor, layers: Sequence[int]) -> tuple[list[Tensor], Tensor]:
        """As `forward`, and before it, for each of the recurrent ``layers`` (counted from 1, below the last), the logits that the
        output layer makes of that layer's frames: all as one list, and lengths (B,) int64. For a cascade that ends in recurrence.
        """
        if not layers:
            logits, lengths = self(features, lengths)
            return [logits], lengths
        inner: list[PackedSequence] = []
        frames, lengths = self.encoder.packed(features, lengths, inner)
        return [self._logits(each, lengths) for each in (*(inner[layer - 1] for layer in layers), frames)], lengths

    def _logits(self, frames: PackedSequence, lengths: Tensor) -> Tensor:
        return unpack(frames._replace(data=self.output(self.dropout(frames.data))), lengths)


def build_model(config: ModelConfig, input_dim: int, vocab_size: int) -> Crnn:
    """The network that the configuration describes, for features of ``input_dim`` and a vocabulary with blank.

    Raises ConfigError for a network that has no sequence of logits: fusion after pooling, convolutions over images.
    """
    if config.architecture == "parallel" and config.fusion.level == "utterance":
        raise ConfigError("model.fusion.level: utterance is for one label an item; speech needs frames")
    if config.conv.over == "image":
        raise ConfigError("model.conv.over: image is for video; speech needs spectrogram or time")
    return Crnn(config, input_dim, vocab_size)
