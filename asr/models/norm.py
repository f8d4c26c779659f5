"""Normalisation that does not see padding."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
        with torch.autocast(inputs.device.type, enabled=False):
            outputs, mean, variance, count = _MaskedBatchNorm.apply(inputs.float(), mask.float(), self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1).clamp(min=1.0), self.momentum)
        return outputs


class _MaskedBatchNorm(torch.autograd.Function):
    """The training step of masked batch norm in few passes over memory, which is all it costs.

    Sums run over inputs that are zero at padding, and are divided by the number of real values. torch's evaluation-mode
    kernels apply the scale and reduce the gradients; the terms through mean and variance are added per channel.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, ...]:
        values = inputs * mask
        count = (mask.sum(dtype=torch.float64) * values.shape[3]).clamp(min=1.0)
        mean = values.sum(dim=(0, 2, 3)).double() / count
        # Squares are taken about zero; convolution outputs have means of the order of their deviations, and the
        # difference is taken in double precision.
        square = torch.linalg.vector_norm(values, dim=(0, 2, 3)).double().square() / count
        variance = (square - mean * mean).clamp(min=0.0).to(values.dtype)
        mean, count = mean.to(values.dtype), count.to(values.dtype)
        outputs = F.batch_norm(values, mean, variance, weight, bias, False, 0.0, eps).mul_(mask)
        ctx.save_for_backward(values, mask, weight, mean, variance, count)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean, variance, count)
        return outputs, mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        values, mask, weight, mean, variance, count = ctx.saved_tensors
        inverse = torch.rsqrt(variance + ctx.eps)
        through, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad * mask, values, weight, mean, variance, mean, inverse, False, ctx.eps, [True, True, True])
        slope = -weight * inverse * inverse * grad_weight / count
        offset = -weight * inverse * grad_bias / count - slope * mean
        through.addcmul_(values, slope[:, None, None]).add_(offset[:, None, None]).mul_(mask)
        return through, None, grad_weight, grad_bias, None


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
