"""Packs: which pieces of which documents stand in each instance, under `bestfit` and `pad`.

A pack is derived from a store for one sequence length and pinned by its digest. It holds, as plain
little-endian arrays, the pieces of all instances one after the other: `start.u64` (first token in
the store), `length.u32`, `first.u64` (first piece of each instance, and the number of pieces), and
`by_start.u64` (pieces in store order, for finding a document). Reading one needs numpy alone.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from dolmix.errors import LockError, OrderError, StoreError
from dolmix.shards.derived import Derived, derive, find_derived
from dolmix.shards.instances import ConcatInstances, Instances, Piece, Spans
from dolmix.shards.packing import best_fit, cut_documents, numbered_by_first_piece

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from dolmix.document import BoolArray, I64Array
    from dolmix.shards.reader import Store

Packing = Literal["concat", "bestfit", "pad"]
VERSION = 1
"""Version of the packing definitions; another gives other packs another key."""
U64, U32 = np.dtype("<u8"), np.dtype("<u4")


@dataclass(frozen=True, slots=True)
class Pack:
    """A committed pack."""

    path: str
    """Directory, `<store>.derived/pack-<key>`, or its URI."""
    digest: str
    """Blake2b-256 over its manifest and files, hex: what a lock pins."""
    num_instances: int
    """Instances that it lays out."""


def make_pack(store: Store, *, sequence_length: int, packing: Packing) -> Pack:
    """Pack a store, or find the pack that was made earlier; the same store gives the same bytes.

    Raises OrderError for `concat`, which needs no pack, and for a sequence length below 1;
    StoreError if the pack cannot be written beside the store.
    """
    found = derive_pack(store, sequence_length=sequence_length, packing=packing)
    return Pack(found.location, found.manifest.digest, found.manifest.counts["instances"])


def derive_pack(store: Store, *, sequence_length: int, packing: Packing) -> Derived:
    """Make a pack and return its directory, open. Raises as `make_pack`."""
    asked = _asked(sequence_length, packing)
    return derive(
        store, "pack", asked, lambda folder: _write(store, sequence_length, packing, folder)
    )


def open_instances(
    store: Store,
    sequence_length: int,
    packing: Packing = "concat",
    pack_digest: str | None = None,
) -> Instances:
    """Open the instances of a store.

    pack_digest  what the pack must hash to; None takes the pack as it is

    Raises OrderError for a sequence length below 1, StoreError if there is no pack or it is
    damaged, LockError if it has another digest.
    """
    if packing == "concat":
        return ConcatInstances(store, sequence_length)
    found = find_derived(store, "pack", _asked(sequence_length, packing))
    if found is None:
        raise StoreError(
            f"{store.location} has no pack `{packing}` for {sequence_length:,} tokens. Make it:"
            f" dolmix shards derive {store.location} --pack {packing} --length {sequence_length}"
        )
    if pack_digest is not None and found.manifest.digest != pack_digest:
        raise LockError(
            f"{found.location} is not the pack locked.\n  locked  {pack_digest}\n"
            f"  found   {found.manifest.digest}\nDelete it and resolve the mix again."
        )
    return PackedInstances(store, sequence_length, found)


class PackedInstances(Instances):
    """Instances laid out by a pack: pieces of documents in store order, then padding.

    Padding is the EOS id. A label counts if it and its input are tokens of one piece: the first
    token of a piece and padding are never labels that train, so over all instances every token of
    every document but its first is a label exactly once.
    """

    def __init__(self, store: Store, sequence_length: int, pack: Derived) -> None:
        super().__init__(store, sequence_length)
        self._pack = pack
        self._counts = pack.manifest.counts
        self._eos = store.manifest.tokenizer.eos_id

    @property
    def num_instances(self) -> int:
        """Instances of the pack."""
        return self._counts["instances"]

    @property
    def digest(self) -> str:
        """Digest of the pack, hex."""
        return self._pack.manifest.digest

    @property
    def layout(self) -> dict[str, str | int]:
        """Packing, length, and the pack's digest."""
        asked = self._pack.manifest.asked
        return {key: asked[key] for key in ("packing", "sequence_length")} | {"pack": self.digest}

    def documents(self, instance: int) -> list[Piece]:
        """Return the pieces of an instance in order; what they leave of L + 1 is padding."""
        self._check_one(instance)
        begin, end = int(self._first[instance]), int(self._first[instance + 1])
        pieces = []
        for start, length in zip(
            self._start[begin:end].tolist(), self._length[begin:end].tolist(), strict=True
        ):
            document = self.store.documents_in(start, start + 1)[0]
            pieces.append(Piece(document, start - self.store.document_span(document)[0], length))
        return pieces

    def of_document(self, document: int) -> Sequence[int]:
        """Return the instances that hold a piece of the document, in the order of its pieces.

        Empty for a document of one token. Raises StoreError if the store has no such one.
        """
        start, stop = self.store.document_span(document)
        low, high = (
            bisect_left(self._by_start, at, key=lambda piece: int(self._start[piece]))
            for at in (start, stop)
        )
        pieces = self._by_start[low:high]
        held: list[int] = (np.searchsorted(self._first, pieces, side="right") - 1).tolist()
        return held

    def spans(self, numbers: I64Array) -> Spans:
        """Return one run a piece."""
        self._check(numbers)
        begins = self._first[numbers].astype(np.int64)
        counts = self._first[numbers + 1].astype(np.int64) - begins
        rows = np.repeat(np.arange(len(numbers)), counts)
        before = np.cumsum(counts) - counts
        pieces = np.arange(rows.size) + np.repeat(begins - before, counts)
        lengths = self._length[pieces].astype(np.int64)
        running = np.cumsum(lengths) - lengths
        at = running - np.repeat(running[before], counts)
        return Spans(rows, at, self._start[pieces].astype(np.int64), lengths)

    def starts(self, numbers: I64Array) -> tuple[I64Array, I64Array]:
        """Return the beginnings of pieces and of padding."""
        spans = self.spans(numbers)
        ends = np.bincount(spans.rows, spans.lengths, len(numbers)).astype(np.int64)
        padded = np.flatnonzero(ends <= self.sequence_length)
        rows = np.concatenate([spans.rows, padded])
        order = np.argsort(rows, kind="stable")
        return rows[order], np.concatenate([spans.at, ends[padded]])[order]

    def labels(self, numbers: I64Array) -> BoolArray:
        """(n, L) bool: labels within pieces."""
        spans = self.spans(numbers)
        edges = np.zeros((len(numbers), self.sequence_length + 1), np.int8)
        # of touching pieces one's end is just before the other's start, so that none coincide
        edges[spans.rows, spans.at] += 1
        edges[spans.rows, spans.at + spans.lengths - 1] -= 1
        within: BoolArray = np.cumsum(edges[:, :-1], axis=1, dtype=np.int8) > 0
        return within

    @cached_property
    def _start(self) -> NDArray[Any]:
        return self._pack.array("start.u64", U64, self._counts["pieces"])

    @cached_property
    def _length(self) -> NDArray[Any]:
        return self._pack.array("length.u32", U32, self._counts["pieces"])

    @cached_property
    def _first(self) -> NDArray[Any]:
        return self._pack.array("first.u64", U64, self._counts["instances"] + 1)

    @cached_property
    def _by_start(self) -> NDArray[Any]:
        return self._pack.array("by_start.u64", U64, self._counts["pieces"])


def _asked(sequence_length: int, packing: Packing) -> dict[str, str | int]:
    if packing == "concat":
        raise OrderError(f"packing {packing!r} reads the store as it is; it has no pack")
    if not 1 <= sequence_length < 1 << 31:
        raise OrderError(f"sequence_length is {sequence_length}; it must be 1 to 2^31 - 1")
    return {"packing": packing, "sequence_length": sequence_length, "version": VERSION}


def _write(store: Store, sequence_length: int, packing: Packing, folder: Path) -> dict[str, int]:
    """Write the arrays of a pack; 40 bytes of memory a piece, whatever the size of the store."""
    cuts = [cut_documents(first, ends, sequence_length) for first, ends in store.shard_ends()]
    starts = np.concatenate([np.zeros(0, np.uint64), *(cut.starts for cut in cuts)])
    lengths = np.concatenate([np.zeros(0, np.int64), *(cut.lengths for cut in cuts)])
    if packing == "bestfit":
        rows = numbered_by_first_piece(best_fit(lengths, sequence_length + 1))
    else:
        rows = np.arange(len(lengths))
    order = np.argsort(rows, kind="stable")
    by_start = np.empty_like(order)
    by_start[order] = np.arange(len(order))
    counts = np.bincount(rows)
    starts[order].astype(U64).tofile(folder / "start.u64")
    lengths[order].astype(U32).tofile(folder / "length.u32")
    np.concatenate([[0], np.cumsum(counts)]).astype(U64).tofile(folder / "first.u64")
    by_start.astype(U64).tofile(folder / "by_start.u64")
    return {"instances": len(counts), "pieces": len(starts), "tokens": int(lengths.sum())}
