"""What Gopher's rules ask of words, whoever split them.

Three definitions share these counts: dolma's and DCLM's rules take some of them, datatrove's
others. A word is read only as far as it takes to know what it holds, mostly its first letter.
"""

from dataclasses import dataclass

import numpy as np

from dolmix.document import F64Array, I32Array, I64Array, TextBatch, U8Array, U64Array
from dolmix.text.characters import LETTER, PUNCTUATION, decode, point_marks
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import SMALL, eight_bytes, few_bytes, low_bytes, trailing_zeros
from dolmix.text.wide import WIDTH, equal_32
from dolmix.text.words import Words

PLAIN = 2
"""Beside LETTER: a character that is no punctuation."""
STOP_SPREAD, STOP_SHIFT = np.uint64(0xB85544CAEF0756B9), np.uint64(61)
"""Multiplied and shifted by these, no two of the eight stop words give the same."""
FIRST, CASE, LETTER_A, LETTERS = (np.uint64(n) for n in (0xFF, 0x20, 0x61, 26))
SHORT_LENGTHS = 256
"""Word lengths counted in a histogram; a median beyond it is found by sorting."""


def _stop_words() -> U64Array:
    """(8,) uint64: the stop words that the rules require: bytes, with their number above."""
    table = np.zeros(8, np.uint64)
    for word in (b"the", b"be", b"to", b"of", b"and", b"that", b"have", b"with"):
        key = int.from_bytes(word, "little") | len(word) << 56
        table[key * int(STOP_SPREAD) % 2**64 >> int(STOP_SHIFT)] = key
    return table


STOP_WORDS = _stop_words()


@dataclass(frozen=True, eq=False)
class WordMarks:
    """Counts over the words of N documents; every array is (N,) int64.

    words         number of words
    chars         characters in them
    letter_words  words that contain a letter (`str.isalpha`)
    plain_words   words that contain anything but datatrove's punctuation
    plain_chars   characters in those
    required      words that are one of the be to of and that have with, by case
    lowered       the same once lower-cased
    distinct      how many of those eight words occur at all, by case
    """

    words: I64Array
    chars: I64Array
    letter_words: I64Array
    plain_words: I64Array
    plain_chars: I64Array
    required: I64Array
    lowered: I64Array
    distinct: I64Array


def word_marks(texts: TextBatch, words: Words) -> WordMarks:
    """Count the words of every document; `words` are those of `texts`."""
    counts = np.zeros((8, len(texts)), np.int64)
    spans = words.starts, words.stops, words.chars, words.ends
    mark_words(texts.utf8, texts.offsets, *spans, point_marks(), counts)
    return WordMarks(*counts)


def symbol_words(texts: TextBatch, words: Words) -> I64Array:
    """(N,) int64: words that contain `#` or `…` (U+2026)."""
    found = np.zeros(len(texts), np.int64)
    spans = words.starts, words.stops, words.ends
    count_symbol_words(texts.utf8, texts.offsets, *spans, found)
    return found


def median_chars(words: Words) -> F64Array:
    """(N,) float64: median word length in characters, the mean of the middle two; 0.0 for none."""
    medians = np.zeros(words.ends.size - 1, np.float64)
    find_medians(words.chars, words.ends, medians)
    return medians


@kernel
def mark_words(
    utf8: U8Array,
    offsets: I64Array,
    starts: I32Array,
    stops: I32Array,
    chars: I32Array,
    ends: I64Array,
    marks: U8Array,
    counts: I64Array,
) -> None:
    """Fill in the counts of every document.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    starts, stops, chars, ends  as in `Words`
    marks    (1114112,) uint8 `point_marks()`
    counts   (8, N) int64     out, zeros on entry; rows as in `WordMarks`

    O(W + B), in practice about W. Twin: tests/naive_gopher.py `word_marks`.
    """
    last = utf8.size - 8
    for n in range(offsets.size - 1):
        begin, seen = offsets[n], np.uint64(0)
        letters, plains, every, plain_chars, required, lowered = 0, 0, 0, 0, 0, 0
        for w in range(ends[n], ends[n + 1]):
            start, length = int(begin + starts[w]), int(chars[w])
            size = min(int(stops[w] - starts[w]), 7)
            value = eight_bytes(utf8, start) if start <= last else few_bytes(utf8, start, size)
            plain = True
            if (value & FIRST | CASE) - LETTER_A < LETTERS:  # as most do
                letters += 1
            else:
                found = look_into(utf8, start, begin + stops[w], marks)
                letters += found & LETTER
                plain = found & PLAIN != 0
            plains += plain
            every += length
            plain_chars += length * plain
            named = np.uint64(size) << np.uint64(56)
            key = low_bytes(value, size) | named
            lower = low_bytes(value | SMALL, size) | named
            place = lower * STOP_SPREAD >> STOP_SHIFT
            is_stop = lower == STOP_WORDS[place]
            exact = is_stop and key == lower
            lowered += is_stop
            required += exact
            seen |= np.uint64(exact) << place
        counts[0, n], counts[1, n], counts[2, n] = ends[n + 1] - ends[n], every, letters
        counts[3, n], counts[4, n] = plains, plain_chars
        counts[5, n], counts[6, n] = required, lowered
        while seen != 0:
            seen &= seen - np.uint64(1)
            counts[7, n] += 1


@leaf
def look_into(utf8: U8Array, start: int, stop: int, marks: U8Array) -> int:
    """LETTER | PLAIN as a word has them; most say so by their first byte."""
    found, i = 0, start
    while i < stop and found != LETTER | PLAIN:
        if utf8[i] < 0x80:
            mark = marks[utf8[i]]
            i += 1
        else:
            point, i = decode(utf8, i, stop)
            mark = marks[point]
        found |= mark & LETTER
        if not mark & PUNCTUATION:
            found |= PLAIN
    return found


@kernel
def count_symbol_words(
    utf8: U8Array,
    offsets: I64Array,
    starts: I32Array,
    stops: I32Array,
    ends: I64Array,
    found: I64Array,
) -> None:
    """Count the words that contain `#` or `…`, by looking for those in the text.

    utf8, offsets, starts, stops, ends as in `mark_words`
    found  (N,) int64  out, zeros on entry

    O(B + W). Twin: tests/naive_gopher.py `symbol_words`.
    """
    for n in range(offsets.size - 1):
        begin, i, w = offsets[n], offsets[n], ends[n]
        while w < ends[n + 1]:
            i = _next_symbol(utf8, i, offsets[n + 1])
            if i == offsets[n + 1]:
                break
            if utf8[i] != 0x23 and not is_ellipsis(utf8, i, offsets[n + 1]):
                i += 1
                continue
            while w < ends[n + 1] and begin + stops[w] <= i:
                w += 1
            if w < ends[n + 1] and begin + starts[w] <= i:
                found[n] += 1
                i = begin + stops[w]
            else:
                i += 1


@leaf
def _next_symbol(utf8: U8Array, i: int, stop: int) -> int:
    """Where the next byte stands that is `#` or may begin `…`, from `i` on, or `stop`."""
    while i + WIDTH <= utf8.size and i < stop:
        found = equal_32(utf8, i, 0x23) | equal_32(utf8, i, 0xE2)
        if found != 0:
            return min(i + int(np.int64(trailing_zeros(found))), stop)
        i += WIDTH
    while i < stop and utf8[i] != 0x23 and utf8[i] != 0xE2:
        i += 1
    return min(i, stop)


@leaf
def is_ellipsis(utf8: U8Array, i: int, stop: int) -> bool:
    """Whether `…` (U+2026) stands at `i`."""
    return utf8[i] == 0xE2 and i + 2 < stop and utf8[i + 1] == 0x80 and utf8[i + 2] == 0xA6


@kernel
def find_medians(chars: I32Array, ends: I64Array, medians: F64Array) -> None:
    """Find the median of each document's word lengths.

    chars    (W,) int32      as in `Words`
    ends     (N + 1,) int64  likewise
    medians  (N,) float64    out, zeros on entry

    O(W), plus a sort of the lengths of a document whose median is 255 or more. Twin:
    tests/naive_gopher.py `median_chars`.
    """
    lengths = np.zeros(SHORT_LENGTHS, np.int64)
    for n in range(ends.size - 1):
        words = ends[n + 1] - ends[n]
        if words == 0:
            continue
        lengths[:] = 0
        for w in range(ends[n], ends[n + 1]):
            lengths[min(chars[w], SHORT_LENGTHS - 1)] += 1
        low, high = _nth(lengths, (words - 1) // 2), _nth(lengths, words // 2)
        if high == SHORT_LENGTHS - 1:
            ordered = np.sort(chars[ends[n] : ends[n + 1]])
            low, high = ordered[(words - 1) // 2], ordered[words // 2]
        medians[n] = (low + high) / 2


@leaf
def _nth(histogram: I64Array, rank: int) -> int:
    """Value of the given rank, from 0, in a histogram that holds more than `rank` values."""
    value, seen = 0, histogram[0]
    while seen <= rank:
        value += 1
        seen += histogram[value]
    return value
