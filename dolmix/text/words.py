"""Words, split as Python's `str.split()` does, and what the Gopher rules ask of them.

The splitter `whitespace` cuts at every run of the 29 code points for which `str.isspace` holds,
U+0085, U+00A0 and U+3000 among them. Texts are valid UTF-8, which Arrow's string type promises; on
anything else the counts mean little, but no kernel reads outside its document.

A word is known by a 64-bit FNV-1a hash of its bytes. In a document of w distinct words, two of them
share a hash with a probability of about w**2 / 2**65: 3e-8 for a million.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import F64Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.text.characters import decode, letter_bits, may_be_space, skip_space, space_width
from dolmix.text.compiled import kernel

FNV_START = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x00000100000001B3)
SYMBOL, LETTER = 1, 2
REQUIRED = tuple(
    int.from_bytes(word.encode())
    for word in ("the", "to", "of", "and", "be", "that", "have", "with")
)
"""The required words, each as the number that its bytes spell."""
SHORT_LENGTHS = 256
"""Word lengths counted in a histogram; a median beyond it is found by sorting."""


@dataclass(frozen=True, eq=False)
class Words:
    """The words of a batch of N documents, W in all, in reading order.

    hashes  (W,) uint64     hash of each word's bytes
    chars   (W,) int64      length of each word in characters
    starts  (W,) int64      where each word starts, in bytes from the start of its document
    stops   (W,) int64      where it ends, likewise
    ends    (N + 1,) int64  document n has words [ends[n], ends[n + 1])
    """

    hashes: U64Array
    chars: I64Array
    starts: I64Array
    stops: I64Array
    ends: I64Array

    def take(self, rows: I64Array) -> "Words":
        """Words of the documents chosen by position, in that order."""
        counts = np.diff(self.ends)[rows]
        ends = np.concatenate([[0], np.cumsum(counts)])
        at = np.repeat(self.ends[rows] - ends[:-1], counts) + np.arange(ends[-1])
        return Words(self.hashes[at], self.chars[at], self.starts[at], self.stops[at], ends)


@dataclass(frozen=True, eq=False)
class WordStatistics:
    """What the Gopher rules ask of the words of N documents; every array is (N,).

    words          int64    number of words
    symbol_words   int64    words that contain `#` or `…`
    letter_words   int64    words that contain a letter (`str.isalpha`)
    required       int64    words that are one of the be to of and that have with, by case
    median_chars   float64  median word length in characters, the mean of the middle two; 0.0
                            without words
    """

    words: I64Array
    symbol_words: I64Array
    letter_words: I64Array
    required: I64Array
    median_chars: F64Array


def split_words(texts: TextBatch) -> Words:
    """Split every document as `str.split()` does."""
    offsets = texts.offsets
    room = int(offsets[-1] - offsets[0] + len(texts)) // 2 + 1
    hashes, chars = np.empty(room, np.uint64), np.empty(room, np.int64)
    spans = np.empty((2, room), np.int64)
    ends = np.zeros(len(texts) + 1, np.int64)
    hash_words(texts.utf8, offsets, hashes, chars, spans, ends)
    count = ends[-1]
    return Words(hashes[:count], chars[:count], spans[0, :count], spans[1, :count], ends)


def word_statistics(texts: TextBatch) -> WordStatistics:
    """Measure the words of every document, in one pass."""
    counts = np.zeros((4, len(texts)), np.int64)
    medians = np.zeros(len(texts), np.float64)
    measure_words(texts.utf8, texts.offsets, letter_bits(), counts, medians)
    return WordStatistics(counts[0], counts[1], counts[2], counts[3], medians)


@kernel
def hash_words(
    utf8: U8Array,
    offsets: I64Array,
    hashes: U64Array,
    chars: I64Array,
    spans: I64Array,
    ends: I64Array,
) -> None:
    """Fill in the hash, length and place of every word.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    hashes   (>= W,) uint64   out; (B + N) // 2 entries are always enough
    chars    (>= W,) int64    out
    spans    (2, >= W) int64  out; start and stop of each word, in bytes from its document's start
    ends     (N + 1,) int64   out; words before each document's end

    O(B). Twin: tests/naive.py `split_words`.
    """
    word = 0
    ends[0] = 0
    for n in range(offsets.size - 1):
        stop = offsets[n + 1]
        i = skip_space(utf8, offsets[n], stop)
        while i < stop:
            code, length = FNV_START, 0
            spans[0, word] = i - offsets[n]
            while i < stop:
                byte = utf8[i]
                if may_be_space(byte) and space_width(utf8, i, stop) > 0:
                    break
                code = (code ^ np.uint64(byte)) * FNV_PRIME
                length += (byte & 0xC0) != 0x80
                i += 1
            hashes[word] = code
            chars[word] = length
            spans[1, word] = i - offsets[n]
            word += 1
            i = skip_space(utf8, i, stop)
        ends[n + 1] = word


@kernel
def measure_words(
    utf8: U8Array, offsets: I64Array, letters: U8Array, counts: I64Array, medians: F64Array
) -> None:
    """Fill in the statistics of every document.

    utf8, offsets as in `hash_words`
    letters  (139264,) uint8  `letter_bits()`
    counts   (4, N) int64     out; words, symbol words, letter words, required words
    medians  (N,) float64     out; median word length in characters

    O(B), plus a sort of the word lengths of a document whose median is 255 or more. Twin:
    tests/naive.py `word_statistics`.
    """
    lengths = np.zeros(SHORT_LENGTHS, np.int64)
    for n in range(offsets.size - 1):
        stop = offsets[n + 1]
        i = skip_space(utf8, offsets[n], stop)
        while i < stop:
            begin = i
            i, length, marks = _read_word(utf8, i, stop, letters)
            counts[0, n] += 1
            counts[1, n] += marks & SYMBOL
            counts[2, n] += marks >> 1
            counts[3, n] += i - begin <= 4 and _is_required(utf8, begin, i)
            lengths[min(length, SHORT_LENGTHS - 1)] += 1
            i = skip_space(utf8, i, stop)
        words = counts[0, n]
        if words > 0:
            low, high = _nth(lengths, (words - 1) // 2), _nth(lengths, words // 2)
            medians[n] = (low + high) / 2
            if high == SHORT_LENGTHS - 1:
                medians[n] = _median_by_sorting(utf8, offsets[n], stop, words, letters)
            lengths[:] = 0


@kernel
def _read_word(utf8: U8Array, i: int, stop: int, letters: U8Array) -> tuple[int, int, int]:
    """Read the word at `i`: position after it, characters, and SYMBOL | LETTER as it has them."""
    length, marks = 0, 0
    while i < stop:
        byte = utf8[i]
        if byte < 0x80:
            if may_be_space(byte) and space_width(utf8, i, stop) > 0:
                break
            if 0x61 <= byte | 0x20 <= 0x7A:
                marks |= LETTER
            elif byte == 0x23:
                marks |= SYMBOL
            i += 1
        else:
            if may_be_space(byte) and space_width(utf8, i, stop) > 0:
                break
            point, i = decode(utf8, i, stop)
            if point == 0x2026:
                marks |= SYMBOL
            elif letters[point >> 3] >> (point & 7) & 1:
                marks |= LETTER
        length += 1
    return i, length, marks


@kernel
def _is_required(utf8: U8Array, begin: int, end: int) -> bool:
    packed = np.int64(0)
    for i in range(begin, end):
        packed = packed << 8 | np.int64(utf8[i])
    for required in REQUIRED:  # noqa: SIM110 - numba compiles a loop over a tuple, not any()
        if packed == required:
            return True
    return False


@kernel
def _median_by_sorting(utf8: U8Array, begin: int, stop: int, words: int, letters: U8Array) -> float:
    lengths = np.empty(words, np.int64)
    i = skip_space(utf8, begin, stop)
    for w in range(words):
        i, lengths[w], _ = _read_word(utf8, i, stop, letters)
        i = skip_space(utf8, i, stop)
    lengths.sort()
    return float(lengths[(words - 1) // 2] + lengths[words // 2]) / 2


@kernel
def _nth(histogram: I64Array, rank: int) -> int:
    """Value of the given rank, from 0, in a histogram that holds more than `rank` values."""
    value, seen = 0, histogram[0]
    while seen <= rank:
        value += 1
        seen += histogram[value]
    return value
