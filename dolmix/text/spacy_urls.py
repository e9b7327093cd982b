"""Whether a chunk is a URL: spaCy's URL rule, which keeps one whole where infixes would cut it.

    [scheme://] [anything@] (IPv4 address, not a private one | labels. and a top level) [:port]
    [/?# anything]

The expression itself is spaCy's; this is a matcher for that one, and `LANGUAGE` its digest, so that
another expression is noticed. Of its parts only the alphabet of top-level domains may differ.
"""

from hashlib import blake2b

import numpy as np

from dolmix.document import U8Array
from dolmix.text.characters import decode
from dolmix.text.compiled import leaf
from dolmix.text.spacy_tables import Rules

WORD, DIGIT, LOWER, PUNCT, TERMINAL = 1, 2, 4, 8, 16
"""Bits of the marks of code points: `\\w`, `\\d`, spaCy's lower-case and caseless letters, its
punctuation, and what ends a sentence."""

LANGUAGE = "c364941b41d6f131eda5313a80d51d3f"
"""Digest of the expression that `is_url` matches, without its alphabet of top-level domains."""


def language_digest(pattern: str, alphabet: str) -> str:
    """Digest a URL expression, whatever its alphabet of top-level domains."""
    return blake2b(pattern.replace(alphabet, "").encode(), digest_size=16).hexdigest()


@leaf
def is_url(utf8: U8Array, lo: int, hi: int, rules: Rules) -> bool:
    """Whether utf8[lo:hi] is a URL.

    O(hi - lo): a host holds no `@`, so hosts tried after each `@` do not overlap.
    """
    if _is_host(utf8, lo, hi, rules):
        return True
    after = _after_scheme(utf8, lo, hi, rules)
    if after > lo and _is_host(utf8, after, hi, rules):
        return True
    for i in range(lo + 1, hi):  # noqa: SIM110 - numba compiles a loop, not any()
        if utf8[i] == 0x40 and _is_host(utf8, i + 1, hi, rules):
            return True
    return False


@leaf
def _after_scheme(utf8: U8Array, lo: int, hi: int, rules: Rules) -> int:
    """Position after `scheme://`, `lo` if there is none."""
    i, chars = lo, 0
    while i < hi:
        byte = utf8[i]
        if byte != 0x2B and byte != 0x2D and byte != 0x2E:  # noqa: PLR1714 - no sets in a kernel
            mark, after = _mark(utf8, i, hi, rules)
            if mark & WORD == 0:
                break
            i = after
        else:
            i += 1
        chars += 1
    if chars < 2 or hi - i < 3 or utf8[i] != 0x3A or utf8[i + 1] != 0x2F or utf8[i + 2] != 0x2F:
        return lo
    return i + 3


@leaf
def _is_host(utf8: U8Array, i: int, hi: int, rules: Rules) -> bool:
    """Whether a host starts at `i`, and a port, a path or nothing follows it."""
    return _is_address(utf8, i, hi, rules) or _is_domain(utf8, i, hi, rules)


@leaf
def _is_domain(utf8: U8Array, i: int, hi: int, rules: Rules) -> bool:
    while True:
        i = _after_label(utf8, i, hi)
        if i < 0:
            return False
        at, chars = i, 0
        while at < hi:
            mark, after = _mark(utf8, at, hi, rules)
            if mark & LOWER == 0:
                break
            at, chars = after, chars + 1
        if 2 <= chars <= 63 and _is_end(utf8, at, hi, rules):
            return True


@leaf
def _after_label(utf8: U8Array, i: int, hi: int) -> int:
    """Position after the full stop of the label of 1 to 64 characters at `i`, -1 if none is."""
    chars, ends_well = 0, False
    while i < hi:
        byte = utf8[i]
        if byte == 0x2E:
            return i + 1 if ends_well and chars <= 64 else -1
        plain = 0x30 <= byte <= 0x39 or 0x61 <= byte | 0x20 <= 0x7A
        after = i + 1
        if byte >= 0x80:
            point, after = decode(utf8, i, hi)
            plain = 0xA1 <= point <= 0xFFFF
        if not plain and (chars == 0 or (byte != 0x5F and byte != 0x2D)):  # noqa: PLR1714
            return -1
        ends_well = plain
        i, chars = after, chars + 1
    return -1


@leaf
def _is_end(utf8: U8Array, i: int, hi: int, rules: Rules) -> bool:
    """Whether `[:port] [/?# anything]` is all that is left at `i`."""
    if i < hi and utf8[i] == 0x3A:
        i += 1
        digits = 0
        while i < hi:
            mark, after = _mark(utf8, i, hi, rules)
            if mark & DIGIT == 0:
                break
            i, digits = after, digits + 1
        if digits < 2 or digits > 5:
            return False
    return i == hi or utf8[i] == 0x2F or utf8[i] == 0x3F or utf8[i] == 0x23


@leaf
def _is_address(utf8: U8Array, i: int, hi: int, rules: Rules) -> bool:
    """Whether a public IPv4 address starts at `i`, and a port, a path or nothing follows it."""
    if i >= hi or utf8[i] < 0x31 or utf8[i] > 0x39:
        return False
    outer = 0
    for place in range(4):
        octet, size = 0, 0
        while i < hi:
            mark, after = _mark(utf8, i, hi, rules)
            if mark & DIGIT == 0:
                break
            octet = octet << 4 | (int(np.int64(utf8[i])) - 0x30 if utf8[i] < 0x80 else 0xF)
            i, size = after, size + 1
            if size > 3:
                return False
        if not _is_octet(octet, size, place):
            return False
        if place < 2:
            outer = outer << 16 | size << 12 | octet
        if place < 3:
            if i >= hi or utf8[i] != 0x2E:
                return False
            i += 1
    return not _is_private(outer >> 16, outer & 0xFFFF) and _is_end(utf8, i, hi, rules)


@leaf
def _is_octet(octet: int, size: int, place: int) -> bool:
    """Whether an octet may stand at its place; four bits a digit, 0xF: of another script."""
    first, second, third = octet >> 8, octet >> 4 & 0xF, octet & 0xF
    if size < 3:
        inner = place == 1 or place == 2  # noqa: PLR1714 - no sets in a kernel
        return size > 0 and (inner or 1 <= octet >> 4 * (size - 1) <= 9)
    if first != 2:
        return first == 1
    if place == 0:
        return second <= 1 or (second == 2 and third <= 3)
    return second <= 4 or (second == 5 and third <= (4 if place == 3 else 5))


@leaf
def _is_private(first: int, second: int) -> bool:
    """Whether the first two octets, sizes before digits, are of an address that is left out."""
    if first == 0x3172:
        return 0x2016 <= second <= 0x2019 or 0x2020 <= second <= 0x202F or second >> 1 == 0x1018
    local = first == 0x2010 or first == 0x3127  # noqa: PLR1714 - no sets in a kernel
    return local or (first == 0x3169 and second == 0x3254) or (first == 0x3192 and second == 0x3168)


@leaf
def _mark(utf8: U8Array, i: int, hi: int, rules: Rules) -> tuple[int, int]:
    """Mark of the character at `i`, and the position after it."""
    byte = utf8[i]
    if byte < 0x80:
        return int(rules.marks[byte]), i + 1
    point, end = decode(utf8, i, hi)
    return int(rules.marks[point]), end
