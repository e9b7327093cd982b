"""Words by Unicode's annex 29, as the package uniseg 0.10 finds them.

The annex cuts a text into segments with nothing left over. The words are the segments whose first
character is a letter or a digit (`str.isalnum`), which is what DCLM keeps of uniseg's segments;
punctuation, symbols, spaces, emoji and `_private` are segments, but no words.
"""

import numpy as np

from dolmix.document import I32Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import hash_span
from dolmix.text.unicode_breaks import (
    MIDDLE_BYTE,
    PLAIN_BYTE,
    WORD_BYTE,
    WORD_START,
    BreakTables,
    break_tables,
    segment_end,
)
from dolmix.text.words import Words


def split_unicode_words(texts: TextBatch) -> Words:
    """Split every document at UAX #29 word boundaries; keep segments that start alphanumerically.

    Raises FilterError without uniseg, whose tables of character properties are used.
    """
    size = int(texts.offsets[-1] - texts.offsets[0])
    # two words of one byte have at least another word, of two bytes, or a separator between them
    return _split(texts, room=(2 * size + len(texts)) // 3 + 1, every=False)


def split_unicode_segments(texts: TextBatch) -> Words:
    """Split every document at UAX #29 word boundaries; keep every segment, spaces included.

    Raises FilterError without uniseg.
    """
    return _split(texts, room=int(texts.offsets[-1] - texts.offsets[0]), every=True)


def _split(texts: TextBatch, *, room: int, every: bool) -> Words:
    hashes, spans = np.empty(room, np.uint64), np.empty((3, room), np.int32)
    ends = np.zeros(len(texts) + 1, np.int64)
    find_segments(texts.utf8, texts.offsets, every, break_tables(), hashes, spans, ends)
    count = ends[-1]
    starts, stops, chars = spans[:, :count]
    return Words(hashes[:count], chars, starts, stops, ends)


@kernel
def find_segments(
    utf8: U8Array,
    offsets: I64Array,
    every: bool,
    tables: BreakTables,
    hashes: U64Array,
    spans: I32Array,
    ends: I64Array,
) -> None:
    """Fill in the hash, place and length of every segment that is wanted.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    every    bool             all segments, or those that start with a letter or a digit
    tables   `break_tables()`
    hashes   (>= W,) uint64   out; hash of each segment's bytes, `hash_span`
    spans    (3, >= W) int32  out; start and stop in bytes from the document's start, characters
    ends     (N + 1,) int64   out; segments before each document's end

    O(B). Twin: uniseg's own, in tests/dolmix/text/test_unicode_words.py.
    """
    count, marks, rules, kinds = 0, tables.marks, tables.rules, tables.bytes
    ends[0] = 0
    for n in range(offsets.size - 1):
        begin, stop = offsets[n], offsets[n + 1]
        i = begin
        while i < stop:
            kind = kinds[utf8[i]]
            alone = kind in (PLAIN_BYTE, MIDDLE_BYTE)
            if alone and not every and i + 1 < stop and utf8[i + 1] < 0x80:
                i += 1  # a space before another is no word either way
                continue
            start = i
            while i < stop and kinds[utf8[i]] == WORD_BYTE:
                i += 1
            if i == start or not ends_here(utf8, i, stop, kinds):
                i, mark = segment_end(utf8, start, stop, marks, rules)
                if not every and mark & WORD_START == 0:
                    continue
            hashes[count], spans[2, count] = hash_span(utf8, start, i)
            spans[0, count], spans[1, count] = start - begin, i - begin
            count += 1
        ends[n + 1] = count


@leaf
def ends_here(utf8: U8Array, i: int, stop: int, kinds: U8Array) -> bool:
    """Whether ASCII letters and digits before `i` surely end there, by the next two bytes."""
    if i == stop:
        return True
    kind = kinds[utf8[i]]
    if kind == MIDDLE_BYTE:
        return bool(i + 1 == stop or kinds[utf8[i + 1]] == PLAIN_BYTE)
    return bool(kind == PLAIN_BYTE)
