r"""Lines and paragraphs by the peers' definitions, each known by a 64-bit hash of its bytes.

Peers disagree about what separates two lines, and about what of them counts:

                          separators                          stripped            empty ones
    dolma gopher_v1       each "\n"                           no                  count
    dolma gopher_v2       runs of "\n"                        no                  count
    datatrove lines       runs of "\n"                        no                  count
    datatrove paragraphs  runs of two "\n" or more            the text            count
    DCLM lines            runs of "\n"                        every line          do not count
    DCLM paragraphs       runs of two "\n" or more            every paragraph     do not count

Stripping is Python's `str.strip()`. DCLM itself cuts at each separator, which gives the same
segments, since empty ones go.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array, U64Array
from dolmix.text.characters import skip_space, trim_space
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import hash_span, trailing_zeros
from dolmix.text.repeats import duplicate_sums, later_sums, scratch, sum_parts
from dolmix.text.wide import WIDTH, equal_32

NEWLINE = 0x0A
EACH, RUNS, BLANKS = 0, 1, 2
"""What separates: each newline, runs of newlines, runs of two or more."""
NOTHING, TEXT, SEGMENTS = 0, 1, 2
"""What is stripped: nothing; the text; every segment, and an empty one is none."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Lines or paragraphs of a batch of N documents, M in all, in reading order.

    hashes  (M,) uint64     hash of each segment's bytes
    chars   (M,) int64      its length in characters
    ends    (N + 1,) int64  document n has segments [ends[n], ends[n + 1])
    """

    hashes: U64Array
    chars: I64Array
    ends: I64Array


@dataclass(frozen=True, eq=False)
class SegmentRepeats:
    """What repeats among the lines or paragraphs of N documents; every array is (N,) int64.

    segments        how many there are
    chars           their characters
    repeated        how many of them repeat
    repeated_chars  their characters
    """

    segments: I64Array
    chars: I64Array
    repeated: I64Array
    repeated_chars: I64Array


def segment_repeats(
    texts: TextBatch, *, separators: int, strip: int, later: bool
) -> SegmentRepeats:
    """Count the lines or paragraphs that repeat.

    separators, strip  as for `split_segments`
    later              count second and later occurrences alone, else every one of those that repeat
    """
    parts = split_segments(texts, separators=separators, strip=strip)
    sums = later_sums if later else duplicate_sums
    repeated, chars = sums(parts.hashes, parts.chars, parts.ends)
    return SegmentRepeats(np.diff(parts.ends), sum_parts(parts.chars, parts.ends), repeated, chars)


def split_segments(texts: TextBatch, *, separators: int, strip: int) -> Segments:
    """Cut every document at `separators`: EACH, RUNS or BLANKS; `strip` NOTHING, TEXT, SEGMENTS.

    Hashes and lengths are scratch: the thread's next call of this function writes over them.
    """
    offsets = texts.offsets
    room = count_newlines(texts.utf8, offsets[0], offsets[-1]) // max(separators, 1) + len(texts)
    hashes, chars = scratch("hashes", room, np.uint64), scratch("chars", room, np.int64)
    ends = np.zeros(len(texts) + 1, np.int64)
    find_segments(texts.utf8, offsets, (separators, strip), hashes, chars, ends)
    return Segments(hashes[: ends[-1]], chars[: ends[-1]], ends)


def text_chars(texts: TextBatch) -> I64Array:
    """(N,) int64: length of every text in characters."""
    return count_chars(texts.utf8, texts.offsets)


@kernel
def find_segments(
    utf8: U8Array,
    offsets: I64Array,
    how: tuple[int, int],
    hashes: U64Array,
    chars: I64Array,
    ends: I64Array,
) -> None:
    """Fill in the hash and length of every segment.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    how      two ints         separators and strip, as in `split_segments`
    hashes   (>= M,) uint64   out; newlines + N entries are always enough
    chars    (>= M,) int64    out
    ends     (N + 1,) int64   out; segments before each document's end

    O(B). Twin: tests/naive_repetition.py `segments`.
    """
    separators, strip = how
    count = 0
    for n in range(offsets.size - 1):
        begin, stop = offsets[n], offsets[n + 1]
        if strip == TEXT:
            begin = skip_space(utf8, begin, stop)
            stop = trim_space(utf8, begin, stop)
        while begin >= 0:
            end, following = _separator(utf8, begin, stop, separators)
            if strip == SEGMENTS:
                begin = skip_space(utf8, begin, end)
                end = trim_space(utf8, begin, end)
            if strip != SEGMENTS or begin < end:
                hashes[count], chars[count] = hash_span(utf8, begin, end)
                count += 1
            begin = following
        ends[n + 1] = count


@leaf
def _separator(utf8: U8Array, begin: int, stop: int, separators: int) -> tuple[int, int]:
    """Find the next separator: its start and its end, or `stop` and -1 where there is none."""
    while True:
        end = next_newline(utf8, begin, stop)
        if end == stop:
            return stop, -1
        begin = end + 1
        if separators == EACH:
            return end, begin
        while begin < stop and utf8[begin] == NEWLINE:
            begin += 1
        if begin - end >= separators:
            return end, begin


@leaf
def next_newline(utf8: U8Array, i: int, stop: int) -> int:
    """Position of the first newline from `i` on, or `stop`."""
    while i + WIDTH <= utf8.size and i < stop:
        found = equal_32(utf8, i, NEWLINE)
        if found != 0:
            return min(i + int(np.int64(trailing_zeros(found))), stop)
        i += WIDTH
    while i < stop and utf8[i] != NEWLINE:
        i += 1
    return min(i, stop)


@leaf
def count_newlines(utf8: U8Array, begin: int, stop: int) -> int:
    """Count the newlines in utf8[begin:stop]."""
    count = 0
    for i in range(begin, stop):
        count += utf8[i] == NEWLINE
    return count


@kernel
def count_chars(utf8: U8Array, offsets: I64Array) -> I64Array:
    """Count the characters of every document: (N,) int64.

    utf8, offsets as in `find_segments`. O(B).
    """
    chars = np.zeros(offsets.size - 1, np.int64)
    for n in range(offsets.size - 1):
        count = 0
        for i in range(offsets[n], offsets[n + 1]):
            count += (utf8[i] & 0xC0) != 0x80
        chars[n] = count
    return chars
