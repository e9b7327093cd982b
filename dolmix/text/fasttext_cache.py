"""The words that a thread saw last, with the rows of their vectors.

Finding the rows of a word costs most of a prediction, and texts repeat their words. The cache holds
rows, not sums, so it changes no order of additions and no value, only the time.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array
from dolmix.text.compiled import leaf

CACHED_BYTES = 40
"""Longer words are not kept: they are runs of a script without spaces, which hardly return."""
HASH, SIZE, TEXT, ROWS = 0, 1, 2, 3
"""Columns of `Cache.heads`."""
WAYS = 2
PER_WORD = 24
"""Bytes, and rows, that there is room for, a word."""
SPARE = 8192


class Cache(NamedTuple):
    """Words by their hash, two in each place, the one used last in front. One thread writes it.

    heads  (2^n, 4) int32  hash, size, first byte in `texts`, and place in `rows` of a word; its
                           size is 0 where there is none
    texts  (T,) uint8      the words
    rows   (R,) int32      of each word how many rows it has, then those
    used   (2,) int64      how much of `texts` and of `rows` is in use
    spare  (S,) int32      room for rows that are not kept
    """

    heads: I32Array
    texts: U8Array
    rows: I32Array
    used: I64Array
    spare: I32Array


def empty_cache(words: int = 1 << 15) -> Cache:
    """Make room for that many words, a power of two: some 140 bytes each."""
    return Cache(
        np.zeros((words, 4), np.int32),
        np.empty(PER_WORD * words + SPARE, np.uint8),
        np.empty(PER_WORD * words + SPARE, np.int32),
        np.zeros(2, np.int64),
        np.empty(SPARE, np.int32),
    )


@leaf
def _is_word(
    text: U8Array, word: tuple[int, int, np.uint32], heads: I32Array, texts: U8Array, head: int
) -> bool:
    """Whether a word is the one that a head is of."""
    start, stop, hashed = word
    if heads[head, HASH] != np.int32(hashed) or heads[head, SIZE] != stop - start:
        return False
    first = np.int64(heads[head, TEXT])
    for i in range(stop - start):  # noqa: SIM110 - a kernel has no generators
        if text[start + i] != texts[first + i]:
            return False
    return True


@leaf
def find_word(
    text: U8Array, word: tuple[int, int, np.uint32], heads: I32Array, texts: U8Array
) -> int:
    """Place of a word's rows in `Cache.rows`, or -1.

    word  its first byte, the byte after it, and its hash
    """
    head = np.int64(word[2]) * WAYS & (heads.shape[0] - 1)
    if _is_word(text, word, heads, texts, head):
        return int(heads[head, ROWS])
    if not _is_word(text, word, heads, texts, head + 1):
        return -1
    for column in range(4):
        held = heads[head, column]
        heads[head, column] = heads[head + 1, column]
        heads[head + 1, column] = held
    return int(heads[head, ROWS])


@leaf
def make_room(heads: I32Array, pools: tuple[U8Array, I32Array, I64Array], most: int) -> int:
    """Make room for a word of `most` rows; returns where they go. A full cache starts afresh.

    pools  `texts`, `rows` and `used` of the cache
    """
    texts, rows, used = pools
    if used[0] + CACHED_BYTES > texts.size or used[1] + 1 + most > rows.size:
        for head in range(heads.shape[0]):
            heads[head, SIZE] = 0
        used[0], used[1] = 0, 0
    return int(used[1]) + 1


@leaf
def keep_word(
    text: U8Array,
    word: tuple[int, int, np.uint32],
    heads: I32Array,
    pools: tuple[U8Array, I32Array, I64Array],
    count: int,
) -> None:
    """Keep a word, whose `count` rows stand where `make_room` said."""
    start, stop, hashed = word
    texts, rows, used = pools
    head = np.int64(hashed) * WAYS & (heads.shape[0] - 1)
    for column in range(4):
        heads[head + 1, column] = heads[head, column]
    first, place = used
    for i in range(stop - start):
        texts[first + i] = text[start + i]
    heads[head, HASH], heads[head, SIZE] = np.int32(hashed), np.int32(stop - start)
    heads[head, TEXT], heads[head, ROWS] = np.int32(first), np.int32(place)
    rows[place] = np.int32(count)
    used[0], used[1] = first + stop - start, place + 1 + count
