"""Characters: which code points are letters, and texts cut by their number of characters."""

from functools import lru_cache
from importlib.metadata import version
from sys import maxunicode

import numpy as np
import pyarrow as pa

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.kept_tables import kept_tables

LETTER, ALNUM, PUNCTUATION, TERMINAL, SPACE = 1, 2, 4, 8, 16
"""Bits of `point_marks`."""


@lru_cache(maxsize=1)
def point_marks() -> U8Array:
    """Mark every code point: LETTER | ALNUM | PUNCTUATION | TERMINAL | SPACE.

    returns  (1114112,) uint8, read-only, by code point

    Letters, alphanumerics and spaces are those of the running Python (`str.isalpha`, `isalnum`,
    `isspace`); punctuation and terminal punctuation are the sets of the installed datatrove
    (`utils/text.py`). Worked out once, in about 0.5 s, and kept on disk.
    """
    about = {"datatrove": version("datatrove")}
    return kept_tables("point-marks", about, __file__, _mark_points)["marks"]


def _mark_points() -> dict[str, U8Array]:
    from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

    points = [chr(c) for c in range(maxunicode + 1)]
    marks = np.fromiter((c.isalpha() for c in points), np.uint8) * np.uint8(LETTER)
    marks |= np.fromiter((c.isalnum() for c in points), np.uint8) * np.uint8(ALNUM)
    marks |= np.fromiter((c.isspace() for c in points), np.uint8) * np.uint8(SPACE)
    marks[[ord(c) for c in PUNCTUATION_SET]] |= PUNCTUATION
    marks[[ord(c) for c in TERMINAL_PUNCTUATION]] |= TERMINAL
    return {"marks": marks}


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


@kernel
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


@leaf
def decode(utf8: U8Array, i: int, stop: int) -> tuple[int, int]:
    """Code point of the multi-byte character at `i`, and the position after it."""
    lead = np.int64(utf8[i])
    more = 1
    if lead >= 0xE0:
        more = 2
    if lead >= 0xF0:
        more = 3
    point = lead & (0x3F >> more)
    end = min(i + 1 + more, stop)
    for j in range(i + 1, end):
        point = point << 6 | np.int64(utf8[j]) & 0x3F
    return int(min(point, np.int64(0x10FFFF))), end


@leaf
def skip_space(utf8: U8Array, i: int, stop: int) -> int:
    """Position of the first character from `i` on that is no whitespace, or `stop`."""
    while i < stop:
        width = space_width(utf8, i, stop)
        if width == 0:
            break
        i += width
    return i


@leaf
def next_ink(utf8: U8Array, i: int, stop: int) -> int:
    """As `skip_space`; faster where a single space or newline stands at `i`."""
    if i + 1 < stop and 0x20 < utf8[i + 1] < 0xC2 and (utf8[i] == 0x20 or utf8[i] == 0x0A):
        return i + 1
    return skip_space(utf8, i, stop)


@leaf
def trim_space(utf8: U8Array, start: int, stop: int) -> int:
    """Position after the last character before `stop` that is no whitespace, or `start`."""
    while stop > start:
        i = stop - 1
        while i > start and i > stop - 3 and utf8[i] & 0xC0 == 0x80:
            i -= 1
        if space_width(utf8, i, stop) != stop - i:
            break
        stop = i
    return stop


@leaf
def may_be_space(byte: int) -> bool:
    """Whether a whitespace character can start with this byte."""
    return byte <= 0x20 or byte == 0xC2 or 0xE1 <= byte <= 0xE3


@leaf
def space_width(utf8: U8Array, i: int, stop: int) -> int:
    """Bytes of the whitespace character at `i`, 0 if there is none."""
    byte = utf8[i]
    if byte <= 0x20:
        return int(byte == 0x20 or 0x09 <= byte <= 0x0D or byte >= 0x1C)
    if byte < 0xC2 or byte > 0xE3 or i + 1 >= stop:
        return 0
    second = utf8[i + 1]
    if byte == 0xC2:
        return 2 * int(second == 0x85 or second == 0xA0)  # noqa: PLR1714 - no sets in a kernel
    if byte < 0xE1 or i + 2 >= stop:
        return 0
    third = utf8[i + 2]
    if byte == 0xE1:
        return 3 * int(second == 0x9A and third == 0x80)
    if byte == 0xE3:
        return 3 * int(second == 0x80 and third == 0x80)
    general = second == 0x80 and (third <= 0x8A or 0xA8 <= third <= 0xA9 or third == 0xAF)
    return 3 * int(general or (second == 0x81 and third == 0x9F))
