"""XXH64: a fast 64-bit hash with a seed, equal to the published one bit by bit (Collet, xxHash)."""

import numpy as np

from dolmix.document import U8Array
from dolmix.text.compiled import leaf

P1 = np.uint64(0x9E3779B185EBCA87)
P2 = np.uint64(0xC2B2AE3D27D4EB4F)
P3 = np.uint64(0x165667B19E3779F9)
P4 = np.uint64(0x85EBCA77C2B2AE63)
P5 = np.uint64(0x27D4EB2F165667C5)
SPREAD_HIGH, SPREAD_MIDDLE, SPREAD_LOW = np.uint64(33), np.uint64(29), np.uint64(32)


@leaf
def xxh64(utf8: U8Array, begin: int, stop: int, seed: np.uint64) -> np.uint64:
    """XXH64 of `utf8[begin:stop]`. O(stop - begin)."""
    at, end = np.uint64(begin), np.uint64(stop)
    length = end - at
    if length >= 32:
        a, b, c, d = seed + P1 + P2, seed + P2, seed, seed - P1
        while end - at >= 32:
            a = _round(a, _eight(utf8, at))
            b = _round(b, _eight(utf8, at + np.uint64(8)))
            c = _round(c, _eight(utf8, at + np.uint64(16)))
            d = _round(d, _eight(utf8, at + np.uint64(24)))
            at += np.uint64(32)
        code = _turned(a, 1) + _turned(b, 7) + _turned(c, 12) + _turned(d, 18)
        code = _merged(_merged(_merged(_merged(code, a), b), c), d)
    else:
        code = seed + P5
    code += length
    while end - at >= 8:
        code = _turned(code ^ _round(np.uint64(0), _eight(utf8, at)), 27) * P1 + P4
        at += np.uint64(8)
    if end - at >= 4:
        code = _turned(code ^ _four(utf8, at) * P1, 23) * P2 + P3
        at += np.uint64(4)
    while at < end:
        code = _turned(code ^ np.uint64(utf8[at]) * P5, 11) * P1
        at += np.uint64(1)
    return spread(code)


@leaf
def spread(code: np.uint64) -> np.uint64:
    """Last step of XXH64: every bit of the result depends on every bit; no two give the same."""
    code = (code ^ code >> SPREAD_HIGH) * P2
    code = (code ^ code >> SPREAD_MIDDLE) * P3
    return code ^ code >> SPREAD_LOW


@leaf
def _four(utf8: U8Array, at: np.uint64) -> np.uint64:
    """Read four bytes, little-endian; places are unsigned so that they load as one number."""
    return (
        np.uint64(utf8[at])
        | np.uint64(utf8[at + np.uint64(1)]) << np.uint64(8)
        | np.uint64(utf8[at + np.uint64(2)]) << np.uint64(16)
        | np.uint64(utf8[at + np.uint64(3)]) << np.uint64(24)
    )


@leaf
def _eight(utf8: U8Array, at: np.uint64) -> np.uint64:
    return _four(utf8, at) | _four(utf8, at + np.uint64(4)) << np.uint64(32)


@leaf
def _round(lane: np.uint64, value: np.uint64) -> np.uint64:
    return _turned(lane + value * P2, 31) * P1


@leaf
def _merged(code: np.uint64, lane: np.uint64) -> np.uint64:
    return (code ^ _round(np.uint64(0), lane)) * P1 + P4


@leaf
def _turned(value: np.uint64, bits: int) -> np.uint64:
    return value << np.uint64(bits) | value >> np.uint64(64 - bits)
