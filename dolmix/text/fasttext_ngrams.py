"""The subwords of a word: which rows of a model's matrix its character n-grams are.

As `Dictionary::computeSubwords` takes them from `<word>`: at each character in turn those of minn
to maxn characters that start there, without `<` and `>` alone, each by its hash modulo `bucket`.
"""

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array
from dolmix.text.compiled import leaf
from dolmix.text.fasttext_tables import SHAPE_BUCKET, SHAPE_MAX, SHAPE_MIN, SHAPE_WORDS
from dolmix.text.fasttext_words import FNV_BASIS, hash_on

BEGIN, END = np.uint8(0x3C), np.uint8(0x3E)
"""What stands around a word when its n-grams are taken: `<` and `>`."""


@leaf
def hash_character(text: U8Array, at: int, stop: int, hashed: np.uint32) -> tuple[int, np.uint32]:
    """Go on with a hash by a character of a word, or the `>` behind it; and where the next is."""
    if at == stop:
        return at + 1, hash_on(hashed, END)
    byte = text[at]
    hashed = hash_on(hashed, byte)
    at += 1
    if byte >= 0xC0:
        while at < stop and text[at] & 0xC0 == 0x80:
            hashed = hash_on(hashed, text[at])
            at += 1
    return at, hashed


@leaf
def list_ngrams(
    text: U8Array,
    word: tuple[int, int, int],
    about: tuple[I64Array, I32Array, U8Array],
    rows: I32Array,
    room: tuple[int, int],
) -> tuple[int, int]:
    """List the rows of a word's n-grams, in fastText's order, while there is room.

    word   from which character on (one before the word: the `<` in front of it), the word's first
           byte, and the byte after it
    about  `shape`, `buckets` and `kept` of the tables
    rows   (R,) int32  out
    room   from where on in `rows`, and up to where

    returns  the character that comes next (the end of the word if that was all), and where in
             `rows` the list ends

    O(bytes * maxn). Twin: tests/naive_fasttext.py `subwords`.
    """
    begin, start, stop = word
    shape, buckets, kept = about
    least, most = shape[SHAPE_MIN], shape[SHAPE_MAX]
    bucket, base = np.uint32(shape[SHAPE_BUCKET]), shape[SHAPE_WORDS]
    pruned = buckets.size > 0
    count, end = room
    while begin < stop and count + most <= end:
        at, hashed, size = begin, FNV_BASIS, np.int64(0)
        if begin < start:
            at, hashed, size = start, hash_on(hashed, BEGIN), np.int64(1)
        while size < most and at <= stop:
            at, hashed = hash_character(text, at, stop, hashed)
            size += 1
            if size >= least:
                place = np.int64(np.uint32(hashed % bucket))
                if not pruned:
                    rows[count] = np.int32(base + place)
                    count += 1
                elif kept[place >> 3] >> (place & 7) & 1:
                    rows[count] = np.int32(base + buckets[place] - 1)
                    count += 1
        begin += 1
        while start < begin < stop and text[begin] & 0xC0 == 0x80:
            begin += 1
    return begin, count
