"""Eight bytes at a time: reading them, finding some of their kinds, hashing spans of them.

A number of eight bytes holds the first one lowest. A mask has the highest bit of a byte set where
something holds of that byte.
"""

from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numba import types
from numba.extending import intrinsic

from dolmix.document import U8Array
from dolmix.text.compiled import leaf

if TYPE_CHECKING:
    from collections.abc import Callable

SPREAD = np.uint64(0x9E3779B97F4A7C15)
START = np.uint64(0xCBF29CE484222325)
ONES, HIGHEST = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
SMALL = np.uint64(0x2020202020202020)
FROM_21, FROM_61 = np.uint64(0x5F5F5F5F5F5F5F5F), np.uint64(0x1F1F1F1F1F1F1F1F)
FROM_7B = np.uint64(0x0505050505050505)
"""What makes a byte below 0x80 reach 0x80 if it is 0x21, 0x61 or 0x7B at least."""


@leaf
def eight_bytes(utf8: U8Array, place: int) -> np.uint64:
    """Read eight bytes; `place + 8` is within the array."""
    i = np.uint64(place)  # unsigned, so that this compiles to one load
    code = np.uint64(utf8[i])
    code |= np.uint64(utf8[i + np.uint64(1)]) << np.uint64(8)
    code |= np.uint64(utf8[i + np.uint64(2)]) << np.uint64(16)
    code |= np.uint64(utf8[i + np.uint64(3)]) << np.uint64(24)
    code |= np.uint64(utf8[i + np.uint64(4)]) << np.uint64(32)
    code |= np.uint64(utf8[i + np.uint64(5)]) << np.uint64(40)
    code |= np.uint64(utf8[i + np.uint64(6)]) << np.uint64(48)
    return code | np.uint64(utf8[i + np.uint64(7)]) << np.uint64(56)


@leaf
def put_eight(out: U8Array, place: int, code: np.uint64) -> None:
    """Write eight bytes; `place + 8` is within the array."""
    i = np.uint64(place)  # unsigned, so that this compiles to one store
    out[i] = np.uint8(code)
    out[i + np.uint64(1)] = np.uint8(code >> np.uint64(8))
    out[i + np.uint64(2)] = np.uint8(code >> np.uint64(16))
    out[i + np.uint64(3)] = np.uint8(code >> np.uint64(24))
    out[i + np.uint64(4)] = np.uint8(code >> np.uint64(32))
    out[i + np.uint64(5)] = np.uint8(code >> np.uint64(40))
    out[i + np.uint64(6)] = np.uint8(code >> np.uint64(48))
    out[i + np.uint64(7)] = np.uint8(code >> np.uint64(56))


@leaf
def few_bytes(utf8: U8Array, place: int, count: int) -> np.uint64:
    """Read `count` bytes, fewer than eight, wherever the array ends."""
    if place + 8 <= utf8.size:
        return low_bytes(eight_bytes(utf8, place), count)
    code = np.uint64(0)
    for k in range(count):
        code |= np.uint64(utf8[place + k]) << np.uint64(8 * k)
    return code


@leaf
def low_bytes(code: np.uint64, count: int) -> np.uint64:
    """Keep the lowest `count` bytes, fewer than eight."""
    return code & ((np.uint64(1) << np.uint64(8 * count)) - np.uint64(1))


@leaf
def stir(code: np.uint64, value: np.uint64) -> np.uint64:
    """Take eight more bytes into a hash; for a given `code` no two values give the same."""
    code = (code ^ value) * SPREAD
    return code ^ code >> np.uint64(32)


@leaf
def stir_last(code: np.uint64, value: np.uint64, count: int) -> np.uint64:
    """Take the last bytes into a hash, fewer than eight: `count` of them, zeros above."""
    return stir(code, value | np.uint64(count) << np.uint64(56))


@leaf
def hash_span(utf8: U8Array, begin: int, end: int) -> tuple[np.uint64, int]:
    """Hash of utf8[begin:end], and the characters in it.

    Eight bytes at a time, then the rest with its length. Spans of fewer than eight bytes never
    share a hash. Twin: tests/naive.py `span_hash`.
    """
    code, inner, i = START, 0, begin
    while i + 8 <= end:
        value = eight_bytes(utf8, i)
        code = stir(code, value)
        inner += _inner_bytes(value)
        i += 8
    value = few_bytes(utf8, i, end - i)
    return stir_last(code, value, end - i), end - begin - inner - _inner_bytes(value)


def span_hash(data: bytes) -> int:
    """Hash of bytes, as `hash_span` has it; in plain Python."""
    whole = len(data) // 8 * 8
    blocks = [int.from_bytes(data[i : i + 8], "little") for i in range(0, whole, 8)]
    last = int.from_bytes(data[whole:], "little") | len(data) % 8 << 56
    code = int(START)
    for block in [*blocks, last]:
        code = (code ^ block) * int(SPREAD) % 2**64
        code ^= code >> 32
    return code


@leaf
def _inner_bytes(value: np.uint64) -> int:
    """How many of eight bytes continue a character."""
    marks = value >> np.uint64(7) & ~(value >> np.uint64(6)) & ONES
    return int(marks * ONES >> np.uint64(56))


@leaf
def no_letter_mask(value: np.uint64) -> np.uint64:
    """Mask of the bytes that are no ASCII letters."""
    low = (value | SMALL) & ~HIGHEST
    letters = (low + FROM_61) & ~(low + FROM_7B) & ~value
    return ~letters & HIGHEST


@leaf
def no_ink_mask(value: np.uint64) -> np.uint64:
    """Mask of the bytes that are no ASCII character beyond the space."""
    ink = ((value & ~HIGHEST) + FROM_21) & ~value
    return ~ink & HIGHEST


def _trailing_zeros(_typing: Any, _value: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], context.get_constant(types.boolean, 0))

    return types.uint64(types.uint64), generate


trailing_zeros = cast("Callable[[np.uint64], np.uint64]", intrinsic(_trailing_zeros))
"""Zero bits below the lowest one of a uint64, 64 for 0: one instruction."""


@leaf
def first_marked(mask: np.uint64) -> int:
    """Which byte is the lowest of a mask, 8 for an empty one."""
    return int(np.int64(trailing_zeros(mask) >> np.uint64(3)))


@leaf
def hash_letters(utf8: U8Array, i: int, stop: int) -> tuple[int, np.uint64]:
    """Where ASCII letters from `i` on end, and their hash."""
    code = START
    while i + 8 <= utf8.size:
        value = eight_bytes(utf8, i)
        length = min(first_marked(no_letter_mask(value)), stop - i)
        if length < 8:
            return i + length, stir_last(code, low_bytes(value, length), length)
        code = stir(code, value)
        i += 8
    begin = i
    while i < stop and 0x61 <= utf8[i] | 0x20 <= 0x7A:
        i += 1
    return i, stir_last(code, few_bytes(utf8, begin, i - begin), i - begin)


@leaf
def hash_ink(utf8: U8Array, i: int, stop: int) -> tuple[int, np.uint64]:
    """Where ASCII characters beyond the space from `i` on end, and their hash."""
    code = START
    while i + 8 <= utf8.size:
        value = eight_bytes(utf8, i)
        length = min(first_marked(no_ink_mask(value)), stop - i)
        if length < 8:
            return i + length, stir_last(code, low_bytes(value, length), length)
        code = stir(code, value)
        i += 8
    begin = i
    while i < stop and 0x20 < utf8[i] < 0x80:
        i += 1
    return i, stir_last(code, few_bytes(utf8, begin, i - begin), i - begin)
