"""White space in UTF-8: collapse each run to one space, without building Python strings."""

import numpy as np
from numba import njit

from dolmix.document import I64Array, U8Array


@njit(cache=True, nogil=True)
def space_width(utf8: U8Array, at: int, stop: int) -> int:
    """Length in bytes of the white-space character at `at`, 0 where there is none.

    White space is what `str.isspace` says of one character, Unicode 6.3 to 16: U+0009-000D,
    001C-0020, 0085, 00A0, 1680, 2000-200A, 2028, 2029, 202F, 205F, 3000.
    """
    first = np.int64(utf8[at])
    if first < 0x80:
        return 1 if first == 0x20 or 0x09 <= first <= 0x0D or 0x1C <= first <= 0x1F else 0
    if first == 0xC2 and at + 2 <= stop:
        return 2 if utf8[at + 1] == 0x85 or utf8[at + 1] == 0xA0 else 0
    if first < 0xE1 or first > 0xE3 or at + 3 > stop:
        return 0
    middle, last = np.int64(utf8[at + 1]) & 0x3F, np.int64(utf8[at + 2]) & 0x3F
    point = (first & 0x0F) << 12 | middle << 6 | last
    listed = point in (0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000)
    return 3 if listed or 0x2000 <= point <= 0x200A else 0


@njit(cache=True, nogil=True)
def collapse(utf8: U8Array, offsets: I64Array) -> tuple[U8Array, I64Array]:
    """Write each text again with every run of white space as one space, and none at its ends.

    utf8     (B,) uint8       document n is `utf8[offsets[n]:offsets[n + 1]]`
    offsets  (N + 1,) int64
    returns  (bytes (B',), offsets (N + 1,) from 0), B' <= offsets[N] - offsets[0]

    O(B) time, one copy of the texts. Twin: tests/naive_dedup.py.
    """
    out = np.empty(offsets[-1] - offsets[0], np.uint8)
    ends = np.zeros(offsets.size, np.int64)
    size = 0
    for n in range(offsets.size - 1):
        at, stop, begun, gap = offsets[n], offsets[n + 1], size, False
        while at < stop:
            byte = utf8[at]
            # Most bytes can begin no white space: only the others pay for the call.
            plain = 0x20 < byte < 0x80 or byte > 0xE3
            width = 0 if plain else space_width(utf8, at, stop)
            if width:
                gap = True
                at += width
                continue
            if gap and size > begun:
                out[size] = 0x20
                size += 1
            gap = False
            out[size] = byte
            size += 1
            at += 1
        ends[n + 1] = size
    return out[:size], ends
