"""Frequent items of a stream in a table of fixed size, and exact counts of chosen ones.

Items are 64-bit hashes. A table of S slots holds at most S / 2 items with a count each; when it is
full, the median count is taken off every item, and those that it takes to zero leave (Misra & Gries
1982, with the batches of Anderson et al. 2017, "A high-performance algorithm for identifying
frequent items in data streams"). Guarantee, for the sum E of what was taken off: an item that
occurs c times is in the table with a count in [c - E, c], or is not in it and c <= E; and E <= 4 N
/ S over N occurrences. Tables add up (`add_items`), and so do their E.

The hash 0 marks a free slot; it is counted as the item 1.
"""

import numpy as np

from dolmix.document import I64Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.words import FNV_PRIME
from dolmix.text.xxh64 import spread

LIVE, ERROR, TOTAL = 0, 1, 2
"""Places in the `state` of a table: items in it, E, and the occurrences N so far."""


@kernel
def add_ngrams(
    hashes: U64Array, ends: I64Array, n: int, table: U64Array, room: U64Array, state: I64Array
) -> None:
    """Count every n-gram of words of every document, overlapping ones too.

    hashes  (W,) uint64       hash of each word, document after document
    ends    (N + 1,) int64    document d has words [ends[d], ends[d + 1])
    table   (S, 2) uint64     item and count of each slot, S a power of two; changed
    room    (S / 4, 2) uint64 scratch
    state   (3,) int64        LIVE, ERROR, TOTAL; changed

    O(n W), amortised. Twin: tests/naive_frequent.py.
    """
    for doc in range(ends.size - 1):
        for i in range(ends[doc], ends[doc + 1] - n + 1):
            _add(ngram_hash(hashes, i, n), np.uint64(1), table, room, state)


@kernel
def add_items(
    items: U64Array, counts: I64Array, table: U64Array, room: U64Array, state: I64Array
) -> None:
    """Count items that occur several times each; arguments as for `add_ngrams`.

    items   (M,) uint64
    counts  (M,) int64   how often each occurs, 1 or more

    O(M), amortised. Twin: tests/naive_frequent.py.
    """
    for i in range(items.size):
        _add(items[i], np.uint64(counts[i]), table, room, state)


@kernel
def read_table(table: U64Array, items: U64Array, counts: I64Array) -> None:
    """Copy the items of a table and their counts, in the order of slots; (LIVE,) each. O(S)."""
    found = 0
    for slot in range(table.shape[0]):
        if table[slot, 0] != 0:
            items[found], counts[found] = table[slot, 0], np.int64(table[slot, 1])
            found += 1


@kernel
def index_items(items: U64Array, slots: U64Array) -> None:
    """Make the index that `count_listed` looks items up in.

    items  (M,) uint64     distinct, none 0
    slots  (S, 2) uint64   out, zeros; S a power of two, 2 M at least

    O(M).
    """
    mask = np.uint64(slots.shape[0] - 1)
    for i in range(items.size):
        slot = items[i] & mask
        while slots[slot, 0] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot, 0], slots[slot, 1] = items[i], np.uint64(i)


@kernel
def count_listed(
    hashes: U64Array, ends: I64Array, n: int, slots: U64Array, counts: I64Array, firsts: I64Array
) -> None:
    """Count the n-grams that an index lists.

    hashes, ends, n as for `add_ngrams`
    slots   (S, 2) uint64  from `index_items`
    counts  (M,) int64     of each item; changed
    firsts  (M,) int64     place of the first word of its first occurrence here; -1 stays where it
                           does not occur

    O(n W). Twin: tests/naive_frequent.py.
    """
    mask = np.uint64(slots.shape[0] - 1)
    for doc in range(ends.size - 1):
        for i in range(ends[doc], ends[doc + 1] - n + 1):
            item = ngram_hash(hashes, i, n)
            slot = item & mask
            while slots[slot, 0] != 0:
                if slots[slot, 0] == item:
                    which = slots[slot, 1]
                    counts[which] += 1
                    if firsts[which] < 0:
                        firsts[which] = i
                    break
                slot = (slot + np.uint64(1)) & mask


@leaf
def ngram_hash(hashes: U64Array, place: int, n: int) -> np.uint64:
    """Hash of the n words from `place` on, in their order; never 0."""
    code = spread(hashes[place])
    for i in range(place + 1, place + n):
        code = spread(code * FNV_PRIME + hashes[i])
    return code if code != 0 else np.uint64(1)


@leaf
def _add(
    item: np.uint64, count: np.uint64, table: U64Array, room: U64Array, state: I64Array
) -> None:
    """Add `count` occurrences of an item; make place where the table is full."""
    mask = np.uint64(table.shape[0] - 1)
    state[TOTAL] += np.int64(count)
    slot = item & mask
    while table[slot, 0] != 0:
        if table[slot, 0] == item:
            table[slot, 1] += count
            return
        slot = (slot + np.uint64(1)) & mask
    table[slot, 0], table[slot, 1] = item, count
    state[LIVE] += 1
    if 2 * state[LIVE] > table.shape[0]:
        _take_off(table, room, state)


@leaf
def _take_off(table: U64Array, room: U64Array, state: I64Array) -> None:
    """Take the median count off every item, and let those go that have no more."""
    off = _median(table, state[LIVE])
    mask = np.uint64(table.shape[0] - 1)
    kept = 0
    for slot in range(table.shape[0]):
        if table[slot, 1] > off:
            room[kept, 0], room[kept, 1] = table[slot, 0], table[slot, 1] - off
            kept += 1
        table[slot, 0], table[slot, 1] = np.uint64(0), np.uint64(0)
    for i in range(kept):
        at = room[i, 0] & mask
        while table[at, 0] != 0:
            at = (at + np.uint64(1)) & mask
        table[at, 0], table[at, 1] = room[i, 0], room[i, 1]
    state[LIVE] = kept
    state[ERROR] += np.int64(off)


@leaf
def _median(table: U64Array, live: int) -> np.uint64:
    """Largest count that at least half of the items reach."""
    low = np.uint64(1)
    while 2 * _reaching(table, low * np.uint64(2)) >= live:
        low *= np.uint64(2)
    high = low * np.uint64(2)
    while high - low > np.uint64(1):
        middle = low + (high - low) // np.uint64(2)
        if 2 * _reaching(table, middle) >= live:
            low = middle
        else:
            high = middle
    return low


@leaf
def _reaching(table: U64Array, count: np.uint64) -> int:
    """Items of a table whose count is `count` or more."""
    found = 0
    for slot in range(table.shape[0]):
        found += table[slot, 1] >= count
    return found
