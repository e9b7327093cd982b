r"""What FineWeb's rules ask of lines: how they end, how short they are, which ones come again.

A text is cut at every "\n". A blank line is one of nothing but white space (`line.strip() == ""`).
Lines are compared by 64-bit FNV-1a hashes of their bytes.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array, U64Array
from dolmix.text.characters import decode, skip_space
from dolmix.text.compiled import kernel

FNV_START = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x00000100000001B3)
SPREAD = np.uint64(0x9E3779B97F4A7C15)
LINES, NONBLANK, ENDING, SHORT, BLANK_SHORT, REPEATED_CHARS, CHARS, NEWLINES = range(8)


@dataclass(frozen=True, eq=False)
class FineWebLines:
    """Counts of the lines of N documents; every array is (N,) int64.

    lines           lines in all, at least 1
    nonblank        lines that are not blank
    ending          lines whose last character is a stop character; none is blank
    short           lines of at most so many characters that are not blank
    blank_short     likewise, that are blank
    repeated_chars  characters of the lines, not blank, that equal an earlier one
    chars           characters of the text but newlines
    newlines        newlines
    """

    lines: I64Array
    nonblank: I64Array
    ending: I64Array
    short: I64Array
    blank_short: I64Array
    repeated_chars: I64Array
    chars: I64Array
    newlines: I64Array


def fineweb_lines(texts: TextBatch, *, stops: U8Array, short_chars: int) -> FineWebLines:
    """Count lines.

    stops        (1114112,) uint8  1 for each code point that ends a line well; no white space
    short_chars  characters of the longest line that is short
    """
    counts = np.zeros((8, len(texts)), np.int64)
    count_lines(texts.utf8, texts.offsets, stops, short_chars, counts)
    return FineWebLines(*counts)


@kernel
def count_lines(
    utf8: U8Array, offsets: I64Array, stops: U8Array, short_chars: int, counts: I64Array
) -> None:
    """Fill in the counts of every document.

    utf8         (B,) uint8        bytes of all documents
    offsets      (N + 1,) int64    document n is utf8[offsets[n]:offsets[n + 1]]
    stops        (1114112,) uint8  by code point, 1 for a stop character
    short_chars  int               characters of the longest line that is short
    counts       (8, N) int64      out, zeros on entry; rows as the fields of `FineWebLines`

    O(B). Twin: tests/naive_fineweb.py `count_lines`.
    """
    most = 1
    for n in range(offsets.size - 1):
        for i in range(offsets[n], offsets[n + 1]):
            counts[NEWLINES, n] += utf8[i] == 0x0A
        counts[LINES, n] = counts[NEWLINES, n] + 1
        most = max(most, counts[LINES, n])
    slots, keys = np.zeros(1 << _bits(most), np.int64), np.empty(most, np.uint64)
    hashes, lengths = np.empty(most, np.uint64), np.empty(most, np.int64)
    base = 1
    for n in range(offsets.size - 1):
        i, stop = offsets[n], offsets[n + 1]
        full = 0
        while i < stop:
            begin, code, chars = i, FNV_START, 0
            while i < stop and utf8[i] != 0x0A:
                code = (code ^ np.uint64(utf8[i])) * FNV_PRIME
                chars += (utf8[i] & 0xC0) != 0x80
                i += 1
            counts[CHARS, n] += chars
            if skip_space(utf8, begin, i) == i:
                counts[BLANK_SHORT, n] += chars <= short_chars
            else:
                counts[SHORT, n] += chars <= short_chars
                counts[ENDING, n] += _last_is(utf8, begin, i, stops)
                hashes[full], lengths[full] = code, chars
                full += 1
            i += 1
        if offsets[n] == stop or utf8[stop - 1] == 0x0A:
            counts[BLANK_SHORT, n] += 1  # the empty line at the end
        counts[NONBLANK, n] = full
        distinct, repeated = _repeats(hashes[:full], lengths, slots, keys, base)
        counts[REPEATED_CHARS, n] = repeated
        base += distinct


@kernel
def _repeats(
    hashes: U64Array, lengths: I64Array, slots: I64Array, keys: U64Array, base: int
) -> tuple[int, int]:
    """Count distinct lines, and the characters of those that equal an earlier one.

    `slots` is an open-addressing table over `keys`: an entry v stands for key v - base. Entries
    below `base` are left from earlier documents and are empty, so the table is never cleared.
    Apart from reading the lines, since waiting for the table would stall that.
    """
    bits = _bits(hashes.size)
    shift, mask = np.uint64(64 - bits), np.int64((1 << bits) - 1)
    distinct, repeated = 0, 0
    for i in range(hashes.size):
        key = hashes[i]
        at = np.int64(((key ^ (key >> np.uint64(32))) * SPREAD) >> shift)
        while slots[at] >= base and keys[slots[at] - base] != key:
            at = (at + 1) & mask
        if slots[at] >= base:
            repeated += lengths[i]
        else:
            slots[at] = base + distinct
            keys[distinct] = key
            distinct += 1
    return distinct, repeated


@kernel
def _bits(lines: int) -> int:
    """Size of a table of which so many lines fill half at most, as a power of two."""
    bits = 1
    while (1 << bits) < 2 * lines:
        bits += 1
    return bits


@kernel
def _last_is(utf8: U8Array, begin: int, end: int, stops: U8Array) -> bool:
    i = end - 1
    if utf8[i] < 0x80:
        return bool(stops[utf8[i]])
    while i > begin and utf8[i] & 0xC0 == 0x80:
        i -= 1
    point, _ = decode(utf8, i, end)
    return bool(stops[point])
