"""Megatron: `.bin` tokens and `.idx` index; one pair a shard.

`.bin` is the bytes of `.tok` and is a link: ids of 32 bits are below 2^31, so that they read as
int32 too. `.idx` is, little-endian: the 9 bytes `MMIDIDX` and two zeros, u64 version 1, u8 code of
the token type (8 uint16, 4 int32), u64 number of sequences n, u64 number of document indices d,
int32 lengths (n), int64 byte offsets (n), int64 document indices (d): document i is the sequences
[index i, index i + 1). dolmix writes one sequence a document.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from dolmix.errors import StoreError
from dolmix.shards.interop.foreign import Foreign, docs_rows, link_or_copy, mapped, token_files
from dolmix.shards.layout import shard_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dolmix.document import U64Array
    from dolmix.shards.reader import Store
    from dolmix.tokenizer import TokenizerPin

MAGIC = b"MMIDIDX\x00\x00"
HEADER = struct.Struct("<9sQBQQ")
CODES = {4: "<i4", 8: "<u2"}
MOST = (1 << 31) - 1
"""Largest length of a document, and largest id, in the format."""


def write(store: Store, folder: Path) -> None:
    """Link the tokens of a store's shards into a folder and write an index for each."""
    if store.manifest.tokenizer.largest_id > MOST:
        raise StoreError(
            f"{store.location} has ids up to {store.manifest.tokenizer.largest_id:,}; Megatron's"
            f" largest is {MOST:,}"
        )
    size = store.dtype.itemsize
    code = next(c for c, kind in CODES.items() if np.dtype(kind).itemsize == size)
    shards = zip(store.manifest.shards, store.shard_ends(), strict=True)
    for entry, (first, ends) in shards:
        lengths = np.diff(ends.astype(np.int64), prepend=first)
        if int(lengths.max(initial=0)) > MOST:
            raise StoreError(
                f"{store.location} has a document of {int(lengths.max()):,} tokens; Megatron's"
                f" longest is {MOST:,}"
            )
        link_or_copy(shard_file(store.path, entry.name, "tok"), folder / f"{entry.name}.bin")
        docs = folder / f"{entry.name}.docs.parquet"
        link_or_copy(shard_file(store.path, entry.name, "docs"), docs)
        with (folder / f"{entry.name}.idx").open("wb") as out:
            out.write(HEADER.pack(MAGIC, 1, code, len(lengths), len(lengths) + 1))
            out.write(lengths.astype("<i4").tobytes())
            out.write(((np.cumsum(lengths) - lengths) * size).astype("<i8").tobytes())
            out.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())


def read(inputs: Path, tokenizer: TokenizerPin) -> Iterator[Foreign]:  # noqa: ARG001 - one form
    """Yield the token files of a folder; a document is all its sequences, one after the other."""
    for file in token_files(inputs, ".bin"):
        dtype, ends = _index(file.with_suffix(".idx"))
        yield Foreign(file, mapped(file, dtype), ends, docs_rows(file.with_suffix(".docs.parquet")))


def _index(file: Path) -> tuple[str, U64Array]:
    """Token type and document ends of an index."""
    data = file.read_bytes() if file.is_file() else b""
    if len(data) < HEADER.size:
        raise StoreError(f"{file} is missing, or shorter than the header of an index")
    magic, version, code, sequences, documents = HEADER.unpack_from(data)
    expected = HEADER.size + 12 * sequences + 8 * documents
    if magic != MAGIC or version != 1 or code not in CODES or len(data) < expected:
        raise StoreError(
            f"{file}: not an index of tokens: begins with {magic!r}, version {version}, type code"
            f" {code} (dolmix reads {', '.join(map(str, CODES))}), {len(data):,} bytes of"
            f" {expected:,}"
        )
    lengths = np.frombuffer(data, "<i4", sequences, HEADER.size).astype(np.int64)
    offsets = np.frombuffer(data, "<i8", sequences, HEADER.size + lengths.size * 4)
    index = np.frombuffer(data, "<i8", documents, HEADER.size + lengths.size * 12)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    size = np.dtype(CODES[code]).itemsize
    if not np.array_equal(offsets, edges[:-1] * size) or index[-1:].tolist() != [sequences]:
        raise StoreError(
            f"{file}: its sequences do not lie one after the other over the whole file, which is"
            " all that dolmix reads"
        )
    return CODES[code], edges[index[1:]].astype(np.uint64)
