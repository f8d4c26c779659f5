"""int8 for inference on the CPU: the matrix products of GRU and linear layers in whole numbers of eight bits.

A weight has one scale an output, a frame has one scale of its own, and a hidden state lies in (-1, 1) and needs none (as in
LLM.int8(), Dettmers et al., 2022, without its outliers). The products are added up in 32-bit integers, without rounding. So
one frame's numbers say nothing about another's, and an utterance has the same logits alone and in any batch; only where the
float32 layers below differ in their last bit, and just there a value lies between two whole numbers, can it be the other.
torch's `quantize_dynamic` takes one scale for all of a batch, and is about to be removed. Convolutions, norms, gates and
attention stay in float32.

Equations and gate order are those of ``torch.nn.GRU``; see `asr.models.gru`.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from asr.errors import UsageError
from asr.models.attention import AttentionStack
from asr.models.gru import turned_rows

STEPS = 127.0  # the largest whole number; -128 is left out, so that the scale is the same on both sides


class Int8Linear(nn.Module):
    """`nn.Linear` with weights and inputs of eight bits."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        quantized, scales = quantized_rows(weight)
        self.register_buffer("weight", quantized.t().contiguous())  # (outputs, inputs) -> (inputs, outputs)
        self.register_buffer("scale", scales[:, 0].clone())
        self.register_buffer("bias", torch.zeros_like(self.scale) if bias is None else bias.detach().clone())

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) float -> (..., outputs) float32."""
        return self.of_quantized(*quantized_rows(inputs.flatten(0, -2))).unflatten(0, inputs.shape[:-1])

    def of_quantized(self, rows: Tensor, scales: Tensor) -> Tensor:
        """rows (N, inputs) int8, scales (N, 1) -> (N, outputs) float32."""
        return (torch._int_mm(rows, self.weight) * self.scale).mul_(scales).add_(self.bias)


class Int8Gru(nn.Module):
    """A single GRU layer, one way or both, on packed frames; initial state zero."""

    def __init__(self, gru: nn.GRU):
        super().__init__()
        self.hidden_size = gru.hidden_size
        suffixes = ("", "_reverse") if gru.bidirectional else ("",)
        self.inputs, self.states = (nn.ModuleList(
            Int8Linear(getattr(gru, f"weight_{part}_l0{suffix}").detach(), getattr(gru, f"bias_{part}_l0{suffix}"))
            for suffix in suffixes) for part in ("ih", "hh"))

    def forward(self, frames: PackedSequence) -> tuple[PackedSequence, None]:
        """As `nn.GRU` without its last state."""
        sizes = frames.batch_sizes.tolist()
        rows, scales = quantized_rows(frames.data)
        gates = [self.inputs[0].of_quantized(rows, scales)]
        if len(self.inputs) == 2:  # backwards: every sequence turned round within its length, so that both take steps together
            order = turned_rows(sizes)
            gates.append(self.inputs[1].of_quantized(rows[order], scales[order]))
        output = self._steps(torch.stack(gates), sizes)
        return frames._replace(data=output[0] if len(self.inputs) == 1 else torch.cat([output[0], output[1][order]], 1)), None

    def _steps(self, gates: Tensor, sizes: list[int]) -> Tensor:
        """The inputs' part of the gates (K, N, 3H), time-major with ``sizes`` rows a step -> outputs (K, N, H)."""
        hidden, directions = self.hidden_size, range(len(gates))
        scale = torch.stack([layer.scale for layer in self.states]).unsqueeze(1) / STEPS
        bias = torch.stack([layer.bias for layer in self.states]).unsqueeze(1)
        output = gates.new_empty(*gates.shape[:2], hidden)
        state = gates.new_zeros(len(gates), sizes[0], hidden)
        products = torch.empty(len(gates), sizes[0], 3 * hidden, dtype=torch.int32)
        start = 0
        for size in sizes:
            rows, state = slice(start, start + size), state[:, :size]
            whole = (state * STEPS).round_().to(torch.int8)
            for k in directions:
                torch._int_mm(whole[k], self.states[k].weight, out=products[k, :size])
            projected = torch.addcmul(bias, products[:, :size].float(), scale)
            gate = gates[:, rows]
            reset_update = gate[..., :2 * hidden].add_(projected[..., :2 * hidden]).sigmoid_()
            candidate = gate[..., 2 * hidden:].addcmul_(reset_update[..., :hidden], projected[..., 2 * hidden:]).tanh_()
            state = torch.lerp(candidate, state, reset_update[..., hidden:])
            output[:, rows] = state
            start += size
        return output


def quantized_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """(N, D) float -> (N, D) int8 and the scale of each row (N, 1): rows = int8 * scale, about."""
    scales = rows.abs().amax(dim=1, keepdim=True).clamp_(min=1e-12).div_(STEPS)
    return (rows / scales).round_().to(torch.int8), scales


def to_int8(network: nn.Module) -> nn.Module:
    """A copy of a network, on the CPU, whose GRU and linear layers compute in int8; attention stays in float32.

    Raises UsageError for an LSTM, and CUDA.
    """
    if next(network.parameters()).device.type != "cpu":
        raise UsageError("int8 is for the CPU: choose --device cpu, or leave out --int8")
    other = copy.deepcopy(network)
    _quantize(other)
    return other


def _quantize(module: nn.Module) -> None:
    for name, layer in list(module.named_children()):
        if isinstance(layer, nn.LSTM):
            raise UsageError("int8 knows GRU layers only, and this model has LSTM layers: leave out --int8")
        if isinstance(layer, nn.GRU):
            setattr(module, name, Int8Gru(layer))
        elif isinstance(layer, nn.Linear):
            setattr(module, name, Int8Linear(layer.weight.detach(), layer.bias))
        elif not isinstance(layer, (AttentionStack, nn.MultiheadAttention)):  # both read their weights past the layers' forward
            _quantize(layer)
