"""Words of a text written down one character a number, so that n-grams are hashed many at a time.

A stretch holds so many characters as fit into the nearest cache. Each word stands between a `<` and
a `>`, as fastText takes its n-grams, and these two are told from the characters of the same name by
a bit that no byte after the first of a UTF-8 character has.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array, U32Array, U64Array
from dolmix.text.compiled import leaf
from dolmix.text.eights import START, eight_bytes, no_ink_mask, put_eight, stir, trailing_zeros
from dolmix.text.fasttext_masks import is_space
from dolmix.text.fasttext_sums import Sum
from dolmix.text.fasttext_tables import SHAPE_MAX, SHAPE_MIN, SHAPE_ODD, SHAPE_WORDS, Tables
from dolmix.text.fasttext_words import (
    find_words,
    hash_bytes,
    hash_end,
    hash_word,
    may_be_entry,
    word_hash,
)

CHARACTERS = 1024
"""How many fit into a stretch."""
LANES = 64
"""Loops over a stretch run to a multiple of this: a compiled loop's rest is slow."""
BEGIN, END = np.uint32(0x0040003C), np.uint32(0x4000003E)
"""What stands around a word."""
OPENS, CLOSES, WRITTEN = np.uint8(0xFF), np.uint8(0xFE), np.uint8(0xFD)
"""What stands for these among `Stretch.letters`, and for what is in `chars` already: bytes that no
UTF-8 has."""
BEGIN_BIT, END_BIT = np.uint32(0x00400000), np.uint32(0x40000000)
END_OF_TEXT = np.uint64(word_hash(b"</s>"))
"""Hash of the word that ends a text; no other so short has it."""
END_SIZE = 4
ALL = np.uint64(2**64 - 1)
LABEL = tuple(b"__label__")
FILLED, KNOWN, WIDEST, WORD_STOP = 0, 1, 2, 3
"""Places in `Stretch.fill`."""


class Stretch(NamedTuple):
    """Characters of some words, and room for what is made of them; S n-grams start at each.

    letters (C,) uint8       ASCII characters, and OPENS, CLOSES, WRITTEN
    chars   (C,) uint32      the bytes of each character, the first one lowest
    hashes  (C,) uint32      room for hashes of n-grams that start there
    ended   (C,) uint32      room for whether the word ended before theirs
    places  (S * C,) uint32  room for places of n-grams, size by size; see `Lookup`
    known   (C, 4) int64     words that may be in the dictionary: first byte in the text, the byte
                             after them, the character before them, and room for their entry
    asked   (C,) uint64      their hashes
    rows    (S * C,) int32   out; rows of the model
    fill    (4,) int64       how many characters there are, and how many known words; bytes of the
                             longest character; where the word ends that only begins here, or 0
    """

    letters: U8Array
    chars: U32Array
    hashes: U32Array
    ended: U32Array
    places: U32Array
    known: I64Array
    asked: U64Array
    rows: I32Array
    fill: I64Array


def empty_stretch(tables: Tables) -> Stretch:
    """Make room for a stretch of any text."""
    most = int(tables.shape[SHAPE_MAX])
    size = CHARACTERS + LANES + most
    slots = max(1, most - max(int(tables.shape[SHAPE_MIN]), 1) + 1)
    chars, hashes, ended = (np.zeros(size, np.uint32) for _ in range(3))
    return Stretch(
        np.zeros(size, np.uint8),
        chars,
        hashes,
        ended,
        np.zeros(slots * size, np.uint32),
        np.zeros((CHARACTERS, 4), np.int64),
        np.zeros(CHARACTERS, np.uint64),
        np.zeros(slots * size, np.int32),
        np.zeros(4, np.int64),
    )


@leaf
def begin_text(stretch: Stretch) -> None:
    """Empty a stretch; what a word of the dictionary has is noted at the `>` before it."""
    stretch.letters[0] = CLOSES
    stretch.fill[FILLED], stretch.fill[KNOWN] = 1, 0
    stretch.fill[WIDEST], stretch.fill[WORD_STOP] = 1, 0


@leaf
def is_label(text: U8Array, words: tuple[I64Array, U64Array], place: int, tables: Tables) -> bool:
    """Whether a word is a label: as the dictionary has it, or else by its first letters.

    words  `known` and `asked`, see `find_words`
    place  where among them it stands
    """
    known = words[0]
    find_words(text, words, (place, place + 1), tables.words)
    start, stop, entry = known[place, 0], known[place, 1], known[place, 3]
    if entry >= 0 or stop - start < len(LABEL):
        return bool(entry >= tables.shape[SHAPE_WORDS])
    for i in range(len(LABEL)):  # noqa: SIM110 - a kernel has no generators
        if text[start + i] != LABEL[i]:
            return False
    return True


@leaf
def _find_short(text: U8Array, start: int) -> tuple[int, np.uint64]:
    """Size and hash of a word of plain ASCII of fewer than sixteen bytes; 0 or 16 for another.

    Sixteen bytes are looked at without a branch, since nothing foretells where words end.
    """
    low, high = eight_bytes(text, start), eight_bytes(text, start + 8)
    first = trailing_zeros(no_ink_mask(low)) >> np.uint64(3)
    # of the second eight only if the word has all of the first; eight fill a mask
    second = (trailing_zeros(no_ink_mask(high)) >> np.uint64(3)) * (first >> np.uint64(3))
    low &= ALL >> (np.uint64(64) - np.uint64(8) * first & np.uint64(63))
    high &= (np.uint64(1) << (np.uint64(8) * second & np.uint64(63))) - np.uint64(1)
    size = int(np.int64(first + second))
    return size, hash_end(stir(START, low), high, size)


@leaf
def _find_word(text: U8Array, start: int, stop: int) -> tuple[int, np.uint64, bool]:
    """Where a word ends, its hash, and whether it is short, as `_find_short` has it."""
    if start + 16 <= text.size:
        size, hashed = _find_short(text, start)
        at = start + size
        if at < stop and size < 16 and is_space(text[at]):
            return at, hashed, True
    at = start
    while at < stop and not is_space(text[at]):
        at += 1
    return at, hash_word(text, start, at), False


@leaf
def _write_short(text: U8Array, start: int, letters: U8Array, place: int) -> None:
    """Write sixteen bytes, of which those behind the word are written over later."""
    put_eight(letters, place, eight_bytes(text, start))
    put_eight(letters, place + 8, eight_bytes(text, start + 8))


@leaf
def _write_wide(
    text: U8Array, start: int, stop: int, room: tuple[U32Array, U8Array, I64Array], place: int
) -> tuple[int, int]:
    """Write characters of any length while there is room; returns the next one, and where they end.

    room  `chars`, `letters` and `fill` of the stretch
    """
    chars, letters, fill = room
    widest = fill[WIDEST]
    at = start
    while at < stop and place < CHARACTERS:
        code = np.uint32(text[at])
        at += 1
        if code >= 0xC0:
            shift = np.uint32(8)
            while at < stop and text[at] & 0xC0 == 0x80:
                code |= np.uint32(np.uint32(text[at]) << shift)
                shift += np.uint32(8)
                at += 1
            widest = max(widest, np.int64(shift) >> 3)
        chars[place], letters[place] = code, WRITTEN
        place += 1
    fill[WIDEST] = widest
    return at, place


@leaf
def go_on(text: U8Array, at: int, stretch: Stretch) -> int:
    """Go on with a word that did not fit; returns where in the text that leaves off."""
    fill = stretch.fill
    room = (stretch.chars, stretch.letters, fill)
    at, place = _write_wide(text, at, fill[WORD_STOP], room, fill[FILLED])
    if at == fill[WORD_STOP]:
        fill[WORD_STOP] = 0
        stretch.letters[place] = CLOSES
        place += 1
    fill[FILLED] = place
    return at


@leaf
def write_words(
    text: U8Array, bounds: tuple[int, int], tables: Tables, stretch: Stretch, total: Sum
) -> int:
    """Write words of text[at:stop] while there is room; returns where in the text that leaves off.

    bounds  at, stop
    total   gets hashes of the words, if the model has n-grams of them

    A label counts for nothing, and the word `</s>` ends the text. A word that is longer than a
    stretch is begun only in an empty one; `go_on` goes on with it.
    """
    at, stop = bounds
    shape, seen, is_odd = tables.shape, tables.words.seen, tables.shape[SHAPE_ODD] > 0
    letters, known, asked, fill = stretch.letters, stretch.known, stretch.asked, stretch.fill
    room = (stretch.chars, letters, fill)
    n, k = fill[FILLED], fill[KNOWN]
    while at < stop:
        if is_space(text[at]):
            at += 1
            continue
        start = at
        at, hashed, is_short = _find_word(text, start, stop)
        # with the marks around it
        is_long = n + at - start + 2 > CHARACTERS
        if k == known.shape[0] or (is_long and n > 1):
            at = start
            break
        if hashed == END_OF_TEXT and at - start == END_SIZE:
            at = stop
            break
        known[k, 0], known[k, 1], known[k, 2], asked[k] = start, at, n - 1, hashed
        if (is_odd or text[start] == LABEL[0]) and is_label(text, (known, asked), k, tables):
            continue
        k += may_be_entry(hashed, seen)
        if total.hashes.size:
            total.hashes[total.counts[1]] = np.int32(hash_bytes(text, start, at))
            total.counts[1] += 1
        if shape[SHAPE_MAX] == 0:
            continue
        letters[n] = OPENS
        if is_long:
            fill[FILLED], fill[KNOWN], fill[WORD_STOP] = n + 1, k, at
            return go_on(text, start, stretch)
        if is_short:
            _write_short(text, start, letters, n + 1)
            n += at - start + 1
        else:
            _, n = _write_wide(text, start, at, room, n + 1)
        letters[n] = CLOSES
        n += 1
    fill[FILLED], fill[KNOWN] = n, k
    return at
