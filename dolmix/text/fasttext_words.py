"""fastText's dictionary: where its entries stand in a model file, and how a word is found in it.

Words are hashed as fastText hashes them (`Dictionary::hash`); a find compares the bytes.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array
from dolmix.text.compiled import kernel, leaf

ENTRY_TAIL = 9
"""Bytes after an entry's text and its NUL: a count of 64 bits and the kind."""
FNV_BASIS, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
ABSENT = -1


class Dictionary(NamedTuple):
    """W words, then L labels, as they stand in the file.

    file    (F,) uint8       the bytes of the model
    starts  (W + L,) int64   first byte of each entry's text
    sizes   (W + L,) int32   its bytes
    slots   (2^n,) int32     entries by the low bits of their hash, else in the next free place
    """

    file: U8Array
    starts: I64Array
    sizes: I32Array
    slots: I32Array


def dictionary_of(file: U8Array, starts: I64Array, sizes: I32Array) -> Dictionary:
    """Make entries findable; they are all different, as fastText sees to."""
    slots = np.full(1 << (2 * starts.size).bit_length(), ABSENT, np.int32)
    fill_slots(file, starts, sizes, slots)
    return Dictionary(file, starts, sizes, slots)


@leaf
def hash_on(hashed: np.uint32, byte: np.uint8) -> np.uint32:
    """Go on with FNV-1a by one byte, which fastText takes as signed."""
    signed = np.uint32(np.int32(np.int8(byte)))
    # numba widens a product of two uint32, so each step is cut back to 32 bits
    return np.uint32(np.uint32(hashed ^ signed) * FNV_PRIME)


@leaf
def hash_bytes(text: U8Array, start: int, stop: int) -> np.uint32:
    """Hash text[start:stop] as fastText does. Twin: tests/naive_fasttext.py `hashed`."""
    hashed = FNV_BASIS
    for i in range(start, stop):
        hashed = hash_on(hashed, text[i])
    return hashed


@leaf
def same_bytes(text: U8Array, start: int, other: U8Array, begin: int, size: int) -> bool:
    """Whether `size` bytes of two arrays are equal."""
    for i in range(size):  # noqa: SIM110 - a kernel has no generators
        if text[start + i] != other[begin + i]:
            return False
    return True


@leaf
def find_entry(text: U8Array, start: int, stop: int, hashed: np.uint32, words: Dictionary) -> int:
    """Entry of the dictionary that text[start:stop], whose hash is given, is; or -1."""
    mask = np.int64(words.slots.size - 1)
    place = np.int64(hashed) & mask
    while True:
        entry = words.slots[place]
        if entry < 0:
            return ABSENT
        if words.sizes[entry] == stop - start and same_bytes(
            text, start, words.file, words.starts[entry], stop - start
        ):
            return int(entry)
        place = (place + 1) & mask


@kernel
def find_entries(
    file: U8Array,
    at: int,
    texts: tuple[I64Array, I32Array],
    about: tuple[I64Array, U8Array],
) -> int:
    """Find the entries of a dictionary in a model file.

    file   (F,) uint8              the file
    at     int                     where the first entry starts
    texts  (N,) int64, (N,) int32  out; first byte of each entry's text, and its size
    about  (N,) int64, (N,) uint8  out; how often it was seen, and its kind: 0 word, 1 label

    returns  int  the byte after the last entry; -1 if the file ends before

    An entry is a text, NUL, a count of 64 bits, and its kind. O(bytes).
    """
    starts, sizes = texts
    seen, kinds = about
    for n in range(starts.size):
        start = at
        while at < file.size and file[at] != 0:
            at += 1
        if file.size - at <= ENTRY_TAIL:
            return -1
        starts[n], sizes[n] = start, at - start
        count = np.int64(0)
        for b in range(8):
            count |= np.int64(file[at + 1 + b]) << (8 * b)
        seen[n], kinds[n] = count, file[at + ENTRY_TAIL]
        at += ENTRY_TAIL + 1
    return at


@kernel
def fill_slots(file: U8Array, starts: I64Array, sizes: I32Array, slots: I32Array) -> None:
    """Fill the hash table of a dictionary.

    slots  (2^n,) int32  out; all -1, at least twice as many as entries

    O(bytes of the entries).
    """
    mask = slots.size - 1
    for n in range(starts.size):
        place = np.int64(hash_bytes(file, starts[n], starts[n] + sizes[n])) & mask
        while slots[place] >= 0:
            place = (place + 1) & mask
        slots[place] = n


@kernel
def fill_buckets(pairs: I32Array, buckets: I32Array) -> bool:
    """Fill in 1 + row of each bucket that a pruned model kept; False if a pair is out of range.

    pairs    (K, 2) int32  bucket, and its row after those of the words
    buckets  (B,) int32    out; zeros
    """
    for n in range(pairs.shape[0]):
        bucket, row = pairs[n]
        if not 0 <= bucket < buckets.size or not 0 <= row < 2**31 - 2:
            return False
        buckets[bucket] = row + 1
    return True
