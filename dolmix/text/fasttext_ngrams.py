"""The n-grams of a stretch of words: which rows of a model's matrix they are.

As `Dictionary::computeSubwords` takes them from `<word>`: at each character in turn those of minn
to maxn characters that start there, without `<` and `>` alone, each by its hash modulo `bucket`.
Hashes of one size are computed for all characters in one loop over plain arrays, which compilers
turn into instructions for many numbers at a time.
"""

import numpy as np

from dolmix.document import U8Array, U32Array
from dolmix.text.compiled import leaf
from dolmix.text.fasttext_lookup import (
    divisor_of,
    place_of_bucket,
    place_of_word,
    remainder,
    rows_of,
)
from dolmix.text.fasttext_stretch import (
    BEGIN,
    BEGIN_BIT,
    CLOSES,
    END,
    END_BIT,
    FILLED,
    KNOWN,
    LANES,
    OPENS,
    WIDEST,
    WORD_STOP,
    WRITTEN,
    Stretch,
)
from dolmix.text.fasttext_tables import NOWHERE, SHAPE_MAX, SHAPE_MIN, Lookup, Tables
from dolmix.text.fasttext_words import FNV_BASIS, FNV_PRIME, find_words


@leaf
def _whole(count: int) -> int:
    """Round up to a multiple of LANES."""
    return (count + LANES - 1) // LANES * LANES


@leaf
def _fill_chars(letters: U8Array, chars: U32Array, count: int) -> None:
    """Fill in the characters that stand among the letters only."""
    for i in range(np.uint64(count)):
        letter = letters[i]
        char = np.uint32(letter)
        char = BEGIN if letter == OPENS else char
        char = END if letter == CLOSES else char
        chars[i] = chars[i] if letter == WRITTEN else char


@leaf
def _hash_first_bytes(hashes: U32Array, chars: U32Array, ahead: int, count: int) -> None:
    """Go on with hashes (FNV-1a, of signed bytes) by the first byte of the character `ahead`."""
    skip = np.uint64(ahead)
    for i in range(np.uint64(count)):
        byte = np.uint32(np.int32(np.int8(chars[i + skip])))
        hashes[i] = np.uint32(np.uint32(hashes[i] ^ byte) * FNV_PRIME)


@leaf
def _hash_next_bytes(hashes: U32Array, chars: U32Array, how: tuple[int, int], count: int) -> None:
    """Go on by a later byte of it, where the character has one.

    how  how many characters ahead it is, and which of its bytes
    """
    skip, shift = np.uint64(how[0]), np.uint32(8 * how[1])
    for i in range(np.uint64(count)):
        byte = np.uint32(np.int32(np.int8(chars[i + skip] >> shift)))
        hashed = np.uint32(np.uint32(hashes[i] ^ byte) * FNV_PRIME)
        hashes[i] = hashed if byte & np.uint32(0x80) else hashes[i]


@leaf
def _mark_ended(
    ended: U32Array, chars: U32Array, how: tuple[int, np.uint32, np.uint32], count: int
) -> None:
    """Mark characters where the one `ahead` has a bit.

    how  how far ahead, which bit, and what to keep of earlier marks
    """
    skip, bit, kept = np.uint64(how[0]), how[1], how[2]
    for i in range(np.uint64(count)):
        ended[i] = ended[i] & kept | chars[i + skip] & bit


@leaf
def _fill_places(stretch: Stretch, lookup: Lookup, first: int, count: int) -> None:
    """Fill in the places of n-grams of one size, from place `first` on."""
    hashes, ended, places = stretch.hashes, stretch.ended, stretch.places
    division, nowhere = divisor_of(lookup), lookup.firsts[NOWHERE]
    base, skip = place_of_bucket(np.uint32(0), lookup), np.uint64(first)
    for i in range(np.uint64(count)):
        place = np.uint32(base + remainder(hashes[i], division))
        places[i + skip] = nowhere if ended[i] else place


@leaf
def _fill_all_places(stretch: Stretch, tables: Tables, count: int) -> None:
    """Fill in the places of n-grams of all sizes that start at the first `count` characters."""
    chars, hashes, ended = stretch.chars, stretch.hashes, stretch.ended
    least, most = max(tables.shape[SHAPE_MIN], 1), tables.shape[SHAPE_MAX]
    hashes[:count] = FNV_BASIS
    first = 0
    for size in range(1, most + 1):
        _hash_first_bytes(hashes, chars, size - 1, count)
        for byte in range(1, stretch.fill[WIDEST]):
            _hash_next_bytes(hashes, chars, (size - 1, byte), count)
        if size > 1:
            kept = np.uint32(0) if size == 2 else END_BIT
            _mark_ended(ended, chars, (size - 2, END_BIT, kept), count)
        elif least == 1:  # neither mark is an n-gram
            _mark_ended(ended, chars, (0, BEGIN_BIT | END_BIT, np.uint32(0)), count)
        if size >= least:
            _fill_places(stretch, tables.lookup, first, count)
            first += hashes.size


@leaf
def _begin_next(stretch: Stretch, kept: int) -> None:
    """Begin the next stretch with the last characters of this one."""
    letters, chars, fill = stretch.letters, stretch.chars, stretch.fill
    for i in range(kept):
        chars[i], letters[i] = chars[fill[FILLED] - kept + i], WRITTEN
    fill[FILLED], fill[KNOWN] = kept, 0
    if not fill[WORD_STOP]:
        fill[WIDEST] = 1


@leaf
def _list_words(stretch: Stretch, tables: Tables) -> int:
    """List the rows of the words of a model without n-grams of characters."""
    known, fill, places = stretch.known, stretch.fill, stretch.places
    count = 0
    for n in range(fill[KNOWN]):
        if known[n, 3] >= 0:
            places[count] = place_of_word(known[n, 3], tables.lookup)
            count += 1
    fill[KNOWN] = 0
    return rows_of(places, (count, 1, 0), tables.lookup, stretch.rows)


@leaf
def list_rows(text: U8Array, stretch: Stretch, tables: Tables) -> int:
    """List the rows of a stretch's words and of their n-grams, in fastText's order.

    returns  how many there are in `rows`

    The stretch is empty then, but for the characters that n-grams of what follows begin with.
    O(characters * maxn). Twin: tests/naive_fasttext.py `subwords`.
    """
    fill, known, places = stretch.fill, stretch.known, stretch.places
    least, most = max(tables.shape[SHAPE_MIN], 1), tables.shape[SHAPE_MAX]
    find_words(text, (known, stretch.asked), (0, fill[KNOWN]), tables.words)
    if most == 0:
        return _list_words(stretch, tables)
    kept = most if fill[WORD_STOP] else 1
    columns = fill[FILLED] - kept
    _fill_chars(stretch.letters, stretch.chars, _whole(fill[FILLED]))
    _fill_all_places(stretch, tables, _whole(columns))
    for n in range(fill[KNOWN]):
        if known[n, 3] >= 0:
            places[known[n, 2]] = place_of_word(known[n, 3], tables.lookup)
    shape = (columns, most - least + 1, stretch.hashes.size)
    count = rows_of(places, shape, tables.lookup, stretch.rows)
    _begin_next(stretch, kept)
    return count
