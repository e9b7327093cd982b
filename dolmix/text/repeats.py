"""Repeated elements of a document: lines, paragraphs, words, n-grams of words.

Elements are known by 64-bit hashes. A table finds equal ones by open addressing: an entry is the
place of an element's first occurrence, so whole hashes are compared and nothing is lost beyond
them. A table is used for one document after another without being cleared: each use numbers its
entries from a `base` above those of all uses before, and lower entries count as empty.

Scratch of usual size is kept by each thread and used again: to touch fresh memory costs more than
to fill it.
"""

import sys
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dolmix.document import I32Array, I64Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import SPREAD

FULL = 2**31 - 1
"""Entries of a table stay below this; beyond, the table is cleared and starts again."""
KEPT_BYTES = 1 << 24
"""A scratch array up to this size is kept for the thread's next call."""
LENT, LENT_BYTES = 2, 1 << 25
"""Arrays of one name that a thread keeps, and the largest that it does."""


class Tables(NamedTuple):
    """What `identify` works with, for up to E elements.

    slots   (2 ** k,) int32   the table, 2 * E entries or more
    base    (1,) int64        entries below it are empty
    ids     (>= E,) int32     place of the first element equal to each
    counts  (>= E,) int32     occurrences, at the place of the first
    """

    slots: I32Array
    base: I64Array
    ids: I32Array
    counts: I32Array


class _Kept(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[str, NDArray[Any]] = {}
        self.lent: dict[str, list[NDArray[Any]]] = {}


def _references(arrays: list[NDArray[Any]]) -> list[int]:
    """Count the references to each of some arrays, those of this count included."""
    return [sys.getrefcount(array) for array in arrays]


_KEPT = _Kept()
UNUSED = _references([np.empty(1)])[0]
"""References to an array of `lent` that nobody holds; how Python counts differs by version."""


def scratch(name: str, size: int, dtype: DTypeLike) -> NDArray[Any]:
    """Give an array of at least `size` values, zeros or what the thread's last user left there.

    Whoever asks for the same name again in a thread gets the same memory: a kernel's caller asks
    right before the call and keeps nothing.
    """
    found = _KEPT.arrays.get(name)
    if found is None or found.size < size:
        room = max(size, 1024)
        if room * np.dtype(dtype).itemsize * 2 <= KEPT_BYTES:
            room *= 2  # the next document may be longer
        found = np.zeros(room, dtype)
        if found.nbytes <= KEPT_BYTES:
            _KEPT.arrays[name] = found
    return found


def lent(name: str, size: int, dtype: DTypeLike) -> NDArray[Any]:
    """Give an array of at least `size` values, of any content, for as long as it is held.

    Its memory is that of an array of the same name that the thread asked for before, once nobody
    holds that one or a view of it.
    """
    kept = _KEPT.lent.setdefault(name, [])
    for n, references in enumerate(_references(kept)):
        if references == UNUSED and kept[n].size >= size:
            return kept[n]
    found = np.empty(max(size, 1024), dtype)
    if found.nbytes <= LENT_BYTES:
        kept.insert(0, found)
        del kept[LENT:]
    return found


def tables(most: int) -> Tables:
    """Scratch for `identify` on up to `most` elements."""
    slots = scratch("slots", 1 << max(2 * most - 1, 1).bit_length(), np.int32)
    kept = slots is _KEPT.arrays.get("slots")
    base = scratch("base", 1, np.int64) if kept else np.zeros(1, np.int64)
    base[0] = max(base[0], 1)
    return Tables(
        slots,
        base,
        scratch("ids", most, np.int32),
        scratch("counts", most, np.int32),
    )


def longest_part(ends: I64Array) -> int:
    """Most elements that a document has."""
    return int(np.diff(ends).max(initial=0))


def duplicate_sums(hashes: U64Array, weights: I64Array, ends: I64Array) -> I64Array:
    """Count the elements that occur more than once in their document, every occurrence included.

    hashes   (M,) uint64     one hash an element
    weights  (M,) int64      weight of each element (characters of a line)
    ends     (N + 1,) int64  document n has elements [ends[n], ends[n + 1])
    returns  (2, N) int64    repeated occurrences; sum of their weights

    Twin: tests/naive.py `duplicate_sums`.
    """
    return sum_repeated(hashes, weights, ends, tables(longest_part(ends)), later=False)


def later_sums(hashes: U64Array, weights: I64Array, ends: I64Array) -> I64Array:
    """Count the elements that are equal to an earlier one of their document.

    hashes, weights, ends as in `duplicate_sums`
    returns  (2, N) int64    second and later occurrences; sum of their weights

    Twin: tests/naive_repetition.py `later_sums`.
    """
    return sum_repeated(hashes, weights, ends, tables(longest_part(ends)), later=True)


def top_counts(hashes: U64Array, ends: I64Array) -> I64Array:
    """Count the most and the second most frequent element of each document.

    hashes, ends as in `duplicate_sums`
    returns  (2, N) int64    occurrences of the first and of the second; 0 where there is none

    Twin: tests/naive.py `top_counts`.
    """
    return count_top(hashes, ends, tables(longest_part(ends)))


@kernel
def sum_repeated(
    hashes: U64Array, weights: I64Array, ends: I64Array, table: Tables, later: bool
) -> I64Array:
    """Sum the repeated elements; `later` leaves out the first occurrence of each. O(M)."""
    sums = np.zeros((2, ends.size - 1), np.int64)
    ids, counts = table.ids, table.counts
    for n in range(ends.size - 1):
        begin = ends[n]
        part = hashes[begin : ends[n + 1]]
        identify(part, part.size, table)
        found, weight = 0, np.int64(0)
        for i in range(part.size):
            # both sides are read always: a branch here compiles to slow masked loads
            repeats = (ids[i] != i) | ((counts[i] > 1) & (not later))
            found += repeats
            weight += weights[begin + i] * repeats
        sums[0, n], sums[1, n] = found, weight
    return sums


@kernel
def count_top(hashes: U64Array, ends: I64Array, table: Tables) -> I64Array:
    """Find the two largest counts. O(M)."""
    top = np.zeros((2, ends.size - 1), np.int64)
    ids, counts = table.ids, table.counts
    for n in range(ends.size - 1):
        part = hashes[ends[n] : ends[n + 1]]
        identify(part, part.size, table)
        for i in range(part.size):
            if ids[i] != i:
                continue
            count = np.int64(counts[i])
            if count > top[0, n]:
                top[0, n], top[1, n] = count, top[0, n]
            elif count > top[1, n]:
                top[1, n] = count
    return top


@kernel
def sum_parts(values: I32Array | I64Array, ends: I64Array) -> I64Array:
    """Sum each document's values: (N,) int64.

    values   (M,) integers   one value an element
    ends     (N + 1,) int64  document n has elements [ends[n], ends[n + 1])
    """
    sums = np.zeros(ends.size - 1, np.int64)
    for n in range(ends.size - 1):
        total = np.int64(0)
        for i in range(ends[n], ends[n + 1]):
            total += values[i]
        sums[n] = total
    return sums


@leaf
def identify(elements: U64Array, size: int, table: Tables) -> None:
    """Find each element's first occurrence, and count it there: into `ids` and `counts`.

    elements  (>= size,) uint64  one hash an element
    """
    slots, ids, counts = table.slots, table.ids, table.counts
    base = fresh_base(slots, table.base, size)
    shift, mask = spread_of(size)
    before, which, run = np.uint64(0), np.int64(-1), 0
    for i in range(size):
        key = elements[i]
        if key == before and which >= 0:  # runs of equal elements are common
            ids[i] = which
            run += 1
            continue
        if run > 0:
            counts[which] += run
            run = 0
        before = key
        at = np.int64(((key ^ (key >> np.uint64(32))) * SPREAD) >> shift)
        while True:
            which = np.int64(slots[at]) - base
            if which < 0:
                slots[at] = base + i
                which = np.int64(i)
                ids[i], counts[i] = i, 1
                break
            if elements[which] == key:
                ids[i] = which
                counts[which] += 1
                break
            at = (at + 1) & mask
    if run > 0:
        counts[which] += run


@leaf
def fresh_base(slots: I32Array, base: I64Array, size: int) -> np.int64:
    """Take `size` numbers for entries of a table, above all that it holds; the first of them."""
    if base[0] + size >= FULL:
        for i in range(slots.size):
            slots[i] = 0
        base[0] = 1
    base[0] += size
    return np.int64(base[0] - size)


@leaf
def spread_of(size: int) -> tuple[np.uint64, int]:
    """Shift and mask that spread 64-bit products over a table for `size` elements."""
    bits = 1
    while (1 << bits) < 2 * size:
        bits += 1
    return np.uint64(64 - bits), (1 << bits) - 1


@leaf
def mark_twice(keys: U64Array, size: int, marks: U64Array) -> np.uint64:
    """Mark which of `size` keys may occur twice; `seen_twice` asks, with the shift returned.

    keys   (>= size,) uint64          hashes, spread well over all 64 bits
    marks  (>= max(size, 2),) uint64  scratch; 32 places of two bits in each, 16 a key or more

    A place counts the keys that fall on it, up to two. Equal keys share a place, so that none of
    them is missed; one in 16 others shares one by chance.
    """
    bits = 1
    while (1 << bits) < size // 2:
        bits += 1
    for i in range(1 << bits):
        marks[i] = 0
    shift = np.uint64(64 - bits)
    before, run = np.uint64(0), 0
    for i in range(size):
        key = keys[i]
        run = run + 1 if key == before else 0
        if run > 1:  # to mark one place over and over is to wait for it each time
            continue
        before = key
        at = np.int64(key >> shift)
        place = (key << np.uint64(1)) & np.uint64(62)
        seen = marks[at] >> place & np.uint64(1)
        marks[at] |= (np.uint64(1) << seen) << place
    return shift


@leaf
def seen_twice(key: np.uint64, marks: U64Array, shift: np.uint64) -> bool:
    """Whether a key may occur twice; False is certain."""
    place = (key << np.uint64(1)) & np.uint64(62)
    return bool(marks[np.int64(key >> shift)] >> place & np.uint64(2))
