"""Loss masks: which tokens of a store count as labels, for instruction and chat data.

A mask is derived from a kept column that holds, for each document, spans of its tokens: a list of
structs `start`, `stop` and, for chat records, `role`. A token counts if a span holds it, of a role
that trains; a document whose value is null counts whole. The derived file `labels.bits` has one bit
a token, in store order. Masks change no instance and no order. Reading one needs numpy alone,
making one pyarrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import LockError, StoreError
from dolmix.files.commit import fingerprint
from dolmix.shards.bits import Bits, bytes_of, write_bits
from dolmix.shards.derived import Derived, derive, find_derived

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from dolmix.document import BoolArray, I64Array, U64Array
    from dolmix.shards.reader import Store

VERSION = 1
FILE = "labels.bits"


@dataclass(frozen=True, slots=True)
class LossMask:
    """A committed loss mask."""

    path: str
    """Directory, `<store>.derived/loss-<key>`, or its URI."""
    digest: str
    """Blake2b-256 over its manifest and file, hex."""
    trained_tokens: int
    """Tokens of the store that count as labels."""


def make_loss_mask(store: Store, *, column: str, roles: Sequence[str] | None = None) -> LossMask:
    """Make the mask of a kept column, or find the one that was made earlier.

    column  kept column of the store: list<struct<start, stop>>, or with a `role` besides; tokens
            [start, stop) counted from the start of the document
    roles   roles whose spans count; None counts all

    Raises StoreError for a column that is missing, of another type, or with spans outside their
    document, and if the mask cannot be written beside the store.
    """
    found = derive_loss(store, column=column, roles=roles)
    return LossMask(found.location, found.manifest.digest, found.manifest.counts["trained"])


def derive_loss(store: Store, *, column: str, roles: Sequence[str] | None = None) -> Derived:
    """Make a loss mask and return its directory, open. Raises as `make_loss_mask`."""
    asked = _asked(store, column, roles)
    return derive(store, "loss", asked, lambda folder: _write(store, column, roles, folder))


def open_loss_mask(
    store: Store,
    *,
    column: str,
    roles: Sequence[str] | None = None,
    digest: str | None = None,
) -> Bits:
    """Open a loss mask: bit n tells whether token n of the store counts as a label.

    Raises StoreError if it was not made or is damaged, LockError if it has another digest.
    """
    found = find_derived(store, "loss", _asked(store, column, roles))
    if found is None:
        raise StoreError(
            f"{store.location} has no loss mask of {column!r}. Make it:"
            f" dolmix shards derive {store.location} --loss {column}"
        )
    if digest is not None and found.manifest.digest != digest:
        raise LockError(
            f"{found.location} is not the mask locked.\n  locked  {digest}\n"
            f"  found   {found.manifest.digest}\nDelete it and resolve the mix again."
        )
    return Bits(found.array(FILE, np.dtype(np.uint8), bytes_of(store.num_tokens)))


def _asked(store: Store, column: str, roles: Sequence[str] | None) -> dict[str, str | int]:
    """Return what the mask follows from: the docs files too, which the content hash leaves out."""
    docs = fingerprint([entry.files["docs"] for entry in store.manifest.shards])
    named = "*" if roles is None else "\x1f".join(sorted(set(roles)))
    return {"column": column, "roles": named, "docs": docs, "version": VERSION}


def _write(store: Store, column: str, roles: Sequence[str] | None, folder: Path) -> dict[str, int]:
    size, ones = write_bits(folder / FILE, _blocks(store, column, roles))
    return {"tokens": size, "trained": ones}


def _blocks(store: Store, column: str, roles: Sequence[str] | None) -> Iterator[BoolArray]:
    """Bits of all tokens, a row group at a time."""
    for shard, (first, ends) in enumerate(store.shard_ends()):
        done, begin = 0, first
        for values in _values(store, shard, column):
            held = ends[done : done + len(values)]
            yield _bits_of(store, values, begin, held, roles)
            done += len(values)
            begin = int(held[-1]) if len(held) else begin


def _values(store: Store, shard: int, column: str) -> Iterator[Any]:
    """Yield the kept column of a shard as Arrow arrays."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = store.docs_file(shard)
    try:
        with pq.ParquetFile(file) as parquet:
            names = parquet.schema_arrow.names
            if column not in names:
                raise StoreError(
                    f"{store.location} keeps no column {column!r}; it keeps"
                    f" {', '.join(names[5:]) or 'none'}"
                )
            for batch in parquet.iter_batches(columns=[column]):
                yield batch.column(0)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{file} cannot be read: {error}. Copy the store again.") from None


def _bits_of(
    store: Store, values: Any, begin: int, ends: U64Array, roles: Sequence[str] | None
) -> BoolArray:
    """Bits of the tokens of some documents, which begin at a token and end at `ends`."""
    starts = np.concatenate([np.array([begin], np.uint64), ends])[:-1].astype(np.int64)
    sizes = ends.astype(np.int64) - starts
    whole = values.is_null().to_numpy(zero_copy_only=False)
    documents, low, high = _spans(store, values, roles)
    bad = np.flatnonzero((low < 0) | (high < low) | (high > sizes[documents]))
    if bad.size:
        n = int(bad[0])
        raise StoreError(
            f"{store.location}: a span of {int(low[n]):,} to {int(high[n]):,} does not lie within"
            f" its document of {int(sizes[documents[n]]):,} tokens"
        )
    edges = np.zeros(int(sizes.sum()) + 1, np.int32)
    np.add.at(edges, starts[documents] + low - begin, 1)
    np.add.at(edges, starts[documents] + high - begin, -1)
    np.add.at(edges, starts[whole] - begin, 1)
    np.add.at(edges, starts[whole] + sizes[whole] - begin, -1)
    counted: BoolArray = np.cumsum(edges[:-1]) > 0
    return counted


def _spans(
    store: Store, values: Any, roles: Sequence[str] | None
) -> tuple[I64Array, I64Array, I64Array]:
    """Document, start and stop of each span that counts, (n,) int64 each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = values.type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    names = (
        {f.name for f in kind.value_type}
        if listed and pa.types.is_struct(kind.value_type)
        else set()
    )
    wanted = {"start", "stop"} | ({"role"} if roles is not None else set())
    if not wanted <= names:
        raise StoreError(
            f"{store.location}: a column of spans is a list of structs with"
            f" {', '.join(sorted(wanted))}; this one is {kind}"
        )
    documents = pc.list_parent_indices(values).to_numpy().astype(np.int64)
    spans = pc.list_flatten(values)
    low, high = (pc.struct_field(spans, name).cast(pa.int64()) for name in ("start", "stop"))
    if low.null_count or high.null_count:
        raise StoreError(
            f"{store.location}: {low.null_count + high.null_count:,} ends of spans are null"
        )
    kept = np.ones(len(documents), np.bool_)
    if roles is not None:
        of_role = pc.is_in(pc.struct_field(spans, "role"), pa.array(list(roles), pa.string()))
        kept = of_role.to_numpy(zero_copy_only=False)
    return documents[kept], low.to_numpy()[kept], high.to_numpy()[kept]
