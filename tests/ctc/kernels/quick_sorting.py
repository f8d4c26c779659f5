"""Triton's interpreter without two slow ways of it: it takes a sort's XORs in Python, one by one, and looks at all of Triton's
functions anew in every call of a part of a kernel."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="module")
def quick_sorting():
    interpreter = pytest.importorskip("triton.runtime.interpreter")
    from triton.language import standard

    reduce, patch = interpreter.ReduceOps.generic_reduce, interpreter._patch_lang

    def generic_reduce(self, inputs):
        if self.combine_fn is not standard._xor_combine:
            return reduce(self, inputs)
        data = inputs[0].handle.data
        return [self.to_tensor(np.bitwise_xor.reduce(data, axis=self.axis, keepdims=self.keep_dims), inputs[0].dtype)]

    def patch_once(function):
        modules = [value for value in function.__globals__.values() if value in (interpreter.tl, interpreter.tl.core)]
        done = all(module.static_print is print for module in modules)
        return interpreter._LangPatchScope() if done else patch(function)

    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(interpreter.ReduceOps, "generic_reduce", generic_reduce)
        monkeypatch.setattr(interpreter, "_patch_lang", patch_once)
        yield
