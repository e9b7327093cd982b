"""Which n-grams of words, out of a given set, texts contain; found by hash, confirmed by words.

Grams may have several lengths. Each is known by a hash of its first words, as many as the shortest
gram has, so a document is read once, with one rolling hash. A small bit table turns nearly all
places away; at the others the grams with that hash are compared with the text, word by word, before
they count: no two hashes that happen to be equal make a find.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array, U32Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.folded_words import (
    ALONE,
    PASSED_OVER,
    SEPARATOR,
    fold_words,
    folded_point,
    next_word,
    word_points,
)

BASE = np.uint64(0x9E3779B97F4A7C17)
"""Odd, so that multiplying by it loses nothing."""
BITS_A_GRAM = 32
"""Of the bit table: 3 % of the n-grams that are in no set get past it."""
ROOM = 1 << 12


class FoldedTexts(NamedTuple):
    """Words of N texts, W in all.

    points  (P,) uint32    folded letters, a SEPARATOR after each word
    starts  (W + 1,) int64 where each word starts in `points`; at last P
    hashes  (W,) uint64    hash of each word
    ends    (N + 1,) int64 text n has words [ends[n], ends[n + 1])
    """

    points: U32Array
    starts: I64Array
    hashes: U64Array
    ends: I64Array


class GramTable(NamedTuple):
    """G different grams to look for, in the order of their hashes.

    prefix   int              words of the shortest gram, which hashes are of; 0 without grams
    codes    (G,) uint64      hash of each gram's first `prefix` words, ascending
    starts   (G,) int64       where its words start in `points`
    stops    (G,) int64       where they stop, the last SEPARATOR left out
    points   (P,) uint32      folded letters
    slots    (2 ** s,) int64  open addressing by hash: its first gram + 1, or 0
    bits     (2 ** b,) uint64 the bit table
    """

    prefix: int
    codes: U64Array
    starts: I64Array
    stops: I64Array
    points: U32Array
    slots: I64Array
    bits: U64Array


def folded(texts: Sequence[str]) -> FoldedTexts:
    """Split texts into folded words."""
    batch = TextBatch.of(list(texts))
    size = len(batch.utf8)
    points, starts = np.empty(2 * size + 1, np.uint32), np.empty(size + 1, np.int64)
    hashes, ends = np.empty(size, np.uint64), np.zeros(len(texts) + 1, np.int64)
    used = fold_words(batch.utf8, batch.offsets, word_points(), points, starts, hashes, ends)
    count = int(ends[-1])
    starts[count] = used
    return FoldedTexts(points[:used].copy(), starts[: count + 1], hashes[:count], ends)


def gram_table(words: FoldedTexts, spans: I64Array) -> tuple[GramTable, I64Array]:
    """Make the table of some grams.

    spans    (S, 2) int64  first word and number of words of each gram, within one text
    returns  the table, and (S,) int64: which of its grams each span is; equal ones are one
    """
    prefix = int(spans[:, 1].min(initial=spans.max(initial=0)))
    codes = gram_codes(words.hashes, spans[:, 0], prefix)
    starts, stops = words.starts[spans[:, 0]], words.starts[spans.sum(axis=1)] - 1
    owners, firsts = _equal_grams(words.points, starts, stops)
    order = np.argsort(codes[firsts], kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    chosen = firsts[order]
    codes, starts, stops = codes[chosen], starts[chosen], stops[chosen]
    slots = np.zeros(1 << max(2 * len(codes), 2).bit_length(), np.int64)
    bits = np.zeros(1 << max(BITS_A_GRAM * len(codes) // 64, 1).bit_length(), np.uint64)
    fill_table(codes, slots, bits)
    return GramTable(prefix, codes, starts, stops, words.points, slots, bits), places[owners]


def grams_in(texts: TextBatch, table: GramTable) -> I64Array:
    """(H, 2) int64: (document, gram) of every gram that a text has, once each, by document."""
    room = ROOM
    while True:
        hits = np.empty((room, 2), np.int64)
        stamps = np.zeros(len(table.codes), np.int64)
        found = find_grams(texts.utf8, texts.offsets, word_points(), table, stamps, hits)
        if found <= room:
            return hits[:found]
        room = int(found)


def _equal_grams(points: U32Array, starts: I64Array, stops: I64Array) -> tuple[I64Array, I64Array]:
    """Give equal grams one number: (S,) each span's number, and the first span of each number."""
    known: dict[bytes, int] = {}
    owners = np.empty(len(starts), np.int64)
    firsts: list[int] = []
    for span, (start, stop) in enumerate(zip(starts.tolist(), stops.tolist(), strict=True)):
        number = known.setdefault(points[start:stop].tobytes(), len(firsts))
        if number == len(firsts):
            firsts.append(span)
        owners[span] = number
    return owners, np.array(firsts, np.int64)


@kernel
def gram_codes(hashes: U64Array, firsts: I64Array, size: int) -> U64Array:
    """(S,) uint64: hash of the `size` words from each of `firsts` (S,) on, of `hashes` (W,)."""
    codes = np.zeros(firsts.size, np.uint64)
    for s in range(firsts.size):
        for w in range(firsts[s], firsts[s] + size):
            codes[s] = codes[s] * BASE + hashes[w]
    return codes


@kernel
def fill_table(codes: U64Array, slots: I64Array, bits: U64Array) -> None:
    """Enter ascending (G,) codes into empty `slots` and `bits`, as in `GramTable`."""
    mask = np.uint64(slots.size - 1)
    for gram in range(codes.size):
        if gram > 0 and codes[gram] == codes[gram - 1]:
            continue
        at = codes[gram] & mask
        while slots[at] != 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = gram + 1
        word, bit = bit_of(codes[gram], bits)
        bits[word] |= bit


@leaf
def bit_of(code: np.uint64, bits: U64Array) -> tuple[np.uint64, np.uint64]:
    """Word of the bit table in which a code has its bit, and the bit."""
    word = code >> np.uint64(32) & np.uint64(bits.size - 1)
    return word, np.uint64(1) << (code >> np.uint64(26) & np.uint64(63))


@kernel
def find_grams(
    utf8: U8Array,
    offsets: I64Array,
    points: U32Array,
    table: GramTable,
    stamps: I64Array,
    hits: I64Array,
) -> int:
    """Fill in (document, gram) of every gram found, as far as there is room; returns their number.

    utf8     (B,) uint8         bytes of all documents
    offsets  (N + 1,) int64     document n is utf8[offsets[n]:offsets[n + 1]]
    points   (1114112,) uint32  `word_points()`
    stamps   (G,) int64         zeros on entry
    hits     (room, 2) int64    out

    O(B), and the words of all grams whose hash is met. Twin: tests/naive_paragraphs.py `grams_in`.
    """
    size = table.prefix
    ring, power = 1, np.uint64(1)
    while ring < size:
        ring *= 2  # of the last words, so that `& (ring - 1)` finds each
    for _ in range(size):
        power *= BASE
    hashes, places = np.zeros(ring, np.uint64), np.zeros(ring, np.int64)
    found = 0
    for n in range(offsets.size - 1 if table.codes.size else 0):
        i, stop = offsets[n], offsets[n + 1]
        key, count = np.uint64(0), 0
        while True:
            start, i, code = next_word(utf8, i, stop, points)
            if start == stop:
                break
            gone = hashes[(count - size) & (ring - 1)] if count >= size else np.uint64(0)
            key = key * BASE + code - gone * power
            hashes[count & (ring - 1)], places[count & (ring - 1)] = code, start
            count += 1
            word, bit = bit_of(key, table.bits)
            if count >= size and table.bits[word] & bit != 0:
                where = n, places[(count - size) & (ring - 1)], stop
                found = add_hits(key, utf8, where, points, table, stamps, hits, found)
    return found


@leaf
def add_hits(
    key: np.uint64,
    utf8: U8Array,
    where: tuple[int, int, int],
    points: U32Array,
    table: GramTable,
    stamps: I64Array,
    hits: I64Array,
    found: int,
) -> int:
    """Add the grams with this hash that stand somewhere, unless the document has them already.

    where    document, place in utf8 of the first word, end of the document
    returns  the hits so far, those without room included
    """
    n, begin, stop = where
    mask = np.uint64(table.slots.size - 1)
    at = key & mask
    while table.slots[at] != 0 and table.codes[table.slots[at] - 1] != key:
        at = (at + np.uint64(1)) & mask
    gram = table.slots[at] - 1
    while 0 <= gram < table.codes.size and table.codes[gram] == key:
        first, last = table.starts[gram], table.stops[gram]
        if stamps[gram] != n + 1 and reads(utf8, begin, stop, points, table.points, first, last):
            stamps[gram] = n + 1
            if found < hits.shape[0]:
                hits[found, 0], hits[found, 1] = n, gram
            found += 1
        gram += 1
    return found


@leaf
def reads(
    utf8: U8Array, i: int, stop: int, points: U32Array, words: U32Array, first: int, last: int
) -> bool:
    """Whether the text at `i`, the start of a word, begins with the words `words[first:last]`."""
    at, ended = first, False
    while i < stop:
        point, i = folded_point(utf8, i, stop, points)
        if point == PASSED_OVER:
            continue
        alone = point & ALONE != 0
        if point == SEPARATOR or (alone and at > first):
            ended = True
        if at == last:
            return ended
        if point == SEPARATOR:
            continue
        if ended:
            if words[at] != SEPARATOR:
                return False
            at += 1
            ended = False
        if at >= last or words[at] != point:
            return False
        at += 1
        ended = alone
    return at == last
