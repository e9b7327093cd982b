"""Thirty-two bytes at a time, as one vector of the processor.

A mask has bit k set where something holds of the byte at `place + k`.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from dolmix.document import U8Array
from dolmix.text.compiled import leaf

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 32
_BYTES = ir.VectorType(ir.IntType(8), WIDTH)
_MASK, _CODE = ir.IntType(WIDTH), ir.IntType(64)


def _pointer(context: Any, builder: Any, array: tuple[Any, Any], place: Any) -> Any:
    kind, value = array
    data = context.make_array(kind)(context, builder, value).data
    return builder.bitcast(builder.gep(data, [place]), _BYTES.as_pointer())


def _load(context: Any, builder: Any, array: tuple[Any, Any], place: Any) -> Any:
    return builder.load(_pointer(context, builder, array, place), align=1)


def _constant(value: int) -> Any:
    return ir.Constant(_BYTES, [value] * WIDTH)


def _as_number(builder: Any, flags: Any) -> Any:
    return builder.zext(builder.bitcast(flags, _MASK), _CODE)


def _comparison(how: str) -> Any:
    def compare(_typing: Any, utf8: Any, _place: Any, _byte: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = signature.args[0], arguments[0]
            loaded = _load(context, builder, array, arguments[1])
            one = builder.insert_element(_constant(0), arguments[2], ir.Constant(_MASK, 0))
            lanes = ir.Constant(ir.VectorType(_MASK, WIDTH), [0] * WIDTH)
            every = builder.shuffle_vector(one, one, lanes)
            return _as_number(builder, builder.icmp_unsigned(how, loaded, every))

        return types.uint64(utf8, types.int64, types.uint8), generate

    return intrinsic(compare)


equal_32 = cast("Callable[[U8Array, int, int], np.uint64]", _comparison("=="))
"""Mask of the bytes that equal one; `place + 32` is within the array."""
below_32 = cast("Callable[[U8Array, int, int], np.uint64]", _comparison("<"))
"""Mask of the bytes that are below one; `place + 32` is within the array."""


def _copy(_typing: Any, utf8: Any, _place: Any, out: Any, _to: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given, place, wanted, to = arguments
        loaded = _load(context, builder, (signature.args[0], given), place)
        target = _pointer(context, builder, (signature.args[2], wanted), to)
        builder.store(loaded, target, align=1)
        return context.get_dummy_value()

    return types.void(utf8, types.int64, out, types.int64), generate


copy_32 = cast("Callable[[U8Array, int, U8Array, int], None]", intrinsic(_copy))
"""Copy thirty-two bytes; both places and 32 more are within their arrays."""


def _find_wrong(_typing: Any, utf8: Any, _place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = signature.args[0], arguments[0]
        byte, one, two, three = (
            _load(
                context,
                builder,
                array,
                builder.sub(arguments[1], ir.Constant(arguments[1].type, back)),
            )
            for back in range(4)
        )

        def compare(how: str, value: Any, limit: int) -> Any:
            return builder.icmp_unsigned(how, value, _constant(limit))

        inner = compare("==", builder.and_(byte, _constant(0xC0)), 0x80)
        wanted = builder.or_(compare(">=", one, 0xC0), compare(">=", two, 0xE0))
        wrong = builder.xor(inner, builder.or_(wanted, compare(">=", three, 0xF0)))
        # C0 and C1 would begin what is too long, F5 and more what is beyond U+10FFFF
        high = builder.and_(byte, _constant(0xFE))
        wrong = builder.or_(wrong, compare("==", high, 0xC0))
        wrong = builder.or_(wrong, compare(">", byte, 0xF4))
        for first, how, limit in _SECOND:
            bad = builder.and_(compare("==", one, first), compare(how, byte, limit))
            wrong = builder.or_(wrong, bad)
        return _as_number(builder, wrong)

    return types.uint64(utf8, types.int64), generate


_SECOND = ((0xE0, "<", 0xA0), (0xED, ">", 0x9F), (0xF0, "<", 0x90), (0xF4, ">", 0x8F))
"""First bytes whose second has a range of its own (Unicode, table 3-7)."""
_wrong_32 = cast("Callable[[U8Array, int], np.uint64]", intrinsic(_find_wrong))


@leaf
def is_utf8(data: U8Array) -> bool:
    """Whether all bytes together are UTF-8, as Python and Arrow have it. O(bytes)."""
    wrong, i = np.uint64(0), 3
    while i + WIDTH <= data.size:
        wrong |= _wrong_32(data, i)
        i += WIDTH
    bad = wrong != np.uint64(0)
    for k in range(min(3, data.size + 1)):
        bad |= _is_wrong(data, k)
    for k in range(i, data.size + 1):
        bad |= _is_wrong(data, k)
    return not bad


@leaf
def _is_wrong(data: U8Array, i: int) -> bool:
    """Whether the byte at `i` cannot follow those before it; the end counts as an ASCII one."""
    byte = int(data[i]) if i < data.size else 0
    one = int(data[i - 1]) if i > 0 else 0
    two = int(data[i - 2]) if i > 1 else 0
    three = int(data[i - 3]) if i > 2 else 0
    inner = byte & 0xC0 == 0x80
    wrong = inner != (one >= 0xC0 or two >= 0xE0 or three >= 0xF0)
    wrong |= byte & 0xFE == 0xC0 or byte > 0xF4
    wrong |= (one == 0xE0 and byte < 0xA0) or (one == 0xED and byte > 0x9F)
    return bool(wrong or (one == 0xF0 and byte < 0x90) or (one == 0xF4 and byte > 0x8F))
