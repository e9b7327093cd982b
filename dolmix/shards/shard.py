"""The three files of one shard while they are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dolmix.files.commit import file_digest
from dolmix.shards.layout import END_DTYPE, KINDS, ROW_GROUP, ShardEntry, shard_file

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from dolmix.document import I64Array


class ShardFiles:
    """Appends documents to the three files; holds less than a row group of provenance rows."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.tokens = 0
        self.documents = 0
        self._paths = {kind: shard_file(root, name, kind) for kind in KINDS}
        self._tok = self._paths["tok"].open("wb")
        self._end = self._paths["end"].open("wb")
        self._docs: pq.ParquetWriter | None = None
        self._rows: list[pa.Table] = []
        self._num_rows = 0

    def append(self, tokens: NDArray[Any], ends: I64Array, rows: pa.Table) -> None:
        """Add documents: tokens (T,) in the store's dtype, ends (N,) from 0, N provenance rows."""
        self._tok.write(tokens.tobytes())
        self._end.write((ends + self.tokens).astype(END_DTYPE).tobytes())
        self.tokens += tokens.size
        self.documents += len(ends)
        self._rows.append(rows)
        self._num_rows += rows.num_rows
        if self._num_rows >= ROW_GROUP:
            self._flush(self._num_rows - self._num_rows % ROW_GROUP)

    def close(self) -> ShardEntry:
        """Finish the files and digest them."""
        self._flush(self._num_rows)
        self.abandon()
        return ShardEntry(
            name=self.name,
            tokens=self.tokens,
            documents=self.documents,
            files={kind: file_digest(self._paths[kind]) for kind in KINDS},
        )

    def abandon(self) -> None:
        """Close the files as they are."""
        self._tok.close()
        self._end.close()
        if self._docs is not None:
            self._docs.close()
            self._docs = None

    def _flush(self, count: int) -> None:
        """Write the first `count` waiting rows in row groups; only a shard's last is smaller."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if count == 0:
            return
        table = pa.concat_tables(self._rows).combine_chunks()
        if self._docs is None:
            self._docs = pq.ParquetWriter(self._paths["docs"], table.schema, compression="zstd")
        self._docs.write_table(table.slice(0, count), row_group_size=ROW_GROUP)
        self._rows = [table.slice(count)]
        self._num_rows -= count
