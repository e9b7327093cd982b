"""Tables of the n-gram model: 64-bit entries, open addressing, and the kernels that read them.

Three kinds: words (unit's hash → id), bigrams and trigrams (ids → log probability, back-off).
Logarithms are whole numbers of 2^-14 bits, so that sums are exact in any order. Keys hold up to
three ids of 21 bits; a key is spread over 64 bits, of which the low 24 mark its entry: an absent
n-gram is taken for a present one once in about ten million look-ups.
"""

from typing import Final

import numpy as np

from dolmix.document import I32Array, I64Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.ngram_model_units import mix

ID_BITS: Final = 21
FIELD_BITS: Final = 20
MARK_SHIFT: Final = np.uint64(2 * FIELD_BITS)
MARK: Final = np.uint64((1 << 24) - 1)
FIELD: Final = np.uint64((1 << FIELD_BITS) - 1)
FIELD_SHIFT: Final = np.uint64(FIELD_BITS)
LARGEST: Final = (1 << FIELD_BITS) - 1
"""Largest -log2 of a probability that an entry holds."""
NEUTRAL: Final = 1 << 18
"""Back-off field of an n-gram that no longer one begins with: a factor of 1."""
WORD_ID: Final = np.uint64((1 << ID_BITS) - 1)
EMPTY: Final = np.uint64(0)
FULLEST: Final = 0.6
"""Share of a table's places that hold an entry, at most."""


@leaf
def bigram_key(first: int, second: int) -> np.uint64:
    """Key of two ids."""
    return np.uint64(first) << np.uint64(ID_BITS) | np.uint64(second)


@leaf
def trigram_key(first: int, second: int, third: int) -> np.uint64:
    """Key of three ids."""
    return np.uint64(first) << np.uint64(2 * ID_BITS) | bigram_key(second, third)


@leaf
def find(table: U64Array, key: np.uint64) -> np.uint64:
    """Entry of an n-gram, EMPTY where the table has none.

    table  (2^k,) uint64
    """
    mixed = mix(key)
    mark = mixed & MARK
    if mark == EMPTY:
        mark = np.uint64(1)
    last = np.uint64(table.size - 1)
    place = (mixed >> np.uint64(24)) & last
    while True:
        entry: np.uint64 = table[np.int64(place)]
        if entry == EMPTY or entry >> MARK_SHIFT == mark:
            return entry
        place = (place + np.uint64(1)) & last


@leaf
def cost_of(entry: np.uint64) -> int:
    """-log2 of the probability of an entry, in 2^-14 bits."""
    return int(np.int64((entry >> FIELD_SHIFT) & FIELD))


@leaf
def back_off_of(entry: np.uint64) -> int:
    """-log2 of the back-off factor of an entry, in 2^-14 bits; may be negative."""
    return int(np.int64(entry & FIELD)) - NEUTRAL


@leaf
def find_word(words: U64Array, unit: np.uint64) -> int:
    """Id of a unit by its hash, 1 (unknown) where the table has none.

    words  (2^k,) uint64: the hash's high 43 bits, and the id below them
    """
    last = np.uint64(words.size - 1)
    place = unit & last
    while True:
        entry = words[np.int64(place)]
        if entry == EMPTY:
            return 1
        if (entry ^ unit) & ~WORD_ID == EMPTY:
            return int(np.int64(entry & WORD_ID))
        place = (place + np.uint64(1)) & last


def ngram_table(keys: U64Array, costs: I64Array, back_offs: I64Array | None = None) -> U64Array:
    """Make a table of n-grams.

    keys       (N,) uint64, ascending, none twice
    costs      (N,) int64   -log2 of probabilities, in 2^-14 bits, in [0, LARGEST]
    back_offs  (N,) int64   -log2 of back-off factors; None: no n-gram has one

    returns    (2^k,) uint64
    """
    fields = np.full(keys.size, NEUTRAL, np.int64)
    if back_offs is not None:
        fields += back_offs
    values = costs.astype(np.uint64) << FIELD_SHIFT | fields.astype(np.uint64)
    table = np.zeros(table_size(keys.size), np.uint64)
    _fill(table, keys, values)
    return table


def word_table(hashes: U64Array) -> U64Array:
    """Make the table of words: the n-th hash gets id n + 2."""
    table = np.zeros(table_size(hashes.size), np.uint64)
    _fill_words(table, hashes, np.arange(2, hashes.size + 2, dtype=np.int32))
    return table


def table_size(count: int) -> int:
    """Places of a table for so many entries: a power of two."""
    return 1 << max(4, int(count / FULLEST).bit_length())


@kernel
def _fill(table: U64Array, keys: U64Array, values: U64Array) -> None:
    last = np.uint64(table.size - 1)
    for n in range(keys.size):
        mixed = mix(keys[n])
        mark = max(mixed & MARK, np.uint64(1))
        place = (mixed >> np.uint64(24)) & last
        while table[np.int64(place)] != EMPTY:
            place = (place + np.uint64(1)) & last
        table[np.int64(place)] = mark << MARK_SHIFT | values[n]


@kernel
def _fill_words(table: U64Array, hashes: U64Array, ids: I32Array) -> None:
    last = np.uint64(table.size - 1)
    for n in range(hashes.size):
        place = hashes[n] & last
        while table[np.int64(place)] != EMPTY:
            place = (place + np.uint64(1)) & last
        table[np.int64(place)] = (hashes[n] & ~WORD_ID) | np.uint64(ids[n])
