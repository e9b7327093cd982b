"""Words and phrases of lists, found as whole words, counted, with the lines they stand in.

A word is a run of letters, digits and combining marks in lower case; format characters (category
Cf: soft hyphens, zero-width joiners) are passed over, every other character separates. Accents
count, so that an entry is not met in another word of its language. Characters of scripts that put
no space between words are words by themselves. An entry is one word or several in a row, within one
line, whatever separates them there. At each word the longest entry that begins with it counts, and
the search goes on behind it.

Words are known by 64-bit hashes: a run of words that is no entry is taken for one of E with a
probability of E / 2**64.
"""

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dolmix.document import BoolArray, I64Array, TextBatch, U8Array, U32Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.folded_words import (
    ALONE,
    LAST_PLANES,
    PASSED_OVER,
    SEPARATOR,
    TAGS,
    UNSPACED,
    fold_words,
    next_word,
)
from dolmix.text.units import find_units
from dolmix.text.words import FNV_PRIME
from dolmix.text.xxh64 import spread

SPLITTER = "dolmix-listed-words-1"
MOST_LISTS = 64
"""Lists are told apart by the bits of one number."""
WORDS, MATCHES, DISTINCT, MATCHED_WORDS, FIRST_LISTS = range(5)
"""Places of the counts of a document."""
LEAST_FLAGS = 1 << 12


class EntryTable(NamedTuple):
    """Entries of lists, ready to be looked up. E keys, F flags, a power of two.

    points   (1114112,) uint32  `lower_case_points()`
    flags    (F,) bool          whether an entry begins with a word of a hash that ends so
    keys     (E,) uint64        hashes of entries, ascending
    numbers  (E,) int64         which entry a key is, from 0; its spellings have one number
    lists    (E,) uint64        lists that have it, as bits
    longest  int                words in the longest entry
    """

    points: U32Array
    flags: BoolArray
    keys: U64Array
    numbers: I64Array
    lists: U64Array
    longest: int


class Found(NamedTuple):
    """What was found in N documents with M lines that are not blank.

    counts  (N, 5) int64    words, matches, different entries among those, words in matches, and the
                            lists that have the first match, as bits
    starts  (M,) int64      first byte of each line, from the start of its document
    stops   (M,) int64      byte after it, likewise
    hits    (M,) int64      matches in it
    ends    (N + 1,) int64  document n has lines [ends[n], ends[n + 1])
    """

    counts: I64Array
    starts: I64Array
    stops: I64Array
    hits: I64Array
    ends: I64Array


def find_listed(texts: TextBatch, table: EntryTable, asked: U64Array) -> Found:
    """Look for the entries of the lists `asked` for, (N,) uint64 bits, in every document."""
    offsets = texts.offsets
    room = int(np.count_nonzero(texts.utf8[offsets[0] : offsets[-1]] == 0x0A)) + len(texts)
    starts, stops = np.empty(room, np.int64), np.empty(room, np.int64)
    ends = np.zeros(len(texts) + 1, np.int64)
    find_units(texts.utf8, offsets, False, starts, stops, ends)  # noqa: FBT003 - lines
    size = int(ends[-1])
    hits = np.zeros(size, np.int64)
    counts = np.zeros((len(texts), 5), np.int64)
    seen = np.full(len(table.keys), -1, np.int64)
    find_entries(texts.utf8, offsets, (starts, stops, ends), table, asked, seen, counts, hits)
    return Found(counts, starts[:size], stops[:size], hits, ends)


def entry_table(entries: Sequence[tuple[str, int]]) -> EntryTable:
    """Make a table of entries, each with its lists as bits.

    An entry is looked for composed and decomposed (NFC, NFD); one without any letter or digit is
    not looked for at all.
    """
    points = lower_case_points()
    lists: dict[int, int] = {}
    numbers: dict[int, int] = {}
    firsts: list[int] = []
    longest = 1
    for number, (text, bits) in enumerate(entries):
        spellings = dict.fromkeys(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
        for words in _word_hashes(tuple(spellings), points):
            if not words.size:
                continue
            key = int(join_words(words))
            lists[key] = lists.get(key, 0) | bits
            numbers.setdefault(key, number)
            firsts.append(int(words[0]))
            longest = max(longest, words.size)
    keys = sorted(lists)
    flags = np.zeros(max(LEAST_FLAGS, 1 << (16 * len(keys)).bit_length()), np.bool_)
    flags[np.array(firsts, np.uint64) & np.uint64(flags.size - 1)] = True
    return EntryTable(
        points=points,
        flags=flags,
        keys=np.array(keys, np.uint64),
        numbers=_from_zero([numbers[key] for key in keys]),
        lists=np.array([lists[key] for key in keys], np.uint64),
        longest=longest,
    )


@lru_cache(maxsize=1)
def lower_case_points() -> U32Array:
    """(1114112,) uint32: lower case of each letter, digit or mark, or what stands for none.

    Values as in `dolmix.text.folded_words.word_points`. Built once a process, in about 0.2 s.
    """
    points = np.zeros(0x110000, np.uint32)
    for point in (*range(LAST_PLANES), *TAGS):
        points[point] = _lower_case(chr(point))
    points.setflags(write=False)
    return points


def _lower_case(char: str) -> int:
    category = unicodedata.category(char)
    if category == "Cf":
        return PASSED_OVER
    if not char.isalnum() and category[0] != "M":
        return SEPARATOR
    alone = any(start <= ord(char) < stop for start, stop in UNSPACED)
    return ord(char.lower()[0]) | (ALONE if alone else 0)


def _word_hashes(texts: tuple[str, ...], points: U32Array) -> list[U64Array]:
    """Hashes of the words of each text."""
    batch = TextBatch.of(list(texts))
    size = int(batch.offsets[-1])
    letters = np.empty(2 * size + 1, np.uint32)
    starts, hashes = np.empty(size + 1, np.int64), np.empty(size + 1, np.uint64)
    ends = np.zeros(len(batch) + 1, np.int64)
    fold_words(batch.utf8, batch.offsets, points, letters, starts, hashes, ends)
    return [hashes[ends[n] : ends[n + 1]] for n in range(len(batch))]


def _from_zero(numbers: list[int]) -> I64Array:
    """Give equal numbers one from 0 on, without gaps."""
    return np.unique(np.array(numbers, np.int64), return_inverse=True)[1].astype(np.int64)


@kernel
def join_words(hashes: U64Array) -> np.uint64:
    """Key of an entry of at least one word, from the (W,) uint64 hashes of its words."""
    code = np.uint64(hashes[0])
    for word in range(1, hashes.size):
        code = _join(code, hashes[word])
    return code


@leaf
def _join(code: np.uint64, following: np.uint64) -> np.uint64:
    return spread(code * FNV_PRIME + following)


@kernel
def find_entries(
    utf8: U8Array,
    offsets: I64Array,
    lines: tuple[I64Array, I64Array, I64Array],
    table: EntryTable,
    asked: U64Array,
    seen: I64Array,
    counts: I64Array,
    hits: I64Array,
) -> None:
    """Fill in what every document has of the entries asked for.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    lines    starts (>= M,), stops (>= M,), ends (N + 1,) as in `Found`
    asked    (N,) uint64      lists that count in a document, as bits
    seen     (>= E,) int64    scratch, -1 on entry
    counts   (N, 5) int64     out, zeros on entry
    hits     (M,) int64       out, zeros on entry

    O(B), but where entries begin: O(longest) words for each. Twin: tests/naive_words.py.
    """
    starts, stops, ends = lines
    last = np.uint64(table.flags.size - 1)
    for n in range(offsets.size - 1):
        for line in range(ends[n], ends[n + 1]):
            i, stop = offsets[n] + starts[line], offsets[n] + stops[line]
            while True:
                start, i, code = next_word(utf8, i, stop, table.points)
                if start == stop:
                    break
                counts[n, WORDS] += 1
                if not table.flags[code & last]:
                    continue
                entry, size, end = _longest_entry(utf8, i, stop, code, table, asked[n])
                if size == 0:
                    continue
                if counts[n, MATCHES] == 0:
                    counts[n, FIRST_LISTS] = np.int64(table.lists[entry] & asked[n])
                counts[n, MATCHES] += 1
                counts[n, MATCHED_WORDS] += size
                counts[n, WORDS] += size - 1
                hits[line] += 1
                if seen[table.numbers[entry]] != n:
                    seen[table.numbers[entry]] = n
                    counts[n, DISTINCT] += 1
                i = end


@leaf
def _longest_entry(
    utf8: U8Array, i: int, stop: int, code: np.uint64, table: EntryTable, asked: np.uint64
) -> tuple[int, int, int]:
    """Find the longest entry that begins with the word before `i`, of hash `code`.

    Returns its place in the table, its words, and where it ends; no words for none.
    """
    entry, size, end, words = 0, 0, i, 1
    while True:
        at = _find_key(table.keys, code)
        if at >= 0 and table.lists[at] & asked:
            entry, size, end = at, words, i
        if words == table.longest:
            return entry, size, end
        start, i, following = next_word(utf8, i, stop, table.points)
        if start == stop:
            return entry, size, end
        code = _join(code, following)
        words += 1


@leaf
def _find_key(keys: U64Array, code: np.uint64) -> int:
    """Place of a key, or -1: binary search."""
    low, high = 0, keys.size
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < code:
            low = middle + 1
        else:
            high = middle
    return low if low < keys.size and keys[low] == code else -1
