"""A network as a table: layers, shapes, parameters, what a frame sees."""

from __future__ import annotations

import torch
from torch import nn

from asr.models.conv import ConvStack
from asr.models.network import Crnn, Encoder
from asr.models.parallel import Parallel

Row = tuple[str, str, int]


@torch.no_grad()
def encoder_rows(encoder: Encoder, frames: int) -> list[Row]:
    """(layer, output shape for ``frames`` input frames, parameters) of each part of an encoder."""
    rows = _conv_rows(encoder.conv, frames)
    made = int(encoder.output_lengths(torch.tensor([frames])))
    if encoder.config.projection:
        rows.append(("projection", f"({made}, {encoder.config.projection})", parameters(encoder.projection)))
    context, rnn, attention = encoder.context, encoder.config.rnn, encoder.config.attention
    if context.rnn is not None:
        name = ("bi" if rnn.bidirectional else "") + rnn.cell
        rows += [(f"{name}{index}", f"({made}, {context.rnn.dim})", parameters(layer))
                 for index, layer in enumerate(context.rnn.layers, start=1)]
    if context.attention is not None:
        rows.append(("positions" if context.attention.positions else "to attention", f"({made}, {attention.dim})",
                     parameters(context.attention) - parameters(context.attention.layers)))
        rows += [(f"{attention.kind}{index}", f"({made}, {attention.dim})", parameters(layer))
                 for index, layer in enumerate(context.attention.layers, start=1)]
    if isinstance(encoder, Parallel):
        rows.append((f"fusion {encoder.config.fusion.kind}", f"({made}, {encoder.dim})", parameters(encoder.fusion)))
    return rows


def _conv_rows(conv: ConvStack, frames: int) -> list[Row]:
    rows, length = [], torch.tensor([frames])
    for index, layer in enumerate(conv.layers, start=1):
        kernel, stride = layer.conv.kernel_size, layer.conv.stride
        if conv.over != "image":
            length = layer.output_lengths(length)
        rows.append((f"conv{index} {kernel[0]}x{kernel[1]} /{stride[0]},{stride[1]}",
                     f"({layer.conv.out_channels}, {int(length)}, {layer.bins})", parameters(layer)))
    return rows


def table(rows: list[Row], total: int) -> list[str]:
    """The rows as lines of text, with a head and a total."""
    lines = [f"{'layer':<20} {'output shape':<18} {'parameters':>12}"]
    lines += [f"{name:<20} {shape:<18} {count:>12,}" for name, shape, count in rows]
    return [*lines, f"{'total':<39} {total:>12,}"]


def summarize(model: Crnn, frame_shift: float, frame_length: float, frames: int = 1000) -> str:
    """A recogniser's network: layers, output shapes for ``frames`` input frames, parameters; then receptive field and frame rate
    of the convolutions (a bidirectional recurrence, and attention, see the whole utterance).

    ``frame_shift`` and ``frame_length`` are those of the front-end, in seconds.
    """
    made = int(model.output_lengths(torch.tensor([frames])))
    lines = table([("input", f"({frames}, {model.input_dim})", 0), *encoder_rows(model.encoder, frames),
                   ("output", f"({made}, {model.vocab_size})", parameters(model.output))], parameters(model))
    field, step = 1, 1
    for layer in model.encoder.conv.layers:
        field, step = field + (layer.conv.kernel_size[0] - 1) * step, step * layer.conv.stride[0]
    subsampling = model.frame_subsampling
    rate = f"output frame rate {1 / (subsampling * frame_shift):.4g} Hz (one per {subsampling} input frames)"
    return "\n".join([*lines, f"receptive field of the convolutions: {field} frames, "
                              f"{(field - 1) * frame_shift + frame_length:.3f} s; {rate}"])


def parameters(module: nn.Module) -> int:
    """How many weights a module has."""
    return sum(parameter.numel() for parameter in module.parameters())
