r"""What FineWeb's rules ask of lines: how they end, how short they are, which ones come again.

A text is cut at every "\n". A blank line is one of nothing but white space (`line.strip() == ""`).
Lines are compared by 64-bit hashes of their bytes.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array, U64Array
from dolmix.text.characters import decode, skip_space
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import SPREAD, hash_span
from dolmix.text.paragraphs import next_newline

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


class _Table(NamedTuple):
    """Scratch for the lines of one document after another, M at most.

    slots    (R,) int64   open addressing, zeros; R a power of two, at least 2M
    keys     (M,) uint64  hashes of a document's distinct lines
    hashes   (M,) uint64  hashes of its lines
    lengths  (M,) int64   characters in them
    """

    slots: I64Array
    keys: U64Array
    hashes: U64Array
    lengths: I64Array


def fineweb_lines(texts: TextBatch, *, stops: U8Array, short_chars: int) -> FineWebLines:
    """Count lines.

    stops        (1114112,) uint8  1 for each code point that ends a line well; no white space
    short_chars  characters of the longest line that is short
    """
    counts = np.zeros((8, len(texts)), np.int64)
    most = count_newlines(texts.utf8, texts.offsets, counts)
    # zeroed here, not by a kernel: memory that is asked for as zeros takes none until it is used
    table = _Table(
        slots=np.zeros(1 << _bits(most), np.int64),
        keys=np.empty(most, np.uint64),
        hashes=np.empty(most, np.uint64),
        lengths=np.empty(most, np.int64),
    )
    count_lines(texts.utf8, texts.offsets, stops, short_chars, table, counts)
    return FineWebLines(*counts)


@kernel
def count_newlines(utf8: U8Array, offsets: I64Array, counts: I64Array) -> int:
    """Fill in the newlines and lines of every document; return the most lines that one has.

    utf8, offsets, counts as in `count_lines`

    O(B).
    """
    most = 1
    for n in range(offsets.size - 1):
        newlines = 0
        for i in range(offsets[n], offsets[n + 1]):
            newlines += utf8[i] == 0x0A
        counts[NEWLINES, n], counts[LINES, n] = newlines, newlines + 1
        most = max(most, newlines + 1)
    return most


@kernel
def count_lines(
    utf8: U8Array,
    offsets: I64Array,
    stops: U8Array,
    short_chars: int,
    table: _Table,
    counts: I64Array,
) -> None:
    """Fill in the other counts of every document.

    utf8         (B,) uint8        bytes of all documents
    offsets      (N + 1,) int64    document n is utf8[offsets[n]:offsets[n + 1]]
    stops        (1114112,) uint8  by code point, 1 for a stop character
    short_chars  int               characters of the longest line that is short
    table        scratch
    counts       (8, N) int64      out, zeros on entry; rows as the fields of `FineWebLines`

    O(B). Twin: tests/naive_fineweb.py `count_lines`.
    """
    slots, keys, hashes, lengths = table.slots, table.keys, table.hashes, table.lengths
    base = 1
    for n in range(offsets.size - 1):
        i, stop = offsets[n], offsets[n + 1]
        full, ending, short, blank_short, inked = 0, 0, 0, 0, 0
        while i < stop:
            if utf8[i] == 0x0A:
                blank_short += 1
                i += 1
                continue
            begin, i = i, next_newline(utf8, i, stop)
            code, chars = hash_span(utf8, begin, i)
            inked += chars
            if skip_space(utf8, begin, i) == i:
                blank_short += chars <= short_chars
            else:
                short += chars <= short_chars
                ending += _last_is(utf8, begin, i, stops)
                hashes[full], lengths[full] = code, chars
                full += 1
            i += 1
        if offsets[n] == stop or utf8[stop - 1] == 0x0A:
            blank_short += 1  # the empty line at the end
        distinct, repeated = _repeats(hashes[:full], lengths, slots, keys, base)
        base += distinct
        counts[NONBLANK, n], counts[ENDING, n], counts[SHORT, n] = full, ending, short
        counts[BLANK_SHORT, n], counts[REPEATED_CHARS, n] = blank_short, repeated
        counts[CHARS, n] = inked


@leaf
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


@leaf
def _bits(lines: int) -> int:
    """Size of a table of which so many lines fill half at most, as a power of two."""
    bits = 1
    while (1 << bits) < 2 * lines:
        bits += 1
    return bits


@leaf
def _last_is(utf8: U8Array, begin: int, end: int, stops: U8Array) -> bool:
    i = end - 1
    if utf8[i] < 0x80:
        return bool(stops[utf8[i]])
    while i > begin and utf8[i] & 0xC0 == 0x80:
        i -= 1
    point, _ = decode(utf8, i, end)
    return bool(stops[point])
