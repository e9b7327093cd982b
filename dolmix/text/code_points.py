r"""Code points of one source file, and what the scanners of several languages share.

The scanners see a text as Pygments prepares it: no byte order mark, "\n" for every line end, none
before the first or after the last line but the one that ends it. Character classes are those of
`re`, and JavaScript's identifiers those that the installed Pygments knows.
"""

import re
from functools import lru_cache
from sys import maxunicode
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.document import U8Array
from dolmix.text.compiled import kernel

U32Array: TypeAlias = NDArray[np.uint32]

WORD, DECIMAL, SPACE, NAME_START, NAME_PART = 1, 2, 4, 8, 16
r"""Bits of `lexer_table`: `\w`, `\d` and `\s` of `re`, and JavaScript's identifiers."""
NEWLINE, QUOTE, APOSTROPHE, STAR, DOT, SLASH, BACKSLASH, DOLLAR, OPEN = (
    *(0x0A, 0x22, 0x27, 0x2A, 0x2E, 0x2F, 0x5C, 0x24, 0x28),
)
LONGEST_KEYWORD = 12


def lexer_points(text: str) -> U32Array:
    """Code points of a text as the scanners want it; at least one, the last a newline."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    return np.frombuffer((lines.strip("\n") + "\n").encode("utf-32-le"), np.uint32)


@lru_cache(maxsize=1)
def lexer_table() -> U8Array:
    """Mark every code point: WORD | DECIMAL | SPACE | NAME_START | NAME_PART.

    returns  (1114112,) uint8, read-only, by code point

    Built once a process, in one to two seconds.
    """
    from pygments.lexers.javascript import JS_IDENT_PART, JS_IDENT_START

    points = "".join(map(chr, range(maxunicode + 1)))
    patterns = {WORD: r"\w+", DECIMAL: r"\d+", SPACE: r"\s+"}
    patterns |= {NAME_START: f"(?:{JS_IDENT_START})+", NAME_PART: f"(?:{JS_IDENT_PART})+"}
    table = np.zeros(maxunicode + 1, np.uint8)
    for bit, pattern in patterns.items():
        for run in re.finditer(pattern, points):
            table[run.start() : run.end()] |= bit
    table.setflags(write=False)
    return table


def keyword(word: str) -> int:
    """Spell a keyword of up to twelve lower-case letters as the number that `word_at` gives."""
    return sum(ord(letter) - 0x60 << 5 * place for place, letter in enumerate(word))


def keywords(words: str) -> tuple[int, ...]:
    """Spell keywords, given with spaces between, as numbers."""
    return tuple(map(keyword, words.split()))


@kernel
def point_at(points: U32Array, i: int) -> int:
    """Code point at `i`, or 0 beyond the end."""
    return int(points[i]) if i < points.size else 0


@kernel
def is_digit(point: int) -> bool:
    """Whether a code point is one of 0 to 9."""
    return 0x30 <= point <= 0x39


@kernel
def is_hex(point: int) -> bool:
    """Whether a code point is a hexadecimal digit."""
    return 0x30 <= point <= 0x39 or 0x61 <= (point | 0x20) <= 0x66


@kernel
def is_either(point: int, lower: int) -> bool:
    """Whether a code point is an ASCII letter, given in lower case, in either case."""
    return (point | 0x20) == lower


@kernel
def has_mark(points: U32Array, table: U8Array, i: int, bits: int) -> bool:
    """Whether there is a code point at `i`, with any of the marks."""
    return i < points.size and table[points[i]] & bits != 0


@kernel
def skip_marked(points: U32Array, table: U8Array, i: int, bits: int) -> int:
    """Position of the first code point from `i` on without any of the marks."""
    while i < points.size and table[points[i]] & bits:
        i += 1
    return i


@kernel
def word_at(points: U32Array, table: U8Array, i: int) -> tuple[int, int]:
    """Read the longest run of word characters at `i`: `keyword()` of it, and the position after.

    The number is 0 unless the run is one to twelve lower-case letters.
    """
    start, code, lower = i, np.int64(0), True
    while i < points.size and table[points[i]] & WORD:
        point = np.int64(points[i])
        lower = lower and bool(0x61 <= point <= 0x7A)
        if lower and i - start < LONGEST_KEYWORD:
            code |= (point - 0x60) << (5 * (i - start))
        i += 1
    known = lower and i - start <= LONGEST_KEYWORD
    return (int(code) if known else 0), i


@kernel
def line_end(points: U32Array, i: int) -> int:
    """Position of the next newline from `i` on, or the end."""
    while i < points.size and points[i] != NEWLINE:
        i += 1
    return i


@kernel
def block_end(points: U32Array, i: int) -> int:
    """Position after the `*/` that closes the `/*` at `i`, or 0 if none does."""
    i += 2
    while i + 1 < points.size:
        if points[i] == STAR and points[i + 1] == SLASH:
            return i + 2
        i += 1
    return 0


@kernel
def comment_end(points: U32Array, i: int, closed: bool) -> tuple[int, bool]:
    """Position after the comment at `i`, a `//` without its newline, or 0 if there is none.

    closed  whether a `*/` may yet come, so that many unclosed `/*` are not each looked after;
            comes back as known now
    """
    if points[i] != SLASH:
        return 0, closed
    after = point_at(points, i + 1)
    if after == SLASH:
        return line_end(points, i), closed
    if after != STAR or not closed:
        return 0, closed
    end = block_end(points, i)
    return end, end > 0
