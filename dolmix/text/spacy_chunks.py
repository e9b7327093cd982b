"""One chunk, the text between two runs of whitespace, cut into tokens by spaCy's rules."""

import numpy as np

from dolmix.document import I32Array, U8Array
from dolmix.text.compiled import leaf
from dolmix.text.spacy_affixes import next_infix, prefix_bytes, suffix_bytes
from dolmix.text.spacy_specials import special_at
from dolmix.text.spacy_tables import Rules
from dolmix.text.spacy_urls import is_url


@leaf
def cut_chunk(utf8: U8Array, lo: int, hi: int, rules: Rules, cuts: I32Array) -> int:
    """Cut a chunk into tokens, which follow each other without a gap; return their number P.

    utf8    (B,) uint8
    lo, hi  int                      the chunk is utf8[lo:hi], not empty, without whitespace
    cuts    (> hi - lo + 1,) int32   out; token k is utf8[lo + cuts[k]:lo + cuts[k + 1]]

    spaCy's `Tokenizer._tokenize`: prefixes and suffixes are taken off, one of each at a time, until
    none is left or what is left is a special case; that, or a URL, stays whole, and the rest is cut
    at infixes. O(hi - lo). Twin: tests/naive_spacy.py `cut_chunk`.
    """
    cuts[0] = 0
    origin, last, count, tails = lo, hi - lo + 1, 1, 0
    special = special_at(utf8, lo, hi, rules)
    while special < 0 and lo < hi:
        lo, hi, count, tails = _take_bytes(utf8, (lo, hi, origin, last), rules, cuts, count, tails)
        before, behind = prefix_bytes(utf8, lo, hi, rules), 0
        if before > 0:
            special = special_at(utf8, lo + before, hi, rules)
        if special < 0 and lo + before < hi:
            behind = suffix_bytes(utf8, lo + before, hi, rules)
            if behind > 0:
                special = special_at(utf8, lo, hi - behind, rules)
                before = before if special < 0 else 0
        if before + behind == 0:
            break
        lo += before
        cuts[count] = lo - origin
        count += before > 0
        cuts[last - tails] = hi - origin
        tails += behind > 0
        hi -= behind
        if special < 0:
            special = special_at(utf8, lo, hi, rules)
    if special >= 0:
        count = _cut_special(lo - origin, special, rules, cuts, count)
    elif lo < hi:
        count = _cut_infixes(utf8, (lo, hi, origin), rules, cuts, count)
    for k in range(last + 1 - tails, last + 1):
        cuts[count] = cuts[k]
        count += 1
    return count - 1


@leaf
def _take_bytes(
    utf8: U8Array,
    place: tuple[int, int, int, int],
    rules: Rules,
    cuts: I32Array,
    count: int,
    tails: int,
) -> tuple[int, int, int, int]:
    """Take off affixes of one byte while what is left is longer than any special case.

    place    where what is left of the chunk starts and ends, where the chunk starts, last of `cuts`
    returns  start and end of what is left then, and the ends written in front and behind
    """
    lo, hi, origin, last = place
    while hi - lo > rules.special_longest + 2:
        before = int(np.int64(rules.prefixes[utf8[lo], utf8[lo + 1]]))
        behind = int(np.int64(rules.suffixes[utf8[hi - 2], utf8[hi - 1]]))
        if before > 1 or behind > 1 or before + behind == 0:
            break
        lo += before
        cuts[count] = lo - origin
        count += before
        cuts[last - tails] = hi - origin
        tails += behind
        hi -= behind
    return lo, hi, count, tails


@leaf
def _cut_special(start: int, special: int, rules: Rules, cuts: I32Array, count: int) -> int:
    """Write the ends of the tokens of a special case; return the number of ends so far."""
    for k in range(rules.special_cut_ends[special], rules.special_cut_ends[special + 1]):
        cuts[count] = start + rules.special_cuts[k]
        count += 1
    return count


@leaf
def _cut_infixes(
    utf8: U8Array, place: tuple[int, int, int], rules: Rules, cuts: I32Array, count: int
) -> int:
    """Write the ends of tokens between infixes; return the number of ends so far.

    place  where what is left of the chunk starts and ends, and where the chunk starts
    """
    lo, hi, origin = place
    start, end = next_infix(utf8, lo, lo, hi, rules)
    if start == lo:
        start, end = next_infix(utf8, lo, end, hi, rules)
    begin = lo
    if start < hi and is_url(utf8, lo, hi, rules):
        start = hi
    while start < hi:
        if start > begin:
            cuts[count] = start - origin
            count += 1
        cuts[count] = end - origin
        count += 1
        begin = end
        start, end = next_infix(utf8, lo, end, hi, rules)
    if begin < hi:
        cuts[count] = hi - origin
        count += 1
    return count
