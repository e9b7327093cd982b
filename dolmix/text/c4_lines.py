r"""C4's line rules as datatrove's `C4QualityFilter` applies them, and what they leave of a text.

Lines are those of `str.splitlines()`, stripped. A line is out for the first test that it fails:
a too long word, no terminal punctuation, too few words, a mention of JavaScript, a phrase of a
policy page. What is left is `"\n".join(lines).strip()`, with citations (`[12]`, `[edit]`,
`[citation needed]`) taken out of the lines if asked for. Words are counted before citations go;
everything else looks at the line after. All is exact, Unicode included.

"lorem ipsum" and a curly bracket do nothing to a line here: lines that reach their tests are
counted, and rules over the counts drop the document.
"""

from dataclasses import dataclass
from functools import lru_cache
from sys import maxunicode
from typing import NamedTuple

import numpy as np

from dolmix.document import I64Array, TextBatch, U8Array
from dolmix.text.characters import decode, skip_space, space_width, trim_space
from dolmix.text.compiled import kernel, leaf
from dolmix.text.edits import Edits
from dolmix.text.phrases import Phrase, PhraseTable, find_phrases, phrase_table

WORD, OPENING, CURLY, MAYBE, BLANK, BREAK = range(6)
"""What a byte can be; MAYBE may start a character of white space beyond ASCII. From BLANK on, it is
no part of a word."""
LONG_WORD, BRACKET, BRACE = 1, 2, 4
"""Marks of a line: it has a too long word, `[`, `{`."""
LOREM, JAVASCRIPT, POLICY = 1, 2, 4
"""Kinds of phrases."""
CITATIONS = (b"[edit]", b"[citation needed]")
NOTHING, NEWLINE = 0, 1
"""Codes of `dolmix.text.edits.PUTS`."""

TOTAL, TOO_LONG, NO_END, TOO_FEW, HAS_JAVASCRIPT, HAS_POLICY, KEPT, HAS_LOREM, HAS_CURLY = range(9)
LOREM_FIRST = 9


class LineRules(NamedTuple):
    """Which tests are on; phrases are those of the table that comes with it."""

    max_word_chars: int = -1
    """Longest word of a line that stays; below 0 for any."""
    citations: bool = False
    """Whether to take citations out."""
    punctuation: bool = False
    """Whether a line must end in terminal punctuation, and not in `...`."""
    min_words: int = 0
    """Fewest words of a line that stays."""
    javascript: bool = False
    """Whether a line that mentions JavaScript goes."""
    policy: bool = False
    """Whether a line with a phrase of a policy page goes."""


@dataclass(frozen=True, eq=False)
class CleanLines:
    """What the line rules did to N documents.

    counts   (10, N) int64   lines in all; out for a long word, for no terminal punctuation, for too
                             few words, for JavaScript, for a policy phrase; kept; lines that reach
                             the test with "lorem ipsum", with a curly bracket; 1 where the first
                             of those two is a "lorem ipsum"
    utf8     (B',) uint8     the kept lines, one after the other, without separators
    offsets  (K + 1,) int64  kept line k is utf8[offsets[k]:offsets[k + 1]]
    ends     (N + 1,) int64  document n has kept lines [ends[n], ends[n + 1])
    edits                    the spans that make a text its kept lines, joined and stripped
    """

    counts: I64Array
    utf8: U8Array
    offsets: I64Array
    ends: I64Array
    edits: Edits


class _Tables(NamedTuple):
    kinds: U8Array
    """(256,) what each byte is."""
    endings: U8Array
    """(256,) 1 for terminal punctuation."""
    digits: U8Array
    """(139264,) one bit a code point: `\\d`."""


class _Made(NamedTuple):
    text: U8Array
    lines: I64Array
    ends: I64Array
    spans: I64Array
    span_ends: I64Array


def clean_lines(texts: TextBatch, rules: LineRules) -> CleanLines:
    """Apply the line rules to every document."""
    offsets = texts.offsets
    breaks, brackets = count_breaks(texts.utf8, offsets[0], offsets[-1])
    lines, pieces = breaks + len(texts), breaks + brackets + len(texts)
    made = _Made(
        text=np.empty(int(offsets[-1] - offsets[0]), np.uint8),
        lines=np.zeros(lines + 1, np.int64),
        ends=np.zeros(len(texts) + 1, np.int64),
        spans=np.empty((3, pieces + len(texts)), np.int64),
        span_ends=np.zeros(len(texts) + 1, np.int64),
    )
    counts = np.zeros((10, len(texts)), np.int64)
    scratch = np.empty((3, pieces + 1), np.int64)
    tables = _Tables(_byte_kinds(), _endings(), _digit_bits())
    judge_lines(texts.utf8, offsets, rules, tables, _phrases(), scratch, made, counts)
    kept, spans = made.lines[: made.ends[-1] + 1], made.spans[:, : made.span_ends[-1]]
    edits = Edits(spans[0], spans[1], spans[2].astype(np.uint8), made.span_ends)
    return CleanLines(counts, made.text[: kept[-1]], kept, made.ends, edits)


@lru_cache(maxsize=1)
def _byte_kinds() -> U8Array:
    kinds = np.full(256, WORD, np.uint8)
    kinds[[0x09, 0x1F, 0x20]] = BLANK
    kinds[[*range(0x0A, 0x0E), *range(0x1C, 0x1F)]] = BREAK
    kinds[[0xC2, 0xE1, 0xE2, 0xE3]] = MAYBE
    kinds[[ord("["), ord("{")]] = OPENING, CURLY
    return kinds


@lru_cache(maxsize=1)
def _endings() -> U8Array:
    from datatrove.pipeline.filters.c4_filters import END_PUNCTUATION

    endings = np.zeros(128, np.uint8)
    endings[[ord(mark) for mark in END_PUNCTUATION]] = 1
    return np.concatenate([endings, np.zeros(128, np.uint8)])


@lru_cache(maxsize=1)
def _digit_bits() -> U8Array:
    flags = np.fromiter((chr(c).isdecimal() for c in range(maxunicode + 1)), np.bool_)
    return np.packbits(flags, bitorder="little")


@lru_cache(maxsize=1)
def _phrases() -> PhraseTable:
    from datatrove.pipeline.filters.c4_filters import POLICY_SUBSTRINGS

    policies = [Phrase(phrase, POLICY) for phrase in POLICY_SUBSTRINGS]
    return phrase_table(
        (Phrase("lorem ipsum", LOREM), Phrase("javascript", JAVASCRIPT), *policies), "nonword"
    )


@leaf
def count_breaks(utf8: U8Array, begin: int, stop: int) -> tuple[int, int]:
    """Count bytes that may end a line, and opening brackets: bounds for lines and citations."""
    breaks, brackets = 0, 0
    for i in range(begin, stop):
        byte = utf8[i]
        ascii_break = 0x0A <= byte <= 0x0D or 0x1C <= byte <= 0x1E
        breaks += ascii_break or byte == 0x85 or byte == 0xA8 or byte == 0xA9  # noqa: PLR1714
        brackets += byte == 0x5B
    return breaks, brackets


@kernel
def judge_lines(
    utf8: U8Array,
    offsets: I64Array,
    rules: LineRules,
    tables: _Tables,
    phrases: PhraseTable,
    pieces: I64Array,
    made: _Made,
    counts: I64Array,
) -> None:
    """Judge every line; fill in what is kept, and the spans that are not.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    rules, tables, phrases    see there
    pieces   (3, >= P) int64  scratch; P is at most the breaks and brackets of a document, plus 1
    made                      out; texts, lines, spans as in `CleanLines`
    counts   (10, N) int64    out, zeros on entry; as in `CleanLines`

    O(B). Twin: tests/naive_c4.py `clean_lines`.
    """
    kinds, endings, digits = tables.kinds, tables.endings, tables.digits
    out, lines = made.text, made.lines
    kept, spans, size = 0, 0, 0
    for n in range(offsets.size - 1):
        at, stop = offsets[n], offsets[n + 1]
        found = 0
        while at < stop:
            first, last, at, words, marks = read_line(utf8, at, stop, kinds, rules.max_word_chars)
            counts[TOTAL, n] += 1
            if marks & LONG_WORD:
                counts[TOO_LONG, n] += 1
                continue
            if rules.citations and marks & BRACKET:
                end, more = _copy_cited(utf8, first, last, digits, out, size, pieces, found)
            else:
                out[size : size + last - first] = utf8[first:last]
                pieces[0, found], pieces[1, found], pieces[2, found] = first, last, NEWLINE
                end, more = size + last - first, found + 1
            if rules.punctuation and not _ends_well(out, size, end, endings):
                counts[NO_END, n] += 1
                continue
            if words < rules.min_words:
                counts[TOO_FEW, n] += 1
                continue
            kinds_found = find_phrases(out, size, end, phrases)
            if kinds_found & LOREM:
                counts[HAS_LOREM, n] += 1
                counts[LOREM_FIRST, n] |= counts[HAS_CURLY, n] == 0
            if rules.javascript and kinds_found & JAVASCRIPT:
                counts[HAS_JAVASCRIPT, n] += 1
                continue
            counts[HAS_CURLY, n] += (marks & BRACE) != 0
            if rules.policy and kinds_found & POLICY:
                counts[HAS_POLICY, n] += 1
                continue
            counts[KEPT, n] += 1
            found, size, kept = more, end, kept + 1
            lines[kept] = size
        made.ends[n + 1] = kept
        spans = _cut(utf8, offsets[n], stop, pieces, found, made.spans, spans)
        made.span_ends[n + 1] = spans


@leaf
def read_line(
    utf8: U8Array, i: int, stop: int, kinds: U8Array, max_word_chars: int
) -> tuple[int, int, int, int, int]:
    """Read the line at `i`: where it starts and ends stripped, the next one, words, marks."""
    first, last, words, marks = i, i, 0, 0
    while i < stop:
        kind = kinds[utf8[i]]
        if kind == BLANK:
            i += 1
            continue
        if kind == BREAK:
            return first, last, i + 1 + _is_crlf(utf8, i, stop), words, marks
        if kind == MAYBE:
            width = space_width(utf8, i, stop)
            if width > 0:
                i += width
                if _was_break(utf8, i, width):
                    return first, last, i, words, marks
                continue
        begin = i
        i, found = _read_word(utf8, i, stop, kinds)
        first = begin if words == 0 else first
        last, words, marks = i, words + 1, marks | found
        if 0 <= max_word_chars < i - begin and _chars(utf8, begin, i) > max_word_chars:
            marks |= LONG_WORD
    return first, last, stop, words, marks


@leaf
def _read_word(utf8: U8Array, i: int, stop: int, kinds: U8Array) -> tuple[int, int]:
    """Read the word at `i`: position after it, marks."""
    marks = 0
    while i < stop:
        kind = kinds[utf8[i]]
        if kind >= BLANK or (kind == MAYBE and space_width(utf8, i, stop) > 0):
            break
        marks |= BRACKET * (kind == OPENING) | BRACE * (kind == CURLY)
        i += 1
    return i, marks


@leaf
def _copy_cited(
    utf8: U8Array,
    first: int,
    last: int,
    digits: U8Array,
    out: U8Array,
    size: int,
    pieces: I64Array,
    found: int,
) -> tuple[int, int]:
    """Copy a line without its citations; returns the ends of the copy and of the pieces."""
    begin, i, put = first, first, NEWLINE
    while i <= last:
        width = 0
        if i < last and utf8[i] == 0x5B:
            width = _citation(utf8, i, last, digits)
        if i == last or width > 0:
            if i > begin or (i == last and put == NEWLINE):
                pieces[0, found], pieces[1, found], pieces[2, found] = begin, i, put
                found, put = found + 1, NOTHING
            begin = i + width
        if width == 0:
            if i < last:
                out[size] = utf8[i]
                size += 1
            width = 1
        i += width
    return size, found


@leaf
def _citation(utf8: U8Array, i: int, last: int, digits: U8Array) -> int:
    """Bytes of the citation that starts with the bracket at `i`, 0 if there is none."""
    for text in CITATIONS:
        if last - i >= len(text):
            same = True
            for j in range(len(text)):
                same &= utf8[i + j] == text[j]
            if same:
                return len(text)
    j = i + 1
    while j < last:
        point, after = int(utf8[j]), j + 1
        if point >= 0x80:
            point, after = decode(utf8, j, last)
        if not digits[point >> 3] >> (point & 7) & 1:
            break
        j = after
    return j + 1 - i if j < last and utf8[j] == 0x5D else 0


@leaf
def _cut(
    utf8: U8Array, begin: int, stop: int, pieces: I64Array, found: int, spans: I64Array, made: int
) -> int:
    """Write the spans between a document's pieces; nothing stays of white space at its ends."""
    k = 0
    while k < found:
        pieces[0, k] = skip_space(utf8, pieces[0, k], pieces[1, k])
        if pieces[0, k] < pieces[1, k]:
            pieces[2, k] = NOTHING
            break
        k += 1
    while found > k:
        pieces[1, found - 1] = trim_space(utf8, pieces[0, found - 1], pieces[1, found - 1])
        if pieces[0, found - 1] < pieces[1, found - 1]:
            break
        found -= 1
    place = begin
    for p in range(k, found):
        start, put = pieces[0, p], pieces[2, p]
        same = start == place + 1 and utf8[place] == 0x0A if put == NEWLINE else start == place
        if not same:
            spans[0, made], spans[1, made], spans[2, made] = place - begin, start - begin, put
            made += 1
        place = pieces[1, p]
    if place < stop:
        spans[0, made], spans[1, made], spans[2, made] = place - begin, stop - begin, NOTHING
        made += 1
    return made


@leaf
def _ends_well(out: U8Array, begin: int, end: int, endings: U8Array) -> bool:
    if end == begin or not endings[out[end - 1]]:
        return False
    dots = end - begin >= 3 and out[end - 1] == 0x2E
    return not (dots and out[end - 2] == 0x2E and out[end - 3] == 0x2E)


@leaf
def _is_crlf(utf8: U8Array, i: int, stop: int) -> bool:
    return utf8[i] == 0x0D and i + 1 < stop and utf8[i + 1] == 0x0A


@leaf
def _was_break(utf8: U8Array, end: int, width: int) -> bool:
    """Whether the white space of two or three bytes before `end` is U+0085, U+2028 or U+2029."""
    if width == 2:
        return bool(utf8[end - 1] == 0x85)
    return width == 3 and utf8[end - 3] == 0xE2 and 0xA8 <= utf8[end - 1] <= 0xA9


@leaf
def _chars(utf8: U8Array, begin: int, end: int) -> int:
    count = 0
    for i in range(begin, end):
        count += (utf8[i] & 0xC0) != 0x80
    return count
