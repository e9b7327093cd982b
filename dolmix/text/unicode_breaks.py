"""Where one UAX #29 word segment ends: the Word_Break rules as a kernel over UTF-8.

The properties of code points are those of the installed package uniseg (the extra `unicode`), and
the rules those of its `wordbreak.words`: WB3 to WB999 of Unicode's annex 29, whose numbers the
comments give. The annex is written for a pair of characters and what is around it; here a segment
is read from its start, which is enough, since no rule looks past a break.
"""

from functools import lru_cache
from hashlib import blake2b
from sys import maxunicode
from typing import Any, NamedTuple

import numpy as np

from dolmix.document import U8Array
from dolmix.errors import FilterError
from dolmix.text.characters import decode
from dolmix.text.compiled import leaf

PICTOGRAPH, WORD_START = 0x20, 0x40
"""Bits of a code point's mark above its class: Extended_Pictographic, and `str.isalnum`."""
CLASS = 0x1F
OTHER, CR, LF, NEWLINE, EXTEND, ZWJ, FORMAT, FLAG, KATAKANA, HEBREW, LETTER = range(11)
SINGLE_QUOTE, DOUBLE_QUOTE, MID_NUM_LET, MID_LETTER, MID_NUM, NUMERIC, CONNECTOR, SPACE = range(
    11, 19
)
NONE = 19
"""In place of a class: no character yet."""
CLASSES = {
    "Other": OTHER,
    "CR": CR,
    "LF": LF,
    "Newline": NEWLINE,
    "Extend": EXTEND,
    "ZWJ": ZWJ,
    "Format": FORMAT,
    "Regional_Indicator": FLAG,
    "Katakana": KATAKANA,
    "Hebrew_Letter": HEBREW,
    "ALetter": LETTER,
    "Single_Quote": SINGLE_QUOTE,
    "Double_Quote": DOUBLE_QUOTE,
    "MidNumLet": MID_NUM_LET,
    "MidLetter": MID_LETTER,
    "MidNum": MID_NUM,
    "Numeric": NUMERIC,
    "ExtendNumLet": CONNECTOR,
    "WSegSpace": SPACE,
}
"""Values of the property Word_Break."""

BREAK, JOIN, JOIN_PAIR, BEFORE_LETTER, BEFORE_HEBREW, BEFORE_NUMERIC = range(6)
AFTER_LETTER, AFTER_HEBREW, AFTER_NUMERIC = range(6, 9)
"""What two classes in a row mean: a break, no break, or none if they are the first two of a row of
flags' letters, or if a class comes next, or came before the two."""
WORD_BYTE, MIDDLE_BYTE, PLAIN_BYTE, CONNECTOR_BYTE = 1, 2, 3, 4
"""ASCII by kind: letters and digits; what can stand in the middle of a word or a number; what
else can be a segment of its own; `_`."""


class BreakTables(NamedTuple):
    """What the rules look up.

    marks  (1114112,) uint8  class | PICTOGRAPH | WORD_START of each code point
    rules  (20, 19) uint8    what a class after another means
    bytes  (256,) uint8      kind of each ASCII byte, 0 beyond ASCII
    """

    marks: U8Array
    rules: U8Array
    bytes: U8Array


@lru_cache(maxsize=1)
def break_tables() -> BreakTables:
    """Read the properties of every code point from uniseg: once a process, in about 0.5 s.

    Raises FilterError without uniseg.
    """
    db = _uniseg().db
    breaks, pictographs = db.get_handle("Word_Break"), db.get_handle("Extended_Pictographic")
    points = range(maxunicode + 1)
    marks = np.fromiter((CLASSES[db.get_value(breaks, c) or "Other"] for c in points), np.uint8)
    pictured = np.fromiter((bool(db.get_value(pictographs, c)) for c in points), np.bool_)
    starting = np.fromiter((chr(c).isalnum() for c in points), np.bool_)
    marks[pictured] |= PICTOGRAPH
    marks[starting] |= WORD_START
    tables = BreakTables(marks, _rules(), _byte_kinds(marks[:128] & np.uint8(CLASS)))
    for table in tables:
        table.setflags(write=False)
    return tables


def tables_digest() -> str:
    """Version of the Unicode of the installed uniseg, and a digest of what was read from it.

    Raises FilterError without uniseg.
    """
    digest = blake2b(break_tables().marks.tobytes(), digest_size=16).hexdigest()
    return f"unicode-{_uniseg().unidata_version}:{digest}"


def _uniseg() -> Any:
    try:
        import uniseg
        import uniseg.db
    except ImportError:
        raise FilterError(
            "words: unicode needs the properties of characters that the package uniseg holds, and "
            "it is not installed: pip install 'dolmix[unicode]', or choose words: whitespace"
        ) from None
    return uniseg


def _byte_kinds(classes: U8Array) -> U8Array:
    """Kind of each byte, by the classes of ASCII."""
    kinds = np.zeros(256, np.uint8)
    kinds[:128] = PLAIN_BYTE
    kinds[:128][np.isin(classes, (LETTER, NUMERIC))] = WORD_BYTE
    kinds[:128][np.isin(classes, (SINGLE_QUOTE, MID_NUM_LET, MID_LETTER, MID_NUM))] = MIDDLE_BYTE
    kinds[:128][classes == CONNECTOR] = CONNECTOR_BYTE
    return kinds


def _rules() -> U8Array:
    """Rules for a class after another; WB3 to WB4, which look at bare neighbours, are no part."""
    rules = np.full((20, 19), BREAK, np.uint8)
    letters = (LETTER, HEBREW)
    for before in (*letters, NUMERIC, CONNECTOR):  # WB5, WB8 to WB10, WB13a, WB13b
        for after in (*letters, NUMERIC, CONNECTOR):
            rules[before, after] = JOIN
    for other in (KATAKANA, CONNECTOR):  # WB13 to WB13b
        rules[KATAKANA, other] = rules[other, KATAKANA] = JOIN
    for middle in (MID_LETTER, MID_NUM_LET, SINGLE_QUOTE):  # WB6, WB7
        for letter in letters:
            rules[letter, middle], rules[middle, letter] = BEFORE_LETTER, AFTER_LETTER
    rules[HEBREW, SINGLE_QUOTE] = JOIN  # WB7a
    rules[HEBREW, DOUBLE_QUOTE], rules[DOUBLE_QUOTE, HEBREW] = BEFORE_HEBREW, AFTER_HEBREW
    for middle in (MID_NUM, MID_NUM_LET, SINGLE_QUOTE):  # WB11, WB12
        rules[NUMERIC, middle], rules[middle, NUMERIC] = BEFORE_NUMERIC, AFTER_NUMERIC
    rules[FLAG, FLAG] = JOIN_PAIR  # WB15, WB16
    return rules


@leaf
def segment_end(
    utf8: U8Array, i: int, stop: int, marks: U8Array, rules: U8Array
) -> tuple[int, int]:
    """Position after the segment that starts at `i`, and the mark of its first character.

    utf8          (B,) uint8  UTF-8 text, of which [i, stop) is read
    i             int         where the text starts, or a segment ended
    marks, rules  as in `BreakTables`

    O(bytes of the segment and of the skipped characters after it). Twin: uniseg's own, in
    tests/dolmix/text/test_unicode_words.py.
    """
    point, i = next_point(utf8, i, stop)
    first = int(marks[point])
    neighbour = first & CLASS
    if CR <= neighbour <= NEWLINE:  # WB3, WB3a
        return i + int(neighbour == CR and i < stop and utf8[i] == 0x0A), first
    before = NONE if is_skipped(neighbour) else neighbour
    earlier, flags = NONE, int(before == FLAG)
    while i < stop:
        point, after = next_point(utf8, i, stop)
        mark = marks[point]
        current = int(mark & CLASS)
        if is_skipped(current):  # WB4
            neighbour, i = current, after
            continue
        glued = neighbour == ZWJ and mark & PICTOGRAPH > 0  # WB3c
        glued |= neighbour == SPACE and current == SPACE  # WB3d
        rule = rules[before, current]
        if not glued and rule != JOIN:
            if rule == BREAK:
                break
            found = earlier
            if BEFORE_LETTER <= rule <= BEFORE_NUMERIC:
                found = next_class(utf8, after, stop, marks)
            if not is_met(rule, found, flags):
                break
        flags = flags + 1 if current == FLAG else 0
        earlier, before, neighbour, i = before, current, current, after
    return i, first


@leaf
def is_met(rule: int, found: int, flags: int) -> bool:
    """Whether a rule forbids the break, given the class that it depends on."""
    if rule == JOIN_PAIR:
        return flags % 2 == 1
    if rule in (BEFORE_LETTER, AFTER_LETTER):
        return found in (LETTER, HEBREW)
    return found == (HEBREW if rule in (BEFORE_HEBREW, AFTER_HEBREW) else NUMERIC)


@leaf
def next_class(utf8: U8Array, i: int, stop: int, marks: U8Array) -> int:
    """Class of the first character from `i` on that WB4 does not skip, NONE at the end."""
    while i < stop:
        point, i = next_point(utf8, i, stop)
        found = marks[point] & CLASS
        if not is_skipped(found):
            return int(found)
    return NONE


@leaf
def is_skipped(kind: int) -> bool:
    """Whether WB4 joins characters of a class to what is before them."""
    return EXTEND <= kind <= FORMAT


@leaf
def next_point(utf8: U8Array, i: int, stop: int) -> tuple[int, int]:
    """Code point at `i`, and the position after it."""
    if utf8[i] < 0x80:
        return int(utf8[i]), i + 1
    return decode(utf8, i, stop)
