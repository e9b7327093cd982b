r"""What Gopher's rules ask of symbols and lines, as datatrove and as DCLM read them.

datatrove's lines are those of `str.splitlines()`: they end at \n, \r, \r\n, \v, \f, \x1c to \x1e,
U+0085, U+2028 or U+2029. DCLM's end at \n, are stripped, and count if anything is left.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import BoolArray, I64Array, TextBatch, U8Array
from dolmix.text.characters import ALNUM, decode, point_marks, skip_space, trim_space
from dolmix.text.compiled import kernel, leaf
from dolmix.text.gopher_words import is_ellipsis

HASH, DOT, BREAK, RETURN, LEAD = 1, 2, 3, 4, 5
"""Bytes that are looked at: symbols, breaks, \r, and starts of characters that may be either."""
LINE, BULLET, ELLIPSIS = 1, 2, 4
"""What a line is, starts with, and ends with."""
FASTTEXT_SPACES = b" \n\r\t\v\f\0"


@dataclass(frozen=True, eq=False)
class TextMarks:
    """Counts over N documents; every array is (N,) int64.

    hashes          occurrences of `#`
    ellipses        occurrences of `...` and `…`, for DCLM of `. . .` too, none overlapping its like
    lines           number of lines, 0 for no text
    bullets         lines that start with `•` or `-`, for DCLM also `●` or `*`, spaces aside
    ellipsis_lines  lines that end with an ellipsis, spaces aside
    """

    hashes: I64Array
    ellipses: I64Array
    lines: I64Array
    bullets: I64Array
    ellipsis_lines: I64Array


def datatrove_marks(texts: TextBatch) -> TextMarks:
    """Count symbols and lines as datatrove's GopherQualityFilter does."""
    return _text_marks(texts, b"\n\v\f\x1c\x1d\x1e", dclm=False)


def dclm_marks(texts: TextBatch) -> TextMarks:
    """Count symbols and lines as DCLM's content filters do."""
    return _text_marks(texts, b"\n", dclm=True)


def page_words(texts: TextBatch) -> I64Array:
    r"""(N,) int64: fastText's tokens that start with a letter or a digit (`str.isalnum`).

    fastText cuts at spaces, \n, \r, \t, \v, \f and NUL, and at no other whitespace.
    """
    spaces = np.zeros(256, np.bool_)
    spaces[list(FASTTEXT_SPACES)] = True
    found = np.zeros(len(texts), np.int64)
    count_page_words(texts.utf8, texts.offsets, spaces, point_marks(), found)
    return found


def _text_marks(texts: TextBatch, breaks: bytes, *, dclm: bool) -> TextMarks:
    kinds = np.zeros(256, np.uint8)
    kinds[ord("#")], kinds[ord(".")] = HASH, DOT
    kinds[list(breaks)] = BREAK
    # … and U+2028 share their first byte; U+0085 and \r break no line of DCLM's
    kinds["…".encode()[0]] = LEAD
    if not dclm:
        kinds["\u0085".encode()[0]], kinds[ord("\r")] = LEAD, RETURN
    counts = np.zeros((5, len(texts)), np.int64)
    mark_text(texts.utf8, texts.offsets, kinds, dclm, counts)
    return TextMarks(*counts)


@kernel
def mark_text(
    utf8: U8Array, offsets: I64Array, kinds: U8Array, dclm: bool, counts: I64Array
) -> None:
    """Fill in the counts of every document.

    utf8     (B,) uint8      bytes of all documents
    offsets  (N + 1,) int64  document n is utf8[offsets[n]:offsets[n + 1]]
    kinds    (256,) uint8    which bytes to look at, and for what
    dclm     bool            whose definitions: DCLM's, or datatrove's
    counts   (5, N) int64    out, zeros on entry; rows as in `TextMarks`

    O(B). Twins: tests/naive_gopher.py `datatrove_marks`, `dclm_marks`.
    """
    for n in range(offsets.size - 1):
        i, stop = offsets[n], offsets[n + 1]
        line, spaced = i, i
        hashes, ellipses, lines, bullets, ends = 0, 0, 0, 0, 0
        while line < stop:
            while i < stop and kinds[utf8[i]] == 0:
                i += 1
            kind = kinds[utf8[i]] if i < stop else BREAK
            if kind == DOT:
                first = i
                while i < stop and utf8[i] == 0x2E:
                    i += 1
                ellipses += (i - first) // 3
                if dclm and i > spaced and is_spaced_ellipsis(utf8, i - 1, stop):
                    ellipses += 1
                    spaced = i + 4
                continue
            width = 1
            if kind != BREAK:
                hashes += kind == HASH
                ellipses += is_ellipsis(utf8, i, stop)
                width = break_width(utf8, i, stop, kind, dclm)
            if width == 0:
                i += 1
                continue
            found = look_at_line(utf8, line, i, dclm)
            lines += found & LINE
            bullets += found >> 1 & 1
            ends += found >> 2
            i += width
            line = i
        counts[0, n], counts[1, n], counts[2, n] = hashes, ellipses, lines
        counts[3, n], counts[4, n] = bullets, ends


@leaf
def is_spaced_ellipsis(utf8: U8Array, i: int, stop: int) -> bool:
    """Whether `. . .` stands at `i`."""
    if i + 4 >= stop or utf8[i] != 0x2E or utf8[i + 1] != 0x20:
        return False
    return bool(utf8[i + 2] == 0x2E and utf8[i + 3] == 0x20 and utf8[i + 4] == 0x2E)


@leaf
def break_width(utf8: U8Array, i: int, stop: int, kind: int, dclm: bool) -> int:
    r"""Bytes of the line break at `i`, where a byte of `kind` stands: \r\n, or one beyond ASCII."""
    if kind == RETURN:
        return 1 + int(i + 1 < stop and utf8[i + 1] == 0x0A)
    if kind == HASH or dclm:
        return 0
    point, after = decode(utf8, i, stop)
    return after - i if point == 0x85 or 0x2028 <= point <= 0x2029 else 0


@leaf
def look_at_line(utf8: U8Array, start: int, stop: int, dclm: bool) -> int:
    """LINE | BULLET | ELLIPSIS as they hold of a line; DCLM counts none that is blank."""
    if start < stop and not 0x20 < utf8[start] < 0x80:
        start = skip_space(utf8, start, stop)
    if start < stop and not 0x20 < utf8[stop - 1] < 0x80:
        stop = trim_space(utf8, start, stop)
    if start == stop:
        return 0 if dclm else LINE
    found = LINE | BULLET * int(is_bullet(utf8, start, stop, dclm))
    last = utf8[stop - 1]
    if stop - start < 3 or (last != 0x2E and last != 0xA6):  # noqa: PLR1714
        return found
    if last == 0xA6:
        return found | ELLIPSIS * int(is_ellipsis(utf8, stop - 3, stop))
    dots = utf8[stop - 2] == 0x2E and utf8[stop - 3] == 0x2E
    spaced = dclm and stop - start >= 5 and is_spaced_ellipsis(utf8, stop - 5, stop)
    return found | ELLIPSIS * int(dots or spaced)


@leaf
def is_bullet(utf8: U8Array, i: int, stop: int, dclm: bool) -> bool:
    """Whether a bullet stands at `i`."""
    if utf8[i] < 0x80:
        return bool(utf8[i] == 0x2D or (dclm and utf8[i] == 0x2A))
    point, _ = decode(utf8, i, stop)
    return point == 0x2022 or (dclm and point == 0x25CF)


@kernel
def count_page_words(
    utf8: U8Array, offsets: I64Array, spaces: BoolArray, marks: U8Array, found: I64Array
) -> None:
    """Count runs of bytes between `spaces` that start alphanumerically.

    utf8, offsets as in `mark_text`
    spaces  (256,) bool       bytes that separate
    marks   (1114112,) uint8  `point_marks()`
    found   (N,) int64        out, zeros on entry

    O(B). Twin: tests/naive_gopher.py `page_words`.
    """
    for n in range(offsets.size - 1):
        outside, stop = True, offsets[n + 1]
        for i in range(offsets[n], stop):
            space = spaces[utf8[i]]
            if outside and not space:
                point = int(utf8[i])
                if point >= 0x80:
                    point, _ = decode(utf8, i, stop)
                found[n] += marks[point] & ALNUM > 0
            outside = space
