"""Documents as units: one array element a character, so that equal characters are equal numbers.

Repetition asks only which characters are equal and which are whitespace. A document of ASCII and
up to 127 further characters, as nearly every one in an alphabetic script, is held in bytes, each
further character under a number of its own; any other is held as its code points.
"""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.document import U8Array, U32Array
from dolmix.text.characters import decode
from dolmix.text.compiled import kernel

UnitArray: TypeAlias = NDArray[Any]
"""Characters of a document, uint8 or uint32."""

PAD = 128
"""Elements after the last unit, equal to no unit: no search for a mismatch needs bounds."""
NEWLINE = 10
TOO_MANY = -1
"""What `narrow_units` returns for a document of too many different characters."""
ASCII, NAMES = 128, 127
"""Numbers that stand for themselves, and numbers given to further characters; 255 is the pad."""
LAST_SPACE = 0x3000
"""Highest code point that is whitespace."""
POINTS = 0x110000


def space_table(*, newline: bool) -> U8Array:
    r"""One byte a code point: 1 where it is whitespace (`str.isspace`, as `\s`).

    newline  whether the newline counts
    returns  (12290,) uint8, up to the last whitespace, U+3000, and a 0
    """
    table = np.fromiter((chr(c).isspace() for c in range(LAST_SPACE + 2)), np.uint8)
    table[NEWLINE] = newline
    return table


@kernel
def narrow_units(
    utf8: U8Array, space_points: U8Array, names: U8Array, units: U8Array, spaces: U8Array
) -> int:
    """Write a document as bytes; return its number of characters U, or TOO_MANY.

    utf8          (B,) uint8          the document
    space_points  (12290,) uint8      `space_table`
    names         (POINTS,) uint8     all 0, before and after: the number a character goes by
    units         (>= B + PAD,) uint8 out; units and the pad
    spaces        (256,) uint8        out; which units are whitespace

    O(B). Twin: tests/naive_char_repetition.py `units`.
    """
    for c in range(ASCII):
        spaces[c] = space_points[c]
    points = np.empty(NAMES, np.int64)
    i, known, count = 0, 0, 0
    while i < utf8.size:
        unit = utf8[i]
        if unit < ASCII:
            i += 1
        else:
            point, i = decode(utf8, i, utf8.size)
            unit = names[point]
            if unit == 0:
                if known == NAMES:
                    count = TOO_MANY
                    break
                unit = names[point] = np.uint8(ASCII + known)
                spaces[unit] = is_space(space_points, point)
                points[known] = point
                known += 1
        units[count] = unit
        count += 1
    for k in range(known):
        names[points[k]] = 0
    if count != TOO_MANY:
        for k in range(count, count + PAD):
            units[k] = 255
    return count


@kernel
def wide_units(utf8: U8Array, units: U32Array) -> int:
    """Write a document as code points; return its number of characters U.

    utf8   (B,) uint8            the document
    units  (>= B + PAD,) uint32  out; units and the pad
    """
    i, count = 0, 0
    while i < utf8.size:
        point = int(utf8[i])
        if point < ASCII:
            i += 1
        else:
            point, i = decode(utf8, i, utf8.size)
        units[count] = point
        count += 1
    for k in range(count, count + PAD):
        units[k] = 0xFFFFFFFF
    return count


@kernel
def is_space(spaces: U8Array, unit: int) -> bool:
    """Whether a unit is whitespace that may stand before a copy."""
    return bool(spaces[min(unit, spaces.size - 1)] != 0)
