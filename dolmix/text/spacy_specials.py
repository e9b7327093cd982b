"""Special cases: strings that spaCy cuts by a table, alone and after everything else is cut.

A special case applies to a whole chunk, to what is left of it without prefixes and suffixes, and
once more at the end: where consecutive tokens of a document are those into which the string falls
without its special case, without any space between them, they become its tokens. Those last
matches may overlap, also across chunks: the longest wins, then the first, and one that loses still
shuts out others, as in spaCy's `Tokenizer._apply_special_cases`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dolmix.document import U8Array
from dolmix.text.compiled import leaf
from dolmix.text.eights import hash_span, span_hash
from dolmix.text.spacy_patterns import Inexpressible
from dolmix.text.spacy_tables import Rules

MASK = 0xFFFF
"""Bits of a hash that index a bit set of 8192 bytes."""
LOW = 0x7FFFFFFF
"""Bits of a hash that index an open-addressing table."""


def compile_specials(rules: dict[str, list[str]]) -> dict[str, NDArray[Any]]:
    """Turn special cases, string → its tokens, into tables."""
    texts = [text.encode() for text in rules]
    hashes = np.array([span_hash(text) for text in texts], np.uint64)
    cuts = [np.cumsum([len(piece.encode()) for piece in pieces]) for pieces in rules.values()]
    shapes = [mix_shape(text[0], text[-1], len(text)) for text in texts]
    return {
        "special_slots": _slots([int(h) for h in hashes]),
        "special_hashes": hashes,
        "special_text": np.frombuffer(b"".join(texts), np.uint8),
        "special_ends": np.cumsum([0, *map(len, texts)]),
        "special_cuts": np.concatenate(cuts).astype(np.int64),
        "special_cut_ends": np.cumsum([0, *map(len, cuts)]),
        "special_bits": _bits([int(h) for h in hashes]),
        "special_shapes": _bits(shapes),
        "special_longest": np.array(max(map(len, texts))),
    }


def compile_phrases(
    rules: dict[str, list[str]], phrases: dict[str, list[str]]
) -> dict[str, NDArray[Any]]:
    """Turn token sequences, special case → its tokens without the special case, into a tree.

    Raises Inexpressible for one token that becomes others, or for a changing one with a space.
    """
    special, pairs = [-1], list[int]()
    edges: dict[tuple[int, int], int] = {}
    names = {text: n for n, text in enumerate(rules)}
    for text, tokens in phrases.items():
        changes = tokens != rules[text]
        if changes and (len(tokens) < 2 or any(c.isspace() for c in text)):
            raise Inexpressible(f"the special case {text!r}")
        node = 0
        for token in tokens:
            node = edges.setdefault((node, span_hash(token.encode())), len(special))
            special += [-1] * (node == len(special))
        special[node] = names[text]
        if changes:
            pairs.append(
                mix_pair(span_hash(tokens[0].encode()) & LOW, span_hash(tokens[1].encode()) & LOW)
            )
    return {
        "edge_slots": _slots([mix_edge(node, token & LOW) for node, token in edges]),
        "edge_sources": np.array([node for node, _ in edges], np.int64),
        "edge_tokens": np.array([token for _, token in edges], np.uint64),
        "edge_targets": np.array(list(edges.values()), np.int64),
        "node_special": np.array(special, np.int64),
        "changes": np.array([t in phrases and phrases[t] != p for t, p in rules.items()], np.uint8),
        "first_tokens": _bits([token for node, token in edges if node == 0]),
        "first_pairs": _bits(pairs),
    }


def _slots(keys: list[int]) -> NDArray[np.int32]:
    """Fill an open-addressing table, a quarter full at most, with the places of its keys."""
    size = 4
    while size < 4 * len(keys):
        size *= 2
    slots = np.full(size, -1, np.int32)
    for place, key in enumerate(keys):
        at = key & (size - 1)
        while slots[at] >= 0:
            at = (at + 1) & (size - 1)
        slots[at] = place
    return slots


def _bits(keys: list[int]) -> U8Array:
    bits = np.zeros((MASK + 1) // 8, np.uint8)
    for key in keys:
        bits[(key & MASK) >> 3] |= 1 << (key & 7)
    return bits


def mix_shape(first: int, last: int, size: int) -> int:
    """Mix what is cheap to know of a string: first byte, last byte, length."""
    return (first * 257 + last * 31 + size * 2053) & MASK


def mix_pair(first: int, second: int) -> int:
    """Mix the low 31 bits of the hashes of two tokens."""
    return (first ^ second >> 9) & MASK


def mix_edge(node: int, token: int) -> int:
    """Mix a node and the low 31 bits of the hash of the token that leaves it."""
    return token ^ (node * 40503 & LOW)


shape, pair, edge_key = leaf(mix_shape), leaf(mix_pair), leaf(mix_edge)


@leaf
def low(code: np.uint64) -> int:
    """Low 31 bits of a hash."""
    return int(np.int64(code & np.uint64(LOW)))


@leaf
def has_bit(bits: U8Array, key: int) -> bool:
    """Whether a bit set holds a key."""
    return bool((bits[(key & MASK) >> 3] >> (key & 7)) & 1)


@leaf
def may_be_special(utf8: U8Array, lo: int, hi: int, rules: Rules) -> bool:
    """Whether length, first and last byte of utf8[lo:hi] are those of a special case."""
    size = hi - lo
    if size > rules.special_longest or size <= 0:
        return False
    return has_bit(rules.special_shapes, shape(int(utf8[lo]), int(utf8[hi - 1]), size))


@leaf
def special_at(utf8: U8Array, lo: int, hi: int, rules: Rules) -> int:
    """Which special case utf8[lo:hi] is, -1 if none."""
    if not may_be_special(utf8, lo, hi, rules):
        return -1
    code, _ = hash_span(utf8, lo, hi)
    return special_of(utf8, lo, hi, code, rules)


@leaf
def special_of(utf8: U8Array, lo: int, hi: int, code: np.uint64, rules: Rules) -> int:
    """Which special case utf8[lo:hi] is, its hash being known, -1 if none."""
    if not has_bit(rules.special_bits, low(code)):
        return -1
    mask = np.int64(rules.special_slots.size - 1)
    at = low(code) & mask
    while rules.special_slots[at] >= 0:
        which = int(rules.special_slots[at])
        if rules.special_hashes[which] == code and _equals(utf8, lo, hi, which, rules):
            return int(which)
        at = (at + 1) & mask
    return -1


@leaf
def _equals(utf8: U8Array, lo: int, hi: int, which: int, rules: Rules) -> bool:
    begin = rules.special_ends[which]
    if rules.special_ends[which + 1] - begin != hi - lo:
        return False
    for i in range(hi - lo):  # noqa: SIM110 - numba compiles a loop, not all()
        if rules.special_text[begin + i] != utf8[lo + i]:
            return False
    return True


@leaf
def step(node: int, token: np.uint64, rules: Rules) -> int:
    """Node that a token leads to, -1 if it leads nowhere."""
    mask = np.int64(rules.edge_slots.size - 1)
    at = edge_key(node, low(token)) & mask
    while rules.edge_slots[at] >= 0:
        edge = rules.edge_slots[at]
        if rules.edge_tokens[edge] == token and rules.edge_sources[edge] == node:
            return int(rules.edge_targets[edge])
        at = (at + 1) & mask
    return -1
