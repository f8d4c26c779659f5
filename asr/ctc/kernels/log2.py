"""Arithmetic of log-probabilities to base 2, as parts of kernels. Imports triton: only files named `triton.py` may import this.

Base 2, because the GPU's own exponential and logarithm are: one instruction each, where `tl.log` is a polynomial of a dozen.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def log2(x, FAST: tl.constexpr):
    """FAST: within 2^-22 of log2(x) and -inf for x below 2^-126, on NVIDIA alone; otherwise the exact function."""
    if FAST:
        return tl.inline_asm_elementwise("lg2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)
    else:
        return tl.log2(x)


@triton.jit
def log2_add(a, b, FAST: tl.constexpr):
    """log2(2^a + 2^b); a and b finite (or NaN, which stays)."""
    return tl.maximum(a, b) + log2(1.0 + tl.exp2(-tl.abs(a - b)), FAST)


@triton.jit
def log2_add3(a, b, c, FAST: tl.constexpr):
    """log2(2^a + 2^b + 2^c); a, b and c finite (or NaN, which stays)."""
    higher, lower = tl.maximum(a, b), tl.minimum(a, b, propagate_nan=tl.PropagateNan.ALL)
    top = tl.maximum(higher, c)
    return top + log2(1.0 + tl.exp2(-tl.abs(higher - c)) + tl.exp2(lower - top), FAST)
