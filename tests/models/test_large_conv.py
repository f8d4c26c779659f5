"""Large kernels on the CPU against torch's own convolution: outputs, every gradient, and the layer that takes them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from asr.config import ConvConfig
from asr.models import large_conv
from asr.models.conv import ConvStack
from asr.models.large_conv import large_conv2d, suits


def compare(batch, channels, outputs, kernel, stride, frames, bins, bias, dtype):
    torch.manual_seed(frames)
    padding = (kernel[0] // 2, kernel[1] // 2)
    values = [torch.randn(batch, channels, frames, bins, dtype=dtype), torch.randn(outputs, channels, *kernel, dtype=dtype),
              torch.randn(outputs, dtype=dtype) if bias else None]
    found = []
    for convolve in (lambda x, w, b: large_conv2d(x, w, b, stride, padding),
                     lambda x, w, b: F.conv2d(x, w, b, (1, stride), padding)):
        leaves = [None if value is None else value.clone().requires_grad_() for value in values]
        output = convolve(*leaves)
        (output * torch.linspace(-1, 1, output.numel(), dtype=dtype).view(output.shape)).sum().backward()
        found.append([output.detach(), *(leaf.grad for leaf in leaves if leaf is not None)])
    return found


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 3, 7])),
       st.integers(1, 3), st.integers(1, 12), st.integers(1, 9), st.booleans())
def test_equals_torch_in_double_precision(batch, channels, outputs, kernel, stride, frames, bins, bias):
    for ours, theirs in zip(*compare(batch, channels, outputs, kernel, stride, frames, bins, bias, torch.float64)):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_equals_torch_in_single_precision_at_real_size():
    for ours, theirs in zip(*compare(2, 32, 32, (11, 21), 2, 120, 81, True, torch.float32)):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5 * float(theirs.abs().max()))


def test_inputs_that_need_no_gradient_get_none():
    inputs, weight = torch.randn(1, 8, 9, 9), torch.randn(4, 8, 3, 3, requires_grad=True)
    large_conv2d(inputs, weight, None, 1, (1, 1)).sum().backward()
    assert inputs.grad is None and weight.grad is not None


def test_a_stack_with_a_large_kernel_takes_it_and_learns_the_same(monkeypatch):
    config = ConvConfig.model_validate({"layers": [{"channels": 8, "stride": [2, 2]}, {"channels": 6, "kernel": [11, 21],
                                                                                       "stride": [1, 2]}]})
    torch.manual_seed(0)
    stack, frames, lengths = ConvStack(config, 20), torch.randn(3, 30, 20), torch.tensor([30, 11, 24])
    assert not suits(stack.layers[0].conv, torch.zeros(1, 1, 30, 20)) and suits(stack.layers[1].conv, torch.zeros(1, 8, 15, 10))
    found = []
    for large in (large_conv.LARGE, 10 ** 9):
        monkeypatch.setattr(large_conv, "LARGE", large)
        stack.zero_grad()
        stack(frames, lengths)[0].square().sum().backward()
        found.append([parameter.grad.clone() for parameter in stack.parameters()])
    for ours, theirs in zip(*found):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()) + 1e-5)


@pytest.mark.parametrize(("conv", "inputs", "autocast"), [
    (torch.nn.Conv2d(8, 8, (11, 11)), torch.zeros(1, 8, 19, 19), False),  # not large enough
    (torch.nn.Conv2d(1, 8, (11, 41)), torch.zeros(1, 1, 90, 90), False),  # few channels: windows are short
    (torch.nn.Conv2d(8, 8, (11, 21), (2, 2)), torch.zeros(1, 8, 90, 90), False),  # a stride over time
    (torch.nn.Conv2d(8, 8, (11, 21)).double(), torch.zeros(1, 8, 90, 90, dtype=torch.float64), False),
    (torch.nn.Conv2d(8, 8, (11, 21)), torch.zeros(1, 8, 90, 90), True),
])
def test_what_is_left_to_torch(conv, inputs, autocast):
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        assert not suits(conv, inputs)
