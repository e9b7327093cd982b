"""All rules of an installed spaCy as one record of tables.

A kernel gets the record as one pointer. Its fields are as large as the installed rules make them;
other rules have another record type, for which numba compiles the kernels anew.
"""

from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from dolmix.document import I64Array, U8Array, U64Array


class Rules(Protocol):
    """Tables of the affix rules, the special cases and what marks a character.

    Affixes: S sets of characters, A atoms (code points that no set tells apart), P alternatives.

    atoms    (1114112,) uint8    atom of each code point
    members  (S, A) uint8        whether a set holds an atom
    rows     (P, 15) int16       alternatives: number of characters before, their sets, number of
                                 the body's, their sets, repeats, set after, set refused; -1: none
    bounds   (3, A, 2) int32     by kind and atom: which of `rows` can match, in order; the atom is
                                 the first of a prefix or an infix, the last of a suffix
    prefixes  (256, 256) uint8   bytes of the prefix by the first two bytes of a chunk (0xFF: there
                                 is no second); ASK: look at the alternatives
    suffixes  (256, 256) uint8   bytes of the suffix by the last two bytes, likewise
    infix_before, infix_first  (256,) uint8  an infix can start at a byte only where its bits and
                                 those of the byte before it (0xFF: there is none) meet
    closing  (2, 256) uint8      whether this byte is a suffix of its own after lower-case or
                                 upper-case ASCII letters, whatever else there is
    plain_letters  int64         1 where words of ASCII letters have no affix at all, else 0

    Special cases, K strings that have tokens of their own:

    special_slots   (R,) int32       open addressing by hash, R a power of two; -1: empty
    special_hashes  (K,) uint64      hash of each string's bytes
    special_text    (T,) uint8       the strings, one after another
    special_ends    (K + 1,) int64   string k is special_text[special_ends[k]:special_ends[k + 1]]
    special_cuts    (C,) int64       where its tokens end, in bytes from the string's start
    special_cut_ends  (K + 1,) int64 string k has cuts [special_cut_ends[k], .. [k + 1])
    special_bits    (8192,) uint8    bit set of the low bits of the hashes
    special_shapes  (8192,) uint8    bit set of first byte, last byte and length, as `shape` mixes
    special_longest int64            bytes of the longest string

    Phrases, the token sequences of special cases, as a tree of N nodes (0: root) and E edges:

    edge_slots    (R,) int32     open addressing over edges by `edge_key`; -1: empty
    edge_sources  (E,) int64     node that an edge leaves
    edge_tokens   (E,) uint64    hash of its token
    edge_targets  (E,) int64     node that it leads to
    node_special  (N,) int64     special case whose sequence ends at a node; -1: none
    changes       (K,) uint8     whether a special case's tokens differ from its sequence
    first_tokens  (8192,) uint8  bit set of the hashes of first tokens
    first_pairs   (8192,) uint8  bit set of the first two tokens of sequences that change anything,
                                 as `pair` mixes them

    marks  (1114112,) uint8  bits of `dolmix.text.spacy_urls` by code point
    """

    atoms: U8Array
    members: U8Array
    rows: NDArray[np.int16]
    bounds: NDArray[np.int32]
    prefixes: U8Array
    suffixes: U8Array
    infix_before: U8Array
    infix_first: U8Array
    closing: U8Array
    plain_letters: int
    special_slots: NDArray[np.int32]
    special_hashes: U64Array
    special_text: U8Array
    special_ends: I64Array
    special_cuts: I64Array
    special_cut_ends: I64Array
    special_bits: U8Array
    special_shapes: U8Array
    special_longest: int
    edge_slots: NDArray[np.int32]
    edge_sources: I64Array
    edge_tokens: U64Array
    edge_targets: I64Array
    node_special: I64Array
    changes: U8Array
    first_tokens: U8Array
    first_pairs: U8Array
    marks: U8Array


def pack(tables: dict[str, NDArray[Any]]) -> Rules:
    """Put tables of these names into one record."""
    fields = sorted(tables.items(), key=lambda field: -field[1].dtype.itemsize)
    kinds = np.dtype([(name, table.dtype, table.shape) for name, table in fields])
    record = np.zeros(1, (np.record, kinds))
    for name, table in fields:
        record[name][0] = table
    return cast("Rules", record[0])


def packed(rules: Rules) -> NDArray[Any]:
    """Give a record as an array of one, to write."""
    return np.array([rules], rules.dtype)  # type: ignore[attr-defined] # a numpy record


def unpack(array: NDArray[Any]) -> Rules:
    """Make the record again from what `packed` gave."""
    return cast("Rules", array.view((np.record, array.dtype))[0])
