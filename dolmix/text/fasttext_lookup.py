"""Rows of a model's input matrix by bucket and by word, small enough to stay in a near cache.

A pruned model keeps few of its buckets. Which ones is a bit each; how many bits are set before one
is its row, so rows are put in that order. fastText's own map of buckets to rows takes megabytes.
"""

import numpy as np

from dolmix.document import I32Array, I64Array, U32Array, U64Array
from dolmix.text.compiled import leaf
from dolmix.text.fasttext_tables import FIRST_BUCKET, FIRST_WORD, NOWHERE, Lookup

ONE = np.uint64(1)
PAIRS, FOURS = np.uint64(0x5555555555555555), np.uint64(0x3333333333333333)
EIGHTS, ONES = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101)


def whole_lookup(words: int, buckets: int) -> Lookup:
    """Look rows up in a model that has them all: words, then buckets."""
    firsts = np.array([words, 0, 2**32 - 1], np.uint32)
    none = np.zeros(0, np.uint64)
    return Lookup(firsts, _division(buckets), none, none.astype(np.uint32))


def pruned_lookup(words: int, buckets: int, pairs: I32Array) -> tuple[Lookup, I64Array]:
    """Look rows up in a model that has some buckets.

    pairs  (K, 2) int32  bucket, and its row after those of the words; a bucket's last holds

    returns  the lookup, and (R,) int64: which row of the file each row is to be
    """
    first_word = buckets // 64 * 64 + 64
    # the last pair of a bucket comes first in reverse
    kept, last = np.unique(pairs[::-1, 0], return_index=True)
    places = np.concatenate([kept.astype(np.int64), first_word + np.arange(words)])
    bits = np.zeros((first_word + words) // 64 + 1, np.uint64)
    np.bitwise_or.at(bits, places >> 6, ONE << (places & 63).astype(np.uint64))
    counts = np.bitwise_count(bits).astype(np.uint32)
    firsts = np.array([0, first_word, buckets], np.uint32)
    order = np.concatenate([words + pairs[::-1, 1][last].astype(np.int64), np.arange(words)])
    ranks = (np.cumsum(counts, dtype=np.uint32) - counts).astype(np.uint32)
    return Lookup(firsts, _division(buckets), bits, ranks), order


def _division(buckets: int) -> U64Array:
    """(3,) uint64: a divisor d, m and s, so that for 32-bit x, x * m >> s is x // d or one less."""
    divisor = max(buckets, 1)
    shift = 31 + divisor.bit_length()
    return np.array([divisor, min((1 << shift) // divisor, 2**32 - 1), shift], np.uint64)


@leaf
def remainder(hashed: np.uint32, division: tuple[np.uint32, np.uint64, np.uint64]) -> np.uint32:
    """Give the remainder of a division by the number of buckets, without dividing."""
    divisor, factor, shift = division
    quotient = np.uint32(np.uint64(hashed) * factor >> shift)
    left = np.uint32(hashed - np.uint32(quotient * divisor))
    # below twice the divisor; taking it off once too often gives a very large number
    return min(left, np.uint32(left - divisor))


@leaf
def divisor_of(lookup: Lookup) -> tuple[np.uint32, np.uint64, np.uint64]:
    """Give what `remainder` divides by."""
    return np.uint32(lookup.division[0]), lookup.division[1], lookup.division[2]


@leaf
def _count_bits(bits: np.uint64) -> np.uint64:
    """Count bits that are set; compiles to one instruction where there is one."""
    bits -= bits >> ONE & PAIRS
    bits = (bits & FOURS) + (bits >> np.uint64(2) & FOURS)
    return ((bits + (bits >> np.uint64(4)) & EIGHTS) * ONES) >> np.uint64(56)


@leaf
def _has_row(place: np.uint32, kept: U64Array) -> np.uint64:
    """Give 1 if a place of a pruned model has a row, else 0."""
    word: np.uint64 = kept[place >> np.uint32(6)]
    return word >> np.uint64(place & np.uint32(63)) & ONE


@leaf
def _keep(places: U32Array, shape: tuple[int, int, int], kept: U64Array, rows: I32Array) -> int:
    """List the places that have a row, without a branch: most have none, and none foretells it.

    shape  how many columns, how many places in each, and how far the next row of places is
    """
    columns, slots, step = shape
    count = np.uint64(0)
    for i in range(np.uint64(columns)):
        k = np.uint64(i)
        for _ in range(slots):
            rows[count] = np.int32(places[k])
            count += _has_row(places[k], kept)
            k += np.uint64(step)
    return int(count)


@leaf
def _keep_three(places: U32Array, columns: int, step: int, kept: U64Array, rows: I32Array) -> int:
    """As `_keep`, of three places a column, as models of languages have."""
    second, third, count = np.uint64(step), np.uint64(2 * step), np.uint64(0)
    for i in range(np.uint64(columns)):
        place = places[i]
        rows[count] = np.int32(place)
        count += _has_row(place, kept)
        place = places[i + second]
        rows[count] = np.int32(place)
        count += _has_row(place, kept)
        place = places[i + third]
        rows[count] = np.int32(place)
        count += _has_row(place, kept)
    return int(count)


@leaf
def _keep_any(
    places: U32Array, shape: tuple[int, int, int], nowhere: np.uint32, rows: I32Array
) -> int:
    """As `_keep`, of a model that has all rows."""
    columns, slots, step = shape
    count = np.uint64(0)
    for i in range(np.uint64(columns)):
        k = np.uint64(i)
        for _ in range(slots):
            rows[count] = np.int32(places[k])
            count += np.uint64(places[k] != nowhere)
            k += np.uint64(step)
    return int(count)


@leaf
def rows_of(places: U32Array, shape: tuple[int, int, int], lookup: Lookup, rows: I32Array) -> int:
    """List the rows of places, column by column, top to bottom; returns how many there are.

    places  (S * T,) uint32  S rows of T places, of which the first columns are read
    shape   how many columns, S, and T
    rows    (S * columns + 1,) int32  out
    """
    columns, slots, step = shape
    if lookup.kept.size == 0:
        return _keep_any(places, shape, lookup.firsts[NOWHERE], rows)
    if slots == 3:
        count = _keep_three(places, columns, step, lookup.kept, rows)
    else:
        count = _keep(places, shape, lookup.kept, rows)
    for n in range(count):
        place = np.uint32(rows[n])
        below = (ONE << np.uint64(place & np.uint32(63))) - ONE
        word = place >> np.uint32(6)
        rows[n] = np.int32(lookup.ranks[word] + _count_bits(lookup.kept[word] & below))
    return count


@leaf
def place_of_bucket(bucket: np.uint32, lookup: Lookup) -> np.uint32:
    """Place of a bucket."""
    return np.uint32(lookup.firsts[FIRST_BUCKET] + bucket)


@leaf
def place_of_word(entry: int, lookup: Lookup) -> np.uint32:
    """Place of a word of the dictionary."""
    return np.uint32(lookup.firsts[FIRST_WORD] + np.uint32(entry))
