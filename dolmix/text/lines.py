r"""Lines: the marks at their ends.

A text is cut at every "\n", as `text.split("\n")` does, or at every run of them, as
`re.split(r"\n+", text)` does. Either way a text that starts or ends with "\n" has an empty first
or last line, and an empty text is one empty line.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.text.compiled import kernel
from dolmix.text.paragraphs import next_newline

NEWLINE = 0x0A


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


def line_marks(texts: TextBatch, *, merge: bool) -> LineMarks:
    """Count bullets and ellipses at the lines' ends, cut at newlines or, with `merge`, at runs."""
    counts = np.zeros((3, len(texts)), np.int64)
    mark_lines(texts.utf8, texts.offsets, merge, counts)
    return LineMarks(counts[0], counts[1], counts[2])


@kernel
def mark_lines(utf8: U8Array, offsets: I64Array, merge: bool, counts: I64Array) -> None:
    """Count lines, bullets and ellipses.

    utf8     (B,) uint8      bytes of all documents
    offsets  (N + 1,) int64  document n is utf8[offsets[n]:offsets[n + 1]]
    merge    bool            whether a run of newlines is one separator
    counts   (3, N) int64    out, zeros on entry: lines, lines that start with `*` or `-`,
                             lines that end with `…`

    O(B). Twin: tests/naive.py `line_marks`.
    """
    for n in range(offsets.size - 1):
        begin, stop = offsets[n], offsets[n + 1]
        counts[0, n] = 1
        if begin == stop:
            continue
        counts[1, n] = utf8[begin] == 0x2A or utf8[begin] == 0x2D
        counts[2, n] = _ellipsis_before(utf8, begin, stop)
        i = begin - 1
        while True:
            i = next_newline(utf8, i + 1, stop)
            if i == stop:
                break
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
