r"""Groups of characters that stand four times or more in a row, as dolma's taggers find them.

A repetition is a match of `(.+?)(\s?\1){3,}`, from left to right without overlap: at the first
place where there is one, the shortest group of characters without a newline that at least three
copies follow, each after at most one whitespace character. The result is that of Python's `re` on
every text. The expression itself takes time that grows with the square of a line; this takes
O(L log L) for a line of L characters, whatever they are.

A document is looked at three times: short groups, by comparing it with itself a few characters on
(`char_repeats_short`); long groups, by hashes of what must stand again (`char_repeats_long`); and
the places so marked, from left to right, step by step (`char_repeats_match`).
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.text.char_repeats_long import mark_long
from dolmix.text.char_repeats_match import last_copy, occurrences, shortest_period, third_copy
from dolmix.text.char_repeats_short import mark_short
from dolmix.text.char_repeats_units import (
    PAD,
    POINTS,
    TOO_MANY,
    UnitArray,
    narrow_units,
    space_table,
    wide_units,
)
from dolmix.text.compiled import kernel


@dataclass(frozen=True, eq=False)
class CharRepeats:
    """What repeats in N documents; every array is (N,) int64.

    max_score   most times that a group occurs in one repetition; 0 without any
    max_length  characters of the longest repetition
    repeated    characters of all repetitions
    chars       characters of the document
    """

    max_score: I64Array
    max_length: I64Array
    repeated: I64Array
    chars: I64Array


def char_repeats(texts: TextBatch, *, by_paragraph: bool = False) -> CharRepeats:
    """Find the repetitions of every document.

    by_paragraph  whether each line is searched by itself; else a copy may follow after a newline

    Memory: 10 bytes a byte of the longest document.
    """
    found = np.zeros((4, len(texts)), np.int64)
    spaces = space_table(newline=not by_paragraph)
    measure_narrow(texts.utf8, texts.offsets, spaces, by_paragraph, found)
    if (found[3] == TOO_MANY).any():
        measure_wide(texts.utf8, texts.offsets, spaces, by_paragraph, found)
    return CharRepeats(found[0], found[1], found[2], found[3])


@kernel
def measure_narrow(
    utf8: U8Array, offsets: I64Array, space_points: U8Array, by_line: bool, found: I64Array
) -> None:
    """Measure the documents of few different characters.

    utf8          (B,) uint8       bytes of all documents
    offsets       (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    space_points  (12290,) uint8   `space_table`
    by_line       whether each line is searched by itself
    found         (4, N) int64     in: 0; out: largest score, largest length, sum of lengths,
                                   characters; the last is TOO_MANY for documents left out

    O(B), times the logarithm of the longest line. Twin: tests/naive_char_repetition.py
    `char_repeats`.
    """
    size = 0
    for n in range(offsets.size - 1):
        size = max(size, offsets[n + 1] - offsets[n])
    units = np.empty(size + PAD, np.uint8)
    marks = np.empty(size + PAD, np.uint8)
    spaces, names = np.zeros(256, np.uint8), np.zeros(POINTS, np.uint8)
    for n in range(offsets.size - 1):
        document = utf8[offsets[n] : offsets[n + 1]]
        found[3, n] = narrow_units(document, space_points, names, units, spaces)
        if found[3, n] > 0:
            mark_short(units, spaces, found[3, n], marks)
            mark_long(units, spaces, found[3, n], by_line, marks)
            follow(units, spaces, marks, found[:, n])


@kernel
def measure_wide(
    utf8: U8Array, offsets: I64Array, space_points: U8Array, by_line: bool, found: I64Array
) -> None:
    """Measure the documents that `measure_narrow` left out; arguments as there."""
    size = 0
    for n in range(offsets.size - 1):
        if found[3, n] == TOO_MANY:
            size = max(size, offsets[n + 1] - offsets[n])
    units = np.empty(size + PAD, np.uint32)
    marks = np.empty(size + PAD, np.uint8)
    for n in range(offsets.size - 1):
        if found[3, n] == TOO_MANY:
            found[3, n] = wide_units(utf8[offsets[n] : offsets[n + 1]], units)
            mark_short(units, space_points, found[3, n], marks)
            mark_long(units, space_points, found[3, n], by_line, marks)
            follow(units, space_points, marks, found[:, n])


@kernel
def follow(units: UnitArray, spaces: U8Array, marks: U8Array, found: I64Array) -> None:
    """Follow every repetition of a document from its first marked place to its end.

    marks  (>= U,) uint8  1 where a repetition starts
    found  (4,) int64     in: 0, 0, 0, U; out: largest score, largest length, sum of lengths, U
    """
    at = 0
    while at < found[3]:
        if marks[at] == 0:
            at += 1
            continue
        period = shortest_period(units, spaces, at, (found[3] - at) // 4)
        third = third_copy(units, spaces, at, period)
        if third < 0:  # a place marked in vain costs time, not truth
            at += 1
            continue
        end = last_copy(units, spaces, at, period, third)
        found[0] = max(found[0], occurrences(units, at, period, end))
        found[1] = max(found[1], end - at)
        found[2] += end - at
        at = end
