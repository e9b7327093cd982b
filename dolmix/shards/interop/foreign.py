"""What the formats share: token files written by others, and files taken over as they are."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from dolmix.document import I64Array, U64Array

MOST_ROWS = 1 << 17
"""Documents taken over together."""


@dataclass(frozen=True)
class Foreign:
    """One token file of another format."""

    file: Path
    """The file with the tokens."""
    tokens: NDArray[Any]
    """(T,) its tokens, mapped."""
    ends: U64Array
    """(N,) where each document ends, in tokens."""
    rows: Callable[[int, int], pa.Table] | None = None
    """Provenance of documents [start, stop); None where the format has none."""

    def blocks(self, most_tokens: int) -> Iterator[tuple[NDArray[Any], I64Array, pa.Table]]:
        """Yield tokens, lengths and provenance of runs of documents, as a store's writer takes."""
        first, begin = 0, 0
        while first < len(self.ends):
            limit = np.uint64(begin + most_tokens)
            stop = int(np.searchsorted(self.ends, limit, side="right"))
            stop = min(max(stop, first + 1), first + MOST_ROWS)
            lengths = np.diff(self.ends[first:stop], prepend=np.uint64(begin)).astype(np.int64)
            end = int(self.ends[stop - 1])
            rows = self.rows(first, stop) if self.rows else plain_rows(self.file, first, stop)
            yield self.tokens[begin:end], lengths, rows
            first, begin = stop, end


def check_foreign(part: Foreign) -> None:
    """Raise StoreError unless the document ends rise to the number of tokens."""
    rising = np.all(np.diff(part.ends.astype(np.int64), prepend=0) > 0)
    last = int(part.ends[-1]) if len(part.ends) else 0
    if not rising or last != len(part.tokens):
        raise StoreError(
            f"{part.file}: document ends {'rise' if rising else 'do not rise'} and reach {last:,};"
            f" the file has {len(part.tokens):,} tokens. Were both files written together, and is"
            " the tokenizer the one that wrote them?"
        )


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no hard links across."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def plain_rows(file: Path, start: int, stop: int) -> pa.Table:
    """Provenance of documents of which nothing is known but their file and number."""
    import pyarrow as pa

    numbers = range(start, stop)
    return pa.table(
        {
            "id": pa.array([f"{file.name}:{n}" for n in numbers], pa.string()),
            "url": pa.nulls(len(numbers), pa.string()),
            "path": pa.array([file.name] * len(numbers), pa.string()),
            "record": pa.array(numbers, pa.int64()),
        }
    )


def docs_rows(file: Path) -> Callable[[int, int], pa.Table] | None:
    """Provenance from a store's docs file that lies beside exported tokens; None without one."""
    if not file.is_file():
        return None
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise StoreError(f"{file} cannot be read: {error}. Delete it to go without.") from None
    kept = [name for name in table.column_names if name != "num_tokens"]

    def rows(start: int, stop: int) -> pa.Table:
        return table.select(kept).slice(start, stop - start)

    return rows


def token_files(inputs: Path, suffix: str) -> list[Path]:
    """Files to read: the one named, or those of a folder with this suffix, by name."""
    if inputs.is_dir():
        return sorted(path for path in inputs.iterdir() if path.name.endswith(suffix))
    if not inputs.is_file():
        raise StoreError(f"{inputs}: no such file or folder")
    return [inputs]


def mapped(file: Path, dtype: Any) -> NDArray[Any]:
    """Map a whole file. Raises StoreError if it is missing or no whole number of items."""
    size = file.stat().st_size if file.is_file() else None
    if size is None or size % np.dtype(dtype).itemsize:
        state = "is missing" if size is None else f"has {size:,} bytes"
        raise StoreError(f"{file} {state}; items of {np.dtype(dtype).itemsize} bytes are expected")
    return np.asarray(np.memmap(file, dtype, mode="r")) if size else np.zeros(0, dtype)
