"""Hash functions of the peers in compiled code: xxHash and SHA-1 of many byte strings.

Each gives the bits that the reference implementations give: xxHash (Collet; seed 0), and SHA-1
(FIPS 180-4) of which datatrove reads the first 4 or 8 bytes as a little-endian number. SHA-1 is
computed for 16 strings at once, so that the processor's vectors hold one step of all of them.
"""

import numpy as np

from dolmix.document import I64Array, U8Array, U32Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.xxh64 import xxh64

XXH64, XXH32, SHA1_64, SHA1_32 = range(4)
"""Hash functions, and how many bits of them are taken."""
LANES = 16
"""Strings that SHA-1 is computed of at once."""
BLOCK = 64
"""Bytes of a block of SHA-1."""
WORD32, WORD8 = np.uint64(4), np.uint64(1)
SEED = np.uint64(0)

_P32 = (
    np.uint32(0x9E3779B1),
    np.uint32(0x85EBCA77),
    np.uint32(0xC2B2AE3D),
    np.uint32(0x27D4EB2F),
    np.uint32(0x165667B1),
)


@kernel
def hash_spans(
    data: U8Array, starts: I64Array, stops: I64Array, function: int, out: U64Array
) -> None:
    """Hash byte strings.

    data           (B,) uint8
    starts, stops  (>= C,) int64   string k is data[starts[k]:stops[k]]
    function       int             XXH64, XXH32, SHA1_64 or SHA1_32
    out            (C,) uint64     out; numbers of 32 bits for XXH32 and SHA1_32

    O(total length). Twin: tests/naive_dedup.py `hash_bytes`.
    """
    if function == XXH64:
        for k in range(out.size):
            out[k] = xxh64(data, starts[k], stops[k], SEED)
    elif function == XXH32:
        for k in range(out.size):
            out[k] = xxh32(data, starts[k], stops[k])
    else:
        words, state = np.empty(80 * LANES, np.uint32), np.empty(10 * LANES, np.uint32)
        for first in range(0, out.size, LANES):
            count = min(LANES, out.size - first)
            part = slice(first, first + count)
            _sha1(data, starts[part], stops[part], words, state, out[part])
        if function == SHA1_32:
            for k in range(out.size):
                out[k] &= np.uint64(0xFFFFFFFF)


@leaf
def _byte(data: U8Array, at: np.uint64) -> np.uint64:
    return np.uint64(data[at])


@leaf
def _load32(data: U8Array, at: np.uint64) -> np.uint64:
    """Read four bytes, little-endian; positions are unsigned so that they load as one number."""
    return (
        _byte(data, at)
        | _byte(data, at + np.uint64(1)) << np.uint64(8)
        | _byte(data, at + np.uint64(2)) << np.uint64(16)
        | _byte(data, at + np.uint64(3)) << np.uint64(24)
    )


@leaf
def _turn32(value: np.uint32, bits: int) -> np.uint32:
    return np.uint32(value << np.uint32(bits)) | value >> np.uint32(32 - bits)


@leaf
def _times32(left: np.uint32, right: np.uint32) -> np.uint32:
    return np.uint32(np.uint64(left) * np.uint64(right))


@leaf
def _round32(sum_: np.uint32, word: np.uint64) -> np.uint32:
    added = np.uint32(sum_ + _times32(np.uint32(word), _P32[1]))
    return _times32(_turn32(added, 13), _P32[0])


@leaf
def xxh32(data: U8Array, start: int, stop: int) -> np.uint32:
    """XXH32 of `data[start:stop]` with seed 0."""
    at, end = np.uint64(start), np.uint64(stop)
    length = end - at
    if length >= 16:
        a, b = np.uint32(_P32[0] + _P32[1]), _P32[1]
        c, d = np.uint32(0), np.uint32(np.uint32(0) - _P32[0])
        while end - at >= 16:
            a = _round32(a, _load32(data, at))
            b = _round32(b, _load32(data, at + np.uint64(4)))
            c = _round32(c, _load32(data, at + np.uint64(8)))
            d = _round32(d, _load32(data, at + np.uint64(12)))
            at += np.uint64(16)
        value = np.uint32(_turn32(a, 1) + _turn32(b, 7) + _turn32(c, 12) + _turn32(d, 18))
    else:
        value = _P32[4]
    value = np.uint32(value + np.uint32(length))
    while end - at >= 4:
        value = np.uint32(value + _times32(np.uint32(_load32(data, at)), _P32[2]))
        value = _times32(_turn32(value, 17), _P32[3])
        at += WORD32
    while at < end:
        value = np.uint32(value + _times32(np.uint32(data[at]), _P32[4]))
        value = _times32(_turn32(value, 11), _P32[0])
        at += WORD8
    value = _times32(value ^ value >> np.uint32(15), _P32[1])
    value = _times32(value ^ value >> np.uint32(13), _P32[2])
    return value ^ value >> np.uint32(16)


@leaf
def _swap(value: np.uint32) -> np.uint32:
    """Turn the order of the bytes around."""
    value = np.uint32((value & np.uint32(0x00FF00FF)) << np.uint32(8)) | (
        value >> np.uint32(8) & np.uint32(0x00FF00FF)
    )
    return _turn32(value, 16)


@leaf
def _sha1(
    data: U8Array,
    starts: I64Array,
    stops: I64Array,
    words: U32Array,
    state: U32Array,
    out: U64Array,
) -> None:
    """Compute SHA-1 of up to LANES strings at once.

    words  (80 * LANES,) uint32  scratch; word k of every string, then word k + 1
    state  (10 * LANES,) uint32  scratch, likewise: five words, and those before a block
    out    (C,) uint64           first eight bytes of each digest, little-endian
    """
    longest = 0
    for lane in range(LANES):
        state[lane] = np.uint32(0x67452301)
        state[LANES + lane] = np.uint32(0xEFCDAB89)
        state[2 * LANES + lane] = np.uint32(0x98BADCFE)
        state[3 * LANES + lane] = np.uint32(0x10325476)
        state[4 * LANES + lane] = np.uint32(0xC3D2E1F0)
    for lane in range(starts.size):
        longest = max(longest, stops[lane] - starts[lane])
    for block in range(_num_blocks(longest)):
        for lane in range(starts.size):
            _fill_block(data, starts[lane], stops[lane], block, lane, words)
        for k in range(5 * LANES):
            state[5 * LANES + k] = state[k]
        _rounds(words, state)
        for k in range(5 * LANES):
            state[k] = np.uint32(state[k] + state[5 * LANES + k])
        for lane in range(starts.size):
            if block + 1 == _num_blocks(stops[lane] - starts[lane]):
                low, high = _swap(state[lane]), _swap(state[LANES + lane])
                out[lane] = np.uint64(high) << np.uint64(32) | np.uint64(low)


@leaf
def _num_blocks(length: int) -> int:
    """Blocks of a string with its padding: a one bit, and eight bytes of length."""
    return (length + 8) // BLOCK + 1


@leaf
def _fill_block(
    data: U8Array, start: int, stop: int, block: int, lane: int, words: U32Array
) -> None:
    """Write one block of a padded string as sixteen big-endian words."""
    at, length = start + block * BLOCK, stop - start
    whole = min(16, max(0, stop - at) // 4)
    for row in range(whole):
        words[row * LANES + lane] = _swap(np.uint32(_load32(data, np.uint64(at + 4 * row))))
    for row in range(whole, 16):
        words[row * LANES + lane] = np.uint32(0)
    place = at + 4 * whole
    if whole < 16 and at <= place <= stop:
        word = np.uint32(0x80)  # the one bit behind the string
        for k in range(stop - 1, place - 1, -1):
            word = np.uint32(word << np.uint32(8)) | np.uint32(data[k])
        words[whole * LANES + lane] = _swap(word)
    if block + 1 == _num_blocks(length):
        words[14 * LANES + lane] = np.uint32(length >> 29)
        words[15 * LANES + lane] = np.uint32(length << 3)


@leaf
def _rounds(words: U32Array, state: U32Array) -> None:
    """Put one block of every lane through the eighty steps; words 16 to 79 are derived here."""
    for k in range(16 * LANES, 80 * LANES):
        mixed = (
            words[k - 3 * LANES]
            ^ words[k - 8 * LANES]
            ^ words[k - 14 * LANES]
            ^ words[k - 16 * LANES]
        )
        words[k] = _turn32(mixed, 1)
    for first in range(0, 80, 5):
        for lane in range(LANES):
            a, b, c = state[lane], state[LANES + lane], state[2 * LANES + lane]
            d, e = state[3 * LANES + lane], state[4 * LANES + lane]
            for step in range(first, first + 5):
                parity = b ^ c ^ d
                choice = (d ^ (b & (c ^ d))) + np.uint32(0x5A827999)
                majority = ((b & c) | (d & (b | c))) + np.uint32(0x8F1BBCDC)
                early = choice if first < 20 else parity + np.uint32(0x6ED9EBA1)
                late = majority if first < 60 else parity + np.uint32(0xCA62C1D6)
                chosen = early if first < 40 else late
                total = np.uint32(_turn32(a, 5) + chosen + e + words[step * LANES + lane])
                a, b, c, d, e = total, a, _turn32(b, 30), c, d
            state[4 * LANES + lane], state[3 * LANES + lane] = e, d
            state[2 * LANES + lane], state[LANES + lane] = c, b
            state[lane] = a
