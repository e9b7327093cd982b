r"""Text as datatrove 0.10 simplifies it before it cuts shingles, by compiled code.

In this order, as `datatrove.utils.text.simplify_text` with its default settings: lower case; each
number (a run of digits of any script, with at most one decimal separator and further digits) as
`0`; punctuation as spaces; each run of white space as one space, none at the ends; canonical
decomposition without the non-spacing marks; no white space at the ends.

Guarantee: the bytes are datatrove's for every text, under the Unicode tables of this Python and of
the installed `regex`. One character at a time decides nearly everything, so tables hold it. Beyond
one character look: numbers, white space, and a capital sigma at the end of a word. Where canonical
ordering would swap two marks that are not dropped (rare even in the scripts that have such marks),
datatrove itself is asked for that document.
"""

import unicodedata
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from sys import maxunicode
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dolmix.document import BoolArray, I64Array, TextBatch, U8Array, U32Array
from dolmix.text.characters import decode
from dolmix.text.compiled import kernel, leaf
from dolmix.text.kept_tables import kept_tables

PLAIN, SPACE, DIGIT, DECIMAL, MANY, SIGMA = range(6)
"""Kinds of code points: written as one; white space or punctuation; digits; what may stand within a
number, else written as one or, being punctuation, as a space; written as several or none; sigma."""
KIND_SHIFT = 24
POINT = (1 << 21) - 1
DROPPED = 1 << 21
"""Flag of an element that is a non-spacing mark."""
CASED, IGNORED = 1, 2
"""What decides on a sigma beside it: cased letters, and characters that are looked through."""
CAPITAL_SIGMA, SMALL_SIGMA, FINAL_SIGMA = 0x3A3, 0x3C3, 0x3C2
GROWTH = 3
"""Most bytes that one byte of a text can become; a Hangul syllable of three becomes nine."""


class Tables(NamedTuple):
    """What each code point becomes.

    codes     (1114112,) uint32  kind << 24, and a code point, or for MANY a place in `ends`
    elements  (E,) uint32        code points, DROPPED or not, combining class << 24
    ends      (K + 1,) int64     entry k stands for elements[ends[k]:ends[k + 1]]
    cases     (1114112,) uint8   CASED | IGNORED
    """

    codes: U32Array
    elements: U32Array
    ends: I64Array
    cases: U8Array


@cache
def tables() -> Tables:
    """Work the tables out of Python, `regex` and datatrove, once, in 0.3 s; kept on disk."""
    about = {name: version(name) for name in ("regex", "datatrove")}
    return Tables(**kept_tables("datatrove-text", about, __file__, _made))


def _made() -> dict[str, NDArray[Any]]:
    from datatrove.utils.text import NUMBERS_PATTERN, PUNCTUATION_TRANS

    codes = np.arange(maxunicode + 1, dtype=np.uint32)
    elements: list[int] = []
    ends = [0]
    for point in _described():
        lower = chr(point).lower()
        if lower.translate(PUNCTUATION_TRANS).isspace():
            codes[point] = SPACE << KIND_SHIFT
            continue
        spelled = [_element(c) for c in unicodedata.normalize("NFD", lower)]
        if len(spelled) == 1 and spelled[0] <= POINT:
            codes[point] = spelled[0]
        else:
            codes[point] = MANY << KIND_SHIFT | len(ends) - 1
            elements += spelled
            ends.append(len(elements))
    _mark_numbers(codes, NUMBERS_PATTERN)
    codes[CAPITAL_SIGMA] = SIGMA << KIND_SHIFT
    made = (codes, np.array(elements, np.uint32), np.array(ends), _cases())
    return dict(zip(Tables._fields, made, strict=True))


def _described() -> Iterator[int]:
    """Code points outside the planes of Han that become themselves, assigned or not."""
    yield from range(0x20000)
    yield from range(0x2F800, 0x2FA20)
    yield from range(0xE0000, 0xE1000)


def _element(char: str) -> int:
    """Spell one character of a decomposition."""
    dropped = DROPPED if unicodedata.category(char) == "Mn" else 0
    return ord(char) | dropped | unicodedata.combining(char) << KIND_SHIFT


def _mark_numbers(codes: U32Array, pattern: Any) -> None:
    """Mark digits, and what the pattern takes once between digits."""
    two = "\n".join(f"0{chr(point)}" for point in _described())
    three = "\n".join(f"0{chr(point)}0" for point in _described())
    within = [ord(run[0][1]) for run in pattern.finditer(three) if len(run[0]) == 3]
    codes[within] &= np.uint32(POINT)
    codes[within] |= np.uint32(DECIMAL << KIND_SHIFT)
    digits = [ord(run[0][1]) for run in pattern.finditer(two) if len(run[0]) == 2]
    codes[digits] = DIGIT << KIND_SHIFT


def _cases() -> U8Array:
    """Ask Python how each character before a capital sigma decides on its lower case."""
    cases = np.zeros(maxunicode + 1, np.uint8)
    for point in _described():
        if f"{chr(point)}\u03a3".lower()[-1] == "\u03c2":
            cases[point] = CASED
        elif f"a{chr(point)}\u03a3".lower()[-1] == "\u03c2":
            cases[point] = IGNORED
    return cases


def simplify(texts: TextBatch) -> TextBatch:
    """Give the documents with their texts simplified, and nothing computed for them yet."""
    utf8, offsets = texts.utf8, texts.offsets
    wide = int(np.count_nonzero(utf8[offsets[0] : offsets[-1]] >= 0x80))
    out = np.empty(int(offsets[-1] - offsets[0]) + (GROWTH - 1) * wide, np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    swapped = np.zeros(len(texts), np.bool_)
    simplify_utf8(utf8, offsets, tables(), out, ends, swapped)
    out = out[: ends[-1]]
    if swapped.any():
        out, ends = _ask_datatrove(texts, out, ends, swapped)
    text = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(ends), pa.py_buffer(out))
    return TextBatch(text, texts.ids, texts.urls, texts.records, fields={})


def _ask_datatrove(
    texts: TextBatch, out: U8Array, ends: I64Array, swapped: BoolArray
) -> tuple[U8Array, I64Array]:
    """Put datatrove's own result in the place of those that the kernel cannot order."""
    from datatrove.utils.text import simplify_text

    parts = [
        simplify_text(texts.text[n].as_py()).encode() if swapped[n] else out[start:stop].tobytes()
        for n, (start, stop) in enumerate(pairwise(ends.tolist()))
    ]
    lengths = [len(part) for part in parts]
    return np.frombuffer(b"".join(parts), np.uint8), np.cumsum([0, *lengths], dtype=np.int64)


@kernel
def simplify_utf8(
    utf8: U8Array,
    offsets: I64Array,
    known: Tables,
    out: U8Array,
    ends: I64Array,
    swapped: BoolArray,
) -> None:
    """Write every text simplified, one after another.

    utf8     (B,) uint8       document n is utf8[offsets[n]:offsets[n + 1]]
    offsets  (N + 1,) int64
    out      (R,) uint8       out; R = GROWTH bytes for each byte beyond ASCII, one for others
    ends     (N + 1,) int64   out; document n is out[ends[n]:ends[n + 1]]
    swapped  (N,) bool        out; True where marks stand in another order than the canonical one,
                              and the text is void

    O(B). Twin: tests/naive_dedup.py `simplified`.
    """
    size = 0
    for n in range(offsets.size - 1):
        size, swapped[n] = _simplify_one(utf8, offsets[n], offsets[n + 1], known, out, size)
        ends[n + 1] = size


@leaf
def _simplify_one(
    utf8: U8Array, begin: int, stop: int, known: Tables, out: U8Array, first: int
) -> tuple[int, bool]:
    """Write one text from `first` on; return where it ends, and whether marks swap."""
    i, size, gap, highest, swapped = begin, first, False, 0, False
    while i < stop:
        start = i
        point, i = _point_at(utf8, i, stop)
        code = known.codes[point]
        if code >= 0x80:  # most characters are ASCII letters
            if code >> KIND_SHIFT >= DIGIT:
                code, i = _settled(code, utf8, (begin, start, i, stop), known)
            if code >> KIND_SHIFT == SPACE:
                gap = True
                continue
        if gap:
            gap, highest = False, 0
            if size > first:
                out[size] = 0x20
                size += 1
        if code < 0x80:
            out[size] = code
            size += 1
            highest = 0
        elif code >> KIND_SHIFT == PLAIN:
            size = _write(out, size, int(code))
            highest = 0
        else:
            size, highest, swaps = _write_many(known, code & POINT, out, size, highest)
            swapped |= swaps
    while size > first and out[size - 1] == 0x20:
        size -= 1
    return size, swapped


@leaf
def _settled(
    code: int, utf8: U8Array, at: tuple[int, int, int, int], known: Tables
) -> tuple[int, int]:
    """Decide what depends on the characters around; return a code of PLAIN, SPACE or MANY.

    at  where the text begins, the character starts, the next one starts, the text stops

    The second number is where to read on.
    """
    begin, start, i, stop = at
    kind = code >> KIND_SHIFT
    if kind == DIGIT:
        return 0x30, _number_end(utf8, i, stop, known.codes)
    if kind == DECIMAL:
        plain = code & POINT
        return (plain or SPACE << KIND_SHIFT), i
    if kind == SIGMA:
        return (FINAL_SIGMA if _is_final(utf8, begin, start, stop, known) else SMALL_SIGMA), i
    return int(code), i


@leaf
def _write_many(
    known: Tables, entry: int, out: U8Array, size: int, highest: int
) -> tuple[int, int, bool]:
    """Write the parts of a character that are kept.

    highest  int  largest combining class of a mark that was kept since the last letter

    Returns where the next one goes, the new `highest`, and whether a mark belongs before one that
    is written already.
    """
    swaps = False
    for k in range(known.ends[entry], known.ends[entry + 1]):
        element = known.elements[k]
        order = int(element >> KIND_SHIFT)
        if order == 0:
            highest = 0
        if element & DROPPED == 0:
            swaps |= 0 < order < highest
            highest = max(order, highest)
            size = _write(out, size, int(element & POINT))
    return size, highest, swaps


@leaf
def _number_end(utf8: U8Array, i: int, stop: int, codes: U32Array) -> int:
    """Where a number ends of which one digit stands before `i`."""
    i = _digits_end(utf8, i, stop, codes)
    if i < stop:
        point, after = _point_at(utf8, i, stop)
        if codes[point] >> KIND_SHIFT == DECIMAL:
            end = _digits_end(utf8, after, stop, codes)
            i = end if end > after else i
    return i


@leaf
def _digits_end(utf8: U8Array, i: int, stop: int, codes: U32Array) -> int:
    while i < stop:
        point, after = _point_at(utf8, i, stop)
        if codes[point] >> KIND_SHIFT != DIGIT:
            break
        i = after
    return i


@leaf
def _point_at(utf8: U8Array, i: int, stop: int) -> tuple[int, int]:
    """Code point at `i`, and the position after it."""
    if utf8[i] < 0x80:
        return int(utf8[i]), i + 1
    return decode(utf8, i, stop)


@leaf
def _is_final(utf8: U8Array, begin: int, i: int, stop: int, known: Tables) -> bool:
    """Whether the capital sigma at `i` becomes a final one: the rule of `str.lower`."""
    after, before = i + 2, i
    while before > begin:
        before -= 1
        if utf8[before] & 0xC0 == 0x80:
            continue
        case = known.cases[_point_at(utf8, before, stop)[0]]
        if case == CASED:
            break
        if case != IGNORED:
            return False
    else:
        return False
    while after < stop:
        point, after = _point_at(utf8, after, stop)
        case = known.cases[point]
        if case != IGNORED:
            return bool(case != CASED)
    return True


@leaf
def _write(out: U8Array, size: int, point: int) -> int:
    """Write a code point as UTF-8; return where the next one goes."""
    if point < 0x80:
        out[size] = point
        return size + 1
    if point < 0x800:
        out[size] = 0xC0 | point >> 6
        out[size + 1] = 0x80 | point & 0x3F
        return size + 2
    if point < 0x10000:
        out[size] = 0xE0 | point >> 12
        out[size + 1] = 0x80 | point >> 6 & 0x3F
        out[size + 2] = 0x80 | point & 0x3F
        return size + 3
    out[size] = 0xF0 | point >> 18
    out[size + 1] = 0x80 | point >> 12 & 0x3F
    out[size + 2] = 0x80 | point >> 6 & 0x3F
    out[size + 3] = 0x80 | point & 0x3F
    return size + 4
