"""Documents as the bytes of a file, the same bytes for the same documents and library versions.

Compressed JSONL holds no time and no file name. zstd files consist of independent frames, Parquet
files of row groups, so that one file can be cut into several tasks.
"""

import gzip
import io
import json
from collections.abc import Iterator, Sequence

from dolmix.sample.document import Document

FRAME_BYTES = 256 * 1024
"""JSONL bytes in a zstd frame, at least, but for the last."""
GROUP_ROWS = 100
"""Documents in a Parquet row group."""
METADATA_COLUMNS = ("origin", "license", "path", "language", "expect")
"""Fields of `metadata` in Parquet; all text, null where a document has none."""


def encode(documents: Sequence[Document], suffix: str) -> bytes:
    """Encode documents for a file of type .jsonl, .jsonl.gz, .jsonl.zst or .parquet."""
    if suffix == ".parquet":
        return _parquet(documents)
    if suffix == ".jsonl.gz":
        return gzip.compress(b"".join(json_lines(documents)), compresslevel=6, mtime=0)
    if suffix == ".jsonl.zst":
        return _zstd(documents)
    return b"".join(json_lines(documents))


def json_lines(documents: Sequence[Document]) -> Iterator[bytes]:
    """Yield one JSON line a document, newline included."""
    for document in documents:
        text = json.dumps(document.record(), ensure_ascii=False, separators=(",", ":"))
        yield text.encode() + b"\n"


def _zstd(documents: Sequence[Document]) -> bytes:
    import zstandard

    compressor = zstandard.ZstdCompressor(level=6, write_checksum=True)
    frames, pending, size = [], [], 0
    for line in json_lines(documents):
        pending.append(line)
        size += len(line)
        if size >= FRAME_BYTES:
            frames.append(compressor.compress(b"".join(pending)))
            pending, size = [], 0
    if pending or not frames:
        frames.append(compressor.compress(b"".join(pending)))
    return b"".join(frames)


def _parquet(documents: Sequence[Document]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("id", pa.string()), ("text", pa.large_string()), ("source", pa.string())]
    fields += [("added", pa.string()), ("created", pa.string())]
    about = pa.struct([(name, pa.string()) for name in METADATA_COLUMNS])
    schema = pa.schema([*fields, ("metadata", about)])
    table = pa.Table.from_pylist([document.record() for document in documents], schema=schema)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, row_group_size=GROUP_ROWS, compression="zstd")
    return buffer.getvalue()
