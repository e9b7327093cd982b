"""The columns of a docs file: where each document came from, and what was kept about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dolmix.errors import StoreError
from dolmix.shards.layout import DOCUMENT_COLUMNS, is_absolute

if TYPE_CHECKING:
    import pyarrow as pa

    from dolmix.document import I64Array


def provenance_table(documents: pa.Table, lengths: I64Array) -> pa.Table:
    """Order and type the columns: id, url, path, record, num_tokens, then the kept ones.

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
    kept = [name for name in names if name not in DOCUMENT_COLUMNS]
    arrays = {name: documents.column(name).cast(type_) for name, type_ in types.items()}
    _check_places(arrays)
    arrays["num_tokens"] = pa.chunked_array([pa.array(lengths, pa.int64())])
    fields = [pa.field(name, array.type) for name, array in arrays.items()]
    fields += [documents.schema.field(name) for name in kept]
    columns = [*arrays.values(), *(documents.column(name) for name in kept)]
    return pa.table(columns, schema=pa.schema(fields))


def _check_places(arrays: dict[str, pa.ChunkedArray]) -> None:
    for name in ("id", "path", "record"):
        if arrays[name].null_count:
            raise StoreError(f"{arrays[name].null_count:,} documents have no {name}")
    for path in arrays["path"].unique().to_pylist():
        if is_absolute(path):
            raise StoreError(
                f"a document's path is absolute: {path!r}. A store names its inputs by relative"
                " path, so that its bytes do not depend on where it was made."
            )
