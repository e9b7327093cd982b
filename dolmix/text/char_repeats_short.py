"""Repetitions of groups of fewer than 8 characters.

Two passes over the places of a document, 32 at a time. The first compiles to vector instructions
and tells whether a few characters that must be equal are equal anywhere among them, as they are in
one of ten such blocks of English text. The second is exact: one bit a place, so that a few shifts
follow three copies of every group at once.
"""

import numpy as np

from dolmix.document import U8Array, U64Array
from dolmix.text.char_repeats_units import NEWLINE, UnitArray, is_space
from dolmix.text.compiled import kernel

LONG = 8
"""First period that is not looked for here."""
RUN = 32
"""Places looked at in one go."""
ONE = np.uint64(1)


@kernel
def mark_short(units: UnitArray, spaces: U8Array, stop: int, marks: U8Array) -> None:
    """Mark the places at which a repetition of a short group starts.

    stop   number of characters, U
    marks  (>= U + RUN,) uint8  out; 1 at such a place, 0 at any other of the document

    O(U), whatever the text.
    """
    equal = np.zeros(LONG + 1, np.uint64)
    for at in range(0, stop, RUN):
        starts = np.uint64(0)
        if maybe_short(units, at):
            starts = short_starts(units, spaces, at, equal)
        for x in range(RUN):
            marks[at + x] = np.uint8((starts >> np.uint64(x)) & ONE)


@kernel
def maybe_short(units: UnitArray, at: int) -> bool:
    """Whether a short group may repeat at any of RUN places.

    Of the characters that must be equal it compares: all that three copies of one or two characters
    must equal; the first copy of three; four characters of the first copy of more. A copy stands p
    or p + 1 characters after the one before.
    """
    found = False
    w = units[at : at + RUN + 12]
    for x in range(RUN):
        a, b, c, d = w[x], w[x + 1], w[x + 2], w[x + 3]
        e, f, g, h = w[x + 4], w[x + 5], w[x + 6], w[x + 7]
        i, j, k, l = w[x + 8], w[x + 9], w[x + 10], w[x + 11]  # noqa: E741 - the twelfth
        ac, ad, ae, af, ag = a == c, a == d, a == e, a == f, a == g
        hit = (a == b) & ((ac & (ad | ae)) | (ad & (ae | af)))
        hit |= ac & ((ad & (ae | af)) | (ae & (af | ag)))
        ab3, ab4, ab5 = ad & (b == e), ae & (b == f), af & (b == g)
        hit |= (ac & (b == d) & (ab4 | ab5)) | (ab3 & (ab5 | (ag & (b == h))))
        abc4 = ab4 & (c == g)
        hit |= ((ab3 & (c == f)) | abc4) & (ag | (a == h) | (a == i))
        hit |= abc4 & (d == h)
        hit |= ab5 & (c == h) & (d == i)
        hit |= ag & (b == h) & (c == i) & (d == j)
        hit |= (a == h) & (b == i) & (c == j) & (d == k)
        hit |= (a == i) & (b == j) & (c == k) & (d == l)
        found |= hit
    return found


@kernel
def short_starts(units: UnitArray, spaces: U8Array, at: int, equal: U64Array) -> np.uint64:
    """Bit x of the result: whether a repetition with a period below LONG starts at `at + x`.

    equal  (LONG + 1,) uint64  scratch: bit x of entry d, whether the units at x and x + d are equal

    Bits up to RUN - 1 are right: a repetition is followed for 23 more.
    """
    space, newline = np.uint64(0), np.uint64(0)
    w = units[at : at + 64 + LONG]
    for x in range(64):
        newline |= np.uint64(w[x] == NEWLINE) << np.uint64(x)
        space |= np.uint64(is_space(spaces, w[x])) << np.uint64(x)
    for gap in range(1, LONG + 1):
        bits = np.uint64(0)
        for x in range(64):
            bits |= np.uint64(w[x] == w[x + gap]) << np.uint64(x)
        equal[gap] = bits
    starts, broken = np.uint64(0), np.uint64(0)
    for period in range(1, LONG):
        p = np.uint64(period)
        broken |= newline >> (p - ONE)
        plain, spaced = equal[period], equal[period + 1]
        for y in range(1, period):
            plain &= equal[period] >> np.uint64(y)
            spaced &= equal[period + 1] >> np.uint64(y)
        spaced &= space >> p
        copies = plain | spaced
        for _ in range(2):
            copies = (plain & (copies >> p)) | (spaced & (copies >> (p + ONE)))
        starts |= copies & ~broken
    return starts
