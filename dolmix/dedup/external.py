"""Candidate pairs of one band and key range, from runs on disk, in memory that is set beforehand.

The range is cut at key values into pieces of a limited number of keys. Runs are sorted, so a piece
is one slice of each. Where one key alone has more documents than a piece may hold (a million
copies of a page), they are taken in blocks, run by run. The pairs depend on the runs, the range and
the limit alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dolmix.dedup.grouping import ordered, pack, pairs_of_groups
from dolmix.dedup.runs import KeyRun
from dolmix.document import I64Array, U64Array

PIECE_KEYS = 1 << 22
"""Keys in memory at once: about 40 bytes each."""
KEY_BITS = 64


@dataclass(frozen=True, slots=True)
class Search:
    """What a candidate task looks for.

    band     of the keys
    range_   this one of `ranges` equal ranges of the first word of a key
    first    members of a group that each other one is paired with; 1 gives a star
    own      number of the first document of this run; groups of older ones alone are left out
    piece    keys in memory at once
    """

    band: int
    range_: int = 0
    ranges: int = 1
    first: int = 1
    own: int = 0
    piece: int = PIECE_KEYS


def external_pairs(runs: Sequence[KeyRun], search: Search) -> Iterator[I64Array]:
    """Yield blocks (P, 2) int64 of document pairs that share a key, the smaller number first.

    runs  in the order of their documents' numbers
    """
    low = (search.range_ << KEY_BITS) // search.ranges
    stop = ((search.range_ + 1) << KEY_BITS) // search.ranges
    for piece in _pieces(runs, search, low, stop):
        if piece.stop - piece.low == 1 and piece.size > search.piece:
            yield from _crowd(runs, search, piece)
        elif piece.size > 1:
            keys, documents = _load(runs, search.band, piece)
            yield group_pairs(keys, documents, search, low=piece.low, stop=piece.stop)


def group_pairs(
    keys: U64Array,
    documents: I64Array,
    search: Search,
    *,
    low: int = 0,
    stop: int = 1 << KEY_BITS,
) -> I64Array:
    """Pair the documents of equal keys.

    keys       (N, width) uint64, first words in [low, stop)
    documents  (N,) int64, ascending wherever keys are equal
    returns    (P, 2) int64, the smaller number first
    """
    if len(keys) < 2:
        return np.empty((0, 2), np.int64)
    bits = (len(keys) - 1).bit_length()
    lead = KEY_BITS - max((stop - 1 - low).bit_length(), 1)
    first_words = np.ascontiguousarray(keys[:, 0])
    packed = ordered(pack(first_words, np.uint64(low), np.uint64(lead), np.uint64(bits)))
    rules = np.array([search.first, search.own], np.int64)
    return pairs_of_groups(packed, np.uint64(bits), keys, documents, rules)


@dataclass(frozen=True, slots=True)
class _Piece:
    """First words in [low, stop): slices [starts[r], stops[r]) of each run r."""

    low: int
    stop: int
    starts: I64Array
    stops: I64Array

    @property
    def size(self) -> int:
        return int((self.stops - self.starts).sum())


def _pieces(runs: Sequence[KeyRun], search: Search, low: int, stop: int) -> Iterator[_Piece]:
    """Cut a range into pieces of at most `search.piece` keys, or of one key."""
    whole = _bounds(runs, search.band, [low, stop])
    size = int((whole[:, 1] - whole[:, 0]).sum())
    # cut a little finer than needed: keys are spread evenly, but not exactly
    count = min(-(-size * 17 // (search.piece * 16)), stop - low) if size > search.piece else 1
    edges = [low + (stop - low) * n // count for n in range(count + 1)]
    places = _bounds(runs, search.band, edges) if count > 1 else whole
    for n in range(count):
        piece = _Piece(edges[n], edges[n + 1], places[:, n], places[:, n + 1])
        if piece.size > search.piece and piece.stop - piece.low > 1:
            middle = (piece.low + piece.stop) // 2
            yield from _pieces(runs, search, piece.low, middle)
            yield from _pieces(runs, search, middle, piece.stop)
        else:
            yield piece


def _bounds(runs: Sequence[KeyRun], band: int, edges: list[int]) -> I64Array:
    """Place of each edge in each run, (runs, edges) int64."""
    out = np.empty((len(runs), len(edges)), np.int64)
    inner = np.array([edge for edge in edges if edge < 1 << KEY_BITS], np.uint64)
    for number, run in enumerate(runs):
        out[number, : len(inner)] = np.searchsorted(run.first(band), inner)
        out[number, len(inner) :] = run.comparable
    return out


def _load(runs: Sequence[KeyRun], band: int, piece: _Piece) -> tuple[U64Array, I64Array]:
    """Read one piece of all runs."""
    width = 2 if runs[0].wide else 1
    keys, documents = np.empty((piece.size, width), np.uint64), np.empty(piece.size, np.int64)
    at = 0
    for run, start, stop in zip(runs, piece.starts, piece.stops, strict=True):
        if start < stop:
            size = int(stop - start)
            keys[at : at + size], documents[at : at + size] = run.read(band, start, stop)
            at += size
    return keys, documents


def _crowd(runs: Sequence[KeyRun], search: Search, piece: _Piece) -> Iterator[I64Array]:
    """Pair the documents of one first word, too many for memory, block by block.

    The first members of each group are kept from block to block; everyone is paired with them.
    """
    kept_keys = np.empty((0, 2 if runs[0].wide else 1), np.uint64)
    kept_documents = np.empty(0, np.int64)
    for run, start, stop in zip(runs, piece.starts, piece.stops, strict=True):
        for at in range(int(start), int(stop), search.piece):
            keys, documents = run.read(search.band, at, min(at + search.piece, int(stop)))
            keys = np.concatenate([kept_keys, keys])
            documents = np.concatenate([kept_documents, documents])
            order = np.lexsort((documents, keys[:, -1]))
            keys, documents = keys[order], documents[order]
            pairs = group_pairs(np.ascontiguousarray(keys[:, -1:]), documents, search)
            yield pairs[~np.isin(pairs[:, 1], kept_documents)]
            leads = _leads(keys[:, -1], search.first)
            kept_keys, kept_documents = keys[leads], documents[leads]


def _leads(words: U64Array, first: int) -> I64Array:
    """Positions of the first members of each group of equal words, which stand together."""
    begins = np.flatnonzero(np.r_[True, words[1:] != words[:-1]])
    place = np.arange(len(words)) - np.repeat(begins, np.diff(np.r_[begins, len(words)]))
    leads: I64Array = np.flatnonzero(place < first)
    return leads
