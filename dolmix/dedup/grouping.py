"""Equal keys brought together, in compiled code: a radix sort of packed words, then one scan.

A packed word holds the upper bits of a key and, below them, its position. Sorting such words costs
a few nanoseconds each, whatever a key is made of; keys are looked at again only where the upper
bits agree, so results are exact.
"""

import numpy as np
from numba import njit

from dolmix.document import I64Array, U64Array

DIGIT = 10
"""Bits of one scatter: 1,024 places to write to fit the first cache level."""
MOVES_PER_WORD = 64
"""Moves of the last sort allowed for each word, before a sort that no input slows takes over."""


def ordered(words: U64Array) -> U64Array:
    """Sort uint64 in place or into a new array, and return which; fast where they are spread."""
    if radix_sort(words, np.empty_like(words)):
        return words
    words.sort()
    return words


@njit(cache=True, nogil=True)
def spread(words: U64Array) -> U64Array:
    """Spread words evenly over 64 bits, one to one, so that no keys are crowded but equal ones.

    words  (N,) uint64 → (N,) uint64; the finaliser of splitmix64 (Steele et al. 2014)
    """
    out = np.empty(words.size, np.uint64)
    for n in range(words.size):
        value = words[n]
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        out[n] = value ^ (value >> np.uint64(31))
    return out


@njit(cache=True, nogil=True)
def scatter(words: U64Array, out: U64Array, shift: np.uint64) -> None:
    """Write words to `out`, stably by the `DIGIT` bits from `shift` up; both (N,) uint64."""
    mask = np.uint64((1 << DIGIT) - 1)
    places = np.zeros((1 << DIGIT) + 1, np.int64)
    for word in words:
        places[((word >> shift) & mask) + np.uint64(1)] += 1
    for digit in range(1 << DIGIT):
        places[digit + 1] += places[digit]
    for word in words:
        digit = (word >> shift) & mask
        out[places[digit]] = word
        places[digit] += 1


@njit(cache=True, nogil=True)
def radix_sort(words: U64Array, spare: U64Array) -> bool:
    """Sort words in place: two scatters by the upper 20 bits, then insertion.

    words    (N,) uint64
    spare    (N,) uint64   overwritten
    returns  whether the words are sorted: False where so many share their upper bits that insertion
             would take longer than O(N)

    Twin: `sorted`.
    """
    scatter(words, spare, np.uint64(64 - 2 * DIGIT))
    scatter(spare, words, np.uint64(64 - DIGIT))
    moves, most = 0, MOVES_PER_WORD * words.size
    for n in range(1, words.size):
        word, at = words[n], n
        while at > 0 and words[at - 1] > word:
            words[at] = words[at - 1]
            at -= 1
        words[at] = word
        moves += n - at
        if moves > most:
            return False
    return True


@njit(cache=True, nogil=True)
def pack(hashes: U64Array, low: np.uint64, lead: np.uint64, bits: np.uint64) -> U64Array:
    """Pack hashes of one range with their positions.

    hashes   (N,) uint64   all in [low, low + 2^(64 - lead))
    bits     bits that a position needs: N <= 2^bits
    returns  (N,) uint64   upper bits of the hash above its position
    """
    out = np.empty(hashes.size, np.uint64)
    mask = (np.uint64(1) << bits) - np.uint64(1)
    for n in range(hashes.size):
        out[n] = (((hashes[n] - low) << lead) & ~mask) | np.uint64(n)
    return out


@njit(cache=True, nogil=True)
def same_key(keys: U64Array, left: np.uint64, right: np.uint64) -> bool:
    """Tell whether two rows of (N, width) keys are equal."""
    for word in range(keys.shape[1]):  # noqa: SIM110 - no generators in compiled code
        if keys[left, word] != keys[right, word]:
            return False
    return True


@njit(cache=True, nogil=True)
def count_shared(packed: U64Array, bits: np.uint64) -> int:
    """Count sorted packed words whose upper bits a neighbour has too."""
    shared = 0
    for n in range(packed.size):
        before = n > 0 and packed[n - 1] >> bits == packed[n] >> bits
        after = n + 1 < packed.size and packed[n + 1] >> bits == packed[n] >> bits
        shared += before or after
    return shared


@njit(cache=True, nogil=True)
def pair_group(members: U64Array, documents: I64Array, first: int, out: I64Array) -> int:
    """Pair each member of a group with the first members before it, at most `first` of them.

    members  (G,) uint64   positions in `documents`, whose numbers ascend
    out      (>= (G - 1) * first, 2) int64
    returns  pairs written; none of a document with itself
    """
    made = 0
    for n in range(1, members.size):
        for leader in range(min(n, first)):
            if documents[members[leader]] != documents[members[n]]:
                out[made, 0] = documents[members[leader]]
                out[made, 1] = documents[members[n]]
                made += 1
    return made


@njit(cache=True, nogil=True)
def pairs_of_groups(
    packed: U64Array, bits: np.uint64, keys: U64Array, documents: I64Array, rules: I64Array
) -> I64Array:
    """Pair documents of equal keys.

    packed     (N,) uint64         sorted; reordered among words of equal upper bits
    keys       (N, width) uint64   by position
    documents  (N,) int64          by position, ascending wherever keys are equal
    rules      (2,) int64          members that each is paired with; number of the first document of
                                   this run: a group without such a one is left out
    returns    (P, 2) int64        the smaller number first

    O(N), as long as few different keys share their upper bits. Twin: tests/naive_dedup.py.
    """
    first, own = rules[0], rules[1]
    out = np.empty((count_shared(packed, bits) * first, 2), np.int64)
    positions = (np.uint64(1) << bits) - np.uint64(1)
    members = np.empty(1024, np.uint64)
    made, n = 0, 0
    while n < packed.size:
        stop = n + 1
        while stop < packed.size and packed[stop] >> bits == packed[n] >> bits:
            stop += 1
        end = stop
        while stop - n > 1:
            if members.size < stop - n:
                members = np.empty(2 * (stop - n), np.uint64)
            leader, size, rest = packed[n] & positions, 0, n
            newest = np.int64(-1)
            for at in range(n, stop):
                position = packed[at] & positions
                if same_key(keys, leader, position):
                    members[size] = position
                    newest = max(newest, documents[position])
                    size += 1
                else:
                    packed[rest] = packed[at]
                    rest += 1
            if newest >= own:
                made += pair_group(members[:size], documents, first, out[made:])
            stop = rest
        n = end
    return out[:made]
