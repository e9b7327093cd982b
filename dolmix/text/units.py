r"""Paragraphs and lines of texts: where they stand, and a 64-bit hash of what they say.

A line ends at "\n" or with the text; it is blank if it has white space alone (`str.isspace`). Units
are lines that are not blank, or paragraphs: runs of such lines. A unit starts where its first line
does and stops before the "\n" that ends its last one, so between two units stand newlines and blank
lines alone.

A unit's key is XXH64, with a seed, of its bytes as they are, or without the white space at its
ends, or with each run of white space as one space besides.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import BoolArray, I64Array, TextBatch, U8Array, U64Array
from dolmix.text.characters import may_be_space, skip_space, space_width, trim_space
from dolmix.text.compiled import kernel, leaf
from dolmix.text.edits import Edits
from dolmix.text.paragraphs import count_newlines, next_newline
from dolmix.text.xxh64 import xxh64

LINE, PARAGRAPH = 0, 1
AS_IT_IS, STRIPPED, COLLAPSED = 0, 1, 2
SPACE = 0x20


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a batch of N documents, M in all, in reading order.

    starts  (M,) int64      first byte of each unit, from the start of its document
    stops   (M,) int64      byte after it, likewise
    keys    (M,) uint64     hash of its normalised bytes
    long    (M,) bool       whether those are as many as asked for; else its key is 0
    ends    (N + 1,) int64  document n has units [ends[n], ends[n + 1])
    """

    starts: I64Array
    stops: I64Array
    keys: U64Array
    long: BoolArray
    ends: I64Array


def split_units(texts: TextBatch, *, unit: int, normalize: int, min_bytes: int, seed: int) -> Units:
    """Find and hash the units of every document.

    unit       LINE or PARAGRAPH
    normalize  AS_IT_IS, STRIPPED or COLLAPSED
    min_bytes  units of fewer normalised bytes get no key
    """
    offsets = texts.offsets
    room = count_newlines(texts.utf8, offsets[0], offsets[-1]) + len(texts)
    starts, stops = np.empty(room, np.int64), np.empty(room, np.int64)
    keys, long = np.empty(room, np.uint64), np.empty(room, np.bool_)
    ends = np.zeros(len(texts) + 1, np.int64)
    find_units(texts.utf8, offsets, unit == PARAGRAPH, starts, stops, ends)
    count = int(ends[-1])
    starts, stops, keys, long = starts[:count], stops[:count], keys[:count], long[:count]
    longest = int((stops - starts).max(initial=0))
    scratch = np.empty(longest if normalize == COLLAPSED else 0, np.uint8)
    how = (normalize, min_bytes, np.uint64(seed))
    hash_units(texts.utf8, offsets, how, starts, stops, ends, scratch, keys, long)
    return Units(starts, stops, keys, long, ends)


def cut_units(starts: I64Array, stops: I64Array, ends: I64Array, out: BoolArray) -> Edits:
    """Take units out of their texts, with one of the gaps beside each.

    starts, stops, ends  as in `Units`
    out                  (M,) bool  the units that go

    With a unit goes what stands between it and the next one; where all units to the end of the text
    go, what stands before them goes instead, so that a text ends as it did.
    """
    spans = np.empty((2, int(out.sum())), np.int64)
    counts = np.zeros(ends.size, np.int64)
    find_cuts(starts, stops, ends, out, spans, counts)
    count = int(counts[-1])
    return Edits(
        spans[0, :count].copy(), spans[1, :count].copy(), np.zeros(count, np.uint8), counts
    )


@kernel
def find_units(
    utf8: U8Array,
    offsets: I64Array,
    paragraphs: bool,
    starts: I64Array,
    stops: I64Array,
    ends: I64Array,
) -> None:
    """Fill in where every unit stands.

    utf8        (B,) uint8       bytes of all documents
    offsets     (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    paragraphs  bool             whether neighbouring lines are one unit
    starts      (>= M,) int64    out; newlines + N entries are always enough
    stops       (>= M,) int64    out
    ends        (N + 1,) int64   out; units before each document's end

    O(B). Twin: tests/naive_paragraphs.py `units`.
    """
    count = 0
    ends[0] = 0
    for n in range(offsets.size - 1):
        first, stop = offsets[n], offsets[n + 1]
        begin, joins = first, False
        while begin < stop:
            end = next_newline(utf8, begin, stop)
            blank = skip_space(utf8, begin, end) == end
            if not blank:
                if not joins:
                    starts[count] = begin - first
                    count += 1
                stops[count - 1] = end - first
            joins = paragraphs and not blank
            begin = end + 1
        ends[n + 1] = count


@kernel
def hash_units(
    utf8: U8Array,
    offsets: I64Array,
    how: tuple[int, int, np.uint64],
    starts: I64Array,
    stops: I64Array,
    ends: I64Array,
    scratch: U8Array,
    keys: U64Array,
    long: BoolArray,
) -> None:
    """Fill in the key of every unit.

    utf8, offsets        as in `find_units`, which filled in starts, stops (M,) and ends
    how                  normalize, min_bytes, seed
    scratch              (longest unit,) uint8, for COLLAPSED
    keys                 (M,) uint64  out; 0 where a unit is too short
    long                 (M,) bool    out

    O(B). Twin: tests/naive_paragraphs.py `units`.
    """
    normalize, least, seed = how
    for n in range(offsets.size - 1):
        for m in range(ends[n], ends[n + 1]):
            begin, stop = offsets[n] + starts[m], offsets[n] + stops[m]
            if normalize != AS_IT_IS:
                begin = skip_space(utf8, begin, stop)
                stop = trim_space(utf8, begin, stop)
            long[m], keys[m] = False, 0
            if stop - begin < least:
                continue
            if normalize == COLLAPSED and not is_collapsed(utf8, begin, stop):
                size = collapse_unit(utf8, begin, stop, scratch)
                long[m] = size >= least
                if long[m]:
                    keys[m] = xxh64(scratch, 0, size, seed)
            else:
                long[m] = True
                keys[m] = xxh64(utf8, begin, stop, seed)


@leaf
def is_collapsed(utf8: U8Array, begin: int, stop: int) -> bool:
    """Whether all white space of a unit is single spaces already; most units' is.

    The unit neither starts nor ends with white space. O(stop - begin): without an early end, and
    without branches, the loop is one that the compiler turns into vector instructions.
    """
    odd = np.uint8(begin + 1 < stop and utf8[begin + 1] < SPACE)
    for i in range(np.uint64(max(begin + 1, 2)), np.uint64(stop)):
        first, middle, last = utf8[i - np.uint64(2)], utf8[i - np.uint64(1)], utf8[i]
        odd |= np.uint8(last < SPACE) | np.uint8(last == SPACE) & np.uint8(middle == SPACE)
        odd |= np.uint8(middle == 0xC2) & (np.uint8(last == 0x85) | np.uint8(last == 0xA0))
        odd |= np.uint8(middle == 0xE1) & np.uint8(last == 0x9A)
        odd |= np.uint8(first == 0xE3) & np.uint8(middle == 0x80) & np.uint8(last == 0x80)
        low = np.uint8(last <= 0x8A) | np.uint8((last & 0xFE) == 0xA8) | np.uint8(last == 0xAF)
        low &= np.uint8(middle == 0x80)
        odd |= np.uint8(first == 0xE2) & (low | np.uint8(middle == 0x81))
    return bool(odd == 0)


@leaf
def collapse_unit(utf8: U8Array, begin: int, stop: int, out: U8Array) -> int:
    """Copy a unit with each run of white space as one space; returns the bytes written.

    The unit neither starts nor ends with white space. O(stop - begin).
    """
    i, size = begin, 0
    while i < stop:
        byte = utf8[i]
        width = space_width(utf8, i, stop) if may_be_space(byte) else 0
        if width == 0:
            out[size] = byte
            size += 1
            i += 1
            continue
        out[size] = SPACE
        size += 1
        i = skip_space(utf8, i + width, stop)
    return size


@kernel
def find_cuts(
    starts: I64Array,
    stops: I64Array,
    ends: I64Array,
    out: BoolArray,
    spans: I64Array,
    counts: I64Array,
) -> None:
    """Fill in the spans that take units out; neighbours that go share one.

    starts, stops, ends, out  as in `cut_units`
    spans   (2, >= S) int64   out; as many entries as units that go are always enough
    counts  (N + 1,) int64    out, zeros on entry; spans before each document's end

    O(M). Twin: tests/naive_paragraphs.py `without`.
    """
    made = 0
    for n in range(ends.size - 1):
        m, last = ends[n], ends[n + 1]
        while m < last:
            if not out[m]:
                m += 1
                continue
            first = m
            while m < last and out[m]:
                m += 1
            if m < last:
                spans[0, made], spans[1, made] = starts[first], starts[m]
            else:
                spans[0, made] = starts[first] if first == ends[n] else stops[first - 1]
                spans[1, made] = stops[last - 1]
            made += 1
        counts[n + 1] = made
