"""Units of text that the n-gram model counts: words, signs, single characters, ends of lines.

A word is a run of letters and digits, an apostrophe between letters included; capitals are folded
(Latin, Greek, Cyrillic) and every digit is a 0. Any other sign is a unit, and so is each character
of scripts that put no spaces between words. White space is none; line breaks, however many, are one
unit, the boundary. Twin: tests/naive_ngram.py.
"""

from typing import Final

import numpy as np

from dolmix.document import U8Array
from dolmix.text.compiled import leaf

END: Final = np.uint64(0)
"""In place of a unit's hash: the text is over."""
BOUNDARY: Final = np.uint64(1)
"""In place of a unit's hash: one line or more ended."""
LONGEST: Final = 32
"""Characters of a word; a longer run is several units."""
OFFSET: Final = np.uint64(0xCBF29CE484222325)
PRIME: Final = np.uint64(0x100000001B3)
APOSTROPHE: Final = 39
RIGHT_QUOTE: Final = 0x2019
SPACE, NEWLINE, SIGN, LETTER = 0, 1, 2, 3


def _fold_table() -> U8Array:
    """(128,) uint8: letters in lower case, 48 for digits, 0 for all else."""
    table = np.zeros(128, np.uint8)
    for byte in range(128):
        if chr(byte).isalnum():
            table[byte] = 48 if chr(byte).isdigit() else ord(chr(byte).lower())
    return table


FOLD: Final = _fold_table()
KINDS: Final = np.array(
    [
        LETTER if FOLD[b] else NEWLINE if b == 10 else SPACE if b <= 32 or b == 127 else SIGN
        for b in range(128)
    ],
    np.uint8,
)
"""(128,) uint8: kinds of ASCII characters."""


@leaf
def next_unit(text: U8Array, at: int, stop: int) -> tuple[np.uint64, int, int]:
    """Find the next unit of `text[at:stop]`.

    text     (L,) uint8    UTF-8
    returns  its hash (or END, BOUNDARY), where it starts, where it ends

    Line breaks at the end of the text are no unit.
    """
    broken = False
    while at < stop:
        if text[at] < 128:
            point, width = int(text[at]), 1
            kind = int(KINDS[point])
        else:
            point, width = _point(text, at)
            kind = _kind(point)
        if kind > NEWLINE:
            if broken:
                return BOUNDARY, at, at
            if kind == LETTER:
                return _word(text, at, stop)
            return _hash(_mixed_in(OFFSET, point)), at, at + width
        broken = broken or kind == NEWLINE
        at += width
    return END, stop, stop


@leaf
def _word(text: U8Array, at: int, stop: int) -> tuple[np.uint64, int, int]:
    """Read the word that starts at `at`, as `next_unit` does."""
    start = at
    value = OFFSET
    for _ in range(LONGEST):
        if at >= stop:
            break
        byte = text[at]
        if byte < 128 and FOLD[byte] != 0:
            value = _mixed_in(value, int(FOLD[byte]))
            at += 1
            continue
        point, width = _point(text, at)
        if point in (APOSTROPHE, RIGHT_QUOTE):
            after = at + width
            if at == start or after >= stop or _kind(_point(text, after)[0]) != LETTER:
                break
            point = APOSTROPHE
        elif _kind(point) != LETTER:
            break
        value = _mixed_in(value, _folded(point))
        at += width
    return _hash(value), start, at


@leaf
def _point(text: U8Array, at: int) -> tuple[int, int]:
    """Code point at a place of valid UTF-8, and its bytes."""
    first = int(text[at])
    if first < 0x80:
        return first, 1
    if first < 0xE0:
        return (first & 0x1F) << 6 | (text[at + 1] & 0x3F), 2
    if first < 0xF0:
        return (first & 0x0F) << 12 | (text[at + 1] & 0x3F) << 6 | (text[at + 2] & 0x3F), 3
    high = (first & 0x07) << 18 | (text[at + 1] & 0x3F) << 12
    return high | (text[at + 2] & 0x3F) << 6 | (text[at + 3] & 0x3F), 4


@leaf
def _kind(point: int) -> int:
    """SPACE, NEWLINE, SIGN (a unit of its own) or LETTER."""
    if point < 0x80:
        return int(KINDS[point])
    if point < 0xC0:
        return SPACE if point in (0x85, 0xA0, 0xAD) else SIGN
    if point < 0x2000:
        return _kind_of_letters(point)
    if point < 0x2C00:
        return _kind_of_signs(point)
    return LETTER if point < 0x2E00 else SIGN


@leaf
def _kind_of_letters(point: int) -> int:
    """Kind of a code point in [0xC0, 0x2000): letters, but for a few signs."""
    if point in (0xD7, 0xF7, 0x60C, 0x61B, 0x61F, 0x6D4, 0x964, 0x965):
        return SIGN
    unspaced = 0xE00 <= point < 0xF00 or 0x1000 <= point < 0x10A0 or 0x1780 <= point < 0x1800
    return SIGN if unspaced else LETTER


@leaf
def _kind_of_signs(point: int) -> int:
    """Kind of a code point in [0x2000, 0x2C00): signs, but for spaces and joiners."""
    if point in (0x2028, 0x2029):
        return NEWLINE
    if point in (0x200C, 0x200D):
        return LETTER
    blank = point <= 0x200F or point in (0x202F, 0x205F, 0x2060)
    return SPACE if blank else SIGN


@leaf
def _folded(point: int) -> int:
    """Small letter of a capital; of ASCII, Latin-1, Greek and Cyrillic alone. 0 for a digit."""
    if point < 0x80:
        return int(FOLD[point]) if FOLD[point] != 0 else point
    small = 0xC0 <= point <= 0xDE or 0x391 <= point <= 0x3A9 or 0x410 <= point <= 0x42F
    if small:
        return point + 0x20
    return point + 0x50 if 0x400 <= point <= 0x40F else point


@leaf
def _mixed_in(value: np.uint64, point: int) -> np.uint64:
    """Add a code point to a hash (FNV-1a over code points)."""
    return (value ^ np.uint64(point)) * PRIME


@leaf
def _hash(value: np.uint64) -> np.uint64:
    """Finish a hash; never END or BOUNDARY."""
    mixed = mix(value)
    return mixed if mixed > BOUNDARY else np.uint64(2)


@leaf
def mix(value: np.uint64) -> np.uint64:
    """Spread the bits of a key over 64 (SplitMix64's finaliser, a bijection)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))
