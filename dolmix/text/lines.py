r"""Lines: their hashes for repetition rules, and the marks at their ends.

A text is cut at every "\n", as `text.split("\n")` does, or at every run of them, as
`re.split(r"\n+", text)` does. Either way a text that starts or ends with "\n" has an empty first
or last line, and an empty text is one empty line.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array, U64Array
from dolmix.text.compiled import kernel

FNV_START = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x00000100000001B3)
NEWLINE = 0x0A


@dataclass(frozen=True, eq=False)
class Lines:
    """The lines of a batch of N documents, M in all, in reading order.

    hashes  (M,) uint64     64-bit FNV-1a hash of each line's bytes
    chars   (M,) int64      length of each line in characters
    ends    (N + 1,) int64  document n has lines [ends[n], ends[n + 1])
    """

    hashes: U64Array
    chars: I64Array
    ends: I64Array


@dataclass(frozen=True, eq=False)
class LineMarks:
    """Line counts of N documents; every array is (N,) int64.

    lines      number of lines, at least 1
    bullets    lines that start with `*` or `-`
    ellipses   lines that end with `…` (U+2026)
    """

    lines: I64Array
    bullets: I64Array
    ellipses: I64Array


def split_lines(texts: TextBatch, *, merge: bool) -> Lines:
    r"""Split every document at "\n", or with `merge` at runs of "\n"."""
    offsets = texts.offsets
    newlines = np.count_nonzero(texts.utf8[offsets[0] : offsets[-1]] == NEWLINE)
    room = int(newlines) + len(texts)
    hashes, chars = np.empty(room, np.uint64), np.empty(room, np.int64)
    ends = np.zeros(len(texts) + 1, np.int64)
    hash_lines(texts.utf8, offsets, merge, hashes, chars, ends)
    return Lines(hashes[: ends[-1]], chars[: ends[-1]], ends)


def line_marks(texts: TextBatch, *, merge: bool) -> LineMarks:
    """Count bullets and ellipses at the lines' ends; `merge` as in `split_lines`."""
    counts = np.zeros((3, len(texts)), np.int64)
    mark_lines(texts.utf8, texts.offsets, merge, counts)
    return LineMarks(counts[0], counts[1], counts[2])


@kernel
def hash_lines(
    utf8: U8Array,
    offsets: I64Array,
    merge: bool,
    hashes: U64Array,
    chars: I64Array,
    ends: I64Array,
) -> None:
    """Fill in the hash and length of every line.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    merge    bool             whether a run of newlines is one separator
    hashes   (>= M,) uint64   out; newlines + N entries are always enough
    chars    (>= M,) int64    out
    ends     (N + 1,) int64   out; lines before each document's end

    O(B). Twin: tests/naive.py `split_lines`.
    """
    line = 0
    ends[0] = 0
    for n in range(offsets.size - 1):
        stop = offsets[n + 1]
        code, length = FNV_START, 0
        for i in range(offsets[n], stop):
            byte = utf8[i]
            if byte != NEWLINE:
                code = (code ^ np.uint64(byte)) * FNV_PRIME
                length += (byte & 0xC0) != 0x80
            elif not (merge and i > offsets[n] and utf8[i - 1] == NEWLINE):
                hashes[line], chars[line] = code, length
                line += 1
                code, length = FNV_START, 0
        hashes[line], chars[line] = code, length
        line += 1
        ends[n + 1] = line


@kernel
def mark_lines(utf8: U8Array, offsets: I64Array, merge: bool, counts: I64Array) -> None:
    """Count lines, bullets and ellipses.

    utf8, offsets, merge as in `hash_lines`
    counts  (3, N) int64  out, zeros on entry: lines, lines that start with `*` or `-`, lines that
                          end with `…`

    O(B). Twin: tests/naive.py `line_marks`.
    """
    for n in range(offsets.size - 1):
        begin, stop = offsets[n], offsets[n + 1]
        counts[0, n] = 1
        if begin == stop:
            continue
        counts[1, n] = utf8[begin] == 0x2A or utf8[begin] == 0x2D
        counts[2, n] = _ellipsis_before(utf8, begin, stop)
        for i in range(begin, stop):
            if utf8[i] != NEWLINE:
                continue
            if i + 1 < stop:
                counts[1, n] += utf8[i + 1] == 0x2A or utf8[i + 1] == 0x2D
            if merge and i > begin and utf8[i - 1] == NEWLINE:
                continue
            counts[0, n] += 1
            counts[2, n] += _ellipsis_before(utf8, begin, i)


@kernel
def _ellipsis_before(utf8: U8Array, begin: int, end: int) -> bool:
    return (
        end - begin >= 3
        and utf8[end - 3] == 0xE2
        and utf8[end - 2] == 0x80
        and utf8[end - 1] == 0xA6
    )
