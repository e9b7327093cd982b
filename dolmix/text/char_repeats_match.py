r"""Does a repetition start here, and how far does it go: the regular expression, step by step.

A match of `(.+?)(\s?\1){3,}` at place i with period p is a group of p characters without a newline
and at least three copies of it, each with or without one whitespace character before it. The
expression tries with the space first, goes back on such a choice only while there are fewer than
three copies, and takes what comes after the third.

Here as in the other modules, `units` are the characters of a document and their pad, uint8 or
uint32, and `spaces` tells which of them are whitespace, by unit.
"""

from dolmix.document import U8Array
from dolmix.text.char_repeats_units import UnitArray, is_space
from dolmix.text.compiled import kernel


@kernel
def shortest_period(units: UnitArray, spaces: U8Array, i: int, most: int) -> int:
    """Smallest period up to `most` that repeats at `i`, where some period does."""
    period = 1
    while period < most and third_copy(units, spaces, i, period) < 0:
        period += 1
    return period


@kernel
def third_copy(units: UnitArray, spaces: U8Array, i: int, period: int) -> int:
    """End of the third copy of the group at `i`, as the expression finds it; -1 without one.

    The group must hold no newline and end within the document.
    """
    for w in range(1, -1, -1):
        first = copy_end(units, spaces, (i, period), i + period, w)
        if first < 0:
            continue
        for x in range(1, -1, -1):
            second = copy_end(units, spaces, (i, period), first, x)
            if second < 0:
                continue
            for y in range(1, -1, -1):
                third = copy_end(units, spaces, (i, period), second, y)
                if third >= 0:
                    return third
    return -1


@kernel
def last_copy(units: UnitArray, spaces: U8Array, i: int, period: int, at: int) -> int:
    """End of the whole match, from the end `at` of its third copy."""
    while True:
        end = copy_end(units, spaces, (i, period), at, 1)
        if end < 0:
            end = copy_end(units, spaces, (i, period), at, 0)
        if end < 0:
            return at
        at = end


@kernel
def copy_end(
    units: UnitArray, spaces: U8Array, group: tuple[int, int], at: int, spaced: int
) -> int:
    """End of a copy of the group (place, period) at `at`, after whitespace if `spaced`; or -1."""
    i, period = group
    if spaced and not is_space(spaces, units[at]):
        return -1
    start = at + spaced
    for k in range(period):
        if units[start + k] != units[i + k]:
            return -1
    return start + period


@kernel
def occurrences(units: UnitArray, i: int, period: int, end: int) -> int:
    """Count the group at `i` in the match that ends at `end`, without overlap: the match's score.

    Between two copies stands one character at most, so that this is linear in the match.
    """
    count, at = 0, i
    while at + period <= end:
        k = 0
        while k < period and units[at + k] == units[i + k]:
            k += 1
        count += k == period
        at += period if k == period else 1
    return count
