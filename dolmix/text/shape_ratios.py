"""How the words of a text look, in any language: ratios of counts over windows of its words.

Words are cut at white space and around every wide character, and taken in windows of about WINDOW.
Each window has FEATURES ratios: how sentences begin and end, what is repeated, how lengths of
words follow each other, what is odd inside words. No ratio knows a word or a language. All are
thousandths worked out in integers, so that every machine gets the same.
"""

import unicodedata
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from dolmix.document import I32Array, I64Array, U8Array, U64Array
from dolmix.text.characters import decode
from dolmix.text.classifier_text import WIDE
from dolmix.text.compiled import kernel, leaf
from dolmix.text.fasttext_kernel import Spans
from dolmix.text.phrases import lower_points

UPPER, LOWER, DIGIT, LETTER, SPACE, STOP, COMMA, IS_WIDE, SIGN, LATIN, VOWEL = (
    1 << n for n in range(11)
)
"""Bits of a character; a mark that sits on a letter counts as one."""
STOPS = ".!?\u3002\uff01\uff1f\u061f\u06d4\u0964\u2026"
COMMAS = ",;\u060c\u3001\uff0c"
SIGNS = "~|^_*\\=<>#"
VOWELS = "aeiouyAEIOUY"
LATIN_END, ACCENTS = 0x250, slice(0x300, 0x370)
(
    BEGINS, ENDS, PAUSES, MARKED, SHORT, IN_WIDE, MIXED, ODD, HUMPED, SCRIPTS, TRIPLE, BARE, HARSH,
    SINGLE,
) = (1 << n for n in range(14))  # fmt: skip
"""Bits of a word: it begins in upper case, ends a sentence, ends in a comma, ends in any sign, has
three letters or fewer, is wide; has letters and digits, odd signs, upper after lower case, letters
of two scripts, a letter three times running, four letters and no vowel, four consonants running; is
of one character."""
WINDOW, ROOM = 128, 512
FEATURES = 30
ODDITIES = (MIXED, ODD, HUMPED, SCRIPTS, TRIPLE, BARE, HARSH, SINGLE)
NEVER = -1_000_000
"""A ratio to nothing."""
NEAR_WORDS, NEAR_PAIRS = 6, 8
"""How many words back a repetition counts as near."""
FEW_LETTERS, BRIEF = 3, 2
KEY_BASIS, KEY_FACTOR = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3)
SPREAD, PAIR_FACTOR = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


class Characters(NamedTuple):
    """What is known of code points.

    marks  (1114112,) int32  bits
    lower  (1114112,) int32  the lower-case character
    """

    marks: I32Array
    lower: I32Array


class Words(NamedTuple):
    """Room for the words of one text.

    keys   (W,) uint64  hash of the lower-case word without signs at its ends; those alike, alike
    sizes  (W,) int64   characters of that
    marks  (W,) int64   bits
    """

    keys: U64Array
    sizes: I64Array
    marks: I64Array


class Counts(NamedTuple):
    """Room for counting keys: (ROOM,) uint64, (ROOM,) int64, places without a key 0."""

    keys: U64Array
    counts: I64Array


@lru_cache(maxsize=1)
def characters() -> Characters:
    """Work out what is known of code points, once a process, in about a second."""
    points = [chr(point) for point in range(0x110000)]
    marks = np.zeros(len(points), np.int32)
    for bit, test in (
        (UPPER, str.isupper), (LOWER, str.islower), (DIGIT, str.isdigit), (SPACE, str.isspace),
        (LETTER, lambda c: c.isalpha() or unicodedata.category(c)[0] == "M"),
    ):  # fmt: skip
        marks |= np.fromiter(map(test, points), np.bool_).astype(np.int32) * bit
    for bit, text in ((STOP, STOPS), (COMMA, COMMAS), (SIGN, SIGNS), (VOWEL, VOWELS)):
        marks[[ord(c) for c in text]] |= bit
    wide = [c for c in points[0x3000:0x10000] if WIDE.match(c)]
    marks[[ord(c) for c in wide]] |= IS_WIDE
    marks[:LATIN_END] |= LATIN
    marks[0x80:LATIN_END] |= VOWEL
    marks[ACCENTS] |= LATIN | VOWEL
    marks.setflags(write=False)
    return Characters(marks, lower_points())


@kernel
def measure_windows(
    spans: Spans, known: Characters, words: Words, out: tuple[I64Array, I64Array, I64Array]
) -> int:
    """Measure the windows of N texts; returns their number M.

    words  room for the longest text's
    out    (>= M, FEATURES) int64  out; ratios, or NEVER
           (>= M,) int64           out; words of each window, negative where most are wide
           (N + 1,) int64          out; where the windows of each text begin

    A text of W words has W / WINDOW windows, rounded, all of about one length, and one at least if
    there is a word. O(B) time for B bytes. Twin: tests/naive_shapes.py.
    """
    ratios, sizes, firsts = out
    alone = Counts(np.zeros(ROOM, np.uint64), np.zeros(ROOM, np.int64))
    pairs = Counts(np.zeros(ROOM, np.uint64), np.zeros(ROOM, np.int64))
    made = 0
    for n in range(spans.starts.size):
        firsts[n] = made
        count = _read_words(spans.utf8, (spans.starts[n], spans.stops[n]), known, words)
        windows = max((count + WINDOW // 2) // WINDOW, min(count, 1))
        for w in range(windows):
            start, stop = w * count // windows, (w + 1) * count // windows
            _sentence_ratios(words, start, stop, ratios[made])
            _near_ratios(words, start, stop, ratios[made])
            _repeat_ratios(words, (start, stop), (alone, pairs), ratios[made])
            _length_ratios(words, start, stop, ratios[made])
            _odd_ratios(words, start, stop, ratios[made])
            wide = _having(words, start, stop, IN_WIDE)
            sizes[made] = start - stop if 2 * wide > stop - start else stop - start
            made += 1
    firsts[spans.starts.size] = made
    return made


@leaf
def _read_words(text: U8Array, bounds: tuple[int, int], known: Characters, words: Words) -> int:
    """Read the words of one text; returns their number."""
    at, stop = bounds
    count, start = 0, -1
    while at < stop:
        here = at
        point, at = int(text[at]), at + 1
        if point >= 0x80:
            point, at = decode(text, here, stop)
        marks = known.marks[point]
        if not marks & (SPACE | IS_WIDE):
            if start < 0:
                start = here
            continue
        if start >= 0:
            _read_word(text, (start, here), known, words, count)
            count += 1
        start = -1
        if not marks & SPACE:
            _read_word(text, (here, at), known, words, count)
            count += 1
    if start >= 0:
        _read_word(text, (start, stop), known, words, count)
        count += 1
    return count


@leaf
def _read_word(
    text: U8Array, bounds: tuple[int, int], known: Characters, words: Words, place: int
) -> None:
    at, stop = bounds
    key, kept_key, size, kept_size = KEY_BASIS, np.uint64(0), 0, 0
    seen, found, before, last, earlier, alike, hard, foreign = 0, 0, 0, 0, 0, 0, 0, 0
    while at < stop:
        point = int(text[at])
        at += 1
        if point >= 0x80:
            point, at = decode(text, at - 1, stop)
        marks, lower = int(known.marks[point]), int(known.lower[point])
        inside = marks & (LETTER | DIGIT)
        if inside and not seen & (LETTER | DIGIT) and marks & UPPER:
            found |= BEGINS
        if marks & UPPER and last & LOWER:
            found |= HUMPED
        if marks & LETTER:
            foreign |= 1 if marks & LATIN else 2
        alike = alike + 1 if lower == earlier and marks & LETTER else 0
        hard = hard + 1 if marks & LETTER and marks & LATIN and not marks & VOWEL else 0
        if alike == 2:
            found |= TRIPLE
        if hard > FEW_LETTERS:
            found |= HARSH
        if inside or size > 0:
            key = (key ^ np.uint64(lower)) * KEY_FACTOR
            size += 1
        if inside:
            kept_key, kept_size = key, size
        seen, earlier, before, last = seen | marks, lower, last, marks
    words.keys[place], words.sizes[place] = kept_key, kept_size
    words.marks[place] = found | _word_marks((seen, before, last), foreign, kept_size)


@leaf
def _word_marks(characters: tuple[int, int, int], foreign: int, size: int) -> int:
    """Bits of a word, from the bits of all its characters, of the last but one, and of the last."""
    seen, before, last = characters
    inside, latin_alone, two_scripts = LETTER | DIGIT, 1, 3
    found = SHORT * (size <= FEW_LETTERS) | SINGLE * (size == 1) | PAUSES * ((last & COMMA) != 0)
    found |= MARKED * ((last & inside) == 0) | IN_WIDE * ((seen & IS_WIDE) != 0)
    found |= MIXED * ((seen & LETTER) != 0 and (seen & DIGIT) != 0) | ODD * ((seen & SIGN) != 0)
    found |= SCRIPTS * (foreign == two_scripts)
    if last & STOP or (before & STOP and not last & inside):
        found |= ENDS
    if size > FEW_LETTERS and foreign == latin_alone and not seen & (VOWEL | DIGIT):
        found |= BARE
    return int(found)


@leaf
def _ratio(over: int, under: int) -> int:
    return int(over * 1000 // under) if under > 0 else NEVER


@leaf
def _having(words: Words, start: int, stop: int, mark: int) -> int:
    count = 0
    for i in range(start, stop):
        count += (words.marks[i] & mark) != 0
    return count


@leaf
def _both(words: Words, start: int, stop: int, marks: tuple[int, int]) -> int:
    """Count words with the second mark after a word with the first."""
    count = 0
    for i in range(start + 1, stop):
        count += (words.marks[i - 1] & marks[0]) != 0 and (words.marks[i] & marks[1]) != 0
    return count


@leaf
def _sentence_ratios(words: Words, start: int, stop: int, out: I64Array) -> None:
    """Ratio 0 to 8: ends, pauses, capitals after an end and elsewhere, signs, sentence lengths."""
    size, ends = stop - start, _having(words, start, stop, ENDS)
    inner_ends = _having(words, start, stop - 1, ENDS)
    after = _both(words, start, stop, (ENDS, BEGINS))
    begins = _having(words, start + 1, stop, BEGINS)
    marked = _having(words, start, stop, MARKED)
    last, total, squares, brief = start - 1, 0, 0, 0
    for i in range(start, stop):
        if words.marks[i] & ENDS:
            length = i - last
            total, squares, last = total + length, squares + length * length, i
            brief += length <= BRIEF
    out[0] = _ratio(ends, size)
    out[1] = _ratio(_having(words, start, stop, PAUSES), size)
    out[2] = _ratio(after, inner_ends)
    out[3] = _ratio(begins - after, size - 1 - inner_ends)
    out[4] = _ratio(marked, size)
    out[5] = _ratio(_both(words, start, stop, (MARKED, MARKED)) * size, marked * marked)
    out[6] = _ratio(brief, ends)
    out[7] = _ratio(ends * squares, total * total) if ends > BRIEF else NEVER
    short = 0
    for i in range(start, stop):
        short += (words.marks[i] & (ENDS | SHORT)) == ENDS | SHORT
    out[8] = _ratio(short, ends)


@leaf
def _near_ratios(words: Words, start: int, stop: int, out: I64Array) -> None:
    """Ratio 9 to 11: words said just before, words and pairs said a few words before."""
    keys, size = words.keys, stop - start
    again, near, near_pairs = 0, 0, 0
    for i in range(start + 1, stop):
        again += words.sizes[i] > 0 and keys[i] == keys[i - 1]
        for j in range(max(start, i - NEAR_WORDS), i):
            if words.sizes[i] > 0 and keys[i] == keys[j]:
                near += 1
                break
        for j in range(max(start + 1, i - NEAR_PAIRS), i):
            if keys[i] == keys[j] and keys[i - 1] == keys[j - 1]:
                near_pairs += 1
                break
    out[9] = _ratio(again, size)
    out[10] = _ratio(near, size)
    out[11] = _ratio(near_pairs, size)


@leaf
def _repeat_ratios(
    words: Words, bounds: tuple[int, int], room: tuple[Counts, Counts], out: I64Array
) -> None:
    """Ratio 12 to 16: the commonest word, words, words said once, pairs, pairs against chance."""
    start, stop = bounds
    alone, pairs = room
    alone.counts[:] = 0
    pairs.counts[:] = 0
    for i in range(start, stop):
        _count(alone, words.keys[i])
        if i > start:
            _count(pairs, words.keys[i] * KEY_FACTOR + words.keys[i - 1] * PAIR_FACTOR)
    most, once, types, same, pair_types, same_pairs = 0, 0, 0, 0, 0, 0
    for place in range(ROOM):
        count, pair_count = alone.counts[place], pairs.counts[place]
        most, once, types = max(most, count), once + (count == 1), types + (count > 0)
        same += count * (count - 1)
        pair_types, same_pairs = (
            pair_types + (pair_count > 0),
            same_pairs + pair_count * (pair_count - 1),
        )
    size = stop - start
    out[12] = _ratio(most, size)
    out[13] = _ratio(types, size)
    out[14] = _ratio(once, size)
    out[15] = _ratio(size - 1 - pair_types, size)
    out[16] = _ratio((same_pairs + 1) * size * size, same * same + size * size)


@leaf
def _count(room: Counts, key: np.uint64) -> None:
    place = np.int64((key * SPREAD) >> np.uint64(55))
    while room.counts[place] > 0 and room.keys[place] != key:
        place = (place + 1) % ROOM
    room.keys[place] = key
    room.counts[place] += 1


@leaf
def _length_ratios(words: Words, start: int, stop: int, out: I64Array) -> None:
    """Ratio 17 to 21: neighbours' lengths, short words, two of them, mean length, its spread."""
    size, total, squares, products = stop - start, 0, 0, 0
    for i in range(start, stop):
        length = words.sizes[i]
        total, squares = total + length, squares + length * length
        if i > start:
            products += length * words.sizes[i - 1]
    short = _having(words, start, stop, SHORT)
    out[17] = _ratio(size * products - total * total, size * squares - total * total)
    out[18] = _ratio(short, size)
    out[19] = _ratio(_both(words, start, stop, (SHORT, SHORT)) * size, short * short)
    out[20] = _ratio(total, size)
    out[21] = _ratio(size * squares, total * total)


@leaf
def _odd_ratios(words: Words, start: int, stop: int, out: I64Array) -> None:
    """Ratio 22 to 29: words with each of ODDITIES."""
    for n, mark in enumerate(ODDITIES):
        out[22 + n] = _ratio(_having(words, start, stop, mark), stop - start)
