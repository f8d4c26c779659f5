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
    """The single layer ``gru`` (one way or both) on packed frames, float32 or float64 on the CPU; initial state zero.

    Both directions take each step together: with every sequence turned round within its own length, the backward
    direction runs forwards over the same packing.
    """
    sizes = frames.batch_sizes.tolist()
    suffixes = ("", "_reverse") if gru.bidirectional else ("",)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weights = [torch.stack([getattr(gru, f"{name}_l0{suffix}") for suffix in suffixes]) for name in names]
    turned = turned_rows(sizes) if gru.bidirectional else None
    output = _PackedGru.apply(frames.data, sizes, turned, *weights)
    return frames._replace(data=output[0] if turned is None else torch.cat([output[0], output[1][turned]], dim=1))


class _PackedGru(torch.autograd.Function):
    """K directions (one or two) at once: frames (N, D), time-major with ``sizes`` rows a step, never growing -> (K, N, H).

    ``turned`` (N,) gives the frames in the order of the second direction, whose output stays in that order.
    Weights carry the directions in front: w_ih (K, 3H, D), w_hh (K, 3H, H), b_ih and b_hh (K, 3H).
    """

    @staticmethod
    def forward(ctx: Any, data: Tensor, sizes: list[int], turned: Tensor | None, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor,
                b_hh: Tensor) -> Tensor:
        directions, hidden, frames = len(w_hh), w_hh.shape[2], len(data)
        # (K, N, 3H): r, z, n of each frame; the steps turn the inputs' part into the gates' values, in place.
        gates = data.new_empty(directions, frames, 3 * hidden)
        torch.addmm(b_ih[0], data, w_ih[0].t(), out=gates[0])
        if turned is not None:
            torch.addmm(b_ih[1], data[turned], w_ih[1].t(), out=gates[1])
        inner = data.new_empty(directions, frames, hidden)  # W_hn h + b_hn
        output = torch.empty_like(inner)
        state = data.new_zeros(directions, sizes[0], hidden)
        w_hh_t, bias = w_hh.transpose(1, 2).contiguous(), b_hh.unsqueeze(1)  # (K, 3H, H) -> (K, H, 3H)
        # Cut into steps at once: a view made within the loop costs as much as the arithmetic of a small step.
        parts = (gates[..., :2 * hidden], *gates.chunk(3, dim=2), inner, output)
        for size, r_z, r, z, n, of_n, following in zip(sizes, *(part.split(sizes, dim=1) for part in parts)):
            state = state[:, :size]
            projected = torch.baddbmm(bias, state, w_hh_t)
            r_z.add_(projected[..., :2 * hidden]).sigmoid_()
            of_n.copy_(projected[..., 2 * hidden:])
            n.addcmul_(r, of_n).tanh_()
            state = torch.lerp(n, state, z, out=following)
        ctx.save_for_backward(data, gates, inner, output, w_ih, w_hh)
        ctx.sizes, ctx.turned = sizes, turned
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        data, gates, inner, output, w_ih, w_hh = ctx.saved_tensors
        sizes, turned, hidden = ctx.sizes, ctx.turned, w_hh.shape[2]
        r, z, n = gates.chunk(3, dim=2)
        first = output.new_zeros(len(output), 1, hidden)
        previous = torch.cat([output, first], dim=1).index_select(1, _predecessors(sizes))
        renewed = 1 - z
        of_n = (n * n).neg_().add_(1).mul_(renewed)
        of_hidden = torch.empty_like(gates)  # (K, N, 3H): coefficients of r, z and W_hn h + b_hn, each made where it stays
        of_r, of_z, of_inner = of_hidden.chunk(3, dim=2)
        torch.mul(of_n, inner, out=of_r).mul_(r).mul_(1 - r)
        torch.sub(previous, n, out=of_z).mul_(z).mul_(renewed)
        torch.mul(of_n, r, out=of_inner)
        of_hidden = of_hidden.unflatten(2, (3, hidden))
        grad_hidden = torch.empty_like(of_hidden)
        grad_h = torch.empty_like(output)
        grad_state = output.new_zeros(len(output), sizes[0], hidden)
        parts = [part.split(sizes, dim=1) for part in (grad_output, grad_h, z, of_hidden, grad_hidden, grad_hidden.flatten(2))]
        for size, above, step, z_step, of_step, product, flat in zip(reversed(sizes), *(part[::-1] for part in parts)):
            state = grad_state[:, :size]
            torch.add(above, state, out=step)
            torch.mul(of_step, step.unsqueeze(2), out=product)
            torch.mul(step, z_step, out=state).baddbmm_(flat, w_hh)
        grad_hidden = grad_hidden.flatten(2)
        grad_w_hh, grad_b_hh = grad_hidden.transpose(1, 2) @ previous, grad_hidden.sum(1)  # (K, N, 3H) -> (K, 3H, N)
        grad_hidden[..., 2 * hidden:] = grad_h * of_n  # r and z have one gradient for both sides, n has not
        inputs = data.unsqueeze(0) if turned is None else torch.stack([data, data[turned]])
        grad_data = None
        if ctx.needs_input_grad[0]:
            grad_data = grad_hidden[0] @ w_ih[0]
            if turned is not None:
                grad_data += (grad_hidden[1] @ w_ih[1])[turned]
        return grad_data, None, None, grad_hidden.transpose(1, 2) @ inputs, grad_w_hh, grad_hidden.sum(1), grad_b_hh


def _positions(sizes: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """For every packed frame its time step and its sequence, (N,) each; and the first frame of every step, (T,)."""
    counts = torch.tensor(sizes)
    starts = counts.cumsum(0) - counts
    step = torch.repeat_interleave(torch.arange(len(sizes)), counts)
    return step, torch.arange(len(step)) - starts[step], starts


def _predecessors(sizes: list[int]) -> Tensor:
    """For every packed frame, the row of the frame before it, or N where there is none; (N,) int64."""
    step, sequence, starts = _positions(sizes)
    return torch.where(step > 0, starts[(step - 1).clamp(min=0)] + sequence, torch.tensor(len(step)))


def turned_rows(sizes: list[int]) -> Tensor:
    """The packed frames with every sequence turned round within its length, as row numbers; its own inverse; (N,) int64."""
    step, sequence, starts = _positions(sizes)
    lengths = torch.bincount(sequence)  # of each sequence: in how many steps it has a row
    return starts[lengths[sequence] - 1 - step] + sequence
