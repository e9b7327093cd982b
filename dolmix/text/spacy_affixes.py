"""Prefixes, suffixes and infixes of a chunk: spaCy's affix rules as tables, and what matches them.

Code points that no rule tells apart share an *atom*, so that a rule is a few small tables over
atoms. Most answers follow from two bytes, the first two of a chunk or its last two: tables over
byte pairs give those, and say where the alternatives must be tried one by one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolmix.document import U8Array
from dolmix.text.characters import decode
from dolmix.text.compiled import leaf
from dolmix.text.spacy_patterns import MAX_BEFORE, MAX_BODY, Alternative, Chars, Inexpressible
from dolmix.text.spacy_tables import Rules

PREFIX, SUFFIX, INFIX = 0, 1, 2
POINTS = 0x110000
BODY = 1 + MAX_BEFORE
REPEATS, AFTER, REFUSED = BODY + 1 + MAX_BODY, BODY + 2 + MAX_BODY, BODY + 3 + MAX_BODY
NOTHING = 0xFF
"""Stands for the byte before the first of a chunk, or after the last; UTF-8 has no such byte."""
ASK = 0xFF
"""In a table over byte pairs: the alternatives must be tried."""


def compile_affixes(kinds: list[list[Alternative]]) -> dict[str, NDArray[Any]]:
    """Turn the alternatives of prefixes, suffixes and infixes into tables.

    Raises Inexpressible.
    """
    every = [one for kind in kinds for one in kind]
    sets = {chars: n for n, chars in enumerate(sorted({c for one in every for c in _sets(one)}))}
    atoms, members = _atoms(list(sets))
    rows: list[list[int]] = []
    bounds = np.zeros((3, members.shape[1], 2), np.int32)
    for kind, found in enumerate(kinds):
        keyed = [members[sets[one.body[-1 if kind == SUFFIX else 0]]] for one in found]
        for atom in range(members.shape[1]):
            bounds[kind, atom, 0] = len(rows)
            rows += [_row(one, sets) for one, has in zip(found, keyed, strict=True) if has[atom]]
            bounds[kind, atom, 1] = len(rows)
    return {"atoms": atoms, "members": members, "rows": np.array(rows, np.int16), "bounds": bounds}


def _sets(one: Alternative) -> list[Chars]:
    return [*one.before, *one.body, *(c for c in (one.after, one.refused) if c is not None)]


def _atoms(sets: list[Chars]) -> tuple[U8Array, U8Array]:
    """Find the atoms: classes of code points that no set tells apart; and which set holds which."""
    edges = np.unique([0, POINTS, *(e for c in sets for low, high in c for e in (low, high + 1))])
    held = np.zeros((len(sets), len(edges) - 1), np.uint8)
    for row, chars in zip(held, sets, strict=True):
        for low, high in chars:
            row[np.searchsorted(edges, low) : np.searchsorted(edges, high + 1)] = 1
    members, which = np.unique(held, axis=1, return_inverse=True)
    if members.shape[1] > 255:
        raise Inexpressible(f"{members.shape[1]} classes of characters")
    atoms = np.repeat(which.reshape(-1).astype(np.uint8), np.diff(edges))
    return atoms, np.ascontiguousarray(members)


def _row(one: Alternative, sets: dict[Chars, int]) -> list[int]:
    row = [-1] * (REFUSED + 1)
    row[0], row[BODY], row[REPEATS] = len(one.before), len(one.body), int(one.repeats)
    row[1 : 1 + len(one.before)] = [sets[c] for c in one.before]
    row[BODY + 1 : BODY + 1 + len(one.body)] = [sets[c] for c in one.body]
    row[AFTER] = -1 if one.after is None else sets[one.after]
    row[REFUSED] = -1 if one.refused is None else sets[one.refused]
    return row


@leaf
def atom_at(utf8: U8Array, i: int, stop: int, rules: Rules) -> tuple[int, int]:
    """Atom of the character at `i`, and the position after it."""
    byte = utf8[i]
    if byte < 0x80:
        return int(rules.atoms[byte]), i + 1
    point, end = decode(utf8, i, stop)
    return int(rules.atoms[point]), end


@leaf
def atom_before(utf8: U8Array, lo: int, i: int, rules: Rules) -> tuple[int, int]:
    """Atom of the character that ends at `i`, and where it starts."""
    start = i - 1
    while start > lo and (utf8[start] & 0xC0) == 0x80:
        start -= 1
    return atom_at(utf8, start, i, rules)[0], start


@leaf
def prefix_bytes(utf8: U8Array, lo: int, hi: int, rules: Rules) -> int:
    """Bytes of the prefix of a chunk utf8[lo:hi] that is not empty; 0 if it has none."""
    second = utf8[lo + 1] if lo + 1 < hi else np.uint8(NOTHING)
    known = int(np.int64(rules.prefixes[utf8[lo], second]))
    return known if known != ASK else find_prefix(utf8, lo, hi, rules)


@leaf
def suffix_bytes(utf8: U8Array, lo: int, hi: int, rules: Rules) -> int:
    """Bytes of the suffix of a chunk, likewise; the longest one, as a search finds it."""
    previous = utf8[hi - 2] if lo + 1 < hi else np.uint8(NOTHING)
    known = int(np.int64(rules.suffixes[previous, utf8[hi - 1]]))
    return known if known != ASK else find_suffix(utf8, lo, hi, rules)


@leaf
def next_infix(utf8: U8Array, lo: int, i: int, hi: int, rules: Rules) -> tuple[int, int]:
    """Where the first infix from `i` on starts and ends in a chunk utf8[lo:hi]; hi, hi if none."""
    previous = utf8[i - 1] if i > lo else np.uint8(NOTHING)
    while i < hi:
        byte = utf8[i]
        starts_character = (byte & 0xC0) != 0x80
        if starts_character and rules.infix_before[previous] & rules.infix_first[byte]:
            end = find_infix(utf8, lo, i, hi, rules)
            if end > 0:
                return i, end
        previous = byte
        i += 1
    return hi, hi


@leaf
def find_prefix(utf8: U8Array, lo: int, hi: int, rules: Rules) -> int:
    """Bytes of the prefix of a chunk, found by trying every alternative."""
    atom, _ = atom_at(utf8, lo, hi, rules)
    for row in range(rules.bounds[PREFIX, atom, 0], rules.bounds[PREFIX, atom, 1]):
        end = match_forward(utf8, lo, lo, hi, rules, row)
        if end > 0:
            return end - lo
    return 0


@leaf
def find_suffix(utf8: U8Array, lo: int, hi: int, rules: Rules) -> int:
    """Bytes of the suffix of a chunk, found likewise."""
    atom, _ = atom_before(utf8, lo, hi, rules)
    longest = 0
    for row in range(rules.bounds[SUFFIX, atom, 0], rules.bounds[SUFFIX, atom, 1]):
        longest = max(longest, hi - match_backward(utf8, lo, hi, rules, row))
    return longest


@leaf
def find_infix(utf8: U8Array, lo: int, i: int, hi: int, rules: Rules) -> int:
    """Where the infix at `i` ends, 0 if there is none; utf8[lo:hi] is its chunk."""
    atom, _ = atom_at(utf8, i, hi, rules)
    for row in range(rules.bounds[INFIX, atom, 0], rules.bounds[INFIX, atom, 1]):
        end = match_forward(utf8, lo, i, hi, rules, row)
        if end > 0:
            return end
    return 0


@leaf
def match_forward(utf8: U8Array, lo: int, i: int, hi: int, rules: Rules, row: int) -> int:
    """Where a match of an alternative at `i` ends, 0 if it does not match there."""
    at, last = i, np.int64(0)
    for k in range(rules.rows[row, BODY]):
        if at >= hi:
            return 0
        atom, at = atom_at(utf8, at, hi, rules)
        last = np.int64(rules.rows[row, BODY + 1 + k])
        if rules.members[last, atom] == 0:
            return 0
    while rules.rows[row, REPEATS] and at < hi:
        atom, after = atom_at(utf8, at, hi, rules)
        if rules.members[last, atom] == 0:
            break
        at = after
    wanted, refused = rules.rows[row, AFTER], rules.rows[row, REFUSED]
    if at < hi:
        atom, _ = atom_at(utf8, at, hi, rules)
        if wanted >= 0 and rules.members[wanted, atom] == 0:
            return 0
        if refused >= 0 and rules.members[refused, atom]:
            return 0
    elif wanted >= 0:
        return 0
    return at if _follows(utf8, lo, i, rules, row) else 0


@leaf
def match_backward(utf8: U8Array, lo: int, hi: int, rules: Rules, row: int) -> int:
    """Where the longest match of an alternative that ends at `hi` starts, `hi` without any."""
    at, size = hi, rules.rows[row, BODY]
    for k in range(size):
        if at <= lo:
            return hi
        atom, at = atom_before(utf8, lo, at, rules)
        if rules.members[rules.rows[row, BODY + size - k], atom] == 0:
            return hi
    while rules.rows[row, REPEATS] and at > lo:
        atom, before = atom_before(utf8, lo, at, rules)
        if rules.members[rules.rows[row, BODY + 1], atom] == 0:
            break
        at = before
    return at if _follows(utf8, lo, at, rules, row) else hi


@leaf
def _follows(utf8: U8Array, lo: int, i: int, rules: Rules, row: int) -> bool:
    """Whether the characters before `i` are those that an alternative wants there."""
    size = rules.rows[row, 0]
    for k in range(size):
        if i <= lo:
            return False
        atom, i = atom_before(utf8, lo, i, rules)
        if rules.members[rules.rows[row, size - k], atom] == 0:
            return False
    return True
