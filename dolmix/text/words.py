"""Words, and how Python's `str.split()` splits them.

The splitter `whitespace` cuts at every run of the 29 code points for which `str.isspace` holds,
U+0085, U+00A0 and U+3000 among them. Texts are valid UTF-8, which Arrow's string type promises; on
anything else the counts mean little, but no kernel reads outside its document.

A word is known by a 64-bit hash of its bytes, `hash_span`. In a document of w distinct words two
share a hash with a probability of about w**2 / 2**65: 3e-8 for a million.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import I32Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.text.characters import may_be_space, next_ink, skip_space, space_width
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import eight_bytes, first_marked, hash_ink, hash_span, no_ink_mask
from dolmix.text.repeats import lent

FNV_START = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x00000100000001B3)


@dataclass(frozen=True, eq=False)
class Words:
    """The words of a batch of N documents, W in all, in reading order.

    hashes  (W,) uint64     hash of each word's bytes
    chars   (W,) int32      length of each word in characters
    starts  (W,) int32      where each word starts, in bytes from the start of its document
    stops   (W,) int32      where it ends, likewise
    ends    (N + 1,) int64  document n has words [ends[n], ends[n + 1])
    """

    hashes: U64Array
    chars: I32Array
    starts: I32Array
    stops: I32Array
    ends: I64Array

    def take(self, rows: I64Array) -> "Words":
        """Words of the documents chosen by position, in that order."""
        ends = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(np.diff(self.ends)[rows], out=ends[1:])
        count = int(ends[-1])
        hashes, chars, spans = room_for_words(count)
        taken = (hashes, chars, spans[0], spans[1])
        take_words((self.hashes, self.chars, self.starts, self.stops), self.ends, rows, taken)
        return Words(hashes, chars, spans[0, :count], spans[1, :count], ends)


def split_words(texts: TextBatch) -> Words:
    """Split every document as `str.split()` does."""
    offsets = texts.offsets
    room = int(offsets[-1] - offsets[0] + len(texts)) // 2 + 1
    hashes, chars, spans = room_for_words(room)
    ends = np.zeros(len(texts) + 1, np.int64)
    hash_words(texts.utf8, offsets, hashes, chars, spans, ends)
    count = ends[-1]
    return Words(hashes[:count], chars[:count], spans[0, :count], spans[1, :count], ends)


def room_for_words(room: int) -> tuple[U64Array, I32Array, I32Array]:
    """Hashes (room,), lengths (room,) and places (2, room) to fill in.

    Their memory is that of words of the thread's that nobody holds any more, if there is any.
    """
    hashes, chars = lent("word hashes", room, np.uint64), lent("word chars", room, np.int32)
    spans = lent("word spans", 2 * room, np.int32)[: 2 * room].reshape(2, room)
    return hashes[:room], chars[:room], spans


@kernel
def take_words(
    given: tuple[U64Array, I32Array, I32Array, I32Array],
    ends: I64Array,
    rows: I64Array,
    taken: tuple[U64Array, I32Array, I32Array, I32Array],
) -> None:
    """Copy the words of some documents.

    given  hashes, chars, starts and stops, (W,) each
    ends   (N + 1,) int64  document n has words [ends[n], ends[n + 1])
    rows   (any,) int64    documents
    taken  as many arrays  out; as many entries as those documents have words

    O(words taken).
    """
    at = 0
    for row in rows:
        begin, size = ends[row], ends[row + 1] - ends[row]
        taken[0][at : at + size] = given[0][begin : begin + size]
        taken[1][at : at + size] = given[1][begin : begin + size]
        taken[2][at : at + size] = given[2][begin : begin + size]
        taken[3][at : at + size] = given[3][begin : begin + size]
        at += size


@kernel
def hash_words(
    utf8: U8Array,
    offsets: I64Array,
    hashes: U64Array,
    chars: I32Array,
    spans: I32Array,
    ends: I64Array,
) -> None:
    """Fill in the hash, length and place of every word.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    hashes   (>= W,) uint64   out; (B + N) // 2 entries are always enough
    chars    (>= W,) int32    out
    spans    (2, >= W) int32  out; start and stop of each word, in bytes from its document's start
    ends     (N + 1,) int64   out; words before each document's end

    O(B). Twin: tests/naive.py `split_words`.
    """
    word = 0
    ends[0] = 0
    for n in range(offsets.size - 1):
        base, stop = offsets[n], offsets[n + 1]
        i = skip_space(utf8, base, stop)
        while i < stop:
            begin = i
            i, code = hash_ink(utf8, begin, stop)
            if i == stop or utf8[i] == 0x20 or 0x09 <= utf8[i] <= 0x0D:
                hashes[word], chars[word] = code, i - begin
            else:
                i = ink_end(utf8, i, stop)
                hashes[word], chars[word] = hash_span(utf8, begin, i)
            spans[0, word], spans[1, word] = begin - base, i - base
            word += 1
            i = next_ink(utf8, i, stop)
        ends[n + 1] = word


@leaf
def ink_end(utf8: U8Array, i: int, stop: int) -> int:
    """Where the next whitespace character from `i` on starts, or `stop`."""
    while i < stop:
        if i + 8 <= stop:
            length = first_marked(no_ink_mask(eight_bytes(utf8, i)))
            i += length
            if length == 8:
                continue
        while i < stop and not 0x20 < utf8[i] < 0x80:
            if may_be_space(utf8[i]) and space_width(utf8, i, stop) > 0:
                return i
            i += 1
        if i + 8 > stop and i < stop:
            i += 1
    return stop
