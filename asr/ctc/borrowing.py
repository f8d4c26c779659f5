"""Arrays that a compiled function borrows."""

from __future__ import annotations

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


@intrinsic
def borrow(typingctx, arrays):
    """The same tuple, its arrays without an owner; None for None.

    A compiled function counts a reference to every array it is given, and again for every function it hands it on to: atomic
    operations that take longer than looking a word up. Arrays without an owner are not counted. Whoever borrows must be outlived
    by the owner: a function may borrow its arguments, and must not return what it borrowed.
    """
    if isinstance(arrays, types.NoneType):
        return arrays(arrays), lambda context, builder, signature, arguments: arguments[0]

    def generate(context, builder, signature, arguments):
        parts = []
        for kind, value in zip(arrays, cgutils.unpack_tuple(builder, arguments[0])):
            if isinstance(kind, types.Array):
                view = context.make_array(kind)(context, builder, value)
                view.meminfo = cgutils.get_null_value(view.meminfo.type)
                view.parent = cgutils.get_null_value(view.parent.type)
                value = view._getvalue()
            parts.append(value)
        return context.make_tuple(builder, arrays, parts)

    return arrays(arrays), generate
