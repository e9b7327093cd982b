"""Where words of a text end, 64 bytes at a time.

A mask has one bit a byte, the lowest for the first. fastText cuts words at the space, at NUL, and
at what lies from the tab to the carriage return.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from dolmix.text.compiled import leaf

if TYPE_CHECKING:
    from collections.abc import Callable

    from dolmix.document import U8Array

WINDOW = 64
SPACE, NUL, TAB, RETURN = 0x20, 0x00, 0x09, 0x0D


def _space_mask(_typing: Any, text: Any, _place: Any) -> Any:
    byte, window = ir.IntType(8), ir.VectorType(ir.IntType(8), WINDOW)

    def each(number: int) -> Any:
        return ir.Constant(window, [byte(number)] * WINDOW)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        home = builder.bitcast(builder.gep(array.data, [arguments[1]]), window.as_pointer())
        values = builder.load(home, align=1)
        near = builder.icmp_unsigned("<=", builder.sub(values, each(TAB)), each(RETURN - TAB))
        for single in (SPACE, NUL):
            near = builder.or_(near, builder.icmp_unsigned("==", values, each(single)))
        return builder.bitcast(near, ir.IntType(WINDOW))

    return types.uint64(text, types.int64), generate


space_mask = cast("Callable[[U8Array, int], np.uint64]", intrinsic(_space_mask))
"""Mask of the 64 bytes from a place on: which of them are no part of a word."""


@leaf
def is_space(byte: np.uint8) -> bool:
    """Whether fastText cuts words at a byte."""
    return bool((byte == SPACE) | (byte == NUL) | (byte >= TAB) & (byte <= RETURN))
