"""Repeated n-grams of words, 2 to 10 words long, where an n-gram is the words that it holds.

They are counted by a cascade. An n-gram can occur twice only where both of its (n - 1)-grams do, so
each length looks only at the places that survived the length before, and names an n-gram exactly by
the pair of (n - 1)-grams that overlap to form it. Pairs of words start the cascade; most of those
that occur once are told by a small table of marks, and never reach the exact one.

Three peers weigh what is found by three rules: see `ngram_chars`.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import F64Array, I32Array, I64Array, U64Array
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import SPREAD
from dolmix.text.repeats import (
    Tables,
    identify,
    longest_part,
    mark_twice,
    scratch,
    seen_twice,
    tables,
)
from dolmix.text.words import Words

LONGEST = 10
"""N-grams are measured from 2 to this many words."""
LONGEST_TOP = 4
"""Up to this length the most common n-gram counts, above it every repeated one."""
DOLMA, DATATROVE, DCLM = 0, 1, 2
"""How the n-grams found are weighed."""


class Room(NamedTuple):
    """Scratch for documents of up to W words.

    table   Tables             for W elements
    pairs   (>= W,) uint64     names of the n-grams looked at
    places  (>= W,) int32      their places: the first word of each
    marks   (>= W,) uint64     for `mark_twice`; 2 at least
    sums    (>= W + 1,) int32  characters before each word
    """

    table: Tables
    pairs: U64Array
    places: I32Array
    marks: U64Array
    sums: I32Array


def dolma_shares(words: Words) -> F64Array:
    """Measure repeated n-grams as dolma's Gopher tagger does.

    returns  (9, N) float64   row n - 2 is for n-grams of n words. Up to 4: characters of the most
                              common one (of equals, the first) times its count, over characters of
                              all words. From 5 on: characters of all occurrences of repeated ones,
                              over those of all n-grams. 0.0 where a document has no n-gram.

    Spaces do not count; every occurrence of a repeated n-gram does, overlaps included, so a top
    share can exceed 1.
    """
    chars, totals = ngram_chars(words, DOLMA)
    shares: F64Array = chars / np.maximum(totals, 1)
    return shares


def dclm_shares(words: Words) -> F64Array:
    """Measure repeated n-grams as DCLM's repetition filter does.

    returns  (9, N) float64   row n - 2 is for n-grams of n words. Up to 4: characters of the most
                              common one (of equals, the longest in characters) times its count,
                              0 if none occurs twice. From 5 on: characters of all words that stand
                              in a repeated one, each word once. Over characters of all words.
    """
    chars, totals = ngram_chars(words, DCLM)
    shares: F64Array = chars / np.maximum(totals, 1)
    return shares


def datatrove_top_chars(words: Words) -> I64Array:
    """Weigh the most common n-grams of 2, 3 and 4 words as datatrove does.

    returns  (3, N) int64   characters of the most common one (of equals, the first), a space
                            between two words included, times its count; 0 without n-grams
    """
    chars, _ = ngram_chars(words, DATATROVE)
    return chars[: LONGEST_TOP - 1]


def ngram_chars(words: Words, rule: int) -> tuple[I64Array, I64Array]:
    """Count the characters in repeated n-grams, for n from 2 to 10.

    rule     int            DOLMA, DATATROVE (stops after n = 4) or DCLM
    returns  (9, N) int64   characters found, by the rule
             (9, N) int64   characters to compare them with: of all words, or for DOLMA from n = 5
                            on of all n-grams

    O(10 W), in practice about O(2 W). Twins: tests/naive.py `ngram_shares` and
    tests/naive_repetition.py.
    """
    most = longest_part(words.ends)
    room = Room(
        tables(most),
        scratch("pairs", most, np.uint64),
        scratch("places", most, np.int32),
        scratch("marks", max(most, 2), np.uint64),
        scratch("sums", most + 1, np.int32),
    )
    return count_ngrams(words.hashes, words.chars, words.ends, rule, room)


@kernel
def count_ngrams(
    hashes: U64Array, chars: I32Array, ends: I64Array, rule: int, room: Room
) -> tuple[I64Array, I64Array]:
    """Count as `ngram_chars` does, in scratch for the longest document."""
    found = np.zeros((LONGEST - 1, ends.size - 1), np.int64)
    totals = np.zeros((LONGEST - 1, ends.size - 1), np.int64)
    table, pairs, places, marks, sums = room
    ids, counts = table.ids, table.counts
    longest = LONGEST_TOP if rule == DATATROVE else LONGEST
    for doc in range(ends.size - 1):
        begin, size = ends[doc], ends[doc + 1] - ends[doc]
        words = hashes[begin : begin + size]
        sums[0], total = 0, np.int64(0)
        for i in range(size):
            total += chars[begin + i]
            sums[i + 1] = total
        if size > LONGEST and _is_one_word(words):
            _one_word(sums, size, rule, found[:, doc], totals[:, doc])
            continue
        live, all_repeat = _repeated_pairs(words, marks, pairs, places), False
        for n in range(2, min(longest, size) + 1):
            total += sums[size - n + 1] - sums[n - 1]
            totals[n - 2, doc] = total if rule == DOLMA and n > LONGEST_TOP else sums[size]
            if all_repeat:
                found[n - 2, doc] = totals[n - 2, doc]
                continue
            identify(pairs, live, table)
            if n <= LONGEST_TOP:
                found[n - 2, doc] = _top_chars((ids, counts, places), live, sums, n, rule)
            else:
                found[n - 2, doc] = _repeated_chars((ids, counts, places), live, sums, n, rule)
            if n == longest:
                break
            live = _join_repeated((ids, counts, places), live, pairs)
            if n == LONGEST_TOP and live == size - n >= LONGEST:
                all_repeat = _all_repeat(words, room)
    return found, totals


@leaf
def _is_one_word(words: U64Array) -> bool:
    """Whether all words are the same one."""
    for i in range(1, words.size):  # noqa: SIM110 - numba compiles a loop, not all()
        if words[i] != words[0]:
            return False
    return True


@leaf
def _one_word(sums: I32Array, size: int, rule: int, found: I64Array, totals: I64Array) -> None:
    """Fill in what `size` times the same word give, more than LONGEST: every n-gram is one."""
    length = np.int64(sums[1])
    for n in range(2, LONGEST_TOP + 1 if rule == DATATROVE else LONGEST + 1):
        every = (size - n + 1) * n * length
        totals[n - 2] = every if rule == DOLMA and n > LONGEST_TOP else sums[size]
        if n > LONGEST_TOP:
            found[n - 2] = totals[n - 2]
        else:
            found[n - 2] = every + (size - n + 1) * (n - 1 if rule == DATATROVE else 0)


@leaf
def _repeated_pairs(hashes: U64Array, marks: U64Array, pairs: U64Array, places: I32Array) -> int:
    """Hash each pair of words that may occur twice, with its place; return how many."""
    size = max(hashes.size - 1, 0)
    for i in range(size):
        code = hashes[i] * SPREAD
        code = ((code ^ code >> np.uint64(32)) + hashes[i + 1]) * SPREAD
        pairs[i] = (code ^ code >> np.uint64(32)) * SPREAD
    shift = mark_twice(pairs, size, marks)
    live = 0
    for i in range(size):
        pairs[live], places[live] = pairs[i], i
        live += seen_twice(pairs[i], marks, shift)
    return live


@leaf
def _join_repeated(grams: tuple[I32Array, I32Array, I32Array], live: int, pairs: U64Array) -> int:
    """Name the (n + 1)-grams whose two n-grams repeat, with their places; return how many."""
    ids, counts, places = grams
    kept, before, name = 0, np.int64(-2), np.uint64(0)
    for i in range(live):
        which = ids[i]
        if counts[which] < 2:
            continue
        place = np.int64(places[i])
        pairs[kept] = name << np.uint64(32) | np.uint64(which)
        places[kept] = before
        kept += place == before + 1
        before, name = place, np.uint64(which)
    return kept


@leaf
def _repeated_chars(
    grams: tuple[I32Array, I32Array, I32Array], live: int, sums: I32Array, n: int, rule: int
) -> int:
    """Characters of the n-grams that repeat, each occurrence; for DCLM each word once."""
    ids, counts, places = grams
    chars, covered = np.int64(0), np.int64(0)
    for i in range(live):
        if counts[ids[i]] < 2:
            continue
        place = np.int64(places[i])
        chars += sums[place + n] - sums[max(place, covered)]
        if rule == DCLM:
            covered = place + n
    return int(chars)


@leaf
def _all_repeat(words: U64Array, room: Room) -> bool:
    """Whether all n-grams of up to 10 words repeat, in a text whose 4-grams all do.

    They do if all 10-grams do and the text's last nine words stand elsewhere too. A text of little
    else than repeats is told by two lengths in place of six. On entry `pairs` names 5-grams, and on
    return too where the answer is no.
    """
    table, pairs, marks = room.table, room.pairs, room.marks
    size, low = words.size, np.uint64(0xFFFFFFFF)
    for i in range(size - 4):
        marks[i] = pairs[i]
    for i in range(size - 7):
        four = marks[i + 4] >> np.uint64(32) if i + 4 < size - 4 else marks[i + 3] & low
        pairs[i] = (marks[i] & ~low) | four
    identify(pairs, size - 7, table)
    if _repeat(table, size - 7):
        for i in range(size - 9):
            first, second = np.uint64(table.ids[i]), np.uint64(table.ids[i + 2])
            pairs[i] = first << np.uint64(32) | second
        identify(pairs, size - 9, table)
        if _repeat(table, size - 9) and _stands_before(words, size - 9):
            return True
    for i in range(size - 4):
        pairs[i] = marks[i]
    return False


@leaf
def _repeat(table: Tables, size: int) -> bool:
    """Whether each of `size` elements identified last occurs twice."""
    ids, counts = table.ids, table.counts
    for i in range(size):  # noqa: SIM110 - numba compiles a loop, not all()
        if counts[ids[i]] < 2:
            return False
    return True


@leaf
def _stands_before(words: U64Array, place: int) -> bool:
    """Whether the words from `place` to the end also start at an earlier word."""
    length = words.size - place
    for other in range(place - 1, -1, -1):
        same = 0
        while same < length and words[other + same] == words[place + same]:
            same += 1
        if same == length:
            return True
    return False


@leaf
def _top_chars(
    grams: tuple[I32Array, I32Array, I32Array], live: int, sums: I32Array, n: int, rule: int
) -> int:
    """Weigh the most common n-gram; where none repeats, the first one, or for DCLM none."""
    ids, counts, places = grams
    count, length = np.int64(1), np.int64(sums[n])
    for i in range(live):
        if ids[i] != i or counts[i] < max(count, 2):
            continue
        chars = sums[places[i] + n] - sums[places[i]]
        if counts[i] > count:
            count, length = np.int64(counts[i]), chars
        elif rule == DCLM:
            length = max(length, chars)
    if rule == DCLM and count == 1:
        return 0
    spaces = n - 1 if rule == DATATROVE else 0
    return int(count * (length + spaces))
