"""The parallel network: convolutions beside the context, joined before the decision."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from asr.config import ModelConfig
from asr.models.context import Context
from asr.models.conv import ConvStack
from asr.models.fusion import build_fusion
from asr.models.masking import silence_padding, stack_frames
from asr.models.recurrent import pack, unpack


class Parallel(nn.Module):
    """Two branches on the same input, aligned in time, and a fusion; as in LSTM-FCN (Karim et al., 2017, arXiv 1709.05206).

    The context's branch is given as many input frames at a time, joined into one, as the convolutions stride, so both branches
    make the same number of frames. Or it has an input of its own, of ``second_dim``: of as many frames, or, where the branches
    are joined after pooling (`branches`, for one label an item), of any number.
    """

    def __init__(self, config: ModelConfig, input_shape: int | tuple[int, int, int], second_dim: int | None = None):
        super().__init__()
        self.config, self.second_dim = config, second_dim
        self.conv = ConvStack(config.conv, input_shape)
        self.projection = nn.Linear(self.conv.dim, config.projection) if config.projection else nn.Identity()
        whole = input_shape if isinstance(input_shape, int) else input_shape[0] * input_shape[1] * input_shape[2]
        self.aligned = second_dim is None or config.fusion.level == "frames"
        self.context = Context(config, second_dim or whole if not self.aligned else (second_dim or whole) * self.conv.subsampling)
        self.fusion = build_fusion(config.fusion, config.projection or self.conv.dim, self.context.dim)
        self.dim = self.fusion.dim

    @property
    def frame_subsampling(self) -> int:
        """Input frames to one output frame."""
        return self.conv.subsampling

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Output frames (B,) int64 of ``lengths`` (B,) input frames, by walking the layers."""
        return self.conv.output_lengths(lengths)

    def branches(self, inputs: Tensor, lengths: Tensor, second: Tensor | None = None, second_lengths: Tensor | None = None
                 ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """inputs (B, T, F) or (B, T, H, W, C), lengths (B,), and the second input (B, S, second_dim) with its lengths -> frames
        (B, T', D) and lengths (B,) of each branch before fusion; they may hold anything at padding."""
        if (second is None) != (self.second_dim is None):
            raise ValueError(f"this network was made for {'one input' if self.second_dim is None else 'two inputs'}")
        seen, seen_lengths = self.conv(inputs, lengths)
        own, own_lengths = (inputs.flatten(2), lengths) if second is None or second_lengths is None else (second, second_lengths)
        if self.aligned and second is not None and not bool((own_lengths == lengths).all()):
            raise ValueError("branches that are joined frame by frame need inputs of as many frames each; "
                             "model.fusion.level: utterance joins any")
        own = silence_padding(own, own_lengths)
        if self.aligned:
            own, own_lengths = stack_frames(own, own_lengths, self.conv.subsampling)
        heard, _ = pad_packed_sequence(self.context(pack(own, own_lengths), own_lengths), batch_first=True)
        return (self.projection(seen), seen_lengths), (heard, own_lengths)

    def packed(self, inputs: Tensor, lengths: Tensor, second: Tensor | None = None, second_lengths: Tensor | None = None
               ) -> tuple[PackedSequence, Tensor]:
        """As `forward`, with the frames packed (an utterance of no frames has one)."""
        (seen, lengths), (heard, _) = self.branches(inputs, lengths, second, second_lengths)
        return pack(self.fusion(seen[:, :heard.shape[1]], heard, lengths), lengths), lengths

    def forward(self, inputs: Tensor, lengths: Tensor, second: Tensor | None = None, second_lengths: Tensor | None = None
                ) -> tuple[Tensor, Tensor]:
        """inputs (B, T, F), or (B, T, H, W, C) of a video; lengths (B,) int64; a second input (B, T, second_dim) where there is
        one -> frames (B, T', dim) zero at padding, lengths (B,)."""
        frames, lengths = self.packed(inputs, lengths, second, second_lengths)
        return unpack(frames, lengths), lengths
