"""OLMo: one `.npy` of raw tokens (no header) and one `.csv.gz` of document places a source.

All shards go into one file, since OLMo numbers instances file by file; with one shard the file is a
link. A line of the `.csv.gz`, one a document, is `start,end,id,src,loc`: its tokens, its id, its
input file, and its line there, from 1. The token type is not in the files: it is the tokenizer's.
"""

from __future__ import annotations

import csv
import gzip
import io
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import StoreError
from dolmix.shards.interop.foreign import Foreign, link_or_copy, mapped, token_files
from dolmix.shards.layout import shard_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

    from dolmix.document import U64Array
    from dolmix.shards.reader import Store
    from dolmix.tokenizer import TokenizerPin

COLUMNS = 5
"""Fields of a line; of some writers' files the first two alone are there."""


def write(store: Store, folder: Path) -> None:
    """Write a store's tokens as one file, or link its only shard, and each document's place."""
    name = store.manifest.source
    shards = [shard_file(store.path, entry.name, "tok") for entry in store.manifest.shards]
    if len(shards) == 1:
        link_or_copy(shards[0], folder / f"{name}.npy")
    else:
        with (folder / f"{name}.npy").open("wb") as out:
            for shard in shards:
                with shard.open("rb") as tokens:
                    shutil.copyfileobj(tokens, out, 1 << 20)
    with (
        (folder / f"{name}.csv.gz").open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        csv.writer(text).writerows(_places(store))


def read(inputs: Path, tokenizer: TokenizerPin) -> Iterator[Foreign]:
    """Yield the `.npy` files of a folder; without its `.csv.gz`, documents end at each EOS."""
    for file in token_files(inputs, ".npy"):
        tokens = mapped(file, tokenizer.dtype)
        places = file.with_suffix(".csv.gz")
        if places.is_file():
            ends, rows = _read_places(places)
            yield Foreign(file, tokens, ends, rows)
        else:
            ends = (np.flatnonzero(tokens == tokenizer.eos_id) + 1).astype(np.uint64)
            yield Foreign(file, tokens, ends)


def _places(store: Store) -> Iterator[tuple[int, int, str, str, int]]:
    """Yield start, end, id, input file and line of each document."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for shard, (first, ends) in enumerate(store.shard_ends()):
        begin, number = first, 0
        try:
            with pq.ParquetFile(store.docs_file(shard)) as parquet:
                for batch in parquet.iter_batches(columns=["id", "path", "record"]):
                    for id_, path, record in zip(
                        *(batch.column(name).to_pylist() for name in ("id", "path", "record")),
                        strict=True,
                    ):
                        end = int(ends[number])
                        yield begin, end, id_, path, record + 1
                        begin, number = end, number + 1
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StoreError(f"{store.docs_file(shard)} cannot be read: {error}") from None


def _read_places(file: Path) -> tuple[U64Array, Callable[[int, int], pa.Table] | None]:
    """Document ends, and provenance where the lines have it."""
    try:
        with gzip.open(file, "rt", encoding="utf-8", newline="") as text:
            lines = list(csv.reader(text))
        starts = np.array([int(line[0]) for line in lines], np.int64)
        ends = np.array([int(line[1]) for line in lines], np.int64)
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise StoreError(f"{file} cannot be read: {error}") from None
    if not np.array_equal(starts[1:], ends[:-1]) or starts[:1].tolist() not in ([], [0]):
        raise StoreError(
            f"{file}: documents do not lie one after the other from token 0, which is all that"
            " dolmix reads"
        )
    known = all(len(line) >= COLUMNS for line in lines)
    return ends.astype(np.uint64), (lambda a, b: _rows(lines[a:b])) if known else None


def _rows(lines: list[list[str]]) -> Any:
    """Provenance of some lines; an absolute input path loses its root, as stores have none."""
    import pyarrow as pa

    return pa.table(
        {
            "id": pa.array([line[2] for line in lines], pa.string()),
            "url": pa.nulls(len(lines), pa.string()),
            "path": pa.array([line[3].lstrip("/") for line in lines], pa.string()),
            "record": pa.array([int(line[4]) - 1 for line in lines], pa.int64()),
        }
    )
