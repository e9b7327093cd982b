"""Lines of JSON to texts, ids and URLs in compiled code, without a Python object a record.

Reads what is usual: an object a line whose wanted fields stand at its top. Whatever else a line
is, odd or wrong, it is left to the general parser (`dolmix.files.records`): a line that is read
here is one that gives the same row there.
"""

from typing import NamedTuple

import numpy as np

from dolmix.document import I64Array, U8Array
from dolmix.files.records import MAX_RECORD_BYTES
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import (
    HIGHEST,
    ONES,
    eight_bytes,
    first_marked,
    put_eight,
    trailing_zeros,
)
from dolmix.text.wide import WIDTH, below_32, copy_32, equal_32

ENDED, FULL, ODD, CRAMPED = range(4)
"""Why reading stopped: no more lines; a full batch; a line for the general parser; ids or URLs
that need more room."""
ROWS, LINE_BYTES = range(2)
"""Places of a state: rows read, and bytes of their lines."""
TEXT_KEY, ID_KEY, URL_KEY = range(3)

NULL, TAB, RETURN, SPACE, NEWLINE = 0, 9, 13, 32, 10
QUOTE, BACKSLASH, COLON, COMMA, MINUS, DOT = 34, 92, 58, 44, 45, 46
LETTER_N = 110
OPEN, CLOSE, OPEN_LIST, CLOSE_LIST = 123, 125, 91, 93
QUOTES, BACKSLASHES = np.uint64(0x2222222222222222), np.uint64(0x5C5C5C5C5C5C5C5C)
SPACES = np.uint64(0x2020202020202020)
MOST_DEPTH = 60
"""Deeper values are odd: kinds of the brackets around a place are the bits of one number."""
MOST_NUMBER = 24
"""Bytes of a number, and 2 digits of its exponent: it is no infinity then."""
MOST_ID = 18
"""Digits of an id that is a number."""
NONE = np.uint64(0)


class Keys(NamedTuple):
    """UTF-8 of the names of the wanted fields; (0,) uint8 for one that is not wanted."""

    text: U8Array
    id: U8Array
    url: U8Array


class Buffers(NamedTuple):
    """Where rows go.

    text, ids, urls       (any,) uint8
    text_ends, ...        (rows + 1,) int64: where each row's value ends; the first is 0
    has_url               (rows,) uint8
    lines                 (rows,) int64: number of each row's line
    """

    text: U8Array
    ids: U8Array
    urls: U8Array
    text_ends: I64Array
    id_ends: I64Array
    url_ends: I64Array
    has_url: U8Array
    lines: I64Array


@kernel
def read_lines(
    data: U8Array,
    at: int,
    number: int,
    keys: Keys,
    to: Buffers,
    state: I64Array,
    most_bytes: int,
    known: bool,
) -> tuple[int, int, int]:
    r"""Read lines as long as they are usual and the batch is not full.

    data     whole lines, "\n" between them; a line begins at `at`, which may be the end
    number   of that line
    to       `text` has room for what is used of it and all of `data` from `at` on, and 8 bytes more
    state    (2,) int64, updated
    known    whether all of `data` is known to be UTF-8, so that strings need no look for that
    returns  where the first line begins that was not read, its number, and why it was not

    O(bytes). Twin: dolmix.files.records.parse_record.
    """
    while at <= data.size:
        row = state[ROWS]
        end, why = _read_line(data, at, keys, to, row, known)
        if why != ENDED:
            return at, number, why
        to.lines[row] = number
        state[ROWS] = row + 1
        state[LINE_BYTES] += end - at
        at, number = end + 1, number + 1
        if row + 1 == to.lines.size or state[LINE_BYTES] >= most_bytes:
            return at, number, FULL
    return at, number, ENDED


@leaf
def _read_line(
    data: U8Array, at: int, keys: Keys, to: Buffers, row: int, known: bool
) -> tuple[int, int]:
    """Read one line into a row; give its end and ENDED, or any place and why it was not read."""
    begin, seen, why = at, 0, ODD
    to.text_ends[row + 1], to.has_url[row] = to.text_ends[row], 0
    to.id_ends[row + 1], to.url_ends[row + 1] = to.id_ends[row], to.url_ends[row]
    at = _blanks(data, at)
    if _byte(data, at) != OPEN:
        return begin, ODD
    while True:
        free = to.text_ends[row + 1]  # what is tried out goes behind
        at, end = _string(data, _blanks(data, at + 1), to.text, free, known)
        at = _blanks(data, at)
        if _byte(data, at) != COLON:
            return begin, ODD
        which = _which(to.text, free, end, keys)
        at = _blanks(data, at + 1)
        if which < 0:
            at = _skip(data, at, to.text, free, known)
        elif seen >> which & 1:
            return begin, ODD
        else:
            at, why = _field(data, at, which, to, row, known)
            seen |= 1 << which
        at = _blanks(data, at)
        if _byte(data, at) != COMMA:
            break
    if at < 0:
        return begin, why
    wanted = 1 << TEXT_KEY | (1 << ID_KEY if keys.id.size else 0)
    is_whole = _byte(data, at) == CLOSE and seen & wanted == wanted
    at = _blanks(data, at + 1)
    is_whole &= at == data.size or _byte(data, at) == NEWLINE
    return at, ENDED if is_whole and at - begin <= MAX_RECORD_BYTES else ODD


@leaf
def _field(
    data: U8Array, at: int, which: int, to: Buffers, row: int, known: bool
) -> tuple[int, int]:
    """Take a wanted field's value into a row; its end, or -1, and why it was not read if so."""
    if which == URL_KEY and _byte(data, at) == LETTER_N:
        return _literal(data, at), ODD
    free = to.text_ends[row + 1]
    at, end = _value(data, at, which, to.text, free, known)
    if at < 0:
        return -1, ODD
    if which == TEXT_KEY:
        to.text_ends[row + 1] = end
        return at, ODD
    if which == ID_KEY:
        kept = _keep(to.text[free:end], to.ids, to.id_ends, row)
    else:
        to.has_url[row] = 1
        kept = _keep(to.text[free:end], to.urls, to.url_ends, row)
    return (at, ODD) if kept else (-1, CRAMPED)


@leaf
def _keep(value: U8Array, out: U8Array, ends: I64Array, row: int) -> bool:
    """Copy a row's value, if there is room."""
    begin = ends[row]
    if begin + value.size > out.size:
        return False
    for k in range(value.size):
        out[begin + k] = value[k]
    ends[row + 1] = begin + value.size
    return True


@leaf
def _byte(data: U8Array, at: int) -> int:
    """Byte at a place; 0 beyond the end, which is part of nothing."""
    return int(data[at]) if 0 <= at < data.size else 0


@leaf
def _blanks(data: U8Array, at: int) -> int:
    """Go over blanks, but not over the end of the line; -1 stays."""
    while 0 <= at < data.size and (data[at] == SPACE or data[at] == TAB or data[at] == RETURN):
        at += 1
    return at


@leaf
def _which(text: U8Array, begin: int, end: int, keys: Keys) -> int:
    """Which wanted field a name is, -1 for none."""
    if _same(text, begin, end, keys.text):
        return TEXT_KEY
    if keys.id.size and _same(text, begin, end, keys.id):
        return ID_KEY
    if keys.url.size and _same(text, begin, end, keys.url):
        return URL_KEY
    return -1


@leaf
def _same(text: U8Array, begin: int, end: int, key: U8Array) -> bool:
    if end - begin != key.size:
        return False
    for k in range(key.size):  # noqa: SIM110 - a kernel
        if text[begin + k] != key[k]:
            return False
    return True


@leaf
def _value(
    data: U8Array, at: int, which: int, out: U8Array, to: int, known: bool
) -> tuple[int, int]:
    """Write a wanted value; where it ends here and there, -1 for one that is odd."""
    if _byte(data, at) == QUOTE:
        begin = to
        at, to = _string(data, at, out, to, known)
        return (-1 if which == ID_KEY and to == begin else at), to
    if which != ID_KEY:
        return -1, to
    begin = at
    while 0x30 <= _byte(data, at) <= 0x39:
        out[to] = data[at]
        at, to = at + 1, to + 1
    odd = at == begin or at - begin > MOST_ID or (data[begin] == 0x30 and at - begin > 1)
    follows = _byte(data, at)
    odd = odd or follows == DOT or follows | 0x20 == 0x65
    return (-1 if odd else at), to


# --- strings --------------------------------------------------------------------------------------


@leaf
def _string(data: U8Array, at: int, out: U8Array, to: int, known: bool) -> tuple[int, int]:
    """Write a string without its escapes; where it ends here and there, -1 for one that is odd."""
    if _byte(data, at) != QUOTE:
        return -1, to
    at += 1
    while at < data.size:
        plain = _copy_plain(data, at, out, to, known)
        at, to = at + plain, to + plain
        byte = _byte(data, at)
        if byte == QUOTE:
            return at + 1, to
        if byte == BACKSLASH:
            at, to = _escape(data, at + 1, out, to)
        elif byte < SPACE:
            return -1, to
        elif byte < 0x80:
            out[to] = byte
            at, to = at + 1, to + 1
        else:
            at, to = _character(data, at, out, to)
        if at < 0:
            return -1, to
    return -1, to


@leaf
def _copy_plain(data: U8Array, at: int, out: U8Array, to: int, known: bool) -> int:
    """Copy characters that a string may hold as they are, as far as whole steps find any.

    known    whether all of `data` is known to be UTF-8; else only ASCII is copied here
    returns  how many bytes; what follows may be plain too
    """
    begin = at
    while at + 8 <= data.size:
        step = 8
        if known and at + WIDTH <= data.size:
            step = WIDTH
            special = equal_32(data, at, QUOTE) | equal_32(data, at, BACKSLASH)
            special |= below_32(data, at, SPACE)
            copy_32(data, at, out, to)
            plain = min(int(np.int64(trailing_zeros(special))), WIDTH)
        else:
            value = eight_bytes(data, at)
            put_eight(out, to, value)
            plain = first_marked(_marks(value))
        at, to = at + plain, to + plain
        if plain < step:
            break
    return at - begin


@leaf
def _marks(value: np.uint64) -> np.uint64:
    """Mask whose lowest byte is that of the first that is no plain ASCII character of a string."""
    quote, back = value ^ QUOTES, value ^ BACKSLASHES
    found = (quote - ONES) & ~quote | (back - ONES) & ~back | (value - SPACES) & ~value | value
    return found & HIGHEST


@leaf
def _character(data: U8Array, at: int, out: U8Array, to: int) -> tuple[int, int]:
    """Copy characters beyond ASCII; -1 for bytes that are no UTF-8 (Unicode, table 3-7)."""
    while at < data.size and data[at] >= 0x80:
        first, second = int(data[at]), _byte(data, at + 1)
        low, high, more = 0x80, 0xBF, 0
        if 0xC2 <= first <= 0xDF:
            more = 1
        elif 0xE0 <= first <= 0xEF:
            more = 2
            low, high = 0xA0 if first == 0xE0 else low, 0x9F if first == 0xED else high
        elif 0xF0 <= first <= 0xF4:
            more = 3
            low, high = 0x90 if first == 0xF0 else low, 0x8F if first == 0xF4 else high
        if more == 0 or second < low or second > high or at + more >= data.size:
            return -1, to
        out[to], out[to + 1] = first, second
        for k in range(2, more + 1):
            if data[at + k] & 0xC0 != 0x80:
                return -1, to
            out[to + k] = data[at + k]
        at, to = at + more + 1, to + more + 1
    return at, to


@leaf
def _escape(data: U8Array, at: int, out: U8Array, to: int) -> tuple[int, int]:
    """Write what an escape stands for; `at` is behind its backslash. -1 for one that is odd."""
    byte = _byte(data, at)
    if byte == 0x75:
        return _code_point(data, at + 1, out, to)
    if byte in (QUOTE, BACKSLASH, 0x2F):
        out[to] = byte
    elif byte == 0x6E:
        out[to] = 0x0A
    elif byte == 0x74:
        out[to] = 0x09
    elif byte == 0x72:
        out[to] = 0x0D
    elif byte == 0x62:
        out[to] = 0x08
    elif byte == 0x66:
        out[to] = 0x0C
    else:
        return -1, to
    return at + 1, to + 1


@leaf
def _code_point(data: U8Array, at: int, out: U8Array, to: int) -> tuple[int, int]:
    r"""Write the character of `\uXXXX`, or of two that are a pair; -1 for half of one."""
    point = _four_digits(data, at)
    at += 4
    if 0xD800 <= point <= 0xDFFF:
        follows = _byte(data, at) == BACKSLASH and _byte(data, at + 1) == 0x75
        low = _four_digits(data, at + 2) if follows else -1
        if point >= 0xDC00 or low < 0xDC00 or low > 0xDFFF:
            return -1, to
        point, at = 0x10000 + (point - 0xD800 << 10) + low - 0xDC00, at + 6
    if point < 0:
        return -1, to
    if point < 0x80:
        out[to] = point
        return at, to + 1
    if point < 0x800:
        out[to], out[to + 1] = 0xC0 | point >> 6, 0x80 | point & 0x3F
        return at, to + 2
    if point < 0x10000:
        out[to], out[to + 1] = 0xE0 | point >> 12, 0x80 | point >> 6 & 0x3F
        out[to + 2] = 0x80 | point & 0x3F
        return at, to + 3
    out[to], out[to + 1] = 0xF0 | point >> 18, 0x80 | point >> 12 & 0x3F
    out[to + 2], out[to + 3] = 0x80 | point >> 6 & 0x3F, 0x80 | point & 0x3F
    return at, to + 4


@leaf
def _four_digits(data: U8Array, at: int) -> int:
    """Read four hexadecimal digits; -1 if they are none."""
    value = 0
    for k in range(4):
        byte = _byte(data, at + k)
        letter = byte | 0x20
        if 0x30 <= byte <= 0x39:
            value = value << 4 | byte - 0x30
        elif 0x61 <= letter <= 0x66:
            value = value << 4 | letter - 0x57
        else:
            return -1
    return value


# --- values that nobody wants ---------------------------------------------------------------------


@leaf
def _skip(  # noqa: C901 - one loop
    data: U8Array, at: int, out: U8Array, to: int, known: bool
) -> int:
    """Go over a value of any kind, and what it holds; -1 for one that is odd.

    out  is written behind `to`, to no end
    """
    depth, kinds = 0, NONE  # lowest bit: 1 in an object, 0 in a list
    while True:
        at = _blanks(data, at)
        byte = _byte(data, at)
        if byte in (OPEN, OPEN_LIST):
            inner = _blanks(data, at + 1)
            if _byte(data, inner) == byte + 2:  # nothing in it
                at = inner + 1
            elif depth == MOST_DEPTH:
                return -1
            else:
                depth, kinds = depth + 1, kinds << np.uint64(1) | np.uint64(byte == OPEN)
                at = _name(data, inner, out, to, known) if byte == OPEN else inner
                if at < 0:
                    return -1
                continue
        elif byte == QUOTE:
            at, _ = _string(data, at, out, to, known)
        elif byte == MINUS or 0x30 <= byte <= 0x39:
            at = _number(data, at)
        else:
            at = _literal(data, at)
        while depth and at >= 0:
            at = _blanks(data, at)
            byte, is_object = _byte(data, at), kinds & np.uint64(1) == np.uint64(1)
            if byte == COMMA:
                after = _blanks(data, at + 1)
                at = _name(data, after, out, to, known) if is_object else at + 1
                break
            if byte != (CLOSE if is_object else CLOSE_LIST):
                return -1
            at, depth, kinds = at + 1, depth - 1, kinds >> np.uint64(1)
        else:
            return at
        if at < 0:
            return -1


@leaf
def _name(data: U8Array, at: int, out: U8Array, to: int, known: bool) -> int:
    """Go over the name of a field and its colon; -1 if there are none."""
    at, _ = _string(data, at, out, to, known)
    at = _blanks(data, at)
    return at + 1 if at >= 0 and _byte(data, at) == COLON else -1


@leaf
def _literal(data: U8Array, at: int) -> int:
    """Go over `true`, `false` or `null`; -1 for anything else."""
    if at + 4 > data.size or at < 0:
        return -1
    a, b, c, d = data[at], data[at + 1], data[at + 2], data[at + 3]
    if a == 0x74 and b == 0x72 and c == 0x75 and d == 0x65:
        return at + 4
    if a == 0x6E and b == 0x75 and c == 0x6C and d == 0x6C:
        return at + 4
    is_false = a == 0x66 and b == 0x61 and c == 0x6C and d == 0x73 and _byte(data, at + 4) == 0x65
    return at + 5 if is_false else -1


@leaf
def _number(data: U8Array, at: int) -> int:
    """Go over a number; -1 for one that is odd, or long."""
    begin = at
    at += _byte(data, at) == MINUS
    first = at
    at = _digits(data, at)
    if at == first or (data[first] == 0x30 and at - first > 1):
        return -1
    if _byte(data, at) == DOT:
        first = at + 1
        at = _digits(data, first)
        if at == first:
            return -1
    if _byte(data, at) | 0x20 == 0x65:
        sign = _byte(data, at + 1)
        first = at + 2 if sign in (MINUS, 0x2B) else at + 1
        at = _digits(data, first)
        if at == first or at - first > 2:
            return -1
    return at if at - begin <= MOST_NUMBER else -1


@leaf
def _digits(data: U8Array, at: int) -> int:
    while 0x30 <= _byte(data, at) <= 0x39:
        at += 1
    return at
