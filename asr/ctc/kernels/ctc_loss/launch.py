"""The operators of the CTC loss on the GPU: memory, launches, and what torch must know of them.

``torch.ops.asr.ctc_loss`` and its gradient are custom operators, opaque to `torch.compile` and safe in CUDA graphs; they run on
the current stream. `asr.ctc.loss` calls them, and documents what they compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from asr.ctc.kernels.common import FAST_LOG2, check_values, on_device

LONGEST_TARGET = 4095
"""More labels than this would not fit in the registers of one program."""


@dataclass(frozen=True)
class _Batch:
    """Targets and lengths on the device of the logits, and the sizes of the launches."""

    logits: Tensor
    targets: Tensor
    starts: Tensor
    input_lengths: Tensor
    target_lengths: Tensor
    blank: int
    longest: int

    @property
    def width(self) -> int:
        return _width(self.longest)

    def text(self) -> tuple[Any, ...]:
        """The arguments by which a kernel reads the targets."""
        by_utterance, by_label = self.targets.stride() if self.targets.dim() == 2 else (0, self.targets.stride(0))
        return self.targets, self.starts, by_utterance, by_label, self.targets.numel()

    def lanes(self) -> dict[str, Any]:
        """How a recursion is spread: a thread has one lane, up to the 1024 threads that a program can have, and fewer
        registers the more there are."""
        lanes = _lanes(self.width)
        return {"LANES": lanes, "FAST": FAST_LOG2, "AHEAD": 4 if lanes < 1024 else 1, "num_warps": min(32, lanes // 32)}


def _width(longest: int) -> int:
    """Of a row of label or blank states: one blank more than there are labels, rounded up to whole sectors of memory."""
    return (longest + 8) // 8 * 8


def _lanes(width: int) -> int:
    return max(32, 1 << (width - 1).bit_length())


def _rows(tensors: tuple[Tensor, ...], width: int) -> tuple[list[tuple[int, ...]], int, dict[str, Any]]:
    """Strides of tensors (T, B, V) and their vocabulary as the kernels take them, and how a row is spread.

    ALIGN is the largest power of two of elements to which all rows are aligned; it is the unit of all but the last stride.
    """
    vocabulary = tensors[0].shape[2]
    vector = 16 // tensors[0].element_size()
    align = math.gcd(vector, vocabulary, *(number for tensor in tensors
                                           for number in (*tensor.stride()[:2], tensor.data_ptr() // tensor.element_size())))
    tile, lanes = min(4096, max(32, 1 << (vocabulary - 1).bit_length())), _lanes(width)
    warps = 1 if tile <= 256 else 4 if tile <= 1024 else 8
    strides = [(frame // align, utterance // align, token) for frame, utterance, token in map(Tensor.stride, tensors)]
    spread = {"LANES": lanes, "TILE": tile, "ALIGN": align, "num_warps": max(warps, min(16, lanes // 256))}
    return strides, vocabulary // align, spread


def _prepare(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int, longest: int,
             validate: bool) -> _Batch:
    capturing = logits.is_cuda and torch.cuda.is_current_stream_capturing()
    if validate and not capturing:
        check_values(len(logits), logits.shape[2], targets, input_lengths, target_lengths, blank)
    if longest > LONGEST_TARGET:
        raise ValueError(f"a target of {longest} labels: the Triton backend takes {LONGEST_TARGET}; use backend='torch'")
    device = logits.device
    if input_lengths.device != device and target_lengths.device != device:
        input_lengths, target_lengths = torch.stack((input_lengths.long(), target_lengths.long())).to(device)  # one copy
    input_lengths, target_lengths, targets = (values.to(device) for values in (input_lengths, target_lengths, targets))
    starts = target_lengths if targets.dim() == 2 else target_lengths.cumsum(0) - target_lengths
    return _Batch(logits, targets, starts, input_lengths.contiguous(), target_lengths.contiguous(), blank, longest)


def _run(batch: _Batch, keep: bool, weights: Tensor | None) -> dict[str, Tensor]:
    """All but the gradient: losses (B,), and with ``keep`` the posteriors of every state; ``weights``: see `emit`."""
    from asr.ctc.kernels.ctc_loss.triton import emit, first_half, second_half

    logits, width = batch.logits, batch.width
    frames, size, _ = logits.shape

    def empty(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.empty(shape, dtype=dtype, device=logits.device)

    made = {"losses": empty(size), "norms": empty(size, frames, 2), "label_scores": empty(size, frames, width),
            "blank_scores": empty(size, frames), "lattice": empty(size, frames, 2, width) if keep else empty(0),
            "order": empty(size, 2, width, dtype=torch.int32) if keep else empty(0, dtype=torch.int32),
            "extents": empty(size, 2, dtype=torch.int32) if keep else empty(0, dtype=torch.int32)}
    lanes = batch.lanes()
    offsets = empty(size, frames, dtype=torch.float64) if keep else empty(0, dtype=torch.float64)
    carry, carry_offsets = empty(size, 2, 2, lanes["LANES"]), empty(size, 2, dtype=torch.float64)
    lengths = batch.input_lengths, batch.target_lengths
    scores = made["label_scores"], made["blank_scores"]
    halves = (*batch.text(), *lengths, *scores, made["lattice"], offsets, carry, carry_offsets)
    sizes = frames, width, batch.longest
    padded = batch.targets.dim() == 2
    with on_device(logits):
        if frames:
            (strides,), vocabulary, spread = _rows((logits,), width)
            emit[(frames * size,)](
                logits, *strides, *batch.text(), *lengths, *scores, made["norms"], made["losses"] if weights is None else weights,
                0 if weights is None else weights.stride(0), frames, size, vocabulary, width, batch.longest, batch.blank,
                PADDED=padded, OVERWRITE=weights is not None, **spread)
        first_half[(size, 3 if keep else 2)](*halves, made["order"], made["extents"], *sizes, PADDED=padded, KEEP=keep, **lanes)
        second_half[(size, 2 if keep else 1)](*halves, made["losses"], *sizes, PADDED=padded, KEEP=keep, **lanes)
    return made


def _differentiate(logits: Tensor, out: Tensor, weights: Tensor, made: dict[str, Tensor], blank: int) -> None:
    """Write the gradient; ``out`` may be the logits if `emit` has overwritten them."""
    from asr.ctc.kernels.ctc_loss.triton import gradient

    frames, size, _ = logits.shape
    width = made["order"].shape[2]
    (strides, out_strides), vocabulary, spread = _rows((logits, out), width)
    with on_device(logits):
        gradient[(frames * size,)](
            logits, *strides, out, *out_strides, made["label_scores"], made["blank_scores"], made["norms"], made["lattice"],
            made["order"], made["extents"], made["losses"], weights, weights.stride(0), frames, size, vocabulary, width, blank,
            OVERWRITE=out is logits, **spread)


# ------------------------------------------------------------------------------------------------------ operators


@torch.library.custom_op("asr::ctc_loss", mutates_args=())
def ctc_losses(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int, longest: int,
               keep: bool, validate: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """losses (B,) float32, and for the gradient (if ``keep``): norms, lattice, order, extents. See the kernels."""
    if not logits.shape[1]:
        return tuple(_empty_outputs(logits, longest, keep))
    made = _run(_prepare(logits, targets, input_lengths, target_lengths, blank, longest, validate), keep, None)
    return made["losses"], made["norms"], made["lattice"], made["order"], made["extents"]


@ctc_losses.register_fake
def _(logits: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int, longest: int, keep: bool,
      validate: bool) -> tuple[Tensor, ...]:
    return tuple(_empty_outputs(logits, longest, keep))


def _empty_outputs(logits: Tensor, longest: int, keep: bool) -> list[Tensor]:
    frames, size, _ = logits.shape
    width = _width(longest)
    shapes = [(size,), (size, frames, 2), (size, frames, 2, width), (size, 2, width), (size, 2)]
    dtypes = [torch.float32, torch.float32, torch.float32, torch.int32, torch.int32]
    return [logits.new_empty(shape if keep or index < 2 else (0,), dtype=dtype)
            for index, (shape, dtype) in enumerate(zip(shapes, dtypes))]


@torch.library.custom_op("asr::ctc_loss_gradient", mutates_args=())
def ctc_gradient(weights: Tensor, logits: Tensor, losses: Tensor, norms: Tensor, lattice: Tensor, order: Tensor, extents: Tensor,
                 blank: int) -> Tensor:
    """The gradient of ``sum(weights * losses)`` with respect to the logits, (T, B, V), of their dtype and strides."""
    out = torch.empty_like(logits)
    if out.numel():
        made = {"losses": losses, "norms": norms, "lattice": lattice, "order": order, "extents": extents, "label_scores": losses,
                "blank_scores": losses}
        _differentiate(logits, out, weights, made, blank)
    return out


@ctc_gradient.register_fake
def _(weights: Tensor, logits: Tensor, losses: Tensor, norms: Tensor, lattice: Tensor, order: Tensor, extents: Tensor,
      blank: int) -> Tensor:
    return torch.empty_like(logits)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    logits, *_, ctx.blank, _, _, _ = inputs
    ctx.save_for_backward(logits, *output)
    ctx.set_materialize_grads(False)  # else zeros as large as the lattice come with the gradient of the losses


def _backward(ctx: Any, weights: Tensor | None, *_: Any) -> tuple[Tensor | None, ...]:
    found = None if weights is None else torch.ops.asr.ctc_loss_gradient(weights, *ctx.saved_tensors, ctx.blank)
    return found, None, None, None, None, None, None, None


ctc_losses.register_autograd(_backward, setup_context=_save)


@torch.library.custom_op("asr::ctc_loss_and_gradient_", mutates_args={"logits"})
def ctc_losses_and_gradient_(logits: Tensor, weights: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor,
                             blank: int, longest: int, validate: bool) -> Tensor:
    """losses (B,) float32; the logits become the gradient of ``sum(weights * losses)``."""
    if not logits.shape[1]:
        return logits.new_empty(0, dtype=torch.float32)
    made = _run(_prepare(logits, targets, input_lengths, target_lengths, blank, longest, validate), True, weights)
    if logits.numel():
        _differentiate(logits, logits, weights, made, blank)
    return made["losses"]


@ctc_losses_and_gradient_.register_fake
def _(logits: Tensor, weights: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int, longest: int,
      validate: bool) -> Tensor:
    return logits.new_empty(logits.shape[1], dtype=torch.float32)
