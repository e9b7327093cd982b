"""The word splitter `dolmix-words-1`: words as two copies of one sentence share them.

A word is a run of letters and digits (`str.isalnum`), in lower case, each letter without its
accents; combining marks and format characters (categories Mn, Me and Cf) are passed over, and every
other character separates. Characters of scripts that put no space between words are words by
themselves. So typography, punctuation, accents and Unicode forms make no difference.
"""

import unicodedata
from functools import lru_cache

import numpy as np

from dolmix.document import I64Array, U8Array, U32Array, U64Array
from dolmix.text.characters import decode
from dolmix.text.compiled import kernel, leaf
from dolmix.text.words import FNV_PRIME, FNV_START
from dolmix.text.xxh64 import spread

SPLITTER = "dolmix-words-1"
SEPARATOR, PASSED_OVER = 0, 1
"""Values of the table that stand for no letter."""
ALONE = 1 << 31
"""Bit of a character that is a word by itself."""
UNSPACED = (
    *((0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3005, 0x3008), (0x3040, 0x3100)),
    *((0x31F0, 0x3200), (0x3400, 0x4DC0), (0x4E00, 0xA000), (0xF900, 0xFB00), (0xFF66, 0xFFA0)),
    (0x20000, 0x32000),
)
"""Thai, Lao, Burmese, Khmer, kana and Han."""
LAST_PLANES = 0x33480
"""Beyond lie unassigned and private planes, where nothing is a letter."""
TAGS = range(0xE0000, 0xE01F0)


@lru_cache(maxsize=1)
def word_points() -> U32Array:
    """(1114112,) uint32: the folded letter of each code point, or what stands for none.

    A letter may have the bit ALONE; SEPARATOR and PASSED_OVER are no letters. Built once a process,
    in about 0.2 s.
    """
    points = np.zeros(0x110000, np.uint32)
    for point in (*range(LAST_PLANES), *TAGS):
        points[point] = _folded(chr(point))
    points.setflags(write=False)
    return points


def _folded(char: str) -> int:
    if unicodedata.category(char) in {"Mn", "Me", "Cf"}:
        return PASSED_OVER
    if not char.isalnum():
        return SEPARATOR
    bare = unicodedata.normalize("NFD", char.lower())[0]
    alone = any(start <= ord(char) < stop for start, stop in UNSPACED)
    return ord(bare) | (ALONE if alone else 0)


@kernel
def fold_words(
    utf8: U8Array,
    offsets: I64Array,
    table: U32Array,
    points: U32Array,
    starts: I64Array,
    hashes: U64Array,
    ends: I64Array,
) -> int:
    """Write every text's words, folded, with a SEPARATOR after each; returns the letters written.

    utf8     (B,) uint8         bytes of all documents
    offsets  (N + 1,) int64     document n is utf8[offsets[n]:offsets[n + 1]]
    table    (1114112,) uint32  `word_points()`
    points   (>= 2B,) uint32    out
    starts   (>= B,) int64      out; where each word starts in `points`
    hashes   (>= B,) uint64     out; `next_word`'s hash of each
    ends     (N + 1,) int64     out; words before each document's end

    O(B). Twin: tests/naive_paragraphs.py `folded_words`.
    """
    size, count = 0, 0
    ends[0] = 0
    for n in range(offsets.size - 1):
        i, stop = offsets[n], offsets[n + 1]
        while True:
            start, i, code = next_word(utf8, i, stop, table)
            if start == stop:
                break
            starts[count], hashes[count] = size, code
            count += 1
            while start < i:
                point, start = folded_point(utf8, start, i, table)
                if point != PASSED_OVER:
                    points[size] = point
                    size += 1
            points[size] = SEPARATOR
            size += 1
        ends[n + 1] = count
    return size


@leaf
def next_word(utf8: U8Array, i: int, stop: int, table: U32Array) -> tuple[int, int, np.uint64]:
    """Find the next word from `i` on: its start, its end, and a hash of its letters.

    The start is `stop` where there is none. Marks that follow a word may be part of it.
    """
    start, code = stop, FNV_START
    while i < stop:
        point, following = folded_point(utf8, i, stop, table)
        if point > PASSED_OVER:
            alone = point >= ALONE
            if alone and start < stop:
                break
            if start == stop:
                start = i
            code = (code ^ np.uint64(point)) * FNV_PRIME
            i = following
            if alone:
                break
        elif point == SEPARATOR and start < stop:
            break
        else:
            i = following
    return start, i, spread(code)


@leaf
def folded_point(utf8: U8Array, i: int, stop: int, table: U32Array) -> tuple[int, int]:
    """Read what the table says of the character at `i`, and where the next one is."""
    if utf8[i] < 0x80:
        return int(table[utf8[i]]), i + 1
    point, following = decode(utf8, i, stop)
    return int(table[point]), following
