r"""C4's line rules as dolma's taggers `c4_v1` and `c4_v2` mark them, and what they leave of a text.

Lines are those of `text.split("\n")`. One that does not end in `.`, `?`, `!` or `"`, white space
aside, or that has too few words, goes with its newline; a line can fail both tests. The texts of
the lines that stay are put together as they are.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.text.characters import skip_space, space_width, trim_space
from dolmix.text.compiled import kernel, leaf
from dolmix.text.edits import Edits

ENDINGS = b'.?!"'


@dataclass(frozen=True, eq=False)
class MarkedLines:
    """What the line rules did to N documents.

    counts  (4, N) int64  lines in all, at least 1; without terminal punctuation; with too few
                          words; that stay
    edits                 the spans of the lines that go
    """

    counts: I64Array
    edits: Edits


def mark_c4_lines(texts: TextBatch, *, punctuation: bool, min_words: int) -> MarkedLines:
    """Judge every line; a rule that is off (`min_words` 0) marks none."""
    offsets = texts.offsets
    newlines = np.count_nonzero(texts.utf8[offsets[0] : offsets[-1]] == 0x0A)
    spans = np.empty((2, int(newlines) + len(texts)), np.int64)
    ends = np.zeros(len(texts) + 1, np.int64)
    counts = np.zeros((4, len(texts)), np.int64)
    mark_lines(texts.utf8, offsets, punctuation, min_words, counts, spans, ends)
    starts, stops = spans[:, : ends[-1]]
    return MarkedLines(counts, Edits(starts, stops, np.zeros(len(starts), np.uint8), ends))


def third_longest_lines(texts: TextBatch) -> I64Array:
    r"""(N,) int64: characters of the third longest line, 0 with fewer; lines are cut at "\n"."""
    lengths = np.zeros(len(texts), np.int64)
    measure_third(texts.utf8, texts.offsets, lengths)
    return lengths


@kernel
def mark_lines(
    utf8: U8Array,
    offsets: I64Array,
    punctuation: bool,
    min_words: int,
    counts: I64Array,
    spans: I64Array,
    ends: I64Array,
) -> None:
    r"""Count the lines that fail each test, and write the spans of those that go.

    utf8         (B,) uint8       bytes of all documents
    offsets      (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    punctuation  bool             whether a line must end in terminal punctuation
    min_words    int              fewest words of a line that stays
    counts       (4, N) int64     out, zeros on entry; as in `MarkedLines`
    spans        (2, >= S) int64  out; start and stop, lines in a row as one; lines are enough
    ends         (N + 1,) int64   out; spans before each document's end

    O(B). Twin: tests/naive_c4.py `mark_lines`.
    """
    made = 0
    for n in range(offsets.size - 1):
        begin, stop = offsets[n], offsets[n + 1]
        lines, no_end, too_few, kept = 0, 0, 0, 0
        at, cut, more = begin, begin - 1, True
        while more:
            end = at
            while end < stop and utf8[end] != 0x0A:
                end += 1
            more = end < stop
            unfinished = punctuation and (end == at or not _ends_well(utf8, at, end))
            short = min_words > 0 and (end == at or not _has_words(utf8, at, end, min_words))
            lines += 1
            no_end += unfinished
            too_few += short
            kept += not (unfinished or short)
            after = end + more
            if (unfinished or short) and after > at:
                if at > cut:
                    spans[0, made] = at - begin
                    made += 1
                spans[1, made - 1], cut = after - begin, after
            at = after
        counts[0, n], counts[1, n], counts[2, n], counts[3, n] = lines, no_end, too_few, kept
        ends[n + 1] = made


@leaf
def _ends_well(utf8: U8Array, begin: int, end: int) -> bool:
    """Whether the last character that is no white space is terminal punctuation."""
    end = trim_space(utf8, begin, end)
    if end > begin:
        for mark in ENDINGS:
            if utf8[end - 1] == mark:
                return True
    return False


@leaf
def _has_words(utf8: U8Array, i: int, end: int, needed: int) -> bool:
    """Whether there are `needed` words; reads no further than it must."""
    words = 0
    while words < needed:
        i = skip_space(utf8, i, end)
        if i == end:
            return False
        while i < end and space_width(utf8, i, end) == 0:
            i += 1
        words += 1
    return True


@kernel
def measure_third(utf8: U8Array, offsets: I64Array, lengths: I64Array) -> None:
    """Fill in the length of each document's third longest line.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    lengths  (N,) int64       out; in characters, 0 with fewer than three lines

    O(B). Twin: tests/naive_c4.py `third_longest_line`.
    """
    for n in range(offsets.size - 1):
        longest, second, third, chars = -1, -1, -1, 0
        for i in range(offsets[n], offsets[n + 1] + 1):
            if i < offsets[n + 1] and utf8[i] != 0x0A:
                chars += (utf8[i] & 0xC0) != 0x80
                continue
            if chars > longest:
                longest, second, third = chars, longest, second
            elif chars > second:
                second, third = chars, second
            else:
                third = max(third, chars)
            chars = 0
        lengths[n] = max(third, 0)
