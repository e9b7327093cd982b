"""Words as MinHash sees them, hashed straight from UTF-8.

Every code point maps to one of four things (`letter_table`): a letter, lower-cased and without its
accent; a digit, where a run of digits counts as one `0`; nothing (combining marks, format
characters such as the soft hyphen); or a separator (everything else: white space, punctuation,
symbols, controls). A word is a run of letters and digits. In scripts written without spaces (Han,
Kana, Thai, Lao, Khmer, Myanmar) every letter is a word of its own.
"""

import unicodedata
from functools import cache

import numpy as np

from dolmix.document import U8Array, U32Array, U64Array
from dolmix.text.compiled import leaf
from dolmix.text.eights import SMALL, eight_bytes, first_marked, no_letter_mask
from dolmix.text.kept_tables import kept_tables

SEPARATOR = 0
DROPPED = 1
DIGIT = ord("0")
SOME_LETTER = ord("a")
"""Stands for a letter where it matters only that it is one."""
ALONE = 1 << 31
"""Flag of a letter that is a word of its own."""

_UNSPACED = (
    (0x0E00, 0x0F00),  # Thai, Lao
    (0x1000, 0x10A0),  # Myanmar
    (0x1780, 0x1800),  # Khmer
    (0x3005, 0x3008),  # ideographic iteration mark, closing mark, zero
    (0x3040, 0x3100),  # Hiragana, Katakana
    (0x31F0, 0x3200),  # Katakana phonetic extensions
    (0x3400, 0x4DC0),  # Han, extension A
    (0x4E00, 0xA000),  # Han
    (0xF900, 0xFB00),  # Han, compatibility
    (0xFF66, 0xFFA0),  # half-width Katakana
    (0x20000, 0x32000),  # Han, further extensions
)

_FNV_BASIS = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_ROLL = np.uint64(0x9E3779B97F4A7C17)
"""Base of the rolling hash; 3 modulo 4, so that swapping two words loses one bit of 64 at most."""


@cache
def letter_table() -> U32Array:
    """Map each code point, (0x110000,) uint32, read-only; by this Python's Unicode."""
    return kept_tables("letters", {}, __file__, _map_letters)["letters"]


def _map_letters() -> dict[str, U32Array]:
    table = np.zeros(0x110000, np.uint32)
    table[:0x20000] = [_letter(chr(point)) for point in range(0x20000)]
    # Planes of Han, whole: their letters are not described one by one, and more come every year.
    table[0x20000:0x32000] = np.arange(0x20000, 0x32000, dtype=np.uint32) | np.uint32(ALONE)
    table[0x2F800:0x2FA20] = [_letter(chr(point)) for point in range(0x2F800, 0x2FA20)]
    table[0xE0000:0xE1000] = [_letter(chr(point)) for point in range(0xE0000, 0xE1000)]  # tags
    return {"letters": table}


def _letter(char: str) -> int:
    category = unicodedata.category(char)
    if category == "Nd":
        return DIGIT
    if category in {"Mn", "Me", "Cf"}:
        return DROPPED
    if category[0] not in "LMN":
        return SEPARATOR
    lower = char.lower()
    bare = [c for c in unicodedata.normalize("NFD", lower) if unicodedata.category(c) != "Mn"]
    single = bare[0] if len(bare) == 1 else lower if len(lower) == 1 else char
    alone = any(start <= ord(char) < stop for start, stop in _UNSPACED)
    return ord(single) | (ALONE if alone else 0)


@leaf
def mix(value: np.uint64) -> np.uint64:
    """Spread 64 bits over 64 bits, one to one (the finaliser of splitmix64, Steele et al. 2014)."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@leaf
def tail_bits(utf8: U8Array, at: int) -> np.int64:
    """Six bits of a code point that a byte after its first one holds."""
    return np.int64(utf8[at]) & 0x3F


@leaf
def decode(utf8: U8Array, at: int, stop: int) -> tuple[np.int64, int]:
    """Code point that starts at byte `at`, not ASCII, and where the next one starts.

    A torn one reads as U+0000.
    """
    first = np.int64(utf8[at])
    if 0xC0 <= first < 0xE0 and at + 2 <= stop:
        return (first & 0x1F) << 6 | tail_bits(utf8, at + 1), at + 2
    if 0xE0 <= first < 0xF0 and at + 3 <= stop:
        low = tail_bits(utf8, at + 1) << 6 | tail_bits(utf8, at + 2)
        return (first & 0x0F) << 12 | low, at + 3
    if 0xF0 <= first < 0xF4 and at + 4 <= stop:
        high = (first & 0x07) << 18 | tail_bits(utf8, at + 1) << 12
        return high | tail_bits(utf8, at + 2) << 6 | tail_bits(utf8, at + 3), at + 4
    return np.int64(0), at + 1


@leaf
def word_hashes(utf8: U8Array, start: int, stop: int, table: U32Array, out: U64Array) -> int:
    """Hash the words of one document.

    utf8     (B,) uint8          the document is `utf8[start:stop]`
    table    (0x110000,) uint32  `letter_table()`
    out      (W,) uint64         filled with one hash a word; W >= (stop - start) // 2 + 1
    returns  number of words

    FNV-1a over the letters, then `mix`. O(stop - start). Twin: tests/naive_dedup.py.
    """
    return next_word_hashes(utf8, start, stop, table, out, out.size)[0]


@leaf
def next_word_hashes(
    utf8: U8Array, at: int, stop: int, table: U32Array, out: U64Array, limit: int
) -> tuple[int, int]:
    """Hash the next words of a document, `limit` of them or one more, or as many as there are.

    at       where to read on: the document's start, or what the call before returned
    out      (>= limit + 1,) uint64  filled with one hash a word
    returns  number of words; where to read on, or `stop`

    Whatever `limit` is, the words of all calls together are those of `word_hashes`.
    """
    count = 0
    word, previous = _FNV_BASIS, np.uint32(SEPARATOR)  # previous: last letter of the open word
    while at < stop:
        if previous == SEPARATOR:  # most words are ASCII letters alone
            at, word, previous = _hash_letters(utf8, at, stop)
            if at == stop:
                break
        point, at = _next_point(utf8, at, stop)
        letter = table[point]
        if letter == SEPARATOR or letter >= ALONE:
            if previous != SEPARATOR:
                out[count] = mix(word)
                count += 1
                word, previous = _FNV_BASIS, np.uint32(SEPARATOR)
            if letter != SEPARATOR:
                out[count] = mix((_FNV_BASIS ^ np.uint64(letter)) * _FNV_PRIME)
                count += 1
            if count >= limit:
                return count, at
        elif letter != DROPPED and not (letter == DIGIT and previous == DIGIT):
            word = (word ^ np.uint64(letter)) * _FNV_PRIME
            previous = letter
    if previous != SEPARATOR:
        out[count] = mix(word)
        count += 1
    return count, stop


@leaf
def _next_point(utf8: U8Array, at: int, stop: int) -> tuple[np.int64, int]:
    """Code point that starts at byte `at`, and where the next one starts."""
    if utf8[at] < 0x80:
        return np.int64(utf8[at]), at + 1
    return decode(utf8, at, stop)


@leaf
def _hash_letters(utf8: U8Array, at: int, stop: int) -> tuple[int, np.uint64, np.uint32]:
    """Where ASCII letters from `at` on end, FNV-1a over them in lower case, and what came last.

    Eight bytes a step, each step in full and without branches: the processor works on several words
    at once where it need not guess their lengths.
    """
    word, last = _FNV_BASIS, np.uint32(SEPARATOR)
    if 0x61 <= utf8[at] | 0x20 <= 0x7A:
        last = np.uint32(SOME_LETTER)
    while last != SEPARATOR and at + 8 <= utf8.size:
        value = eight_bytes(utf8, at)
        length = min(first_marked(no_letter_mask(value)), stop - at)
        value |= SMALL
        for k in range(8):
            grown = (word ^ value & np.uint64(0xFF)) * _FNV_PRIME
            word = grown if k < length else word
            value >>= np.uint64(8)
        at += length
        if length < 8:
            return at, word, last
    while at < stop and 0x61 <= utf8[at] | 0x20 <= 0x7A:
        word = (word ^ np.uint64(utf8[at] | 0x20)) * _FNV_PRIME
        at += 1
    return at, word, last


@leaf
def shingle_hashes(words: U64Array, count: int, ngram: int) -> int:
    """Turn word hashes into hashes of each run of `ngram` words, in place.

    words    (W,) uint64   `words[:count]` is replaced by the shingles, in order
    returns  number of shingles: count - ngram + 1; one of all words for 0 < count < ngram; else 0

    A polynomial rolling hash modulo 2^64, salted with the shingle's length, then `mix`: O(count)
    whatever `ngram` is. Twin: tests/naive_dedup.py.
    """
    if count == 0:
        return 0
    length = min(ngram, count)
    rolling, top = np.uint64(0), np.uint64(1)
    for n in range(length):
        rolling = rolling * _ROLL + words[n]
        top *= _ROLL
    salt = mix(np.uint64(length))
    for n in range(count - length + 1):
        oldest = words[n]
        words[n] = mix(rolling ^ salt)
        if n + length < count:
            rolling = rolling * _ROLL + words[n + length] - oldest * top
    return count - length + 1
