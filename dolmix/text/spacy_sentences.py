"""Sentences among tokens, as spaCy's sentencizer ends them."""

import numpy as np

from dolmix.document import BoolArray, I32Array, I64Array, U8Array
from dolmix.text.characters import decode
from dolmix.text.compiled import kernel, leaf
from dolmix.text.spacy_tables import Rules
from dolmix.text.spacy_urls import PUNCT, TERMINAL


@kernel
def mark_sentences(
    utf8: U8Array,
    offsets: I64Array,
    rules: Rules,
    tokens: tuple[I32Array, I32Array, I64Array],
    opens: BoolArray,
) -> I64Array:
    """Mark the first token of each sentence, and count sentences.

    utf8     (B,) uint8      bytes of all texts
    offsets  (N + 1,) int64  text n is utf8[offsets[n]:offsets[n + 1]]
    tokens                   starts, stops (W,) and ends (N + 1,) of the tokens that are no
                             whitespace, as in `Words`
    opens    (W,) bool       out; whether a token is the first of its sentence
    returns  (N,) int64      at least 1; one more than there are marks where whitespace alone is one

    A sentence starts at the first token, and after a terminal at the next token that is neither
    terminal nor punctuation; a run of whitespace is such a token, unless it is a single space after
    another token. O(B). Twin: tests/naive_spacy.py `count_sentences`,
    `sentences`.
    """
    starts, stops, ends = tokens
    counts = np.ones(offsets.size - 1, np.int64)
    for n in range(offsets.size - 1):
        base, after, seen = offsets[n], offsets[n], False
        for word in range(ends[n], ends[n + 1]):
            begin = base + starts[word]
            opens[word] = word == ends[n]
            if seen and _has_space_token(utf8, after, begin):
                counts[n] += 1
                opens[word], seen = True, False
            after = base + stops[word]
            mark, i = _mark(utf8, begin, after, rules)
            if mark & TERMINAL and i == after:
                seen = True
            elif seen:
                while i < after and mark & PUNCT:
                    mark, i = _mark(utf8, i, after, rules)
                if mark & PUNCT == 0:
                    counts[n] += 1
                    opens[word], seen = True, False
        counts[n] += seen and _has_space_token(utf8, after, offsets[n + 1])
    return counts


@leaf
def _has_space_token(utf8: U8Array, after: int, begin: int) -> bool:
    """Whether whitespace between two tokens is itself a token."""
    return begin - after > 1 or (begin - after == 1 and utf8[after] != 0x20)


@leaf
def _mark(utf8: U8Array, i: int, stop: int, rules: Rules) -> tuple[int, int]:
    byte = utf8[i]
    if byte < 0x80:
        return int(rules.marks[byte]), i + 1
    point, end = decode(utf8, i, stop)
    return int(rules.marks[point]), end
