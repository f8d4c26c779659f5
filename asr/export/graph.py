"""An ONNX graph under construction: nodes are added in the order they run, values are known by their names.

Every function of this room that builds a part takes the graph and names of values, and returns the names of what it made; the
shapes in their docstrings are those of the values. Operators are those of opset 17 (the first with LayerNormalization), which
runtimes have known since 2022.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from asr.models.int8 import quantized_rows

OPSET = 17
IR_VERSION = 8
FLOAT, INT32, INT64, DOUBLE = 1, 6, 7, 11  # of onnx.TensorProto


class Graph:
    """Nodes and constants; ``int8``: matrices are kept as whole numbers of eight bits with a scale for each row."""

    def __init__(self, int8: bool = False) -> None:
        self.int8 = int8
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._known: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node, and the name of its first output."""
        from onnx import helper

        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def constant(self, value: Any, dtype: Any = None) -> str:
        """A constant, kept once however often it is asked for."""
        from onnx import numpy_helper

        if isinstance(value, Tensor):
            value = value.detach().cpu().numpy()
        array = np.ascontiguousarray(value, dtype) if np.ndim(value) else np.asarray(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = f"constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def ints(self, *values: int) -> str:
        """A list of whole numbers, as shapes and axes are given."""
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(value, np.float32)

    def matrix(self, weight: Tensor) -> str:
        """A weight (..., rows, columns) of a linear or recurrent layer; in eight bits where the graph is in int8."""
        if not self.int8:
            return self.constant(weight, np.float32)
        whole, scales = quantized_rows(weight.detach().float().flatten(0, -2))
        made = self.add("DequantizeLinear", self.constant(whole), self.constant(scales[:, 0]), axis=0)
        return made if weight.dim() == 2 else self.reshape(made, *weight.shape)

    # ------------------------------------------------------------------------------------------ what is used often

    def shape(self, value: str, axis: int) -> str:
        """The size of an axis, as a list of one (int64)."""
        return self.add("Shape", value, start=axis, end=axis + 1)

    def reshape(self, value: str, *sizes: int) -> str:
        """0 keeps the size of that axis, -1 takes what is left."""
        return self.add("Reshape", value, self.ints(*sizes))

    def unsqueeze(self, value: str, *axes: int) -> str:
        return self.add("Unsqueeze", value, self.ints(*axes))

    def squeeze(self, value: str, *axes: int) -> str:
        return self.add("Squeeze", value, self.ints(*axes))

    def slice(self, value: str, start: str, end: str, axis: int) -> str:
        return self.add("Slice", value, start, end, self.ints(axis))

    def longest(self, lengths: str) -> str:
        """(B,) int64 -> the greatest, and at least 1: (1,) int64."""
        return self.add("Max", self.add("ReduceMax", lengths, axes=[0], keepdims=1), self.ints(1))

    def mask(self, lengths: str, size: str) -> str:
        """lengths (B,), size (1,), int64 -> boolean (B, size), true at real frames (`asr.models.masking.frame_mask`)."""
        steps = self.add("Range", self.constant(0, np.int64), self.squeeze(size, 0), self.constant(1, np.int64))
        return self.add("Less", self.unsqueeze(steps, 0), self.unsqueeze(lengths, 1))

    def silence(self, frames: str, lengths: str) -> str:
        """(B, T, D) with zeros past each length (`asr.models.masking.silence_padding`)."""
        mask = self.unsqueeze(self.mask(lengths, self.shape(frames, 1)), 2)
        return self.add("Where", mask, frames, self.number(0))


def rounded(weight: Tensor) -> Tensor:
    """A matrix as `Graph.matrix` gives it back in int8: what the runtime computes with."""
    whole, scales = quantized_rows(weight.float().flatten(0, -2))
    return (whole.float() * scales).reshape(weight.shape)
