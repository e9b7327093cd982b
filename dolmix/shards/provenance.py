"""Docs files: where each document came from, and what was kept about it.

Columns are typed and checked before they are written, and checked again when they are read: a
damaged file is an error or a finding that says what it lacks, never a row of another document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import StoreError
from dolmix.shards.layout import DOCUMENT_COLUMNS, TEXT_HASH, is_absolute

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq

    from dolmix.document import I64Array

REQUIRED = ("id", "path", "record")
"""Columns that have a value for every document; `url` may lack one."""


def provenance_table(documents: pa.Table, lengths: I64Array) -> pa.Table:
    """Order and type the columns: id, url, path, record, num_tokens, text_hash, then kept ones.

    `text_hash` (uint64) may be absent, but not null.

    Raises StoreError for a missing or repeated column, a missing id, path or record, or an absolute
    path.
    """
    import pyarrow as pa

    types = {"id": pa.string(), "url": pa.string(), "path": pa.string(), "record": pa.int64()}
    names = documents.column_names
    missing = [name for name in types if name not in names]
    taken = [name for name in names if name == "num_tokens" or names.count(name) > 1]
    if missing or taken:
        raise StoreError(
            f"provenance columns {names}: missing {missing}, repeated or reserved {taken}"
        )
    kept = [name for name in names if name not in (*DOCUMENT_COLUMNS, TEXT_HASH)]
    arrays = {name: documents.column(name).cast(type_) for name, type_ in types.items()}
    _check_places(arrays)
    arrays["num_tokens"] = pa.chunked_array([pa.array(lengths, pa.int64())])
    if TEXT_HASH in names:
        arrays[TEXT_HASH] = documents.column(TEXT_HASH).cast(pa.uint64())
        if arrays[TEXT_HASH].null_count:
            raise StoreError(f"{arrays[TEXT_HASH].null_count:,} documents have no {TEXT_HASH}")
    fields = [pa.field(name, array.type) for name, array in arrays.items()]
    fields += [documents.schema.field(name) for name in kept]
    columns = [*arrays.values(), *(documents.column(name) for name in kept)]
    return pa.table(columns, schema=pa.schema(fields))


def read_rows(file: Path, documents: int, numbers: I64Array) -> list[dict[str, Any]]:
    """Return the rows of a docs file by number, in the order asked; reads only their row groups.

    documents  rows that the file must have
    numbers    (N,) each in [0, documents)

    Raises StoreError for a file that cannot be read, or that lacks rows, columns or values.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            for fault in footer_faults(parquet, documents):
                raise StoreError(f"{file} {fault}. Copy the store again.")
            starts = np.cumsum([0, *row_groups(parquet)])
            holding = np.searchsorted(starts, numbers, side="right") - 1
            groups = np.unique(holding)
            table = parquet.read_row_groups(groups.tolist())
        for fault in missing_values({name: table.column(name) for name in REQUIRED}):
            raise StoreError(f"{file}: {fault}. Copy the store again.")
        read = np.cumsum([0, *np.diff(starts)[groups]])
        at = read[np.searchsorted(groups, holding)] + numbers - starts[holding]
        rows: list[dict[str, Any]] = table.take(at).to_pylist()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{file} cannot be read: {error}. Copy the store again.") from None
    return rows


def rows_with_url(file: Path, documents: int, url: str) -> I64Array:
    """(M,) int64: rows of a docs file with this URL, ascending; reads that column alone.

    Raises StoreError for a file that cannot be read, or that lacks rows or columns.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as parquet:
            for fault in footer_faults(parquet, documents):
                raise StoreError(f"{file} {fault}. Copy the store again.")
            urls = parquet.read(["url"]).column("url").cast(pa.large_string())
        same = pc.fill_null(pc.equal(urls, url), fill_value=False)
        return np.flatnonzero(same.to_numpy()).astype(np.int64)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{file} cannot be read: {error}. Copy the store again.") from None


def footer_faults(parquet: pq.ParquetFile, documents: int) -> Iterator[str]:
    """Tell what a docs file's footer shows to be wrong: rows, missing columns, their types."""
    if parquet.metadata.num_rows != documents:
        yield f"has {parquet.metadata.num_rows:,} rows for {documents:,} documents"
    for name in DOCUMENT_COLUMNS:
        if name not in parquet.schema_arrow.names:
            yield f"has no column {name!r}"
        elif fault := _type_fault(name, parquet.schema_arrow.field(name).type):
            yield f"column {name!r} holds {fault}"


def row_groups(parquet: pq.ParquetFile) -> list[int]:
    """Rows of each row group, from the footer."""
    meta = parquet.metadata
    return [meta.row_group(n).num_rows for n in range(meta.num_row_groups)]


def missing_values(columns: Mapping[str, pa.ChunkedArray]) -> Iterator[str]:
    """Tell in which required columns documents have no value."""
    for name in REQUIRED:
        if columns[name].null_count:
            yield f"{columns[name].null_count:,} documents have no {name}"


def _type_fault(name: str, found: pa.DataType) -> str | None:
    from pyarrow import types

    if name in {"record", "num_tokens"}:
        return None if types.is_integer(found) else f"{found}, not whole numbers"
    text = types.is_string(found) or types.is_large_string(found)
    return None if text or (name == "url" and types.is_null(found)) else f"{found}, not text"


def _check_places(arrays: dict[str, pa.ChunkedArray]) -> None:
    for fault in missing_values(arrays):
        raise StoreError(fault)
    for path in arrays["path"].unique().to_pylist():
        if is_absolute(path):
            raise StoreError(
                f"a document's path is absolute: {path!r}. A store names its inputs by relative"
                " path, so that its bytes do not depend on where it was made."
            )
