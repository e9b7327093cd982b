"""Rows of whole words of a text, for models with n-grams of two, three and four characters.

As `fasttext_stretch` and `fasttext_ngrams` have them for any model, but quicker: a piece of a text
is its bytes as they stand. What lies between two words is the `>` of the one and the `<` of the
other: `<` where an n-gram begins there, else `>`. Words are looked at one by one only for the
dictionary. A word that fills a piece is left to `fasttext_stretch`.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array, U32Array, U64Array
from dolmix.text.compiled import leaf
from dolmix.text.eights import START, eight_bytes, stir, trailing_zeros
from dolmix.text.fasttext_lookup import place_of_word, rows_of
from dolmix.text.fasttext_masks import SPACE, WINDOW, is_space, space_mask
from dolmix.text.fasttext_stretch import (
    ALL,
    END,
    END_OF_TEXT,
    END_SIZE,
    LABEL,
    LANES,
    is_label,
)
from dolmix.text.fasttext_tables import (
    SHAPE_BUCKET,
    SHAPE_MAX,
    SHAPE_MIN,
    SHAPE_NGRAMS,
    SHAPE_ODD,
    Tables,
)
from dolmix.text.fasttext_three import LEAST, LEAST_BUCKETS, MOST, fill_three_places
from dolmix.text.fasttext_words import find_words, hash_end, hash_word, may_be_entry

BYTES = 960
"""Most bytes of a piece."""
BEFORE = 2
"""Marks before the first word, so that its row has a column."""
PADDING = 2 * WINDOW
"""Spaces behind a piece, for what is read beyond it."""
ONE = np.uint64(1)
SIZES = MOST - LEAST + 1


class Piece(NamedTuple):
    """Whole words of a text, and room for what is made of them.

    letters (B,) uint8       their bytes and what is between them, then spaces
    chars   (C,) uint32      the bytes of each character, the first one lowest; END for a space
    packed  (B,) uint32      room for the same at every byte
    columns (B,) int32       which of `chars` each byte belongs to
    places  (3 * C,) uint32  room for places of n-grams, size by size; see `Lookup`
    known   (W, 4) int64     words that may be in the dictionary: first byte, the byte after them,
                             nothing, and room for their entry
    asked   (W,) uint64      their hashes
    rows    (3 * C,) int32   out; rows of the model

    All are of no size for a model of another kind.
    """

    letters: U8Array
    chars: U32Array
    packed: U32Array
    columns: I32Array
    places: U32Array
    known: I64Array
    asked: U64Array
    rows: I32Array


def empty_piece(tables: Tables) -> Piece:
    """Make room for a piece of any text; none for a model whose n-grams are others."""
    shape = tables.shape
    fits = (shape[SHAPE_MIN], shape[SHAPE_MAX], shape[SHAPE_NGRAMS]) == (LEAST, MOST, 1)
    fits &= shape[SHAPE_BUCKET] >= LEAST_BUCKETS and not shape[SHAPE_ODD]
    size = (BYTES + PADDING) if fits else 0
    words = size // 2
    return Piece(
        np.zeros(size, np.uint8),
        np.zeros(size, np.uint32),
        np.zeros(size, np.uint32),
        np.zeros(size, np.int32),
        np.zeros(SIZES * size, np.uint32),
        np.zeros((words, 4), np.int64),
        np.zeros(words, np.uint64),
        np.zeros(SIZES * size, np.int32),
    )


@leaf
def cut_piece(text: U8Array, at: int, stop: int) -> int:
    """Where the next piece of text[at:stop] ends; `at` if a word too long for one comes first."""
    if stop - at <= BYTES:
        return stop
    end = at + BYTES
    while end > at and not is_space(text[end]):
        end -= 1
    return end


@leaf
def end_of_word(text: U8Array, at: int, stop: int) -> int:
    """Where the next word ends."""
    while at < stop and is_space(text[at]):
        at += 1
    while at < stop and not is_space(text[at]):
        at += 1
    return at


@leaf
def _take_letters(text: U8Array, at: int, size: int, letters: U8Array) -> bool:
    """Copy a piece's bytes; returns whether one of them is no ASCII."""
    every = np.uint8(0)
    for i in range(np.uint64(size)):
        byte = text[np.uint64(at) + i]
        letters[i] = byte
        every |= byte
    for i in range(np.uint64(size), np.uint64(size + PADDING)):
        letters[i] = SPACE
    return bool(every & np.uint8(0x80))


@leaf
def _blank(letters: U8Array, start: int, stop: int) -> None:
    for i in range(start, stop):
        letters[i] = SPACE


@leaf
def _hash_short(text: U8Array, start: int, size: int) -> np.uint64:
    """As `hash_word`, of a word of fewer than sixteen bytes, wherever sixteen can be read."""
    first = np.uint64(min(size, 8))
    second = np.uint64(size) - first
    low = eight_bytes(text, start) & ALL >> (np.uint64(64) - np.uint64(8) * first)
    high = eight_bytes(text, start + 8) & (ONE << np.uint64(8) * second) - ONE
    return hash_end(stir(START, low), high, size)


@leaf
def _note_words(piece: Piece, size: int, tables: Tables) -> tuple[int, int]:
    """Note the words that may be in the dictionary; returns how many, and how many bytes count.

    A label counts for nothing, and the word `</s>` ends the text: spaces take their place.
    """
    letters, known, asked, seen = piece.letters, piece.known, piece.asked, tables.words.seen
    at, base, k = 0, 0, 0
    spaces = space_mask(letters, 0)
    while at < size:
        if at - base >= WINDOW:
            base = at
            spaces = space_mask(letters, at)
        ahead = ~spaces >> np.uint64(at - base)
        if ahead == 0:
            at = base + WINDOW
            continue
        start = at + int(np.int64(trailing_zeros(ahead)))
        behind = spaces >> np.uint64(start - base)
        if behind != 0:
            at = start + int(np.int64(trailing_zeros(behind)))
        elif start > base:
            at = base = start
            spaces = space_mask(letters, at)
            continue
        else:
            at = end_of_word(letters, start, size)
        length = at - start
        if length < 16:
            hashed = _hash_short(letters, start, length)
        else:
            hashed = hash_word(letters, start, at)
        if hashed == END_OF_TEXT and length == END_SIZE:
            _blank(letters, start, size)
            return k, start
        known[k, 0], known[k, 1], asked[k] = start, at, hashed
        if letters[start] == LABEL[0] and is_label(letters, (known, asked), k, tables):
            _blank(letters, start, at)
            continue
        k += may_be_entry(hashed, seen)
    return k, size


@leaf
def _fill_ascii_chars(piece: Piece, size: int) -> int:
    """Fill in characters of a piece of ASCII; returns at how many n-grams may start."""
    letters, chars = piece.letters, piece.chars
    for i in range(np.uint64(size + LANES)):
        byte = letters[i]
        chars[i + np.uint64(BEFORE)] = END if is_space(byte) else np.uint32(byte)
    return size + BEFORE


@leaf
def _fill_wide_chars(piece: Piece, size: int) -> int:
    """As `_fill_ascii_chars`, of any characters; notes which one each byte belongs to."""
    letters, chars, packed, columns = piece.letters, piece.chars, piece.packed, piece.columns
    inner, first = np.uint8(0xC0), np.uint8(0x80)
    for i in range(np.uint64(size)):
        byte, second = letters[i], letters[i + np.uint64(1)]
        third, fourth = letters[i + np.uint64(2)], letters[i + np.uint64(3)]
        has_second = second & inner == first
        has_third = has_second & (third & inner == first)
        has_fourth = has_third & (fourth & inner == first)
        char = END if is_space(byte) else np.uint32(byte)
        char |= np.uint32(second) << np.uint32(8) if has_second else np.uint32(0)
        char |= np.uint32(third) << np.uint32(16) if has_third else np.uint32(0)
        char |= np.uint32(fourth) << np.uint32(24) if has_fourth else np.uint32(0)
        packed[i] = char
    n = np.uint64(BEFORE)
    for i in range(np.uint64(size)):
        columns[i] = np.int32(n)
        chars[n] = packed[i]
        n += np.uint64(letters[i] & inner != first)
    for i in range(np.uint64(MOST)):
        chars[n + i] = END
    return int(np.int64(n))


@leaf
def list_piece(
    text: U8Array, bounds: tuple[int, int], tables: Tables, piece: Piece
) -> tuple[int, bool]:
    """List the rows of whole words of a text and of their n-grams, in fastText's order.

    bounds  text[at:stop]: BYTES at most

    returns  how many there are in `rows`, and whether the text ends there
    """
    at, size = bounds[0], bounds[1] - bounds[0]
    is_wide = _take_letters(text, at, size, piece.letters)
    num_known, counted = _note_words(piece, size, tables)
    known, chars, places = piece.known, piece.chars, piece.places
    find_words(piece.letters, (known, piece.asked), (0, num_known), tables.words)
    chars[0] = chars[1] = END
    count = _fill_wide_chars(piece, counted) if is_wide else _fill_ascii_chars(piece, counted)
    whole = (count + LANES - 1) // LANES * LANES
    fill_three_places(chars, places, (whole, chars.size), tables.lookup)
    last = (SIZES - 1) * chars.size
    for n in range(num_known):
        if known[n, 3] >= 0:
            # the longest n-gram from the character before a word's `<` is none: it has ended
            start = known[n, 0]
            column = np.int64(piece.columns[start]) - BEFORE if is_wide else start
            places[last + column] = place_of_word(known[n, 3], tables.lookup)
    shape = (count, SIZES, chars.size)
    return rows_of(places, shape, tables.lookup, piece.rows), counted < size
