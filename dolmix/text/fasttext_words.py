"""fastText's dictionary: where its entries stand in a model file, and how a word is found in it.

fastText's own hash (`Dictionary::hash`), byte by byte, is needed for n-grams alone. Words are found
by a hash of eight bytes at a time; a find compares the bytes.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import SPREAD, START, eight_bytes, few_bytes, stir

ENTRY_TAIL = 9
"""Bytes after an entry's text and its NUL: a count of 64 bits and the kind."""
FNV_BASIS, FNV_PRIME = np.uint32(2166136261), np.uint32(16777619)
ABSENT = -1
SURE_BYTES = 8
"""Words of fewer bytes have the same hash and size only if they are the same."""


class Dictionary(NamedTuple):
    """W words, then L labels, as they stand in the file.

    file    (F,) uint8       the bytes of the model
    starts  (W + L,) int64   first byte of each entry's text
    sizes   (W + L,) int32   its bytes
    hashes  (W + L,) uint64  its hash, see `hash_word`
    slots   (2^n,) int32     entries by the low bits of their hash, else in the next free place
    seen    (2^m,) uint64    a bit for each value of the low bits of a hash: whether an entry has
                             it; most words that are no entries need no more than that
    """

    file: U8Array
    starts: I64Array
    sizes: I32Array
    hashes: U64Array
    slots: I32Array
    seen: U64Array


def dictionary_of(file: U8Array, starts: I64Array, sizes: I32Array) -> Dictionary:
    """Make entries findable; they are all different, as fastText sees to."""
    bits = (2 * starts.size).bit_length()
    slots, seen = np.full(1 << bits, ABSENT, np.int32), np.zeros(max(1, 1 << bits >> 3), np.uint64)
    words = Dictionary(file, starts, sizes, np.zeros(starts.size, np.uint64), slots, seen)
    fill_slots(words)
    return words


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
def hash_word(text: U8Array, start: int, stop: int) -> np.uint64:
    """Hash of text[start:stop] by which words are found.

    Of its first eight bytes, zeros behind a shorter word; then further eights; then the rest with
    the size. Twin: `word_hash`.
    """
    at = min(start + 8, stop)
    if at == start + 8:
        code = stir(START, eight_bytes(text, start))
    else:
        code = stir(START, few_bytes(text, start, stop - start))
    while at + 8 <= stop:
        code = stir(code, eight_bytes(text, at))
        at += 8
    return hash_end(code, few_bytes(text, at, stop - at), stop - start)


@leaf
def hash_end(code: np.uint64, rest: np.uint64, size: int) -> np.uint64:
    """End a hash of `size` bytes by those that are left, fewer than eight."""
    return stir(code, rest | np.uint64(size) << np.uint64(56))


def word_hash(word: bytes) -> int:
    """Hash of a word, as `hash_word` has it; in plain Python."""
    eights = [word[i : i + 8] for i in range(0, len(word) // 8 * 8, 8)]
    rest = word[len(eights) * 8 :] if eights else b""
    last = int.from_bytes(rest, "little") | len(word) % 256 << 56
    numbers = [int.from_bytes(eight, "little") for eight in eights or [word]]
    code = int(START)
    for number in [*numbers, last]:
        code = (code ^ number) * int(SPREAD) % 2**64
        code ^= code >> 32
    return code


@leaf
def _same_bytes(text: U8Array, start: int, other: U8Array, begin: int, size: int) -> bool:
    """Whether `size` bytes of two arrays are equal."""
    at = 0
    while at + 8 <= size:
        if eight_bytes(text, start + at) != eight_bytes(other, begin + at):
            return False
        at += 8
    mine, its = few_bytes(text, start + at, size - at), few_bytes(other, begin + at, size - at)
    return bool(mine == its)


@leaf
def may_be_entry(hashed: np.uint64, seen: U64Array) -> int:
    """Give 0 if the dictionary has no entry of that hash, else 1."""
    mark = hashed & np.uint64(seen.size * 64 - 1)
    return int(seen[mark >> np.uint64(6)] >> (mark & np.uint64(63)) & np.uint64(1))


@leaf
def find_words(
    text: U8Array,
    asked: tuple[I64Array, U64Array],
    bounds: tuple[int, int],
    words: Dictionary,
) -> None:
    """Find words in the dictionary.

    asked   (C, 4) int64, (C,) uint64  first byte of each word in the text, the byte after it,
                                       whatever the caller notes, and out: its entry, or -1; and
                                       its hash
    bounds  which of them, [first, stop)

    All in one loop, since handing the arrays to a function would cost more than to find a word.
    """
    spans, wanted = asked
    slots, hashes, sizes = words.slots, words.hashes, words.sizes
    mask = np.uint64(slots.size - 1)
    for n in range(bounds[0], bounds[1]):
        hashed, size = wanted[n], spans[n, 1] - spans[n, 0]
        place = hashed & mask
        entry = np.int64(slots[place])
        while entry >= 0 and (hashes[entry] != hashed or sizes[entry] != size):
            place = (place + np.uint64(1)) & mask
            entry = np.int64(slots[place])
        if size >= SURE_BYTES and entry >= 0:
            begin = words.starts[entry]
            if not _same_bytes(text, spans[n, 0], words.file, begin, size):
                entry = np.int64(ABSENT)
        spans[n, 3] = entry


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
def fill_slots(words: Dictionary) -> None:
    """Fill `hashes`, `slots`, all -1, and `seen`, all zero. O(bytes of the entries)."""
    mask, marks = np.uint64(words.slots.size - 1), np.uint64(words.seen.size * 64 - 1)
    for n in range(words.starts.size):
        start = words.starts[n]
        hashed = hash_word(words.file, start, start + words.sizes[n])
        words.hashes[n] = hashed
        mark = hashed & marks
        words.seen[mark >> np.uint64(6)] |= np.uint64(1) << (mark & np.uint64(63))
        place = hashed & mask
        while words.slots[place] >= 0:
            place = (place + np.uint64(1)) & mask
        words.slots[place] = n
