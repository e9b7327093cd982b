"""Characters: which code points are letters, and texts cut by their number of characters."""

from functools import lru_cache
from sys import maxunicode

import numpy as np
import pyarrow as pa
from numba import njit

from dolmix.document import I64Array, TextBatch, U8Array


@lru_cache(maxsize=1)
def letter_bits() -> U8Array:
    """One bit a code point, set where `str.isalpha()` holds.

    returns  (139264,) uint8, read-only: code point c is bit `c & 7`, from the lowest, of byte
             `c >> 3`

    Built once a process, in about 0.1 s, from the running Python's own Unicode tables: letters that
    a later Unicode version adds are letters only from the Python release that carries it.
    """
    flags = np.fromiter((chr(c).isalpha() for c in range(maxunicode + 1)), np.bool_)
    bits = np.packbits(flags, bitorder="little")
    bits.setflags(write=False)
    return bits


def cut_pieces(texts: TextBatch, chars: int) -> tuple[TextBatch, I64Array]:
    """Cut every text into pieces of `chars` characters, the last one as long as it comes.

    returns  the pieces as documents, P in all, over the same bytes; (P,) int64, each piece's row

    An empty text gives no piece.
    """
    offsets = texts.offsets
    room = int(offsets[-1] - offsets[0]) // chars + len(texts)
    starts, owners = np.empty(room + 1, np.int64), np.empty(room, np.int64)
    count = find_pieces(texts.utf8, offsets, chars, starts, owners)
    if count == 0:
        return TextBatch.of([]), owners[:0]
    owners, rows = owners[:count], pa.array(owners[:count])
    cut = pa.LargeStringArray.from_buffers(
        count, pa.py_buffer(starts[: count + 1]), texts.text.buffers()[2]
    )
    pieces = TextBatch(
        cut, texts.ids.take(rows), texts.urls.take(rows), texts.records[owners], fields={}
    )
    return pieces, owners


@njit(cache=True, nogil=True)
def find_pieces(
    utf8: U8Array, offsets: I64Array, chars: int, starts: I64Array, owners: I64Array
) -> int:
    """Find where pieces of `chars` characters start; return their number P.

    utf8     (B,) uint8         bytes of all documents
    offsets  (N + 1,) int64     document n is utf8[offsets[n]:offsets[n + 1]]
    starts   (>= P + 1,) int64  out; piece p is utf8[starts[p]:starts[p + 1]]
    owners   (>= P,) int64      out; document of each piece

    O(B). Twin: tests/naive.py `cut_pieces`.
    """
    count = 0
    starts[0] = offsets[0]
    for n in range(offsets.size - 1):
        left = 0
        for i in range(offsets[n], offsets[n + 1]):
            if (utf8[i] & 0xC0) == 0x80:
                continue
            if left == 0:
                starts[count], owners[count] = i, n
                count += 1
                left = chars
            left -= 1
    starts[count] = offsets[-1]
    return count
