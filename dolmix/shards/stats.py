"""What a store holds, counted: lengths, tokens, bytes per token, and what was kept of the columns.

Each function returns plain data, ready for JSON. Tokens are read once, docs files once; memory does
not grow with the store, but for the first million values of one column at a time. Documents lie in
keyed order, so that the first ones are a fair sample of all.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import StoreError
from dolmix.shards.describe import load_pinned
from dolmix.shards.layout import (
    DOCUMENT_COLUMNS,
    QUANTILES,
    TEXT_HASH,
    count_values,
    shard_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from dolmix.document import I64Array
    from dolmix.shards.reader import Store

BLOCK = 1 << 22
"""Tokens counted together."""
SAMPLED_VALUES = 1 << 20
"""Values of a column that its quantiles are of."""
MOST_VALUES = 10_000
"""Distinct values of a column of text that are told apart; beyond them only the first are."""
TOP_VALUES = 10


def describe_contents(store: Store, *, top: int, tokenizer: Path | None) -> dict[str, Any]:
    """Return totals, lengths, kept columns, shards and the `top` most frequent tokens.

    Raises StoreError for an id that the tokenizer does not have or a damaged docs file, UsageError
    for another tokenizer.
    """
    manifest = store.manifest
    totals = manifest.totals
    tokens = top_tokens(store, top=top, tokenizer=tokenizer)
    return {
        "store": manifest.name,
        "totals": totals.model_dump(),
        "bytes_per_token": totals.bytes / totals.tokens if totals.tokens else None,
        "distinct_tokens": tokens["distinct"],
        "length_quantiles": manifest.length_quantiles,
        "length_histogram": length_histogram(store),
        "columns": describe_columns(store),
        "shards": [
            entry.model_dump(include={"name", "tokens", "documents"}) for entry in manifest.shards
        ],
        "top_tokens": tokens["top"],
    }


def top_tokens(store: Store, *, top: int, tokenizer: Path | None) -> dict[str, Any]:
    """Return how many ids occur (`distinct`), and the `top` most frequent with their counts.

    Raises as `describe_contents` does.
    """
    counts = _token_counts(store)
    ranked = np.argsort(-counts, kind="stable")[:top]
    ids = [int(token) for token in ranked if counts[token]]
    names = load_pinned(store, tokenizer).token_texts(ids) if tokenizer else [None] * len(ids)
    return {
        "distinct": int(np.count_nonzero(counts)),
        "top": [
            {"id": token, "count": int(counts[token]), "text": name}
            for token, name in zip(ids, names, strict=True)
        ],
    }


def length_histogram(store: Store) -> list[dict[str, int]]:
    """Documents and tokens by length: one bin for each power of two, `[from, to)` in tokens.

    Empty bins between others are there; none without documents.
    """
    lengths, counts = count_values(_lengths(store))
    if lengths.size == 0:
        return []
    bins = np.frexp(lengths.astype(np.float64))[1] - 1  # exact: floor of the binary logarithm
    return [
        {
            "from": 1 << power,
            "to": 2 << power,
            "documents": int(counts[bins == power].sum()),
            "tokens": int((counts * lengths)[bins == power].sum()),
        }
        for power in range(int(bins[0]), int(bins[-1]) + 1)
    ]


def describe_columns(store: Store) -> dict[str, dict[str, Any]]:
    """Return a summary of each kept column, by name.

    Numbers: values, missing, min, max, mean, and nearest-rank quantiles of the first million.
    Text and truth values: values, missing, the most frequent. Others: values and missing.
    """
    return {name: _describe(store, name) for name in _kept_columns(store)}


def _describe(store: Store, name: str) -> dict[str, Any]:
    import pyarrow as pa

    total = missing = 0
    summary: _Numbers | _Values | None = None
    for column in _columns(store, name):
        if summary is None:
            number = pa.types.is_integer(column.type) or pa.types.is_floating(column.type)
            text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            if number:
                summary = _Numbers()
            elif text or pa.types.is_boolean(column.type):
                summary = _Values()
        total, missing = total + len(column), missing + column.null_count
        if summary is not None:
            summary.add(column.drop_null())
    told = {} if summary is None else summary.describe()
    return {"values": total - missing, "missing": missing, **told}


class _Numbers:
    """Summary of numbers; NaN counts as a value and enters nothing."""

    def __init__(self) -> None:
        self._least, self._most, self._sum, self._count = np.inf, -np.inf, 0.0, 0
        self._first: list[NDArray[Any]] = []

    def add(self, column: pa.ChunkedArray) -> None:
        values = column.to_numpy().astype(np.float64)
        values = values[~np.isnan(values)]
        if values.size == 0:
            return
        room = SAMPLED_VALUES - self._count
        if room > 0:
            self._first.append(values[:room])
        self._least = min(self._least, float(values.min()))
        self._most = max(self._most, float(values.max()))
        self._sum += float(values.sum())
        self._count += values.size

    def describe(self) -> dict[str, Any]:
        if not self._count:
            return {}
        ordered = np.sort(np.concatenate(self._first))
        ranks = {f"p{p:02d}": -(-p * ordered.size // 100) - 1 for p in QUANTILES}
        return {
            "min": self._least,
            "max": self._most,
            "mean": self._sum / self._count,
            "quantiles": {name: float(ordered[rank]) for name, rank in ranks.items()},
            "quantiles_of": int(ordered.size),
        }


class _Values:
    """Summary of text or truth values."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._whole = True

    def add(self, column: pa.ChunkedArray) -> None:
        for found in column.value_counts().to_pylist():
            value = str(found["values"])
            if value in self._counts or len(self._counts) < MOST_VALUES:
                self._counts[value] += found["counts"]
            else:
                self._whole = False

    def describe(self) -> dict[str, Any]:
        ranked = sorted(self._counts.items(), key=lambda item: (-item[1], item[0]))
        return {
            "distinct": len(ranked) if self._whole else None,
            "top": [{"value": value, "count": count} for value, count in ranked[:TOP_VALUES]],
        }


def _kept_columns(store: Store) -> list[str]:
    import pyarrow.parquet as pq

    if not store.manifest.shards:
        return []
    first = store.manifest.shards[0].name
    names = pq.read_schema(shard_file(store.path, first, "docs")).names
    return [name for name in names if name not in {*DOCUMENT_COLUMNS, TEXT_HASH}]


def _columns(store: Store, name: str) -> Iterator[pa.ChunkedArray]:
    """Yield a column shard by shard. Raises StoreError for a docs file that cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for entry in store.manifest.shards:
        file = shard_file(store.path, entry.name, "docs")
        try:
            with pq.ParquetFile(file) as parquet:
                yield parquet.read([name]).column(name)
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise StoreError(f"{file} cannot be read: {error}. Copy the store again.") from None


def _lengths(store: Store) -> Iterator[NDArray[Any]]:
    """Lengths of the documents of each shard, in tokens."""
    stop = 0
    for entry in store.manifest.shards:
        start, stop = stop, stop + entry.documents
        ends = store.ends[start:stop].astype(np.int64)
        before = int(store.ends[start - 1]) if start else 0
        yield np.diff(ends, prepend=before)


def _token_counts(store: Store) -> I64Array:
    """(largest id + 1,) int64: how often each id occurs. Raises StoreError for a larger id."""
    largest = store.manifest.tokenizer.largest_id
    counts = np.zeros(largest + 1, np.int64)
    for start in range(0, store.num_tokens, BLOCK):
        block = store.tokens(start, min(start + BLOCK, store.num_tokens))
        if int(block.max()) > largest:
            at = int(np.argmax(block > largest))
            raise StoreError(
                f"{store.location}: token {start + at:,} is id {int(block[at]):,}, the tokenizer's"
                f" largest is {largest:,}. All that is wrong: dolmix shards verify {store.location}"
                " --full"
            )
        counts += np.bincount(block, minlength=counts.size)
    return counts
