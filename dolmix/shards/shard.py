"""The three files of one shard while they are written."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.files.commit import file_digest
from dolmix.shards.layout import END_DTYPE, ROW_GROUP, ShardEntry, shard_file

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.parquet as pq
    from numpy.typing import NDArray

    from dolmix.document import I64Array

BESIDE_BYTES = 1 << 18
"""Bytes from which hashing in a thread, beside the writing, is worth the handing over."""


class ShardFiles:
    """Appends documents to the three files; holds less than a row group of provenance rows."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.tokens = 0
        self.documents = 0
        self._tok = _HashedFile(shard_file(root, name, "tok"))
        self._end = _HashedFile(shard_file(root, name, "end"))
        self._docs_path = shard_file(root, name, "docs")
        self._docs: pq.ParquetWriter | None = None
        self._rows: list[pa.Table] = []
        self._num_rows = 0

    def append(self, tokens: NDArray[Any], ends: I64Array, rows: pa.Table) -> None:
        """Add documents: tokens (T,) in the store's dtype, ends (N,) from 0, N provenance rows.

        The tokens may be looked at until `settle`.
        """
        self._tok.write(tokens)
        self._end.write((ends + self.tokens).astype(END_DTYPE))
        self.tokens += tokens.size
        self.documents += len(ends)
        self._rows.append(rows)
        self._num_rows += rows.num_rows
        if self._num_rows >= ROW_GROUP:
            self._flush(self._num_rows - self._num_rows % ROW_GROUP)

    def settle(self) -> None:
        """Be done with everything that was appended."""
        self._tok.settle()
        self._end.settle()

    def close(self) -> ShardEntry:
        """Finish the files and digest them."""
        self._flush(self._num_rows)
        self.abandon()
        return ShardEntry(
            name=self.name,
            tokens=self.tokens,
            documents=self.documents,
            files={
                "tok": self._tok.digest(),
                "end": self._end.digest(),
                "docs": file_digest(self._docs_path),
            },
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
            self._docs = pq.ParquetWriter(self._docs_path, table.schema, compression="zstd")
        self._docs.write_table(table.slice(0, count), row_group_size=ROW_GROUP)
        self._rows = [table.slice(count)]
        self._num_rows -= count


class _HashedFile:
    """A file whose bytes are hashed on their way to it, so that they need not be read again."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._hash = blake2b(digest_size=32)
        self._thread: ThreadPoolExecutor | None = None
        self._hashing: Future[None] | None = None

    def write(self, data: NDArray[Any]) -> None:
        """Append an array; until `settle` it must stay as it is."""
        plain = np.ascontiguousarray(data)
        self.settle()
        if plain.nbytes < BESIDE_BYTES:
            self._hash.update(plain.data)
        else:
            self._hashing = self._beside().submit(self._hash.update, plain.data)
        self._file.write(plain.data)

    def _beside(self) -> ThreadPoolExecutor:
        """Give the thread that hashes, begun when it is first needed."""
        from concurrent.futures import ThreadPoolExecutor

        if self._thread is None:
            self._thread = ThreadPoolExecutor(1)
        return self._thread

    def settle(self) -> None:
        """Wait until everything is hashed."""
        hashing, self._hashing = self._hashing, None
        if hashing is not None:
            hashing.result()

    def digest(self) -> str:
        """Blake2b-256 of everything that was written, hex."""
        self.settle()
        return self._hash.hexdigest()

    def close(self) -> None:
        """Close the file, and end the thread."""
        self._file.close()
        if self._thread is not None:
            self._thread.shutdown()
