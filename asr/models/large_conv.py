"""Convolutions with large kernels, trained on the CPU in float32: 1.6 to 2.9 times as fast there as torch's.

The output and the gradient of the inputs are oneDNN's, in its faster memory layout. The gradient of the weights, which takes it
longer than both, is one matrix product an utterance instead: of all shifts of the gradient against all windows of the inputs.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

LARGE = 200
"""Values of a kernel from which this is the faster way; at 121 torch's own is (`benchmarks/training.py --parts conv`)."""


def suits(conv: nn.Conv2d, inputs: Tensor) -> bool:
    """Whether `large_conv2d` is faster than the layer itself on these inputs, (B, C, T, F)."""
    height, width = conv.kernel_size
    return (inputs.device.type == "cpu" and inputs.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
            and height * width >= LARGE and conv.in_channels >= 8 and conv.stride[0] == 1)


def large_conv2d(inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]) -> Tensor:
    """``F.conv2d`` of (B, C, T, F) with kernels (C', C, H, W) that move by 1 over T and by ``stride`` over F: (B, C', T', F').

    T must be long enough, padding counted, for one kernel; so must F.
    """
    return _LargeConv.apply(inputs, weight, bias, stride, padding)


class _LargeConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: tuple[int, int]) -> Tensor:
        inputs, weight = (each.contiguous(memory_format=torch.channels_last) for each in (inputs, weight))
        ctx.save_for_backward(inputs, weight)
        ctx.stride, ctx.padding, ctx.biased = stride, padding, bias is not None
        return F.conv2d(inputs, weight, bias, (1, stride), padding)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        grad_inputs = None
        if ctx.needs_input_grad[0]:
            grad_inputs = torch.ops.aten.convolution_backward(
                grad, inputs, weight, None, (1, ctx.stride), ctx.padding, (1, 1), False, (0, 0), 1, (True, False, False))[0]
        grad_weight = _grad_weight(inputs, grad, weight.shape, ctx.stride, ctx.padding) if ctx.needs_input_grad[1] else None
        return grad_inputs, grad_weight, grad.sum((0, 2, 3)) if ctx.biased else None, None, None


def _grad_weight(inputs: Tensor, grad: Tensor, shape: torch.Size, stride: int, padding: tuple[int, int]) -> Tensor:
    """inputs (B, C, T, F), gradient of the output (B, C', T', F') -> that of the weights, (C', C, H, W) = ``shape``."""
    outputs, channels, height, width = shape
    # (B, C, T, F) -> (B, T + padding, F + padding, C): a window over F is so many values in a row
    padded = F.pad(inputs, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1).contiguous()
    grad = grad.permute(0, 2, 3, 1)  # (B, C', T', F') -> (B, T', F', C')
    frames, bins = grad.shape[1:3]
    rows, columns = padded.shape[1], padded.shape[2] * channels
    total = padded.new_zeros(height * outputs, width * channels)
    shifted = padded.new_zeros(rows, bins, height, outputs)  # row t holds, for each h, the gradient of row t - h
    for utterance, above in zip(padded, grad):
        windows = utterance.as_strided((rows, bins, width * channels), (columns, stride * channels, 1), utterance.storage_offset())
        for row in range(height):
            shifted[row:row + frames, :, row] = above
        total.addmm_(shifted.view(rows * bins, -1).t(), windows.reshape(rows * bins, -1))
    return total.view(height, outputs, width, channels).permute(1, 3, 0, 2).contiguous()  # (H, C', W, C) -> (C', C, H, W)
