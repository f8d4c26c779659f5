"""The blocks of the networks as graphs, in evaluation mode: convolutions, recurrence, attention, fusion.

What each computes is said where it is defined, in `asr/models/`; here is how ONNX says it. Frames are padded, not packed: a
recurrent node is given the lengths and stops at them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from asr.errors import UsageError
from asr.export.graph import FLOAT, INT32, Graph
from asr.models.attention import AttentionStack, MaskedConformerLayer, TransformerLayer
from asr.models.cascade import Cascade
from asr.models.context import Context
from asr.models.conv import ConvLayer, ConvStack
from asr.models.fusion import Bilinear, Concat, CrossAttention, Film, Gated, Glu, SqueezeExcite, Sum
from asr.models.norm import FrameNorm, MaskedBatchNorm2d
from asr.models.parallel import Parallel
from asr.models.recurrent import RecurrentLayer

GRU_ORDER, LSTM_ORDER = (1, 0, 2), (0, 3, 1, 2)  # of torch's gates in ONNX: r z n -> z r n; i f g o -> i o f g


def encoder(graph: Graph, module: Cascade | Parallel, features: str, lengths: str) -> tuple[str, str]:
    """features (B, T, F) zero at padding, lengths (B,) int64 -> frames (B, T', D), rubbish at padding, lengths (B,)."""
    seen, made = conv_stack(graph, module.conv, features, lengths)
    if isinstance(module, Cascade):
        seen, made = stack(graph, seen, made, module.config.stacking)
        return context(graph, module.context, apply(graph, module.projection, seen), made), made
    own, own_lengths = stack(graph, features, lengths, module.conv.subsampling)
    heard = context(graph, module.context, own, own_lengths)
    return fusion(graph, module.fusion, apply(graph, module.projection, seen), heard, made), made


# --------------------------------------------------------------------------------------------------- convolutions


def conv_stack(graph: Graph, module: ConvStack, features: str, lengths: str) -> tuple[str, str]:
    """`ConvStack`: (B, T, F) zero at padding, lengths (B,) -> (B, T', D) zero at padding, lengths (B,)."""
    if not module.layers:
        return features, lengths
    if module.over == "spectrogram":
        frames = graph.unsqueeze(features, 1)  # (B, T, F) -> (B, 1, T, F)
    else:
        frames = graph.unsqueeze(graph.add("Transpose", features, perm=[0, 2, 1]), 3)  # (B, T, F) -> (B, F, T, 1)
    for layer in module.layers:
        frames, lengths = conv_layer(graph, layer, frames, lengths)
    return graph.reshape(graph.add("Transpose", frames, perm=[0, 2, 1, 3]), 0, 0, -1), lengths  # (B, C, T, F) -> (B, T, C·F)


def conv_layer(graph: Graph, layer: ConvLayer, inputs: str, lengths: str) -> tuple[str, str]:
    """`ConvLayer`: (B, C, T, F) zero at padding, lengths (B,) -> the same, after it. A batch norm becomes part of the weights."""
    conv, norm = layer.conv, layer.norm
    weight, bias = conv.weight.double(), None if conv.bias is None else conv.bias.double()
    if isinstance(norm, MaskedBatchNorm2d):
        scale, shift = affine(norm)
        weight, bias = weight * scale[:, None, None, None], shift if bias is None else bias * scale + shift
    assert bias is not None
    outputs = graph.add("Conv", inputs, graph.constant(weight, np.float32), graph.constant(bias, np.float32),
                        strides=list(conv.stride), pads=[*conv.padding, *conv.padding])
    if isinstance(norm, FrameNorm):
        centred = graph.add("Sub", outputs, graph.add("ReduceMean", outputs, axes=[1, 3]))
        variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=[1, 3])
        outputs = graph.add("Div", centred, graph.add("Sqrt", graph.add("Add", variance, graph.number(1e-5))))
        outputs = graph.add("Add", graph.add("Mul", outputs, graph.constant(norm.weight, np.float32)),
                            graph.constant(norm.bias, np.float32))
    outputs = apply(graph, layer.activation, outputs)
    lengths = conv_lengths(graph, lengths, conv.kernel_size[0], conv.stride[0], conv.padding[0])
    mask = graph.unsqueeze(graph.mask(lengths, graph.shape(outputs, 2)), 1, 3)  # (B, T) -> (B, 1, T, 1)
    return graph.add("Where", mask, outputs, graph.number(0)), lengths


def conv_lengths(graph: Graph, lengths: str, kernel: int, stride: int, padding: int) -> str:
    """`asr.models.masking.conv_output_lengths`. Centred kernels make no negative number, so towards zero is downwards."""
    assert 2 * padding - kernel >= -1
    made = graph.add("Add", graph.add("Div", graph.add("Add", lengths, graph.ints(2 * padding - kernel)), graph.ints(stride)),
                     graph.ints(1))
    return graph.add("Where", graph.add("Greater", lengths, graph.ints(0)), made, graph.ints(0))


def affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """The fixed scale and shift that a batch norm is in evaluation, float64."""
    scale = norm.weight.double() * torch.rsqrt(norm.running_var.double() + norm.eps)
    return scale, norm.bias.double() - norm.running_mean.double() * scale


def stack(graph: Graph, frames: str, lengths: str, count: int) -> tuple[str, str]:
    """`asr.models.masking.stack_frames`: ``count`` frames become one."""
    if count == 1:
        return frames, lengths
    missing = graph.add("Mod", graph.add("Neg", graph.shape(frames, 1)), graph.ints(count))
    pads = graph.add("Concat", graph.ints(0, 0, 0, 0), missing, graph.ints(0), axis=0)
    frames = graph.add("Pad", frames, pads)
    groups = graph.add("Div", graph.shape(frames, 1), graph.ints(count))
    shape = graph.add("Concat", graph.ints(0), groups, graph.ints(-1), axis=0)
    return graph.add("Reshape", frames, shape), conv_lengths(graph, lengths, 1, count, 0)


# --------------------------------------------------------------------------------------- recurrence and attention


def context(graph: Graph, module: Context, frames: str, lengths: str) -> str:
    """`Context`: (B, T, D), lengths (B,) -> (B, T, D'), rubbish at padding. What a branch has too few frames for is padded."""
    if module.rnn is not None:
        frames = graph.add("Transpose", frames, perm=[1, 0, 2])  # (B, T, D) -> (T, B, D)
        # A runtime knows no empty sequence; as when packing, an utterance of no frames travels as one.
        sizes = graph.add("Cast", graph.add("Max", lengths, graph.ints(1)), to=INT32)
        for layer in module.rnn.layers:
            frames = recurrent_layer(graph, layer, frames, sizes)
        frames = graph.add("Transpose", frames, perm=[1, 0, 2])  # (T, B, D) -> (B, T, D)
    if module.attention is not None:
        frames = attention_stack(graph, module.attention, frames, lengths)
    return frames


def recurrent_layer(graph: Graph, layer: RecurrentLayer, frames: str, sizes: str) -> str:
    """(T, B, D), sizes (B,) int32 -> (T, B, H): the norm, then ONNX's GRU or LSTM, which have torch's gates in another order."""
    frames = apply(graph, layer.norm, frames)
    rnn = layer.rnn
    order = GRU_ORDER if isinstance(rnn, nn.GRU) else LSTM_ORDER
    suffixes = ("", "_reverse") if rnn.bidirectional else ("",)

    def gates(name: str, suffix: str) -> Tensor:
        parts = getattr(rnn, f"{name}_l0{suffix}").detach().chunk(len(order))
        return torch.cat([parts[place] for place in order])

    w, r = (torch.stack([gates(name, suffix) for suffix in suffixes]) for name in ("weight_ih", "weight_hh"))
    b = torch.stack([torch.cat([gates("bias_ih", suffix), gates("bias_hh", suffix)]) for suffix in suffixes])
    kinds = {"linear_before_reset": 1} if isinstance(rnn, nn.GRU) else {}
    made = graph.add("GRU" if kinds else "LSTM", frames, graph.matrix(w), graph.matrix(r), graph.constant(b, np.float32), sizes,
                     hidden_size=rnn.hidden_size, direction="bidirectional" if rnn.bidirectional else "forward", **kinds)
    return graph.reshape(graph.add("Transpose", made, perm=[0, 2, 1, 3]), 0, 0, -1)  # (T, ways, B, H) -> (T, B, ways·H)


def attention_stack(graph: Graph, module: AttentionStack, frames: str, lengths: str) -> str:
    """`AttentionStack`: (B, T, D), lengths (B,) -> (B, T, dim), rubbish at padding."""
    # A linear layer maps what recurrence left at padding to anything, but what attention must not see it does not see.
    frames = apply(graph, module.input, graph.silence(frames, lengths))
    size = graph.shape(frames, 1)
    if module.positions:
        frames = graph.add("Add", frames, sinusoids(graph, size, module.dim))
    hidden = unattended(graph, lengths, size)
    for layer in module.layers:
        frames = (transformer_layer if isinstance(layer, TransformerLayer) else conformer_layer)(graph, layer, frames, hidden)
    return apply(graph, module.norm, frames)


def unattended(graph: Graph, lengths: str, size: str) -> str:
    """`asr.models.masking.unattended`: boolean (B, T), true at what attention must not see."""
    some = graph.unsqueeze(graph.add("Greater", lengths, graph.ints(0)), 1)
    return graph.add("And", graph.add("Not", graph.mask(lengths, size)), some)


def sinusoids(graph: Graph, size: str, dim: int) -> str:
    """`asr.models.attention.sinusoids`: (T, D)."""
    rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * (-math.log(10000.0) / dim))
    steps = graph.add("Range", graph.constant(0, np.int64), graph.squeeze(size, 0), graph.constant(1, np.int64))
    angles = graph.add("Mul", graph.unsqueeze(graph.add("Cast", steps, to=FLOAT), 1), graph.constant(rates[None]))
    both = graph.add("Concat", *(graph.unsqueeze(graph.add(kind, angles), 2) for kind in ("Sin", "Cos")), axis=2)
    return graph.reshape(both, 0, -1)


def transformer_layer(graph: Graph, layer: TransformerLayer, frames: str, hidden: str) -> str:
    """(B, T, D), hidden (B, T) boolean -> (B, T, D)."""
    queries = apply(graph, layer.norm1, frames)
    frames = graph.add("Add", frames, attention(graph, layer.self_attn, queries, queries, hidden))
    inner = gelu(graph, apply(graph, layer.linear1, apply(graph, layer.norm2, frames)))
    return graph.add("Add", frames, apply(graph, layer.linear2, inner))


def conformer_layer(graph: Graph, layer: MaskedConformerLayer, frames: str, hidden: str) -> str:
    """(B, T, D), hidden (B, T) boolean -> (B, T, D)."""
    frames = graph.add("Add", frames, graph.add("Mul", apply(graph, layer.ffn1.sequential, frames), graph.number(0.5)))
    queries = apply(graph, layer.self_attn_layer_norm, frames)
    frames = graph.add("Add", frames, attention(graph, layer.self_attn, queries, queries, hidden))
    pointwise, gate, *depthwise_on = layer.conv_module.sequential
    within = graph.add("Transpose", apply(graph, layer.conv_module.layer_norm, frames), perm=[0, 2, 1])  # (B, T, D) -> (B, D, T)
    within = apply(graph, gate, apply(graph, pointwise, within))
    within = graph.add("Where", graph.unsqueeze(hidden, 1), graph.number(0), within)
    for step in depthwise_on:
        if isinstance(step, nn.LayerNorm):  # of each frame
            within = graph.add("Transpose", within, perm=[0, 2, 1])
            within = graph.add("Transpose", apply(graph, step, within), perm=[0, 2, 1])  # (B, T, D) -> (B, D, T)
        else:
            within = apply(graph, step, within)
    frames = graph.add("Add", frames, graph.add("Transpose", within, perm=[0, 2, 1]))  # (B, D, T) -> (B, T, D)
    frames = graph.add("Add", frames, graph.add("Mul", apply(graph, layer.ffn2.sequential, frames), graph.number(0.5)))
    return apply(graph, layer.final_layer_norm, frames)


def attention(graph: Graph, module: nn.MultiheadAttention, asking: str, answering: str, hidden: str) -> str:
    """queries (B, T, D), keys and values (B, T, D), hidden (B, T) boolean -> (B, T, D)."""
    heads, width = module.num_heads, module.head_dim
    weights, biases = module.in_proj_weight.chunk(3), module.in_proj_bias.chunk(3)

    def of_heads(source: str, part: int, perm: list[int]) -> str:
        product = graph.add("MatMul", source, turned(graph, weights[part]))
        made = graph.add("Add", product, graph.constant(biases[part], np.float32))
        return graph.add("Transpose", graph.reshape(made, 0, 0, heads, width), perm=perm)

    q = graph.add("Mul", of_heads(asking, 0, [0, 2, 1, 3]), graph.number(width ** -0.5))  # (B, T, h, d) -> (B, h, T, d)
    k = of_heads(answering, 1, [0, 2, 3, 1])  # (B, T, h, d) -> (B, h, d, T)
    v = of_heads(answering, 2, [0, 2, 1, 3])  # (B, T, h, d) -> (B, h, T, d)
    scores = graph.add("Where", graph.unsqueeze(hidden, 1, 2), graph.number(-np.inf), graph.add("MatMul", q, k))
    heard = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), v)
    return apply(graph, module.out_proj, graph.reshape(graph.add("Transpose", heard, perm=[0, 2, 1, 3]), 0, 0, -1))


# --------------------------------------------------------------------------------------------------------- fusion


def fusion(graph: Graph, module: nn.Module, a: str, b: str, lengths: str) -> str:
    """A class of `asr/models/fusion.py`: (B, T, A), (B, T, C), lengths (B,) -> (B, T, D). Raises UsageError for an unknown one."""
    both = graph.add("Concat", a, b, axis=2)
    if isinstance(module, Concat):
        return both
    if isinstance(module, SqueezeExcite):
        count = graph.unsqueeze(graph.add("Cast", graph.add("Max", lengths, graph.ints(1)), to=FLOAT), 1, 2)
        mean = graph.add("Div", graph.add("ReduceSum", graph.silence(both, lengths), graph.ints(1)), count)
        return graph.add("Mul", both, apply(graph, module.gate, mean))
    if isinstance(module, Glu):
        return apply(graph, nn.GLU(2), apply(graph, module.both, both))
    if isinstance(module, Film):
        scale, shift = halves(graph, apply(graph, module.scale_shift, b), module.dim, 2)
        return graph.add("Add", graph.add("Mul", graph.add("Add", scale, graph.number(1)), apply(graph, module.of_a, a)), shift)
    if not isinstance(module, (Sum, Gated, Bilinear, CrossAttention)):
        raise UsageError(f"model.fusion: a {type(module).__name__} cannot be written as ONNX yet")
    a, b = apply(graph, module.of_a, a), apply(graph, module.of_b, b)
    if isinstance(module, Sum):
        return graph.add("Add", a, b)
    if isinstance(module, CrossAttention):
        hidden = unattended(graph, lengths, graph.shape(a, 1))
        asking_a, asking_b = apply(graph, module.norm_a, a), apply(graph, module.norm_b, b)
        return graph.add("Concat", graph.add("Add", a, attention(graph, module.a_asks, asking_a, asking_b, hidden)),
                         graph.add("Add", b, attention(graph, module.b_asks, asking_b, asking_a, hidden)), axis=2)
    a, b = graph.add("Tanh", a), graph.add("Tanh", b)
    if isinstance(module, Bilinear):
        return apply(graph, module.output, graph.add("Mul", a, b))
    gate = graph.add("Sigmoid", apply(graph, module.gate, both))
    return graph.add("Add", b, graph.add("Mul", gate, graph.add("Sub", a, b)))


def halves(graph: Graph, value: str, width: int, axis: int) -> tuple[str, str]:
    """The two halves of an axis of 2 · width."""
    return (graph.slice(value, graph.ints(0), graph.ints(width), axis),
            graph.slice(value, graph.ints(width), graph.ints(2 * width), axis))


# --------------------------------------------------------------------------------------- layers of torch, as they are


def apply(graph: Graph, module: nn.Module, value: str) -> str:
    """A layer of torch in evaluation mode on a value of its shape. Raises UsageError for one unknown here."""
    if isinstance(module, (nn.Identity, nn.Dropout)):
        return value
    if isinstance(module, nn.Sequential):
        for step in module:
            value = apply(graph, step, value)
        return value
    if isinstance(module, nn.Linear):
        product = graph.add("MatMul", value, turned(graph, module.weight))
        return product if module.bias is None else graph.add("Add", product, graph.constant(module.bias, np.float32))
    if isinstance(module, nn.LayerNorm):
        return graph.add("LayerNormalization", value, graph.constant(module.weight, np.float32),
                         graph.constant(module.bias, np.float32), axis=-1, epsilon=module.eps)
    if isinstance(module, nn.BatchNorm1d):  # of frames (..., D)
        scale, shift = affine(module)
        return graph.add("Add", graph.add("Mul", value, graph.constant(scale, np.float32)), graph.constant(shift, np.float32))
    if isinstance(module, nn.Conv1d):
        return graph.add("Conv", value, graph.constant(module.weight, np.float32), graph.constant(module.bias, np.float32),
                         strides=list(module.stride), pads=[*module.padding, *module.padding], group=module.groups)
    if isinstance(module, nn.GLU):
        width = graph.add("Div", graph.shape(value, module.dim), graph.ints(2))
        first = graph.slice(value, graph.ints(0), width, module.dim)
        gate = graph.slice(value, width, graph.shape(value, module.dim), module.dim)
        return graph.add("Mul", first, graph.add("Sigmoid", gate))
    if isinstance(module, nn.SiLU):
        return graph.add("Mul", value, graph.add("Sigmoid", value))
    if isinstance(module, nn.GELU):
        return gelu(graph, value)
    if isinstance(module, nn.Hardtanh):
        return graph.add("Clip", value, graph.number(module.min_val), graph.number(module.max_val))
    for kind, name in ((nn.ReLU, "Relu"), (nn.Sigmoid, "Sigmoid"), (nn.Tanh, "Tanh")):
        if isinstance(module, kind):
            return graph.add(name, value)
    raise UsageError(f"a layer {type(module).__name__} cannot be written as ONNX yet")


def gelu(graph: Graph, value: str) -> str:
    """x Φ(x) by the error function; opset 17 has no operator of that name."""
    inner = graph.add("Add", graph.add("Erf", graph.add("Mul", value, graph.number(2 ** -0.5))), graph.number(1))
    return graph.add("Mul", graph.add("Mul", value, graph.number(0.5)), inner)


def turned(graph: Graph, weight: Tensor) -> str:
    """A weight (outputs, inputs) as a right factor (inputs, outputs); rows of eight bits are turned after they are rounded."""
    if graph.int8:
        return graph.add("Transpose", graph.matrix(weight), perm=[1, 0])
    return graph.constant(weight.t(), np.float32)
