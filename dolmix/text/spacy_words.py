"""Tokens of whole documents: chunks cut one by one, then special cases among their tokens."""

import numpy as np

from dolmix.document import BoolArray, I32Array, I64Array, U8Array, U64Array
from dolmix.text.characters import next_ink
from dolmix.text.compiled import kernel, leaf
from dolmix.text.eights import START, hash_letters, hash_span, stir_last
from dolmix.text.spacy_chunks import cut_chunk
from dolmix.text.spacy_specials import has_bit, low, may_be_special, pair, step
from dolmix.text.spacy_tables import Rules
from dolmix.text.words import ink_end

ROOT = 0
FOUND = 64
"""Room for special cases among the tokens of a document at first."""


@kernel
def split_documents(
    utf8: U8Array,
    offsets: I64Array,
    rules: Rules,
    cuts: I32Array,
    hashes: U64Array,
    chars: I32Array,
    spans: I32Array,
    ends: I64Array,
) -> bool:
    """Fill in the hash, length and place of every token that is no whitespace.

    utf8     (B,) uint8       bytes of all documents
    offsets  (N + 1,) int64   document n is utf8[offsets[n]:offsets[n + 1]]
    cuts     (>= L,) int32    scratch; L is two more than the bytes of the longest document
    hashes   (R,) uint64      out; R = B entries are always enough
    chars    (R,) int32       out
    spans    (2, R) int32     out; start and stop of each token, in bytes from its document's start
    ends     (N + 1,) int64   out; tokens before each document's end
    returns  bool             False, all void, where a document has more bytes than entries are left

    O(B). Most chunks are ASCII letters, with or without one closing mark, and are done here.
    Twin: tests/naive_spacy.py `split_words`.
    """
    plain = rules.plain_letters != 0
    ends[0] = 0
    word = ends[0]
    for n in range(offsets.size - 1):
        base, stop = offsets[n], offsets[n + 1]
        if hashes.size - word < stop - base:
            return False
        i, redo = base, False
        while True:
            i = next_ink(utf8, i, stop)
            if i >= stop:
                break
            begin, end = i, 0
            if plain:
                i, code = hash_letters(utf8, begin, stop)
                end = _simple_end(utf8, begin, i, stop, code, rules)
            if end > 0:
                hashes[word], chars[word] = code, i - begin
                spans[0, word], spans[1, word] = begin - base, i - base
                word += 1
                if end > i:
                    hashes[word], chars[word] = stir_last(START, np.uint64(utf8[i]), 1), 1
                    spans[0, word], spans[1, word] = i - base, end - base
                    word += 1
                i = end
                continue
            i = ink_end(utf8, i, stop)
            count = cut_chunk(utf8, begin, i, rules, cuts)
            redo |= _emit(utf8, (base, begin), cuts, count, rules, word, hashes, chars, spans)
            word += count
        if redo:
            word = _apply_phrases(utf8, base, rules, ends[n], word, hashes, chars, spans)
        ends[n + 1] = word
    return True


@leaf
def _simple_end(utf8: U8Array, begin: int, i: int, stop: int, code: np.uint64, rules: Rules) -> int:
    """Where a chunk ends of ASCII letters utf8[begin:i] and at most one closing mark; else 0.

    code  uint64  hash of the letters

    Also 0 for what may be a special case, and before whitespace beyond ASCII: `cut_chunk` knows.
    """
    if i == begin or (
        has_bit(rules.special_bits, low(code)) and may_be_special(utf8, begin, i, rules)
    ):
        return 0
    if i == stop or utf8[i] == 0x20 or 0x09 <= utf8[i] <= 0x0D:
        return i
    end = i + 1
    if rules.closing[int(utf8[i - 1] <= 0x5A), utf8[i]] == 0:
        return 0
    if end < stop and utf8[end] != 0x20 and not 0x09 <= utf8[end] <= 0x0D:
        return 0
    if may_be_special(utf8, begin, end, rules):
        code, _ = hash_span(utf8, begin, end)
        if has_bit(rules.special_bits, low(code)):
            return 0
    return end


@leaf
def _emit(
    utf8: U8Array,
    starts: tuple[int, int],
    cuts: I32Array,
    count: int,
    rules: Rules,
    word: int,
    hashes: U64Array,
    chars: I32Array,
    spans: I32Array,
) -> bool:
    """Write the tokens of a chunk; say whether a special case may stand among them.

    starts  of the document and of the chunk
    """
    base, begin = starts
    found, before = False, 0
    for k in range(count):
        start, stop = begin + cuts[k], begin + cuts[k + 1]
        _write(utf8, base, start, stop, word + k, hashes, chars, spans)
        code = low(hashes[word + k])
        found |= k > 0 and has_bit(rules.first_pairs, pair(before, code))
        before = code
    return found


@leaf
def _write(
    utf8: U8Array,
    base: int,
    begin: int,
    end: int,
    word: int,
    hashes: U64Array,
    chars: I32Array,
    spans: I32Array,
) -> None:
    hashes[word], chars[word] = hash_span(utf8, begin, end)
    spans[0, word], spans[1, word] = begin - base, end - base


@kernel
def _apply_phrases(
    utf8: U8Array,
    base: int,
    rules: Rules,
    first: int,
    word: int,
    hashes: U64Array,
    chars: I32Array,
    spans: I32Array,
) -> int:
    """Put special cases in the place of the tokens that spell them; return the new token count.

    first, word  int  the document has tokens [first, word)

    spaCy's `Tokenizer._apply_special_cases`. Twin: tests/naive_spacy.py `apply_phrases`.
    """
    found = np.empty((FOUND, 3), np.int64)
    count = _find_phrases(utf8, base, rules, first, word, hashes, spans, found)
    if count > FOUND:
        found = np.empty((count, 3), np.int64)
        _find_phrases(utf8, base, rules, first, word, hashes, spans, found)
    new = _choose(found, count, rules, np.zeros(word - first, np.bool_))
    places = np.empty((2, word - first + new), np.int64)
    total = _replace(rules, found, count, spans, first, word, places)
    for k in range(total):
        begin, end = base + places[0, k], base + places[1, k]
        _write(utf8, base, begin, end, first + k, hashes, chars, spans)
    return first + total


@leaf
def _find_phrases(
    utf8: U8Array,
    base: int,
    rules: Rules,
    first: int,
    word: int,
    hashes: U64Array,
    spans: I32Array,
    found: I64Array,
) -> int:
    """Find every run of tokens that spells a special case, spaces between them or none.

    found    (R, 3) int64  out; first token, counted from the document's; number of tokens; special
                           case, -1 if there is a space between them. R may be too small.
    returns  int           number of runs
    """
    count = 0
    for start in range(first, word):
        if not has_bit(rules.first_tokens, low(hashes[start])):
            continue
        node, at, apart = step(ROOT, hashes[start], rules), start, False
        while node >= 0:
            if rules.node_special[node] >= 0:
                if count < found.shape[0]:
                    found[count, 0], found[count, 1] = start - first, at + 1 - start
                    found[count, 2] = -1 if apart else rules.node_special[node]
                count += 1
            if at + 1 == word:
                break
            gap = spans[0, at + 1] - spans[1, at]
            if gap > 1 or (gap == 1 and utf8[base + spans[1, at]] != 0x20):
                break
            apart |= gap > 0
            at += 1
            node = step(node, hashes[at], rules)
    return count


@leaf
def _choose(found: I64Array, count: int, rules: Rules, taken: BoolArray) -> int:
    """Choose among overlapping runs, the longest first, then the leftmost.

    found    (>= count, 3) int64  special case -1 also, on return, for runs that lose or change
                                  nothing
    taken    (tokens,) bool       all False on entry
    returns  int                  number of tokens that the others become

    A run wins whose first and last token no run before it had; winning or not, it takes all of its
    tokens from those after it.
    """
    longest, new = 0, 0
    for w in range(count):
        longest = max(longest, found[w, 1])
    for size in range(longest, 0, -1):
        for w in range(count):
            if found[w, 1] != size:
                continue
            start, special = found[w, 0], found[w, 2]
            wins = not taken[start] and not taken[start + size - 1]
            if special < 0 or not wins or rules.changes[special] == 0:
                found[w, 2] = -1
            else:
                new += rules.special_cut_ends[special + 1] - rules.special_cut_ends[special]
            for k in range(start, start + size):
                taken[k] = True
    return new


@leaf
def _replace(
    rules: Rules,
    found: I64Array,
    count: int,
    spans: I32Array,
    first: int,
    word: int,
    places: I64Array,
) -> int:
    """Write the places of a document's tokens with the chosen special cases among them."""
    total, token = 0, first
    for w in range(count + 1):
        until = word if w == count else first + found[w, 0]
        if w < count and found[w, 2] < 0:
            continue
        while token < until:
            places[0, total], places[1, total] = spans[0, token], spans[1, token]
            token += 1
            total += 1
        if w < count:
            special, start = found[w, 2], spans[0, token]
            begin = start
            for c in range(rules.special_cut_ends[special], rules.special_cut_ends[special + 1]):
                places[0, total], places[1, total] = begin, start + rules.special_cuts[c]
                begin = places[1, total]
                total += 1
            token += found[w, 1]
    return total
