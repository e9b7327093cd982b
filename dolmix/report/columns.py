"""What the columns of documents hold: exact quantiles of numbers, the most frequent texts.

Columns are read from Parquet, several at a time as long as their values take `HELD_BYTES` or less
(8 bytes a document and column); a column that takes more by itself is never held
(`quantiles.streamed_quantiles`). The values are the same either way.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolmix.report.counting import TopValues
from dolmix.report.quantiles import PERCENTS, Values, held_quantiles, streamed_quantiles

if TYPE_CHECKING:
    from dolmix.document import F64Array, I64Array

HELD_BYTES = 1 << 29
"""Bytes of the values that are in memory together."""
VALUE_BYTES = 8


class Rows(Protocol):
    """Documents with columns, which are read anew at each call, in the same order."""

    @property
    def num_documents(self) -> int:
        """Documents, or a few more."""

    def tables(self, columns: Sequence[str]) -> Iterable[pa.Table]:
        """Yield these columns of all documents, table by table."""


@dataclass
class _Column:
    """What was seen of one column."""

    type: pa.DataType
    values: int = 0
    nulls: int = 0
    nan: int = 0
    total: float = 0
    pieces: list[Values] = field(default_factory=list)
    texts: TopValues = field(default_factory=TopValues)


def describe_columns(
    rows: Rows, types: dict[str, pa.DataType], top: int, *, held_bytes: int = HELD_BYTES
) -> dict[str, dict[str, Any]]:
    """Describe columns of numbers, truth values and texts, by name; others are left out.

    types  Arrow type of each column

    All have `type`, `values`, `nulls`; numbers `nan`, `sum`, `mean` and `quantiles`, truth values
    `true`, texts `distinct`, `error` and `top`, as `TopValues.describe` gives them.
    """
    known = {name: kind for name, kind in types.items() if is_number(kind) or is_text(kind)}
    room = held_bytes // (VALUE_BYTES * max(rows.num_documents, 1))
    described: dict[str, dict[str, Any]] = {}
    for names in _groups(list(known), max(room, 1)):
        found = {name: _Column(known[name]) for name in names}
        for table in rows.tables(names):
            for name, column in found.items():
                _add(column, table[name].combine_chunks(), hold=room > 0)
        for name, column in found.items():
            described[name] = _describe(column, _pieces(rows, name), top)
    return {name: described[name] for name in known}


def is_number(kind: pa.DataType) -> bool:
    """Whether quantiles, or a share of truth values, are given of a type."""
    types = pa.types
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def is_text(kind: pa.DataType) -> bool:
    """Whether values of a type are texts."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _groups(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _add(column: _Column, values: pa.Array, *, hold: bool) -> None:
    column.nulls += values.null_count
    column.values += len(values) - values.null_count
    there = values.drop_null()
    if is_text(column.type):
        counts = there.value_counts()
        column.texts.add(counts.field("values").to_pylist(), counts.field("counts").to_pylist())
        return
    numbers = as_numbers(there)
    column.nan += len(there) - len(numbers)
    column.total += numbers.sum().item()
    if hold and not pa.types.is_boolean(column.type):
        column.pieces.append(numbers)


def as_numbers(values: pa.Array) -> Values:
    """(N,) float64 or int64: numbers or truth values, none null, without NaN."""
    if pa.types.is_floating(values.type):
        floats: F64Array = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return floats[~np.isnan(floats)] + 0.0  # -0.0 is 0.0, however many values are held
    whole: I64Array = values.cast(pa.int64(), safe=False).to_numpy(zero_copy_only=False)
    return whole


def _pieces(rows: Rows, name: str) -> Callable[[], Iterator[Values]]:
    """Give a function that reads the values of a column anew."""
    return lambda: (as_numbers(pc.drop_null(t[name].combine_chunks())) for t in rows.tables([name]))


def _describe(column: _Column, pieces: Callable[[], Iterator[Values]], top: int) -> dict[str, Any]:
    told: dict[str, Any] = {
        "type": str(column.type),
        "values": column.values,
        "nulls": column.nulls,
    }
    if is_text(column.type):
        return {**told, **column.texts.describe(top)}
    if pa.types.is_boolean(column.type):
        return {**told, "true": int(column.total)}
    count = column.values - column.nan
    mean = column.total / count if count else None
    told |= {"nan": column.nan, "sum": column.total, "mean": mean}
    if not count:
        return {**told, "quantiles": {}}
    if column.pieces:
        held: Values = np.concatenate(column.pieces)  # type: ignore[assignment]
        found = held_quantiles(held)
    else:
        found = streamed_quantiles(pieces, count)
    return {**told, "quantiles": {f"p{p}": value for p, value in zip(PERCENTS, found, strict=True)}}
