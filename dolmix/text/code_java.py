r"""Comments of Java, in linear time, as the lexer of Pygments 2.21 finds them.

That lexer looks for names after `class`, `import` and `var`, and for signatures of methods, where
it sees no comments; all of that is scanned here too, each place a bounded number of times.
"""

import numpy as np

from dolmix.document import I64Array, U8Array
from dolmix.text.code_points import (
    APOSTROPHE,
    BACKSLASH,
    DECIMAL,
    DOLLAR,
    DOT,
    NEWLINE,
    OPEN,
    QUOTE,
    SPACE,
    STAR,
    WORD,
    U32Array,
    comment_end,
    has_mark,
    is_digit,
    is_either,
    is_hex,
    keyword,
    keywords,
    point_at,
    skip_marked,
    word_at,
)
from dolmix.text.compiled import kernel

ROOT, BEFORE_CLASS, BEFORE_NAME, BEFORE_PACKAGE, IN_STRING, IN_BLOCK = range(6)
"""Where the scanner is: after `class`, after `var`, after `import`, in `"..."`, in a text block."""
BLANK_END, NO_RECORD, NO_LABEL, RUN_END, METHOD_NAME, ODD_WORD = range(6)
"""Places of `memo`: what is known of the text ahead, so that nothing is read over and over."""
STATEMENTS = keywords(
    "assert break case catch continue default do else finally for if goto instanceof new return "
    "switch this throw try while"
)
MODIFIERS = keywords("public private protected static strictfp")
TYPES = keywords("class interface module")
RECORD, PACKAGE, IMPORT, VAR = keywords("record package import var")
STATIC, MODULE = keywords("static module")
NON, SEALED = keyword("non"), keyword("sealed")
IN_SIGNATURE = np.array([chr(c) in ".[]$<>?" for c in range(128)])
UNDERSCORE, COLON, AT = 0x5F, 0x3A, 0x40


@kernel
def java_comments(points: U32Array, table: U8Array) -> int:
    """Characters of all comments, their marks included.

    points  (P,) uint32        `lexer_points()`
    table   (1114112,) uint8   `lexer_table()`

    O(P). Twin: the lexer of Pygments itself.
    """
    memo = np.full(6, -1, np.int64)
    # not plain 0 and True: for those numba would compile everything once more
    start, closed = np.int64(0), points.size > 0
    i, state, total = int(start), int(start) + ROOT, 0
    while i < points.size:
        if state >= IN_STRING:
            i, state = _in_string(points, i, state)
        elif state != ROOT:
            i, state = _before_name(points, table, i, state)
        else:
            end, closed = comment_end(points, i, closed)
            record = _record_end(points, table, memo, i)
            if record > 0:
                i, state = record, BEFORE_CLASS
            elif end > 0:
                total += end - i
                i = end
            else:
                i, state = _read_token(points, table, memo, i)
    return total


@kernel
def _in_string(points: U32Array, i: int, state: int) -> tuple[int, int]:
    """Read on in a string; a text block ends with three quotes."""
    point, after = points[i], point_at(points, i + 1)
    if point == BACKSLASH:
        return i + 1 + int(after in (BACKSLASH, QUOTE)), state
    if point != QUOTE:
        return i + 1, state
    if state == IN_STRING:
        return i + 1, ROOT
    if after == QUOTE and point_at(points, i + 2) == QUOTE:
        return i + 3, ROOT
    return i + 1, state


@kernel
def _before_name(points: U32Array, table: U8Array, i: int, state: int) -> tuple[int, int]:
    """Look for the name that is due; what is none is skipped, whatever it may be."""
    if state == BEFORE_PACKAGE:
        end = _dotted_end(points, table, i)
        if end > i:
            return end + int(point_at(points, end) == STAR), ROOT
    elif _starts_name(points, table, i):
        return _name_end(points, table, i), ROOT
    if points[i] == NEWLINE and state != BEFORE_CLASS:
        return i + 1, ROOT
    return i + 1, state


@kernel
def _starts_name(points: U32Array, table: U8Array, i: int) -> bool:
    if i >= points.size:
        return False
    return bool(points[i] == DOLLAR or table[points[i]] & (WORD | DECIMAL) == WORD)


@kernel
def _name_end(points: U32Array, table: U8Array, i: int) -> int:
    while has_mark(points, table, i, WORD) or point_at(points, i) == DOLLAR:
        i += 1
    return i


@kernel
def _skip_blank(points: U32Array, table: U8Array, memo: I64Array, i: int) -> int:
    """Position after the whitespace at `i`; a run of it is read once."""
    if i >= memo[BLANK_END]:
        memo[BLANK_END] = skip_marked(points, table, i, SPACE)
    return int(memo[BLANK_END])


@kernel
def _record_end(points: U32Array, table: U8Array, memo: I64Array, i: int) -> int:
    """Position after the `record` that starts a line, modifiers aside, or 0."""
    if i > 0 and points[i - 1] != NEWLINE:
        return 0
    i = _skip_blank(points, table, memo, i)
    while i > memo[NO_RECORD]:
        code, end = word_at(points, table, i)
        if code == RECORD:
            return end
        if code not in MODIFIERS or not has_mark(points, table, end, SPACE):
            memo[NO_RECORD] = i
            return 0
        i = skip_marked(points, table, end, SPACE)
    return 0


@kernel
def _read_token(points: U32Array, table: U8Array, memo: I64Array, i: int) -> tuple[int, int]:
    """Read the token at `i`: position after it, and where the scanner is then."""
    point = points[i]
    if point == NEWLINE:
        return _label_end(points, table, memo, i), ROOT
    if _starts_name(points, table, i):
        return _read_word(points, table, memo, i)
    if point == QUOTE:
        return (i + 4, IN_BLOCK) if _starts_block(points, i) else (i + 1, IN_STRING)
    return _sign_end(points, table, i), ROOT


@kernel
def _starts_block(points: U32Array, i: int) -> bool:
    """Whether three quotes and a newline stand here."""
    after = point_at(points, i + 1) == QUOTE and point_at(points, i + 2) == QUOTE
    return after and point_at(points, i + 3) == NEWLINE


@kernel
def _sign_end(points: U32Array, table: U8Array, i: int) -> int:
    """Position after the character, number, attribute, decorator or sign at `i`."""
    point = points[i]
    if point == APOSTROPHE:
        return _character_end(points, i)
    after = point_at(points, i + 1)
    if is_digit(point) or (point == DOT and is_digit(after)):
        return _number_end(points, i)
    if point == DOT and _starts_name(points, table, i + 1):
        return _name_end(points, table, i + 1)
    if point == AT and after != DOLLAR and _starts_name(points, table, i + 1):
        return _dotted_end(points, table, i + 1)
    return i + 1


@kernel
def _dotted_end(points: U32Array, table: U8Array, i: int) -> int:
    """Position after word characters and dots."""
    while has_mark(points, table, i, WORD) or point_at(points, i) == DOT:
        i += 1
    return i


@kernel
def _label_end(points: U32Array, table: U8Array, memo: I64Array, i: int) -> int:
    """Position after the newline at `i`; on an empty line, after the label that is due, if any."""
    if i > 0 and points[i - 1] != NEWLINE:
        return i + 1
    start = _skip_blank(points, table, memo, i)
    if memo[NO_LABEL] == start or not _starts_name(points, table, start):
        return i + 1
    end = _name_end(points, table, start)
    if point_at(points, end) == COLON:
        return end + 1
    memo[NO_LABEL] = start
    return i + 1


@kernel
def _read_word(points: U32Array, table: U8Array, memo: I64Array, i: int) -> tuple[int, int]:
    """Read the keyword, signature or name at `i`."""
    code, end = word_at(points, table, i)
    if code in STATEMENTS:
        return end, ROOT
    method = _method_end(points, table, memo, i)
    if method > 0:
        return method, ROOT
    if code in TYPES:
        return end, BEFORE_CLASS
    if code == NON and point_at(points, end) == 0x2D:
        second, last = word_at(points, table, end + 1)
        if second == SEALED:
            return last, ROOT
    if code in (VAR, PACKAGE, IMPORT) and has_mark(points, table, end, SPACE):
        return _before_import(points, table, code, end)
    return _name_end(points, table, i), ROOT


@kernel
def _before_import(points: U32Array, table: U8Array, code: int, end: int) -> tuple[int, int]:
    """Skip what separates `var`, `package` or `import`, whose end is given, from its name."""
    start = skip_marked(points, table, end, SPACE)
    if code == VAR:
        return start, BEFORE_NAME
    second, last = word_at(points, table, start)
    if code == IMPORT and second in (STATIC, MODULE) and has_mark(points, table, last, SPACE):
        start = skip_marked(points, table, last, SPACE)
    return start, BEFORE_PACKAGE


@kernel
def _method_end(points: U32Array, table: U8Array, memo: I64Array, i: int) -> int:
    """Position after the `(` of the signature at `i`: two words or more, the last a name; or 0."""
    if i >= memo[RUN_END]:
        _read_run(points, table, memo, i)
    return int(memo[RUN_END]) + 1 if memo[METHOD_NAME] > i > memo[ODD_WORD] else 0


@kernel
def _read_run(points: U32Array, table: U8Array, memo: I64Array, i: int) -> None:
    """Note where the run of words at `i` ends, and which of them no signature can have.

    METHOD_NAME  start of the last word if it is a name with a `(` after it, else -1
    ODD_WORD     start of the last word before it that does not start as a name does, else -1
    """
    odd, last_odd, name, plain = -1, -1, i, True
    while True:
        start, all_plain = i, True
        while i < points.size and _is_in_signature(points, table, i):
            all_plain = all_plain and (table[points[i]] & WORD != 0 or points[i] == DOLLAR)
            i += 1
        if i > start:
            odd, name, plain = last_odd, start, all_plain
            if not _starts_name(points, table, start):
                last_odd = start
        end = skip_marked(points, table, i, SPACE)
        if end == i:
            break
        i = end
    usable = plain and last_odd != name and point_at(points, i) == OPEN
    memo[RUN_END], memo[METHOD_NAME], memo[ODD_WORD] = i, name if usable else -1, odd


@kernel
def _is_in_signature(points: U32Array, table: U8Array, i: int) -> bool:
    point = points[i]
    return bool(table[point] & WORD) or (point < 128 and IN_SIGNATURE[point])


@kernel
def _character_end(points: U32Array, i: int) -> int:
    """Position after the character literal at `i`, or after its quote."""
    if point_at(points, i + 1) != BACKSLASH:
        return i + 3 if point_at(points, i + 2) == APOSTROPHE else i + 1
    if point_at(points, i + 3) == APOSTROPHE:
        return i + 4
    if point_at(points, i + 2) != 0x75 or point_at(points, i + 7) != APOSTROPHE:
        return i + 1
    for j in range(i + 3, i + 7):
        if not is_hex(point_at(points, j)):
            return i + 1
    return i + 8


@kernel
def _digits_end(points: U32Array, i: int) -> int:
    """Position after digits and underscores, the first a digit; `i` if there are none."""
    if not is_digit(point_at(points, i)):
        return i
    while is_digit(point_at(points, i)) or point_at(points, i) == UNDERSCORE:
        i += 1
    return i


@kernel
def _hex_end(points: U32Array, i: int) -> int:
    """Position after hexadecimal digits and underscores, the first a digit; `i` without any."""
    if not is_hex(point_at(points, i)):
        return i
    while is_hex(point_at(points, i)) or point_at(points, i) == UNDERSCORE:
        i += 1
    return i


@kernel
def _power_end(points: U32Array, i: int, letter: int) -> int:
    """Position after an exponent that starts with the letter, `i` if there is none."""
    if not is_either(point_at(points, i), letter):
        return i
    sign = point_at(points, i + 1)
    start = i + 1 + int(sign in (0x2B, 0x2D))
    end = _digits_end(points, start)
    return end if end > start else i


@kernel
def _suffix_end(points: U32Array, i: int) -> int:
    """Position after one of f, F, d, D, if there is one."""
    point = point_at(points, i)
    return i + int(is_either(point, 0x66) or is_either(point, 0x64))


@kernel
def _number_end(points: U32Array, i: int) -> int:
    """Position after the number at `i`."""
    digits = _digits_end(points, i)
    if point_at(points, digits) == DOT:
        fraction = _digits_end(points, digits + 1)
        return _suffix_end(points, _power_end(points, fraction, 0x65))
    power = _power_end(points, i + 1, 0x65)
    if power > i + 1:
        return _suffix_end(points, power)
    if _suffix_end(points, i + 1) > i + 1:
        return i + 2
    if points[i] != 0x30:
        return digits + int(is_either(point_at(points, digits), 0x6C))
    if is_either(point_at(points, i + 1), 0x78):
        whole = _hex_end(points, i + 2)
        power = _hex_power_end(points, i + 2, whole)
        if power > 0:
            return power
    end = _based_end(points, i)
    return end + int(is_either(point_at(points, end), 0x6C)) if end > 0 else i + 1


@kernel
def _based_end(points: U32Array, i: int) -> int:
    """Position after the hexadecimal, binary or octal number at `i`, before its suffix, or 0."""
    base, start = point_at(points, i + 1), i + 2
    if is_either(base, 0x78):
        end = _hex_end(points, start)
        return end if end > start else 0
    largest = 0x37
    if is_either(base, 0x62):
        largest = 0x31
        if not 0x30 <= point_at(points, start) <= largest:
            return 0
    else:
        start = i + 1
    end = start
    while 0x30 <= point_at(points, end) <= largest or point_at(points, end) == UNDERSCORE:
        end += 1
    return end if end > start else 0


@kernel
def _hex_power_end(points: U32Array, start: int, end: int) -> int:
    """Position after the hexadecimal float whose whole digits are [start, end), or 0."""
    if end > start:
        last = end + int(point_at(points, end) == DOT)
        power = _power_end(points, last, 0x70)
        if power > last:
            return _suffix_end(points, power)
    if point_at(points, end) != DOT:
        return 0
    fraction = _hex_end(points, end + 1)
    power = _power_end(points, fraction, 0x70)
    return _suffix_end(points, power) if power > fraction > end + 1 else 0
