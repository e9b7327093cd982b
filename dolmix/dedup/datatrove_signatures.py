"""Signatures that are datatrove 0.10's to the bit, from text.

A document's text is simplified (`dolmix.dedup.datatrove_text`) and split into words as datatrove
splits English (the splitter `spacy-en`). Each run of `ngram` words, joined by one space, is hashed
(`dolmix.dedup.hashes`), and lane i is the smallest

    ((hash * a[i] + b[i]) mod 2^64) mod (2^61 - 1)

over the document, of which 32-bit signatures keep the low half before the smallest is taken. The
product wraps, as numpy's does in datatrove. `a` and `b` are numpy's RandomState draws.

Work goes in blocks of BLOCK_BYTES of simplified text, also within a document, so that memory beyond
the text itself does not grow with it. A document is cut only before a word that no rule of the
splitter can join with another, and the last words go over to the next block.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from dolmix.dedup.datatrove_text import simplify
from dolmix.dedup.hashes import SHA1_32, SHA1_64, XXH32, XXH64, hash_spans
from dolmix.document import I32Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import eight_bytes, put_eight
from dolmix.text.spacy_en import longest_letters
from dolmix.text.splitters import words_of

MERSENNE = np.uint64((1 << 61) - 1)
FULL = np.uint64(0xFFFFFFFFFFFFFFFF)
LOW_HALF = np.uint64(0xFFFFFFFF)
SPARE = 16
"""Bytes that are copied at once."""
BLOCK_BYTES = 1 << 18
"""Text that is worked on at a time; small enough for a processor's cache."""


class Scheme(NamedTuple):
    """What the numbers of a signature depend on.

    ngram     int          words in a shingle
    function  int          one of `dolmix.dedup.hashes`
    factors   (H,) uint64  `a`
    addends   (H,) uint64  `b`
    mask      uint64       bits that a lane keeps
    """

    ngram: int
    function: int
    factors: U64Array
    addends: U64Array
    mask: np.uint64


FUNCTIONS = {
    ("xxhash", 64): XXH64,
    ("xxhash", 32): XXH32,
    ("sha1", 64): SHA1_64,
    ("sha1", 32): SHA1_32,
}


def scheme_of(
    hash_function: str, hash_bits: int, *, ngram: int, num_hashes: int, seed: int
) -> Scheme:
    """Work out what settings mean; hash_function is xxhash or sha1, hash_bits 64 or 32."""
    function = FUNCTIONS[hash_function, hash_bits]
    return Scheme(ngram, function, *draw(seed, num_hashes), FULL if hash_bits == 64 else LOW_HALF)


def draw(seed: int, num_hashes: int) -> tuple[U64Array, U64Array]:
    """Draw `a` and `b`, (num_hashes,) uint64 each, from the generator that datatrove draws from.

    `b` depends on how many there are.
    """
    legacy = np.random.RandomState(seed)
    top = int(MERSENNE)
    factors = legacy.randint(1, top, dtype=np.uint64, size=num_hashes)
    return factors, legacy.randint(0, top, dtype=np.uint64, size=num_hashes)


def sign(texts: TextBatch, scheme: Scheme) -> tuple[U64Array, I64Array]:
    """Sign every document.

    returns  (N, H) uint64 lanes, (N,) int64 words

    A document with fewer words than a shingle, which datatrove would not write, has the lanes of
    one shingle of all its words, hashed by XXH64 in any case, so that no other shingle but by a
    chance of 2^-64 has its hash. Without any word its lanes have all bits of the mask set.
    Raises FilterError without spaCy; DataError for a document of 2 GiB or more that cannot be cut.
    """
    lanes = np.full((len(texts), scheme.factors.size), scheme.mask, np.uint64)
    counts = np.zeros(len(texts), np.int64)
    for start, stop in _blocks(texts.offsets):
        simple = simplify(_rows(texts, start, stop))
        carry = np.empty(0, np.uint8)
        for piece, more in _pieces(simple):
            words = words_of(piece, "spacy-en")
            spans = (words.starts, words.stops, words.ends)
            carry = sign_words(
                piece.utf8,
                piece.offsets,
                spans,
                (carry, more),
                scheme,
                lanes[start:stop],
                counts[start:stop],
            )
    return lanes, counts


def _blocks(offsets: I64Array) -> Iterator[tuple[int, int]]:
    """Cut rows into runs of about BLOCK_BYTES of text; a longer text is a run of its own."""
    start = 0
    while start + 1 < len(offsets):
        limit = offsets[start] + BLOCK_BYTES
        stop = max(start + 1, int(np.searchsorted(offsets, limit, "right")) - 1)
        yield start, stop
        start = stop


def _rows(texts: TextBatch, start: int, stop: int) -> TextBatch:
    """Documents in a row, without a copy."""
    size = stop - start
    return TextBatch(
        texts.text.slice(start, size),
        texts.ids.slice(start, size),
        texts.urls.slice(start, size),
        texts.records[start:stop],
        fields={},
    )


def _pieces(simple: TextBatch) -> Iterator[tuple[TextBatch, bool]]:
    """Cut a batch of one long text; yield also whether more of the text is to come."""
    utf8, offsets = simple.utf8, simple.offsets
    cuts = [0]
    if len(simple) == 1 and offsets[1] - offsets[0] > 2 * BLOCK_BYTES:
        letters = longest_letters()
        cuts += find_cuts(utf8, offsets[0], offsets[1], letters, BLOCK_BYTES).tolist()
    if len(cuts) == 1:
        yield simple, False
        return
    ends = pa.py_buffer(np.array([*cuts, offsets[1]], np.int64))
    pieces = pa.LargeStringArray.from_buffers(len(cuts), ends, simple.text.buffers()[2])
    for n in range(len(cuts)):
        text = pieces.slice(n, 1)
        piece = TextBatch(text, simple.ids, simple.urls, simple.records, fields={})
        yield piece, n + 1 < len(cuts)


@kernel
def find_cuts(utf8: U8Array, start: int, stop: int, letters: int, apart: int) -> I64Array:
    """Find where utf8[start:stop] may be cut, at least `apart` bytes each time.

    letters  int           a cut stands before a word of more ASCII letters than that, with a space
                           before it and a space or the end behind it
    returns  (C,) int64    ascending

    O(stop - start).
    """
    cuts = np.empty((stop - start) // apart + 1, np.int64)
    count, i = 0, start + apart
    while i < stop:
        if utf8[i - 1] != 0x20:
            i += 1
            continue
        end = i
        while end < stop and 0x61 <= utf8[end] <= 0x7A:
            end += 1
        if end - i > letters and (end == stop or utf8[end] == 0x20):
            cuts[count] = i
            count += 1
            i += apart
        else:
            i = end + 1
    return cuts[:count].copy()


@kernel
def sign_words(
    utf8: U8Array,
    offsets: I64Array,
    spans: tuple[I32Array, I32Array, I64Array],
    open_words: tuple[U8Array, bool],
    scheme: Scheme,
    lanes: U64Array,
    counts: I64Array,
) -> U8Array:
    """Put the words of every document into its lanes.

    utf8        (B,) uint8            simplified text
    offsets     (N + 1,) int64        document n is utf8[offsets[n]:offsets[n + 1]]
    spans       starts, stops (W,), ends (N + 1,), as in `dolmix.text.words.Words`
    open_words  (C,) uint8, bool      words of the first document from the block before this one,
                                      each with a space behind it; whether the last document goes on
    lanes       (N, H) uint64         in and out; the smallest values so far
    counts      (N,) int64            in and out; words so far
    returns     (C',) uint8           the last words, for the next block

    O(B + W H). Twin: tests/naive_dedup.py `datatrove_signature`.
    """
    starts, stops, ends = spans
    carry, more = open_words
    longest, most = 0, 0
    for n in range(offsets.size - 1):
        longest = max(longest, offsets[n + 1] - offsets[n])
        most = max(most, ends[n + 1] - ends[n])
    joined = np.empty(carry.size + longest + most + SPARE, np.uint8)
    places = np.empty(carry.size + most + 1, np.int64)
    shingles = np.empty(carry.size + most + 1, np.uint64)
    size, words = 0, 0
    for n in range(offsets.size - 1):
        size, words = 0, 0
        for k in range(carry.size if n == 0 else 0):
            joined[size] = carry[k]
            if k == 0 or carry[k - 1] == 0x20:
                places[words] = size
                words += 1
            size += 1
        for word in range(ends[n], ends[n + 1]):
            places[words] = size
            words += 1
            size = _join(utf8, offsets[n] + starts[word], offsets[n] + stops[word], joined, size)
        places[words] = size
        counts[n] += ends[n + 1] - ends[n]
        length, function = scheme.ngram, scheme.function
        if counts[n] < length and not more:
            length, function = counts[n], XXH64
        found = words - length + 1 if 0 < length <= words else 0
        behind = places[length : length + found] - 1  # without the space behind the last word
        hash_spans(joined, places, behind, function, shingles[:found])
        min_lanes(shingles[:found], scheme, lanes[n])
    first = max(0, words - scheme.ngram + 1)
    return joined[places[first] : size].copy()


@leaf
def _join(utf8: U8Array, start: int, stop: int, joined: U8Array, size: int) -> int:
    """Append a word and a space; up to SPARE bytes behind may be written too."""
    length = stop - start
    if length <= SPARE and start + SPARE <= utf8.size:
        put_eight(joined, size, eight_bytes(utf8, start))
        put_eight(joined, size + 8, eight_bytes(utf8, start + 8))
    else:
        for k in range(length):
            joined[size + k] = utf8[start + k]
    joined[size + length] = 0x20
    return size + length + 1


@leaf
def min_lanes(shingles: U64Array, scheme: Scheme, out: U64Array) -> None:
    """Lower each lane to the smallest value over the shingles, of (S,) uint64 hashes.

    2^61 is 1 modulo 2^61 - 1, so that the two halves of a number are added. O(S H), vectorised over
    the lanes. Twin: tests/naive_dedup.py.
    """
    n = 0
    while n + 4 <= shingles.size:
        s, t, u, v = shingles[n], shingles[n + 1], shingles[n + 2], shingles[n + 3]
        for lane in range(out.size):
            factor, addend = scheme.factors[lane], scheme.addends[lane]
            low = min(
                _permuted(s, factor, addend, scheme.mask), _permuted(t, factor, addend, scheme.mask)
            )
            high = min(
                _permuted(u, factor, addend, scheme.mask), _permuted(v, factor, addend, scheme.mask)
            )
            out[lane] = min(out[lane], low, high)
        n += 4
    while n < shingles.size:
        for lane in range(out.size):
            value = _permuted(shingles[n], scheme.factors[lane], scheme.addends[lane], scheme.mask)
            out[lane] = min(out[lane], value)
        n += 1


@leaf
def _permuted(
    shingle: np.uint64, factor: np.uint64, addend: np.uint64, mask: np.uint64
) -> np.uint64:
    """Give `(shingle * factor + addend) mod (2^61 - 1) & mask`, of a product that wraps."""
    value = shingle * factor + addend
    value = (value & MERSENNE) + (value >> np.uint64(61))
    return min(value, value - MERSENNE) & mask  # below, the difference wraps to a large number
