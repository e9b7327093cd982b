"""Which 64-bit keys were seen before: a set that answers and remembers in one sweep.

`SeenKeys` grows as needed. A key's answer depends on the keys before it alone, so whoever gives
keys in corpus order learns which units are first occurrences.
"""

import numpy as np

from dolmix.document import BoolArray, I64Array, U64Array
from dolmix.text.compiled import kernel
from dolmix.text.xxh64 import spread

SMALLEST = 1 << 10


class SeenKeys:
    """A set of 64-bit keys, by open addressing; 16 to 32 bytes a key."""

    def __init__(self, expected: int = 0) -> None:
        self._slots = _empty(expected)
        self._state = np.zeros(2, np.int64)

    def __len__(self) -> int:
        return int(self._state.sum())

    def add(self, keys: U64Array) -> BoolArray:
        """Add keys in their order; (N,) bool, which were there already, or earlier in `keys`."""
        count = int(self._state[0]) + len(keys)
        if 2 * count > self._slots.size:
            old, self._slots = self._slots, _empty(count)
            move_keys(old, self._slots)
        seen = np.empty(len(keys), np.bool_)
        add_keys(keys, self._slots, self._state, seen)
        return seen


def _empty(expected: int) -> U64Array:
    return np.zeros(1 << max(2 * expected - 1, SMALLEST - 1).bit_length(), np.uint64)


@kernel
def add_keys(keys: U64Array, slots: U64Array, state: I64Array, seen: BoolArray) -> None:
    """Add keys to a table, and tell which it has already.

    keys   (N,) uint64
    slots  (2 ** k,) uint64  the table, more entries than keys; 0 is an empty entry
    state  (2,) int64        keys in the table; 1 if key 0, which has no entry, was added
    seen   (N,) bool         out

    O(N). Twin: a Python set, tests/dolmix/dedup/test_paragraphs.py.
    """
    mask = np.uint64(slots.size - 1)
    for n in range(keys.size):
        key = keys[n]
        if key == 0:
            seen[n] = state[1] > 0
            state[1] = 1
            continue
        at = spread(key) & mask
        while slots[at] != 0 and slots[at] != key:
            at = (at + np.uint64(1)) & mask
        seen[n] = slots[at] == key
        if not seen[n]:
            slots[at] = key
            state[0] += 1


@kernel
def move_keys(old: U64Array, slots: U64Array) -> None:
    """Put the keys of a table into a larger, empty one. O(old entries)."""
    mask = np.uint64(slots.size - 1)
    for n in range(old.size):
        if old[n] == 0:
            continue
        at = spread(old[n]) & mask
        while slots[at] != 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = old[n]
