"""MinHash in compiled code: lanes from shingles, keys from lanes."""

import numpy as np
from numba import njit

from dolmix.dedup.words import mix, shingle_hashes, word_hashes
from dolmix.document import BoolArray, I64Array, U8Array, U32Array, U64Array


@njit(cache=True, nogil=True)
def multipliers(seed: int, num_hashes: int) -> U32Array:
    """Draw one multiplier a lane, (num_hashes,) uint32; lane i depends on the seed and i alone."""
    out = np.empty(num_hashes, np.uint32)
    start = mix(np.uint64(seed))
    for lane in range(num_hashes):
        out[lane] = np.uint32(mix(start + np.uint64(lane)) >> np.uint64(32))
    return out


@njit(cache=True, nogil=True)
def min_lanes(shingles: U64Array, count: int, lanes: U32Array, out: U32Array) -> None:
    """Fill `out` with the smallest `(high * lanes[i] + low) mod 2^32` over the shingles.

    shingles  (>= count,) uint64   high and low are the halves of a hash
    lanes     (H,) uint32          multipliers
    out       (H,) uint32          all bits set where count == 0

    O(count x H), vectorised over the lanes. Twin: tests/naive_dedup.py.
    """
    out[:] = np.uint32(0xFFFFFFFF)
    for n in range(count):
        high, low = np.uint32(shingles[n] >> np.uint64(32)), np.uint32(shingles[n])
        for lane in range(lanes.size):
            out[lane] = min(out[lane], np.uint32(high * lanes[lane] + low))


@njit(cache=True, nogil=True)
def signatures(
    utf8: U8Array, offsets: I64Array, table: U32Array, ngram: int, lanes: U32Array
) -> tuple[U32Array, BoolArray]:
    """Signatures of N documents, document n being `utf8[offsets[n]:offsets[n + 1]]`.

    table    (0x110000,) uint32   `dolmix.dedup.words.letter_table()`
    lanes    (H,) uint32          `multipliers(seed, H)`
    returns  ((N, H) uint32, (N,) bool: whether the document has any word)

    One buffer of 4 bytes a byte of the longest document is shared by all.
    """
    count = offsets.size - 1
    out = np.empty((count, lanes.size), np.uint32)
    valid = np.empty(count, np.bool_)
    longest = 0
    for n in range(count):
        longest = max(longest, offsets[n + 1] - offsets[n])
    buffer = np.empty(longest // 2 + 1, np.uint64)
    for n in range(count):
        words = word_hashes(utf8, offsets[n], offsets[n + 1], table, buffer)
        shingles = shingle_hashes(buffer, words, ngram)
        min_lanes(buffer, shingles, lanes, out[n])
        valid[n] = shingles > 0
    return out, valid


@njit(cache=True, nogil=True)
def band_keys(lanes: U32Array, bands: int, rows: int) -> U64Array:
    """Hash each band of each signature.

    lanes    (N, H) uint32     H >= bands * rows; lanes beyond that are not used
    returns  (N, bands) uint64

    Equal lanes give equal keys; unequal ones collide with probability 2^-64. Twin:
    tests/naive_dedup.py.
    """
    out = np.empty((lanes.shape[0], bands), np.uint64)
    for n in range(lanes.shape[0]):
        for band in range(bands):
            key = np.uint64(0)
            for row in range(band * rows, (band + 1) * rows):
                key = mix(key + np.uint64(lanes[n, row]) + np.uint64(1))
            out[n, band] = key
    return out
