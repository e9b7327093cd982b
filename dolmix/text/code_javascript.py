r"""Comments of JavaScript, in linear time, as the lexer of Pygments 2.21 finds them.

What a `/` starts depends on what stands before it, so everything is scanned: strings, templates
with code inside, regular expressions, numbers, and the keywords and operators after which a `/`
starts a regular expression. Where Pygments' patterns would go back and forth over an unclosed
string, here every place is read once for each thing that it may be in.
"""

import numpy as np

from dolmix.document import U8Array
from dolmix.text.code_points import (
    APOSTROPHE,
    BACKSLASH,
    DOLLAR,
    DOT,
    NAME_PART,
    NAME_START,
    NEWLINE,
    QUOTE,
    SLASH,
    SPACE,
    WORD,
    U32Array,
    comment_end,
    has_mark,
    is_digit,
    is_either,
    is_hex,
    keywords,
    line_end,
    point_at,
    skip_marked,
    word_at,
)
from dolmix.text.compiled import kernel
from dolmix.text.words import FNV_PRIME, FNV_START

BACKTICK, HASH, BRACE, CLOSING_BRACE = 0x60, 0x23, 0x7B, 0x7D
LESS, EQUALS, MORE, QUESTION, BRACKET, CLOSING_BRACKET = 0x3C, 0x3D, 0x3E, 0x3F, 0x5B, 0x5D
IN_QUOTES, IN_APOSTROPHES, IN_REGEX, IN_CLASS = 1, 2, 4, 8
"""Bits of `seen`: in what a place was once read, to no avail."""
OPENERS, OPERATORS, DOUBLED = map(tuple, (b"{([;,", b"+-~?:<>=!*|&%^/", b"*|&<"))
FLAGS = np.array([chr(c) in "gimuysd" for c in range(128)])
BEFORE_REGEX = keywords(
    "typeof instanceof in void delete new for while do break return continue switch case default "
    "if else throw try catch finally yield await async this of static export import debugger "
    "extends super var let const with function class"
)
"""Keywords after which a slash starts a regular expression."""
SEPARATE = 3
"""So many of WHOLE_WORDS are words only where no letter or digit stands before them."""


def _hashes(words: str) -> tuple[np.uint64, ...]:
    """FNV-1a of each word."""
    codes = []
    for word in words.split():
        code = int(FNV_START)
        for byte in word.encode():
            code = (code ^ byte) * int(FNV_PRIME) % 2**64
        codes.append(np.uint64(code))
    return tuple(codes)


WHOLE_WORDS = _hashes(
    "constructor from as abstract boolean byte char double enum final float goto implements int "
    "interface long native package private protected public short synchronized throws transient "
    "volatile true false null NaN Infinity undefined Array Boolean Date BigInt Function Math "
    "ArrayBuffer Number Object RegExp String Promise Proxy decodeURI decodeURIComponent encodeURI "
    "encodeURIComponent eval isFinite isNaN parseFloat parseInt DataView document window "
    "globalThis global arguments Symbol Intl WeakSet WeakMap Set Map Reflect JSON Atomics "
    "Int8Array Int16Array Int32Array BigInt64Array Float32Array Float64Array Uint8ClampedArray "
    "Uint8Array Uint16Array Uint32Array BigUint64Array Error EvalError InternalError RangeError "
    "ReferenceError SyntaxError TypeError URIError"
)
"""Words that end where their letters end, though a combining mark may follow."""


@kernel
def javascript_comments(points: U32Array, table: U8Array) -> int:
    """Characters of all comments, their marks included.

    points  (P,) uint32        `lexer_points()`
    table   (1114112,) uint8   `lexer_table()`

    O(P) time, P bytes. A `<!--` and the `#!` of the first line are not counted. Twin: the lexer of
    Pygments itself.
    """
    seen = np.zeros(points.size, np.uint8)
    # not plain 0 and True: for those numba would compile everything once more
    start, closed = np.int64(0), points.size > 0
    i, depth, total = _after_hashbang(points), int(start), 0
    regex_may_follow = False
    while i < points.size:
        if depth & 1:
            i, depth = _in_template(points, i, depth)
            continue
        if not regex_may_follow:
            if depth > 0 and points[i] == CLOSING_BRACE:
                i, depth = i + 1, depth - 1
                continue
            regex_may_follow = _starts_line(points, table, i)
        end, closed = comment_end(points, i, closed)
        blank = _blank_end(points, table, i)
        if end > 0:
            total += end - i
            i = end
        elif blank > i:
            i = blank
        elif regex_may_follow:
            i, regex_may_follow = _after_regex(points, table, seen, i), False
        else:
            i, regex_may_follow, opened = _read_token(points, table, seen, i)
            depth += opened
    return total


@kernel
def _after_hashbang(points: U32Array) -> int:
    if point_at(points, 0) != HASH or point_at(points, 1) != 0x21:
        return 0
    slash = 2 + int(point_at(points, 2) == 0x20)
    return line_end(points, slash) if point_at(points, slash) == SLASH else 0


@kernel
def _in_template(points: U32Array, i: int, depth: int) -> tuple[int, int]:
    """Read on in the text of a template: `depth` is odd there, even in code."""
    point = points[i]
    if point == BACKTICK:
        return i + 1, depth - 1
    if point == BACKSLASH:
        return i + 2, depth
    if point == DOLLAR and point_at(points, i + 1) == BRACE:
        return i + 2, depth + 1
    return i + 1, depth


@kernel
def _is_html_comment(points: U32Array, i: int) -> bool:
    return (
        points[i] == LESS
        and point_at(points, i + 1) == 0x21
        and point_at(points, i + 2) == 0x2D
        and point_at(points, i + 3) == 0x2D
    )


@kernel
def _starts_line(points: U32Array, table: U8Array, i: int) -> bool:
    """Whether whitespace, a slash or `<!--` starts a line here: what follows may be a regex."""
    if i > 0 and points[i - 1] != NEWLINE:
        return False
    blank = has_mark(points, table, i, SPACE)
    return blank or points[i] == SLASH or _is_html_comment(points, i)


@kernel
def _blank_end(points: U32Array, table: U8Array, i: int) -> int:
    """Position after whitespace or `<!--` at `i`."""
    return i + 4 if _is_html_comment(points, i) else skip_marked(points, table, i, SPACE)


@kernel
def _after_regex(points: U32Array, table: U8Array, seen: U8Array, i: int) -> int:
    """Position after the regular expression at `i`; of one that is none, the line is skipped."""
    if points[i] != SLASH:
        return i
    end = _regex_end(points, table, seen, i)
    return end if end > 0 else line_end(points, i) + 1


@kernel
def _regex_end(points: U32Array, table: U8Array, seen: U8Array, i: int) -> int:
    """Position after the regular expression at `i` and its flags, or 0."""
    i += 1
    place = IN_REGEX
    while i < points.size and not seen[i] & place:
        point = points[i]
        seen[i] |= place
        if point == NEWLINE:
            return 0
        if point == BACKSLASH:
            i += 1
        elif place == IN_CLASS:
            place = IN_REGEX if point == CLOSING_BRACKET else IN_CLASS
        elif point == BRACKET:
            place = IN_CLASS
        elif point == SLASH:
            break
        i += 1
    if i >= points.size or points[i] != SLASH or place == IN_CLASS:
        return 0
    end = i + 1
    while end < points.size and points[end] < 128 and FLAGS[points[end]]:
        end += 1
    return 0 if has_mark(points, table, end, WORD) else end


@kernel
def _read_token(points: U32Array, table: U8Array, seen: U8Array, i: int) -> tuple[int, bool, int]:
    """Read the token at `i`: position after it, whether a regex may follow, templates opened."""
    point = points[i]
    if table[point] & NAME_START or _is_escape(points, i):
        end, regex_may_follow = _read_word(points, table, i)
        return end, regex_may_follow, 0
    if is_digit(point) or (point == DOT and is_digit(point_at(points, i + 1))):
        return _number_end(points, i), False, 0
    if point in (QUOTE, APOSTROPHE):
        return _string_end(points, seen, i), False, 0
    if point == BACKTICK:
        return i + 1, False, 1
    if point == HASH:
        return _private_end(points, table, i), False, 0
    end, regex_may_follow = _read_sign(points, i)
    return end, regex_may_follow, 0


@kernel
def _private_end(points: U32Array, table: U8Array, i: int) -> int:
    """Position after the private name whose `#` is at `i`, or after the `#`."""
    first = point_at(points, i + 1)
    named = first == 0x5F or 0x61 <= (first | 0x20) <= 0x7A
    return skip_marked(points, table, i + 1, WORD) if named else i + 1


@kernel
def _read_sign(points: U32Array, i: int) -> tuple[int, bool]:
    """Read the operator or sign at `i`: position after it, and whether a regex may follow."""
    point, after = points[i], point_at(points, i + 1)
    if point == EQUALS and after == MORE:
        return i + 2, False
    if point == DOT and after == DOT and point_at(points, i + 2) == DOT:
        return i + 3, False
    if point == BACKSLASH:
        return i + 1, after == NEWLINE
    if point in OPERATORS:
        return _operator_end(points, i), True
    return i + 1, point in OPENERS


@kernel
def _string_end(points: U32Array, seen: U8Array, i: int) -> int:
    """Position after the string at `i`, over several lines if need be; after its quote if open."""
    quote, start = points[i], i
    place = IN_QUOTES if quote == QUOTE else IN_APOSTROPHES
    i += 1
    while i < points.size and not seen[i] & place:
        seen[i] |= place
        if points[i] == quote:
            return i + 1
        i += 2 if points[i] == BACKSLASH else 1
    return start + 1


@kernel
def _is_escape(points: U32Array, i: int) -> bool:
    r"""Whether `\u` and four hexadecimal digits stand here."""
    if point_at(points, i) != BACKSLASH or point_at(points, i + 1) != 0x75:
        return False
    for j in range(i + 2, i + 6):  # noqa: SIM110 - numba compiles loops, not all()
        if not is_hex(point_at(points, j)):
            return False
    return True


@kernel
def _read_word(points: U32Array, table: U8Array, i: int) -> tuple[int, bool]:
    """Read the keyword or identifier at `i`: position after it, and whether a regex may follow."""
    code, end = word_at(points, table, i)
    if code in BEFORE_REGEX:
        return end, True
    if has_mark(points, table, end, NAME_PART) and _is_whole(points, table, i, end):
        return end, False
    while True:
        if has_mark(points, table, i, NAME_PART):
            i += 1
        elif _is_escape(points, i):
            i += 6
        else:
            return i, False


@kernel
def _is_whole(points: U32Array, table: U8Array, i: int, end: int) -> bool:
    """Whether [i, end) is one of WHOLE_WORDS."""
    code = FNV_START
    for j in range(i, end):
        code = (code ^ np.uint64(points[j])) * FNV_PRIME
    for place, known in enumerate(WHOLE_WORDS):
        if code == known:
            return place >= SEPARATE or i == 0 or not has_mark(points, table, i - 1, WORD)
    return False


@kernel
def _operator_end(points: U32Array, i: int) -> int:
    """Position after the operator at `i`, the longest that Pygments would take."""
    point, after, third = points[i], point_at(points, i + 1), point_at(points, i + 2)
    if point == QUESTION:
        if after != QUESTION:
            return i + 1
        return i + 2 + int(third == EQUALS)
    if point in (0x2B, 0x2D) and after == point:
        return i + 2
    if point in (0x7E, 0x3A):
        return i + 1
    end = i + 1
    if point in (EQUALS, 0x21):
        end += int(after == EQUALS)
    elif point == MORE and after == MORE:
        end += 1 + int(third == MORE)
    elif after == point:
        end += int(point in DOUBLED)
    return end + int(point_at(points, end) == EQUALS)


@kernel
def _number_end(points: U32Array, i: int) -> int:
    """Position after the number at `i`."""
    end = _based_end(points, i)
    if end > 0:
        return end + int(point_at(points, end) == 0x6E)
    end = _digits_end(points, i)
    if end > i and point_at(points, end) == 0x6E:
        return end + 1
    if point_at(points, end) == DOT:
        end = _digits_end(points, end + 1)
    if is_either(point_at(points, end), 0x65):
        sign = point_at(points, end + 1)
        power = end + 1 + int(sign in (0x2B, 0x2D))
        if is_digit(point_at(points, power)):
            end = _digits_end(points, power)
    return end


@kernel
def _digits_end(points: U32Array, i: int) -> int:
    while is_digit(point_at(points, i)):
        i += 1
    return i


@kernel
def _based_end(points: U32Array, i: int) -> int:
    """Position after the binary, octal or hexadecimal number at `i`, or 0."""
    if points[i] != 0x30:
        return 0
    base = point_at(points, i + 1)
    start, largest = i + 1, 0x37
    if is_either(base, 0x62) or is_either(base, 0x6F):
        start, largest = i + 2, 0x31 if is_either(base, 0x62) else 0x37
    end = start
    while 0x30 <= point_at(points, end) <= largest:
        end += 1
    if is_either(base, 0x78):
        start = end = i + 2
        while is_hex(point_at(points, end)):
            end += 1
    return end if end > start else 0
