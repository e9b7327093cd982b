"""Repeated n-grams of 5 to 10 words as datatrove finds them: joined, and one after the other.

datatrove compares n-grams by the text of their words put together without spaces, so that
`in put` equals `input`; and it goes through a text n-gram by n-gram: one that it has seen before
counts and is jumped over, any other is remembered, and the next starts one word later.

Only n-grams that have an equal one matter. Two that are equal and have at least 16 bytes have the
same first 16 bytes, whatever their words; so a small table of marks over the first 16 bytes from
each word on leaves few places to look at, and only there are n-grams hashed and compared.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import SPREAD, START, eight_bytes, low_bytes, put_eight, stir
from dolmix.text.repeats import (
    Tables,
    fresh_base,
    longest_part,
    mark_twice,
    scratch,
    seen_twice,
    spread_of,
    tables,
)
from dolmix.text.words import Words

SHORTEST, LONGEST = 5, 10
"""N-grams are measured from 5 to 10 words."""
PREFIX = 16
"""Bytes by which n-grams are chosen that may repeat."""


class Room(NamedTuple):
    """Scratch for documents of up to W words and B bytes.

    table   Tables             for W elements; its `ids` hold a flag for each place
    places  (>= W,) int32      words from which an n-gram may repeat
    codes   (>= W,) uint64     hashes of what follows each word
    keys    (>= W,) uint64     hashes of n-grams
    marks   (>= W,) uint64     for `mark_twice`; 2 at least
    sums    (>= W + 1,) int32  characters before each word
    edges   (>= W + 1,) int32  bytes before each word
    stream  (>= B + 32,) uint8 the words' bytes, without what is between them
    """

    table: Tables
    places: I32Array
    codes: U64Array
    keys: U64Array
    marks: U64Array
    sums: I32Array
    edges: I32Array
    stream: U8Array


def joined_chars(texts: TextBatch, words: Words) -> I64Array:
    """Count the characters of repeated n-grams as datatrove does.

    returns  (6, N) int64   row n - 5 is for n-grams of n words; spaces do not count
    """
    most = longest_part(words.ends)
    room = Room(
        tables(most),
        scratch("places", most, np.int32),
        scratch("codes", most, np.uint64),
        scratch("pairs", most, np.uint64),
        scratch("marks", max(most, 2), np.uint64),
        scratch("sums", most + 1, np.int32),
        scratch("edges", most + 1, np.int32),
        scratch("stream", longest_part(texts.offsets) + 2 * PREFIX, np.uint8),
    )
    spans = (words.starts, words.stops, words.chars)
    return count_joined(texts.utf8, texts.offsets, spans, words.ends, room)


@kernel
def count_joined(
    utf8: U8Array,
    offsets: I64Array,
    spans: tuple[I32Array, I32Array, I32Array],
    ends: I64Array,
    room: Room,
) -> I64Array:
    """Count the characters of repeated n-grams, for n from 5 to 10.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    spans    three (W,) int32: where each word starts and where it ends, in bytes from the start of
             its document; its characters
    ends     (N + 1,) int64   document n has words [ends[n], ends[n + 1])
    room     scratch for the longest document
    returns  (6, N) int64     characters found

    O(6 W + 45 B), in practice about O(W + B). Twin: tests/naive_repetition.py `joined_chars`.
    """
    found = np.zeros((LONGEST - SHORTEST + 1, ends.size - 1), np.int64)
    for doc in range(ends.size - 1):
        begin, size = ends[doc], ends[doc + 1] - ends[doc]
        if size < SHORTEST:
            continue
        words = (spans[0][begin:], spans[1][begin:], spans[2][begin:])
        _lay_out(utf8, offsets[doc], words, size, room)
        live = _candidates(size, room)
        for n in range(SHORTEST, min(LONGEST, size) + 1):
            live, found[n - SHORTEST, doc] = _scan(n, size, live, room)
    return found


@leaf
def _lay_out(
    utf8: U8Array,
    begin: int,
    words: tuple[I32Array, I32Array, I32Array],
    size: int,
    room: Room,
) -> None:
    """Put `size` words of the document at `begin` together, without what is between them.

    words  starts, stops and characters of each
    """
    starts, stops, chars = words
    stream, edges, sums = room.stream, room.edges, room.sums
    edges[0] = sums[0] = 0
    edge, total = np.int64(0), np.int64(0)
    last = utf8.size - 16
    for i in range(size):
        at, length = begin + starts[i], stops[i] - starts[i]
        if length <= 16 and at <= last:
            # in two steps whatever the length; the next word overwrites what is too much
            put_eight(stream, int(edge), eight_bytes(utf8, at))
            put_eight(stream, int(edge) + 8, eight_bytes(utf8, at + 8))
        else:
            for k in range(length):
                stream[edge + k] = utf8[at + k]
        edge += length
        total += chars[i]
        edges[i + 1], sums[i + 1] = edge, total


@leaf
def _candidates(size: int, room: Room) -> int:
    """Choose the words from which an n-gram may repeat; return how many.

    `places` gets the words, in order; `flags` 0 where only n-grams of fewer than PREFIX bytes may
    repeat, 1 where only those of fewer than twice that, else 2.
    """
    stream, edges, marks = room.stream, room.edges, room.marks
    places, flags, codes, keys = room.places, room.table.ids, room.codes, room.keys
    for i in range(size):
        codes[i] = _next_sixteen(stream, int(edges[i]), START)
    shift = mark_twice(codes, size, marks)
    live = flagged = 0
    for i in range(size - SHORTEST + 1):
        flag = seen_twice(codes[i], marks, shift)
        places[live], flags[live], codes[live] = i, flag, codes[i]
        flagged += flag
        live += flag or edges[i + SHORTEST] - edges[i] < PREFIX
    if 2 * flagged > size:  # no use in looking closer where most of it repeats
        for k in range(live):
            flags[k] *= 2
        return live
    flagged = 0
    for k in range(live):
        keys[flagged] = codes[k] * SPREAD
        flagged += flags[k]
    # few are left, so that the same marks tell nearly all chance meetings of the first round
    shift = mark_twice(keys, flagged, marks)
    kept = flagged = 0
    for k in range(live):
        flag = flags[k] != 0 and seen_twice(codes[k] * SPREAD, marks, shift)
        place = np.int64(places[k])
        places[kept], flags[kept] = place, flag
        code = _next_sixteen(stream, edges[place] + PREFIX, codes[k])
        codes[kept] = keys[flagged] = code
        flagged += flag
        kept += flag or edges[place + SHORTEST] - edges[place] < PREFIX
    shift = mark_twice(keys, flagged, marks)
    for k in range(kept):
        if flags[k] != 0 and seen_twice(codes[k], marks, shift):
            flags[k] = 2
    return kept


@leaf
def _next_sixteen(stream: U8Array, i: int, code: np.uint64) -> np.uint64:
    """Hash of 16 bytes and of `code`, spread over all bits."""
    code = (code ^ eight_bytes(stream, i)) * SPREAD
    code = (code ^ code >> np.uint64(32) ^ eight_bytes(stream, i + 8)) * SPREAD
    return (code ^ code >> np.uint64(32)) * SPREAD


@leaf
def _scan(n: int, size: int, live: int, room: Room) -> tuple[int, int]:
    """Go through the places as datatrove does; return how many are left, and characters seen again.

    Places are left out for good once their n-grams are too long to repeat. An n-gram in a span that
    is jumped over is never hashed.
    """
    stream, edges, sums = room.stream, room.edges, room.sums
    places, flags, keys = room.places, room.table.ids, room.keys
    slots = room.table.slots
    base = fresh_base(slots, room.table.base, live)
    shift, mask = spread_of(live)
    kept, k, found, free = 0, 0, np.int64(0), np.int64(0)
    while k < live:
        place, flag = np.int64(places[k]), flags[k]
        if place > size - n:
            break
        begin, end = int(edges[place]), int(edges[place + n])
        k += 1
        if end - begin >= PREFIX * (flag + 1) and flag < 2:
            continue
        places[kept], flags[kept] = place, flag
        kept += 1
        if place < free:
            continue
        key = _hash_span(stream, begin, end)
        keys[kept - 1] = key
        at = np.int64(key >> shift)
        while True:
            which = np.int64(slots[at]) - base
            if which < 0:
                slots[at] = base + kept - 1
                break
            if keys[which] == key:
                found += sums[place + n] - sums[place]
                free = place + n
                if kept == k and k + n <= live and places[k + n - 1] == free:
                    kept = k = k + n - 1  # all that is jumped over stays as it is
                break
            at = (at + 1) & mask
    return kept, int(found)


@leaf
def _hash_span(stream: U8Array, begin: int, end: int) -> np.uint64:
    """Hash the bytes of an n-gram: words do not enter."""
    code = START ^ np.uint64(end - begin)
    while begin + 8 <= end:
        code = stir(code, eight_bytes(stream, begin))
        begin += 8
    code = stir(code, low_bytes(eight_bytes(stream, begin), end - begin))
    return code * SPREAD
