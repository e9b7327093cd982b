"""Repetitions of groups of 8 characters and more.

A repetition at place i with period p begins with a group and a copy of it, p or p + 1 characters
later: its *gap*. The search goes by levels, of periods from P to below 2 P, from P = 8 on, and
looks for grams of g characters: 4 on the first level, 8 on the second, P // 4 on all others.

- A line is cut into cells of P - g + 1 places. A cell's *anchor* is its last place at which no
  shorter period repeats. If a period of this level repeats at a place of the cell, and no shorter
  one does, then the place is not after the anchor, and the group holds the gram at the anchor. So
  that gram stands again one gap later. Where it does, the equal stretch around the two is measured,
  and from it come the places whose groups have a first copy there; the second and the third copy
  narrow them.
- Nothing is missed: equal grams have equal hashes. Nothing is made up: characters are compared.
- Nothing is quadratic. Two places of the anchor's gram lie more than g // 4 apart: the gram would
  else begin with four times the same, and the anchor would have been marked. So the P places that
  are searched hold the gram some 16 times at most, each is measured in a small multiple of P steps,
  and a line of L characters takes O(L) on each of its log L levels.
"""

from typing import TypeAlias

import numpy as np

from dolmix.document import I64Array, U8Array, U32Array
from dolmix.text.char_repeats_short import LONG
from dolmix.text.char_repeats_units import NEWLINE, UnitArray, is_space
from dolmix.text.compiled import kernel

FIRST_GRAM = 4
"""Characters of the first level's grams; each level has twice as many, the third as the second."""
THIRD_LEVEL = 32
"""Least period of the third level."""
MIX, SPREAD = np.uint32(0x9E3779B1), np.uint32(0x85EBCA6B)
HALF = np.uint32(16)
RUN = 32
"""Grams compared in one go."""
CHUNK = 256
"""Grams hashed in one go."""
HITS = 96
"""Places found before they are looked at in full."""
Level: TypeAlias = tuple[int, int, int, int]
"""Least and largest period, characters in a gram, and the document's number of characters.

Kernels take numbers in plain tuples: numba counts references to arrays in tuples at every call, and
its cache cannot be read any more once a named tuple that it mentions has gone. Of the kernels that
take several arrays, those that are called often call no others that are too large to be inlined, or
every call would count again: `try_hits` is as deep as it is for that."""


@kernel
def mark_long(units: UnitArray, spaces: U8Array, stop: int, by_line: bool, marks: U8Array) -> None:
    """Mark the places at which a long group repeats.

    stop     number of characters, U
    by_line  whether a repetition must end in the line that it starts in
    marks    (>= U,) uint8  in and out; 1 where a repetition starts, as `mark_short` leaves it
    """
    lines = find_lines(units, stop, by_line)
    count = lines.shape[1]
    if count == 0:
        return
    grams = hash_grams(units, stop)
    least, size = LONG, FIRST_GRAM
    while count > 0:
        most = 2 * least - 1
        mark_level(units, spaces, marks, grams, (least, most, size, stop), lines[:, :count])
        least = most + 1
        count = keep_lines(lines, count, least)
        if count > 0 and least != THIRD_LEVEL:
            double_grams(grams, lines[:, :count], size)
            size *= 2


@kernel
def find_lines(units: UnitArray, stop: int, by_line: bool) -> I64Array:
    """Find the lines that have room for a repetition of LONG.

    returns  (4, lines) int64  begin, end, how far a repetition may go, how far its first copy may
    """
    lines = np.empty((4, stop // (LONG + 1) + 1), np.int64)
    count, begin = 0, 0
    for i in range(stop + 1):
        if i < stop and units[i] != NEWLINE:
            continue
        limit = i if by_line else stop
        if begin + LONG <= i and begin + 4 * LONG <= limit:
            lines[0, count], lines[1, count], lines[2, count] = begin, i, limit
            lines[3, count] = min(limit, 2 * i - begin + 1)
            count += 1
        begin = i + 1
    return lines[:, :count]


@kernel
def keep_lines(lines: I64Array, count: int, least: int) -> int:
    """Keep the lines that have room for a period of `least`; return their number."""
    kept = 0
    for n in range(count):
        begin = lines[0, n]
        if begin + least <= lines[1, n] and begin + 4 * least <= lines[2, n]:
            for row in range(4):
                lines[row, kept] = lines[row, n]
            kept += 1
    return kept


@kernel
def hash_grams(units: UnitArray, stop: int) -> U32Array:
    """Hash the FIRST_GRAM characters from each place on.

    returns  (U + RUN,) uint32
    """
    grams = np.zeros(stop + RUN, np.uint32)
    for x in range(stop):
        code = np.uint32(np.uint32(units[x]) * MIX + np.uint32(units[x + 1]))
        code = np.uint32(np.uint32(code * MIX) + np.uint32(units[x + 2]))
        grams[x] = np.uint32(np.uint32(code * MIX) + np.uint32(units[x + 3]))
    return grams


@kernel
def double_grams(grams: U32Array, lines: I64Array, size: int) -> None:
    """Turn hashes of `size` characters into those of twice as many, where lines need them."""
    room = np.empty(CHUNK, np.uint32)
    done = 0
    for n in range(lines.shape[1]):
        for at in range(max(done, lines[0, n]), lines[3, n] - 2 * size + 1, CHUNK):
            done = min(at + CHUNK, lines[3, n] - 2 * size + 1)
            here, there = grams[at:done], grams[at + size : done + size]
            for x in range(here.size):
                code = np.uint32(np.uint32(here[x] * MIX) + there[x])
                room[x] = np.uint32((code ^ (code >> HALF)) * SPREAD)
            for x in range(here.size):
                here[x] = room[x]


@kernel
def mark_level(
    units: UnitArray,
    spaces: U8Array,
    marks: U8Array,
    grams: U32Array,
    level: Level,
    lines: I64Array,
) -> None:
    """Mark the places at which a period of this level repeats, and none below.

    A line without an unmarked place has none on higher levels: it is left without room for any.
    """
    least, most, size, stop = level
    grid = least - size + 1
    hits = np.empty((5, HITS), np.int64)
    count = 0
    for n in range(lines.shape[1]):
        begin, end, limit = lines[0, n], lines[1, n], lines[2, n]
        last = min(end - least, limit - 4 * least)
        lines[2, n] = begin
        for low in range(begin, last + 1, grid):
            anchor = min(low + grid - 1, last)
            while anchor >= low and marks[anchor] != 0:
                anchor -= 1
            if anchor < low:
                continue
            lines[2, n] = limit
            fits = min(most, end - low, (limit - low) // 4)
            cell = (low, anchor, end, fits)
            beyond = min(anchor + fits + 1, stop - size) + 1
            for at in range(anchor + least, beyond, RUN):
                if has_gram(grams, grams[anchor], at):
                    count = add_hits(grams, hits, count, level, cell, (at, min(at + RUN, beyond)))
                if count > HITS - RUN:
                    try_hits(units, spaces, marks, hits[:, :count], least)
                    count = 0
    try_hits(units, spaces, marks, hits[:, :count], least)


@kernel
def has_gram(grams: U32Array, gram: np.uint32, at: int) -> bool:
    """Whether any of RUN hashes from `at` on is `gram`."""
    alike = np.uint32(0)
    w = grams[at : at + RUN]
    # a loop of known length is unrolled, and then no longer made into vector instructions
    for x in range(w.size):
        alike |= np.uint32(w[x] == gram)
    return bool(alike != 0)


@kernel
def add_hits(
    grams: U32Array,
    hits: I64Array,
    count: int,
    level: Level,
    cell: tuple[int, int, int, int],
    places: tuple[int, int],
) -> int:
    """Add the places where a cell's gram stands again to `count` hits; return how many there are.

    cell    first place, anchor, end of the line, largest period that fits
    places  where to look: the first, and the one to stop before

    The last gram that must be equal to the one a gap later must be so too.
    """
    low, anchor, end, fits = cell
    _, _, size, stop = level
    for at in range(places[0], places[1]):
        if grams[at] == grams[anchor]:
            last = max(at - 2 * anchor + low - 1 - size, 0)
            if at + last + size <= stop and grams[anchor + last] == grams[at + last]:
                hits[0, count], hits[1, count], hits[2, count] = low, anchor, at - anchor
                hits[3, count], hits[4, count] = end, fits
                count += 1
    return count


@kernel
def try_hits(units: UnitArray, spaces: U8Array, marks: U8Array, hits: I64Array, least: int) -> None:
    """Mark the places of cells at which a group repeats whose first copy is a given gap later.

    hits   (5, hits) int64  first place of the cell, anchor, gap, end of the line, largest period
    least  smallest period

    Each copy may be spaced or not: eight choices. For one, the places whose groups have the copies
    so far are a range, which every copy narrows.
    """
    for hit in range(hits.shape[1]):
        anchor, gap = hits[1, hit], hits[2, hit]
        stop = anchor + equal_ahead(units, anchor, gap, gap)
        if stop - hits[0, hit] < gap - 1:
            continue
        begin = anchor - equal_behind(units, anchor, gap, anchor - hits[0, hit])
        for w in range(2):
            period = gap - w
            end = min(anchor, min(stop, hits[3, hit]) - period)
            fits = least <= period <= hits[4, hit]
            if not fits or not may_stand(units, spaces, w, begin + period, end + period):
                continue
            for x in range(2):
                step = period + x
                low, high = narrowed(units, spaces, begin + gap, end + gap, (period, x))
                for y in range(2 if low <= high else 0):
                    first, last = narrowed(units, spaces, low + step, high + step, (period, y))
                    for at in range(first, last + 1):
                        i = at - step - gap
                        good = not w or is_space(spaces, units[i + period])
                        good &= not x or is_space(spaces, units[at - x])
                        good &= not y or is_space(spaces, units[at + period])
                        if good:
                            marks[i] = 1
                    if w + x + y == 0 and first <= last:
                        mark_on(units, marks, last - step - gap, period)


@kernel
def mark_on(units: UnitArray, marks: U8Array, i: int, period: int) -> None:
    """Mark the places after `i`, where three copies follow a group, as long as they still do."""
    i += 1
    while (
        marks[i] == 0
        and units[i + period - 1] != NEWLINE
        and units[i + 3 * period - 1] == units[i + 4 * period - 1]
    ):
        marks[i] = 1
        i += 1


@kernel
def narrowed(
    units: UnitArray, spaces: U8Array, low: int, high: int, copy: tuple[int, int]
) -> tuple[int, int]:
    """First and last of some places at which a group has a copy: the last before the first if none.

    low, high  first and last place, not further apart than a period
    copy       the period, and 1 if the copy stands after one whitespace character, which is only
               looked for at any of the places

    They are a range, since every group at these places holds the character at the last of them.
    """
    period, spaced = copy
    first, last = low, low - 1
    if may_stand(units, spaces, spaced, low + period, high + period):
        last = high + equal_ahead(units, high, period + spaced, period) - period
        if low <= last:
            first = high - equal_behind(units, high, period + spaced, high - low)
    return first, last


@kernel
def may_stand(units: UnitArray, spaces: U8Array, spaced: int, low: int, high: int) -> bool:
    """Whether whitespace stands at a place from `low` to `high`; if it need not, whether any is."""
    found = low <= high and spaced == 0
    i = low
    while not found and i <= high:
        found = is_space(spaces, units[i])
        i += 1
    return found


@kernel
def equal_ahead(units: UnitArray, i: int, gap: int, limit: int) -> int:
    """Count, up to `limit`, the characters from `i` on that are equal to those one gap later."""
    k = 0
    while k < limit and units[i + k] == units[i + gap + k]:
        k += 1
    return k


@kernel
def equal_behind(units: UnitArray, i: int, gap: int, limit: int) -> int:
    """Count, up to `limit`, the characters before `i` that are equal to those one gap later."""
    k = 1
    while k <= limit and units[i - k] == units[i + gap - k]:
        k += 1
    return k - 1
