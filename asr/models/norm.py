"""Normalisation that does not see padding."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_shared: bool | None = None


@contextlib.contextmanager
def shared_batch(counts: bool) -> Iterator[None]:
    """Within it the batch of a training step is that of all processes together: batch norms take their statistics over all of it.

    ``counts``: whether this process has a part of the batch; one without runs along on stand-ins, whose frames count for nothing.
    What was computed within it may be differentiated outside.
    """
    global _shared
    before, _shared = _shared, counts
    try:
        yield
    finally:
        _shared = before


class MaskedBatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation of (B, C, T, F) whose statistics are those of the real frames alone.

    ``nn.BatchNorm2d`` averages over padding as well, so the same utterances padded differently train differently.
    In evaluation mode both are the same fixed scale and shift. Statistics are kept in float32 under autocast.
    Follows Ioffe & Szegedy, 2015, with the mask of the batch's lengths.
    """

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:  # type: ignore[override]
        """inputs (B, C, T, F), mask (B, 1, T, 1) of the same dtype, one at real frames -> (B, C, T, F), zero at padding."""
        if not self.training:
            return F.batch_norm(inputs, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps) * mask
        return _training_step(self, inputs, mask)


class PackedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of packed frames (N, D), which are all real; over the frames of all processes that share the batch.

    A single frame is its own mean, as in `MaskedBatchNorm2d`; torch has an error for it.
    """

    def forward(self, frames: Tensor) -> Tensor:
        if not self.training or (_shared is None and len(frames) != 1):
            return super().forward(frames)
        return _training_step(self, frames[:, :, None, None], frames.new_ones(len(frames), 1, 1, 1)).flatten(1)


def _training_step(norm: nn.BatchNorm1d | nn.BatchNorm2d, inputs: Tensor, mask: Tensor) -> Tensor:
    """Normalise (B, C, T, F) by its own real frames, and move the running statistics."""
    with torch.autocast(inputs.device.type, enabled=False):
        mask = mask.float() if _shared is not False else torch.zeros_like(mask, dtype=torch.float32)
        outputs, mean, variance, count = _MaskedBatchNorm.apply(inputs.float(), mask, norm.weight, norm.bias, norm.eps,
                                                                _shared is not None)
    with torch.no_grad():
        norm.num_batches_tracked += 1
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1).clamp(min=1.0), norm.momentum)
    return outputs


class _MaskedBatchNorm(torch.autograd.Function):
    """The training step of masked batch norm in few passes over memory, which is all it costs.

    Sums run over inputs that are zero at padding, and are divided by the number of real values. torch's evaluation-mode
    kernels apply the scale and reduce the gradients; the terms through mean and variance are added per channel.
    ``shared``: both sums run over all processes, so the gradients of weight and bias are this one's part and those of inputs
    are whole; as in ``nn.SyncBatchNorm``, which knows no mask and no CPU.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float,
                shared: bool) -> tuple[Tensor, ...]:
        values = inputs * mask
        count = mask.sum(dtype=torch.float64) * values.shape[3]
        total = values.sum(dim=(0, 2, 3)).double()
        # Squares are taken about zero; convolution outputs have means of the order of their deviations, and the
        # difference is taken in double precision.
        square = torch.linalg.vector_norm(values, dim=(0, 2, 3)).double().square()
        if shared:
            sums = torch.cat([total, square, count[None]])
            dist.all_reduce(sums)
            (total, square), count = sums[:-1].chunk(2), sums[-1]
        count = count.clamp(min=1.0)
        mean, square = total / count, square / count
        variance = (square - mean * mean).clamp(min=0.0).to(values.dtype)
        mean, count = mean.to(values.dtype), count.to(values.dtype)
        outputs = F.batch_norm(values, mean, variance, weight, bias, False, 0.0, eps).mul_(mask)
        ctx.save_for_backward(values, mask, weight, mean, variance, count)
        ctx.eps, ctx.shared = eps, shared
        ctx.mark_non_differentiable(mean, variance, count)
        return outputs, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        values, mask, weight, mean, variance, count = ctx.saved_tensors
        inverse = torch.rsqrt(variance + ctx.eps)
        through, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad * mask, values, weight, mean, variance, mean, inverse, False, ctx.eps, [True, True, True])
        sums = torch.stack([grad_weight, grad_bias])
        if ctx.shared:
            dist.all_reduce(sums)
        slope = -weight * inverse * inverse * sums[0] / count
        offset = -weight * inverse * sums[1] / count - slope * mean
        through.addcmul_(values, slope[:, None, None]).add_(offset[:, None, None]).mul_(mask)
        return through, None, grad_weight, grad_bias, None, None


class FrameNorm(nn.Module):
    """Layer normalisation of every frame over its channels and bins: one frame never sees another."""

    def __init__(self, channels: int, bins: int):
        super().__init__()
        self.shape = (channels, bins)
        self.weight = nn.Parameter(torch.ones(channels, 1, bins))
        self.bias = nn.Parameter(torch.zeros(channels, 1, bins))

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor:
        """inputs (B, C, T, F), mask (B, 1, T, 1) -> (B, C, T, F), zero at padding."""
        with torch.autocast(inputs.device.type, enabled=False):
            values = inputs.float()
            variance, mean = torch.var_mean(values, dim=(1, 3), keepdim=True, correction=0)
            return ((values - mean) * torch.rsqrt(variance + 1e-5) * self.weight + self.bias) * mask.float()
