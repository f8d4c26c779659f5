"""A GRU layer on packed frames for training on the CPU: torch's own equations, several times faster there.

torch differentiates its CPU GRU step by step: a dozen small operations a step, and a weight gradient made and added at
every one. Here a step back is four operations, because everything that does not depend on the incoming gradient is
worked out for all frames at once beforehand, and the weight gradients are one product over all frames afterwards:

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)          coefficient of dh' in the gradient before the nonlinearity:
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)            n: (1 - z)(1 - n^2)          z: (h - n) z (1 - z)
    n = tanh(W_in x + b_in + r (W_hn h + b_hn))           r: (1 - z)(1 - n^2)(W_hn h + b_hn) r (1 - r)
    h' = (1 - z) n + z h                                  W_hn h + b_hn: (1 - z)(1 - n^2) r

Equations, gate order and parameters are those of ``torch.nn.GRU`` (Cho et al., 2014, in cuDNN's form), so the weights
are ``torch.nn.GRU``'s, and inference and CUDA use it as it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.utils.rnn import PackedSequence


def packed_gru(frames: PackedSequence, gru: nn.GRU) -> PackedSequence:
    """The single layer ``gru`` (either way or both) on packed frames, float32 or float64 on the CPU; initial state zero."""
    sizes = frames.batch_sizes.tolist()
    outputs = [_PackedGru.apply(frames.data, sizes, bool(suffix), *(getattr(gru, f"{name}_l0{suffix}") for name in
                                                                    ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
               for suffix in (("", "_reverse") if gru.bidirectional else ("",))]
    return frames._replace(data=torch.cat(outputs, dim=1) if gru.bidirectional else outputs[0])


class _PackedGru(torch.autograd.Function):
    """One direction. ``sizes`` are the batch sizes of the time steps, never growing; frames lie time-major (N, D)."""

    @staticmethod
    def forward(ctx: Any, data: Tensor, sizes: list[int], reverse: bool, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor,
                b_hh: Tensor) -> Tensor:
        hidden = w_hh.shape[1]
        gates = torch.addmm(b_ih, data, w_ih.t())  # (N, 3H): r, z, n; each step turns its rows into the gates' values
        inner = data.new_empty(len(data), hidden)  # W_hn h + b_hn
        output = data.new_empty(len(data), hidden)
        state = data.new_zeros(sizes[0], hidden)
        product = data.new_empty(sizes[0], 3 * hidden)
        w_hh_t = w_hh.t().contiguous()
        for start, size in _steps(sizes, reverse):
            rows = slice(start, start + size)
            h, gate, projected = state[:size], gates[rows], product[:size]
            torch.addmm(b_hh, h, w_hh_t, out=projected)
            reset_update = gate[:, :2 * hidden]
            reset_update.add_(projected[:, :2 * hidden]).sigmoid_()
            inner[rows] = projected[:, 2 * hidden:]
            candidate = gate[:, 2 * hidden:]
            candidate.addcmul_(gate[:, :hidden], inner[rows]).tanh_()
            torch.lerp(candidate, h, gate[:, hidden:2 * hidden], out=output[rows])
            h.copy_(output[rows])
        ctx.save_for_backward(data, gates, inner, output, w_ih, w_hh)
        ctx.sizes, ctx.reverse = sizes, reverse
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        data, gates, inner, output, w_ih, w_hh = ctx.saved_tensors
        sizes, reverse, hidden = ctx.sizes, ctx.reverse, w_hh.shape[1]
        r, z, n = gates.chunk(3, dim=1)
        previous = torch.cat([output, output.new_zeros(1, hidden)]).index_select(0, _predecessors(sizes, reverse))
        of_n = (1 - z) * (1 - n * n)
        of_hidden = torch.cat([of_n * inner * r * (1 - r), (previous - n) * z * (1 - z), of_n * r], dim=1)  # (N, 3H)
        grad_hidden = torch.empty_like(gates)
        grad_h = torch.empty_like(output)
        grad_state = output.new_zeros(sizes[0], hidden)
        for start, size in reversed(_steps(sizes, reverse)):
            rows = slice(start, start + size)
            state, step = grad_state[:size], grad_h[rows]
            torch.add(grad_output[rows], state, out=step)
            torch.mul(of_hidden[rows].unflatten(1, (3, hidden)), step.unsqueeze(1), out=grad_hidden[rows].unflatten(1, (3, hidden)))
            torch.mul(step, z[rows], out=state)
            state.addmm_(grad_hidden[rows], w_hh)
        grad_w_hh, grad_b_hh = grad_hidden.t() @ previous, grad_hidden.sum(0)
        grad_hidden[:, 2 * hidden:] = grad_h * of_n  # r and z have one gradient for both sides, n has not
        grad_data = grad_hidden @ w_ih if ctx.needs_input_grad[0] else None
        return grad_data, None, None, grad_hidden.t() @ data, grad_w_hh, grad_hidden.sum(0), grad_b_hh


def _steps(sizes: list[int], reverse: bool) -> list[tuple[int, int]]:
    """(first row, rows) of every time step, in the direction's order."""
    steps, start = [], 0
    for size in sizes:
        steps.append((start, size))
        start += size
    return steps[::-1] if reverse else steps


def _predecessors(sizes: list[int], reverse: bool) -> Tensor:
    """For every packed frame, the row of the frame before it in this direction, or N where there is none; (N,) int64."""
    counts = torch.tensor(sizes)
    starts = counts.cumsum(0) - counts
    total = int(counts.sum())
    step = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    row = torch.arange(total) - starts[step]
    if not reverse:
        return torch.where(step > 0, starts[(step - 1).clamp(min=0)] + row, torch.tensor(total))
    following = (step + 1).clamp(max=len(sizes) - 1)
    return torch.where((step + 1 < len(sizes)) & (row < counts[following]), starts[following] + row, torch.tensor(total))
