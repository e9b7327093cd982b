"""XXH64: a fast 64-bit hash with a seed, equal to the published one bit by bit (Collet, xxHash)."""

import numpy as np

from dolmix.document import U8Array
from dolmix.text.compiled import leaf
from dolmix.text.repeats import eight_bytes

P1 = np.uint64(0x9E3779B185EBCA87)
P2 = np.uint64(0xC2B2AE3D27D4EB4F)
P3 = np.uint64(0x165667B19E3779F9)
P4 = np.uint64(0x85EBCA77C2B2AE63)
P5 = np.uint64(0x27D4EB2F165667C5)
SPREAD_HIGH, SPREAD_MIDDLE, SPREAD_LOW = np.uint64(33), np.uint64(29), np.uint64(32)


@leaf
def xxh64(utf8: U8Array, begin: int, stop: int, seed: np.uint64) -> np.uint64:
    """XXH64 of `utf8[begin:stop]`. O(stop - begin)."""
    i = begin
    if stop - begin >= 32:
        a, b, c, d = seed + P1 + P2, seed + P2, seed, seed - P1
        while i + 32 <= stop:
            a = _round(a, eight_bytes(utf8, i))
            b = _round(b, eight_bytes(utf8, i + 8))
            c = _round(c, eight_bytes(utf8, i + 16))
            d = _round(d, eight_bytes(utf8, i + 24))
            i += 32
        code = _turned(a, 1) + _turned(b, 7) + _turned(c, 12) + _turned(d, 18)
        code = _merged(_merged(_merged(_merged(code, a), b), c), d)
    else:
        code = seed + P5
    code += np.uint64(stop - begin)
    while i + 8 <= stop:
        code = _turned(code ^ _round(np.uint64(0), eight_bytes(utf8, i)), 27) * P1 + P4
        i += 8
    if i + 4 <= stop:
        four = np.uint64(utf8[i]) | np.uint64(utf8[i + 1]) << np.uint64(8)
        four |= np.uint64(utf8[i + 2]) << np.uint64(16) | np.uint64(utf8[i + 3]) << np.uint64(24)
        code = _turned(code ^ four * P1, 23) * P2 + P3
        i += 4
    while i < stop:
        code = _turned(code ^ np.uint64(utf8[i]) * P5, 11) * P1
        i += 1
    return spread(code)


@leaf
def spread(code: np.uint64) -> np.uint64:
    """Last step of XXH64: every bit of the result depends on every bit; no two give the same."""
    code = (code ^ code >> SPREAD_HIGH) * P2
    code = (code ^ code >> SPREAD_MIDDLE) * P3
    return code ^ code >> SPREAD_LOW


@leaf
def _round(lane: np.uint64, value: np.uint64) -> np.uint64:
    return _turned(lane + value * P2, 31) * P1


@leaf
def _merged(code: np.uint64, lane: np.uint64) -> np.uint64:
    return (code ^ _round(np.uint64(0), lane)) * P1 + P4


@leaf
def _turned(value: np.uint64, bits: int) -> np.uint64:
    return value << np.uint64(bits) | value >> np.uint64(64 - bits)
