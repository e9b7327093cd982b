"""MinHash in compiled code: lanes from shingles, keys from lanes."""

import numpy as np

from dolmix.dedup.lanes import WIDTH, lower_sixteen
from dolmix.dedup.words import mix, next_word_hashes, shingle_hashes
from dolmix.document import I64Array, U8Array, U32Array, U64Array
from dolmix.text.compiled import kernel, leaf

BLOCK_WORDS = 4096
"""Words of a document that are hashed at a time; small enough for a processor's cache."""


@kernel
def multipliers(seed: int, num_hashes: int) -> U32Array:
    """Draw one multiplier a lane, (num_hashes,) uint32; lane i depends on the seed and i alone."""
    out = np.empty(num_hashes, np.uint32)
    start = mix(np.uint64(seed))
    for lane in range(num_hashes):
        out[lane] = np.uint32(mix(start + np.uint64(lane)) >> np.uint64(32))
    return out


@kernel
def lower_lanes(shingles: U64Array, count: int, lanes: U32Array, out: U32Array) -> None:
    """Lower each lane to the smallest `(high * lanes[i] + low) mod 2^32` over the shingles.

    shingles  (>= count,) uint64   high and low are the halves of a hash
    lanes     (H,) uint32          multipliers
    out       (H,) uint32          in and out

    O(count x H), vectorised over the lanes. Twin: tests/naive_dedup.py.
    """
    whole = lanes.size // WIDTH * WIDTH
    for at in range(0, whole, WIDTH):
        lower_sixteen(shingles, count, lanes, out, at)
    for lane in range(whole, lanes.size):
        for n in range(count):
            out[lane] = min(out[lane], _permuted(shingles[n], lanes[lane]))


@leaf
def _permuted(shingle: np.uint64, factor: np.uint32) -> np.uint32:
    """Give `(high * factor + low) mod 2^32` of a shingle's halves."""
    return np.uint32(np.uint32(shingle >> np.uint64(32)) * factor + np.uint32(shingle))


@kernel
def signatures(
    utf8: U8Array, offsets: I64Array, table: U32Array, ngram: int, lanes: U32Array
) -> tuple[U32Array, I64Array]:
    """Signatures of N documents, document n being `utf8[offsets[n]:offsets[n + 1]]`.

    table    (0x110000,) uint32   `dolmix.dedup.words.letter_table()`
    lanes    (H,) uint32          `multipliers(seed, H)`
    returns  ((N, H) uint32, (N,) int64: words of each document)

    The words of a document are hashed BLOCK_WORDS at a time, into one buffer for all: memory beyond
    the result does not depend on the documents.
    """
    count = offsets.size - 1
    out = np.empty((count, lanes.size), np.uint32)
    counts = np.zeros(count, np.int64)
    buffer = np.empty(BLOCK_WORDS + ngram + 1, np.uint64)
    for n in range(count):
        out[n, :] = np.uint32(0xFFFFFFFF)
        at, stop, held = offsets[n], offsets[n + 1], 0
        while at < stop:
            new, at = next_word_hashes(utf8, at, stop, table, buffer[held:], BLOCK_WORDS)
            counts[n] += new
            words = held + new
            if words < ngram and counts[n] >= ngram:
                break  # nothing but what the block before this one had
            shingles = shingle_hashes(buffer, words, ngram)
            lower_lanes(buffer, shingles, lanes, out[n])
            held = min(ngram - 1, words)
            for k in range(held):  # the last words stand behind the shingles
                buffer[k] = buffer[words - held + k]
    return out, counts


@kernel
def band_keys(lanes: U32Array | U64Array, bands: int, rows: int) -> U64Array:
    """Hash each band of each signature.

    lanes    (N, H) uint32 or uint64   H >= bands * rows; lanes beyond that are not used
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
