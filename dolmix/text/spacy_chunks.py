"""One chunk, the text between two runs of whitespace, cut into tokens by spaCy's rules."""

from dolmix.document import I64Array, U8Array
from dolmix.text.compiled import leaf
from dolmix.text.spacy_affixes import next_infix, prefix_bytes, suffix_bytes
from dolmix.text.spacy_specials import special_at
from dolmix.text.spacy_tables import Rules
from dolmix.text.spacy_urls import is_url


@leaf
def cut_chunk(utf8: U8Array, lo: int, hi: int, rules: Rules, cuts: I64Array) -> int:
    """Cut a chunk into tokens, which follow each other without a gap; return their number P.

    utf8    (B,) uint8
    lo, hi  int                      the chunk is utf8[lo:hi], not empty, without whitespace
    cuts    (> hi - lo + 1,) int64   out; token k is utf8[cuts[k]:cuts[k + 1]]

    spaCy's `Tokenizer._tokenize`: prefixes and suffixes are taken off, one of each at a time, until
    none is left or what is left is a special case; that, or a URL, stays whole, and the rest is cut
    at infixes. O(hi - lo). Twin: tests/naive_spacy.py `cut_chunk`.
    """
    cuts[0] = lo
    count, tails = 1, 0
    special = special_at(utf8, lo, hi, rules)
    while special < 0 and lo < hi:
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
        cuts[count] = lo
        count += before > 0
        cuts[cuts.size - 1 - tails] = hi
        tails += behind > 0
        hi -= behind
        if special < 0:
            special = special_at(utf8, lo, hi, rules)
    if special >= 0:
        count = _cut_special(lo, special, rules, cuts, count)
    elif lo < hi:
        count = _cut_infixes(utf8, lo, hi, rules, cuts, count)
    for k in range(cuts.size - tails, cuts.size):
        cuts[count] = cuts[k]
        count += 1
    return count - 1


@leaf
def _cut_special(lo: int, special: int, rules: Rules, cuts: I64Array, count: int) -> int:
    """Write the ends of the tokens of a special case; return the number of ends so far."""
    for k in range(rules.special_cut_ends[special], rules.special_cut_ends[special + 1]):
        cuts[count] = lo + rules.special_cuts[k]
        count += 1
    return count


@leaf
def _cut_infixes(utf8: U8Array, lo: int, hi: int, rules: Rules, cuts: I64Array, count: int) -> int:
    """Write the ends of a chunk's tokens between infixes; return the number of ends so far."""
    start, end = next_infix(utf8, lo, lo, hi, rules)
    if start == lo:
        start, end = next_infix(utf8, lo, end, hi, rules)
    begin = lo
    if start < hi and is_url(utf8, lo, hi, rules):
        start = hi
    while start < hi:
        if start > begin:
            cuts[count] = start
            count += 1
        cuts[count] = end
        count += 1
        begin = end
        start, end = next_infix(utf8, lo, end, hi, rules)
    if begin < hi:
        cuts[count] = hi
        count += 1
    return count
