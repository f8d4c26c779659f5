"""The cascade: convolutions, then the context."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from asr.config import ModelConfig
from asr.models.context import Context
from asr.models.conv import ConvStack
from asr.models.masking import stack_frames
from asr.models.recurrent import pack, unpack


class Cascade(nn.Module):
    """Convolutions, then recurrence or attention over time; the encoder of Deep Speech 2 (Amodei et al., 2016).

    An utterance has the same frames alone and in any batch: the convolutions are masked at each layer by the length at that
    layer, everything above runs on packed frames or is blind to padding.
    """

    def __init__(self, config: ModelConfig, input_shape: int | tuple[int, int, int]):
        super().__init__()
        self.config = config
        self.conv = ConvStack(config.conv, input_shape)
        width = self.conv.dim * config.stacking
        self.projection = nn.Linear(width, config.projection) if config.projection else nn.Identity()
        self.context = Context(config, config.projection or width)
        self.dim = self.context.dim

    @property
    def frame_subsampling(self) -> int:
        """Input frames to one output frame."""
        return self.conv.subsampling * self.config.stacking

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames (B,) int64 of ``lengths`` (B,) input frames, by walking the layers."""
        lengths = self.conv.output_lengths(lengths)
        return stack_frames(lengths.new_zeros(len(lengths), 1, 1), lengths, self.config.stacking)[1]

    def packed(self, inputs: Tensor, lengths: Tensor, inner: list[PackedSequence] | None = None) -> tuple[PackedSequence, Tensor]:
        """As `forward`, with the frames as they are inside: packed (an utterance of no frames has one); ``inner``, where given,
        is appended what each recurrent layer but the last makes, from the first up."""
        hidden, lengths = stack_frames(*self.conv(inputs, lengths), self.config.stacking)
        return self.context(pack(self.projection(hidden), lengths), lengths, inner), lengths

    def forward(self, inputs: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """inputs (B, T, F), or (B, T, H, W, C) of a video; lengths (B,) int64 -> frames (B, T', dim) zero at padding, lengths (B,).

        What inputs hold past the lengths does not matter.
        """
        frames, lengths = self.packed(inputs, lengths)
        return unpack(frames, lengths), lengths
