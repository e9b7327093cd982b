"""Repeated elements of a document: words, n-grams of words, lines.

N-grams are counted by a cascade. An n-gram can occur twice only where both of its (n - 1)-grams do,
so each length looks only at the places that survived the length before, and names an n-gram exactly
by the pair of (n - 1)-grams that overlap to form it. Hash tables hold whole keys: nothing is lost
beyond the hashes that come in.
"""

import numpy as np

from dolmix.document import F64Array, I64Array, U64Array
from dolmix.text.compiled import kernel

LONGEST = 10
"""N-grams are measured from 2 to this many words."""
LONGEST_TOP = 4
"""Up to this length the most common n-gram counts, above it every repeated one."""
SPREAD = np.uint64(0x9E3779B97F4A7C15)


@kernel
def duplicate_sums(hashes: U64Array, weights: I64Array, ends: I64Array) -> I64Array:
    """Count the elements that occur more than once in their document, every occurrence included.

    hashes   (M,) uint64     one hash an element
    weights  (M,) int64      weight of each element (characters of a line)
    ends     (N + 1,) int64  document n has elements [ends[n], ends[n + 1])
    returns  (2, N) int64    repeated occurrences; sum of their weights

    O(M). Twin: tests/naive.py `duplicate_sums`.
    """
    sums = np.zeros((2, ends.size - 1), np.int64)
    most = _longest(ends)
    slots, keys, counts, ids = _tables(most)
    base = 1
    for n in range(ends.size - 1):
        part = hashes[ends[n] : ends[n + 1]]
        base += _identify(part, part.size, slots, base, keys, counts, ids)
        for i in range(part.size):
            if counts[ids[i]] > 1:
                sums[0, n] += 1
                sums[1, n] += weights[ends[n] + i]
    return sums


@kernel
def top_counts(hashes: U64Array, ends: I64Array) -> I64Array:
    """Count the most and the second most frequent element of each document.

    hashes   (M,) uint64     one hash an element
    ends     (N + 1,) int64  document n has elements [ends[n], ends[n + 1])
    returns  (2, N) int64    occurrences of the first and of the second; 0 where there is none

    O(M). Twin: tests/naive.py `top_counts`.
    """
    top = np.zeros((2, ends.size - 1), np.int64)
    slots, keys, counts, ids = _tables(_longest(ends))
    base = 1
    for n in range(ends.size - 1):
        part = hashes[ends[n] : ends[n + 1]]
        distinct = _identify(part, part.size, slots, base, keys, counts, ids)
        base += distinct
        for which in range(distinct):
            count = np.int64(counts[which])
            if count > top[0, n]:
                top[0, n], top[1, n] = count, top[0, n]
            elif count > top[1, n]:
                top[1, n] = count
    return top


@kernel
def ngram_shares(hashes: U64Array, chars: I64Array, ends: I64Array) -> F64Array:
    """Measure the characters in repeated word n-grams, for n from 2 to 10.

    hashes   (W,) uint64      one hash a word
    chars    (W,) int64       characters of each word
    ends     (N + 1,) int64   document n has words [ends[n], ends[n + 1])
    returns  (9, N) float64   row n - 2 is for n-grams of n words. Up to 4: characters of the most
                              common one (of equals, the first) times its count, over characters of
                              all words. From 5 on: characters of all occurrences of repeated ones,
                              over those of all n-grams. 0.0 where a document has no n-gram.

    Spaces do not count; every occurrence of a repeated n-gram does, overlaps included, so a top
    share can exceed 1. O(10 W), in practice about O(2 W). Twin: tests/naive.py `ngram_shares`.
    """
    shares = np.zeros((LONGEST - 1, ends.size - 1))
    most = _longest(ends)
    slots, keys, counts, ids = _tables(most)
    pairs, places = np.empty(most, np.uint64), np.empty(most, np.int64)
    sums = np.zeros(most + 1, np.int64)
    base = 1
    for doc in range(ends.size - 1):
        begin, size = ends[doc], ends[doc + 1] - ends[doc]
        for i in range(size):
            sums[i + 1] = sums[i] + chars[begin + i]
            places[i] = i
            pairs[i] = hashes[begin + i]
        live, total = size, sums[size]
        for n in range(1, min(LONGEST, size) + 1):
            if n > 1:
                live = _overlap(pairs, places, live)
                total += sums[size - n + 1] - sums[n - 1]
            distinct = _identify(pairs, live, slots, base, keys, counts, ids)
            base += distinct
            if 2 <= n <= LONGEST_TOP:
                top = _top_chars(counts, ids, places, distinct, sums, n)
                shares[n - 2, doc] = top / max(sums[size], 1)
            live, repeated = _keep_repeated(pairs, places, live, counts, ids, sums, n)
            if n > LONGEST_TOP:
                shares[n - 2, doc] = repeated / max(total, 1)
    return shares


@kernel
def _overlap(pairs: U64Array, places: I64Array, live: int) -> int:
    """Name each n-gram by its two (n - 1)-grams, in place; on entry `pairs` has their numbers."""
    kept = 0
    for i in range(live - 1):
        if places[i + 1] == places[i] + 1:
            pairs[kept] = pairs[i] << np.uint64(32) | pairs[i + 1]
            places[kept] = places[i]
            kept += 1
    return kept


@kernel
def _keep_repeated(
    pairs: U64Array,
    places: I64Array,
    live: int,
    counts: I64Array,
    ids: I64Array,
    sums: I64Array,
    n: int,
) -> tuple[int, int]:
    """Keep the places whose n-gram repeats, and its number; return how many, and characters."""
    kept, repeated = 0, 0
    for i in range(live):
        which = ids[i]
        if counts[which] > 1:
            place = places[i]
            repeated += sums[place + n] - sums[place]
            pairs[kept], places[kept] = np.uint64(which), place
            kept += 1
    return kept, repeated


@kernel
def _top_chars(
    counts: I64Array,
    ids: I64Array,
    places: I64Array,
    distinct: int,
    sums: I64Array,
    n: int,
) -> int:
    """Weigh the most common n-gram, characters times count; the first one where none repeats."""
    best, count = 0, np.int64(1)
    for which in range(distinct):
        if counts[which] > count:
            best, count = which, np.int64(counts[which])
    if count == 1:
        return int(sums[n])
    i = 0
    while ids[i] != best:
        i += 1
    return int(count * (sums[places[i] + n] - sums[places[i]]))


@kernel
def _identify(
    elements: U64Array,
    size: int,
    slots: I64Array,
    base: int,
    keys: U64Array,
    counts: I64Array,
    ids: I64Array,
) -> int:
    """Give distinct elements numbers in order of first occurrence, count each, return how many.

    `slots` is an open-addressing table over `keys`: an entry v stands for element v - base. Entries
    below `base` are left from earlier calls and are empty, so the table is never cleared.
    """
    bits = 1
    while (1 << bits) < 2 * size:
        bits += 1
    shift, mask = np.uint64(64 - bits), np.int64((1 << bits) - 1)
    distinct = 0
    for i in range(size):
        key = elements[i]
        at = np.int64(((key ^ (key >> np.uint64(32))) * SPREAD) >> shift)
        while True:
            which = slots[at] - base
            if which < 0:
                slots[at] = base + distinct
                keys[distinct], counts[distinct], ids[i] = key, 1, distinct
                distinct += 1
                break
            if keys[which] == key:
                counts[which] += 1
                ids[i] = which
                break
            at = (at + 1) & mask
    return distinct


@kernel
def _tables(most: int) -> tuple[I64Array, U64Array, I64Array, I64Array]:
    """Scratch for `_identify` on up to `most` elements: slots, keys, counts, ids."""
    room = 2
    while room < 2 * most:
        room *= 2
    slots = np.zeros(room, np.int64)
    return slots, np.empty(most, np.uint64), np.empty(most, np.int64), np.empty(most, np.int64)


@kernel
def _longest(ends: I64Array) -> int:
    longest = 0
    for n in range(ends.size - 1):
        longest = max(longest, ends[n + 1] - ends[n])
    return longest
