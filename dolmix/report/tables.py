"""Statistics as tables: one row a fact, the same columns for every run and store.

What `dolmix.report.stats.describe` gives by source becomes a few long tables, each with a column
`source`, to be printed or written as Parquet.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.files import commit
from dolmix.report.quantiles import PERCENTS

Row: TypeAlias = dict[str, Any]
COUNT, TEXT, SHARE = pa.int64(), pa.string(), pa.float64()
TEXT_COUNTS = ("characters", "words", "lines")

SCHEMAS: dict[str, pa.Schema] = {
    "counts": pa.schema([("source", TEXT), ("name", TEXT), ("count", SHARE)]),
    "lengths": pa.schema(
        [
            *(("source", TEXT), ("unit", TEXT), ("from", COUNT), ("to", COUNT)),
            *(("documents", COUNT), ("sum", COUNT)),
        ]
    ),
    "columns": pa.schema(
        [
            *(("source", TEXT), ("column", TEXT), ("type", TEXT), ("values", COUNT)),
            *(("nulls", COUNT), ("not_reached", COUNT), ("nan", COUNT), ("mean", SHARE)),
            *((f"p{percent}", SHARE) for percent in PERCENTS),
            *(("true", COUNT), ("distinct", COUNT), ("error", COUNT)),
        ]
    ),
    "values": pa.schema([("source", TEXT), ("column", TEXT), ("value", TEXT), ("count", COUNT)]),
    "languages": pa.schema(
        [
            *(("source", TEXT), ("column", TEXT), ("language", TEXT), ("documents", COUNT)),
            *(("bytes", COUNT), ("tokens", COUNT), ("kept", COUNT)),
        ]
    ),
    "domains": pa.schema(
        [
            *(("source", TEXT), ("domain", TEXT), ("documents", COUNT), ("kept", COUNT)),
            *(("tokens", COUNT), ("error", COUNT)),
        ]
    ),
    "verdicts": pa.schema(
        [
            *(("source", TEXT), ("step", TEXT), ("reason", TEXT), ("documents", COUNT)),
            *(("bytes", COUNT), ("frac", SHARE)),
        ]
    ),
    "duplicates": pa.schema(
        [
            *(("source", TEXT), ("step", TEXT), ("documents", COUNT), ("duplicates", COUNT)),
            *(("duplicate_frac", SHARE), ("dropped", pa.bool_()), ("clusters", COUNT)),
            *(("units", COUNT), ("duplicate_units", COUNT), ("duplicate_bytes", COUNT)),
            *((f"jaccard_p{percent}", SHARE) for percent in PERCENTS),
        ]
    ),
    "clusters": pa.schema(
        [
            *(("source", TEXT), ("step", TEXT), ("from", COUNT), ("to", COUNT)),
            *(("clusters", COUNT), ("members", COUNT)),
        ]
    ),
    "tokens": pa.schema([("source", TEXT), ("id", COUNT), ("text", TEXT), ("count", COUNT)]),
    "ngrams": pa.schema(
        [
            *(("source", TEXT), ("n", COUNT), ("ngram", TEXT), ("count", COUNT)),
            *(("frac", SHARE), ("elsewhere", COUNT)),
        ]
    ),
}
"""Columns of each table, in order."""


def tables(found: Mapping[str, Any]) -> dict[str, list[Row]]:
    """Rows of every table, by name; a row lacks the columns that say nothing of it."""
    return {
        name: [
            {"source": source, **row}
            for source, told in found["sources"].items()
            for row in rows(told)
        ]
        for name, rows in _ROWS.items()
    }


def write_parquet(found: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write each table as `<folder>/<table>.parquet`, empty ones too; files there are replaced."""
    written = []
    for name, rows in tables(found).items():
        schema = SCHEMAS[name]
        path = folder / f"{name}.parquet"
        with commit.new_file(path) as attempt:
            table = pa.Table.from_pylist([_typed(row, schema) for row in rows], schema)
            pq.write_table(table, attempt, compression="zstd")
        written.append(path)
    return written


def _typed(row: Row, schema: pa.Schema) -> Row:
    """Give whole numbers as floats where the column has those."""
    floats = {field.name for field in schema if field.type == SHARE}
    return {k: float(v) if k in floats and v is not None else v for k, v in row.items()}


def _counts(told: Mapping[str, Any]) -> Iterator[Row]:
    for name, count in told["counts"].items():
        if not isinstance(count, str):
            yield {"name": name, "count": count}
    for name in TEXT_COUNTS if "texts" in told else ():
        yield {"name": f"text_{name}", "count": told["texts"][name]}


def _lengths(told: Mapping[str, Any]) -> Iterator[Row]:
    for unit, bins in told["lengths"].items():
        for row in bins:
            if row["documents"]:
                yield {"unit": unit, **_renamed(row, unit, "sum")}


def _columns(told: Mapping[str, Any]) -> Iterator[Row]:
    for name, column in told["columns"].items():
        plain = {k: v for k, v in column.items() if k not in {"quantiles", "top", "sum"}}
        yield {"column": name, **plain, **column.get("quantiles", {})}


def _values(told: Mapping[str, Any]) -> Iterator[Row]:
    for name, column in told["columns"].items():
        yield from ({"column": name, **row} for row in column.get("top", ()))


def _languages(told: Mapping[str, Any]) -> Iterator[Row]:
    yield from told["languages"]


def _domains(told: Mapping[str, Any]) -> Iterator[Row]:
    domains = told["domains"] or {"top": (), "error": 0}
    yield from ({**row, "error": domains["error"]} for row in domains["top"])


def _verdicts(told: Mapping[str, Any]) -> Iterator[Row]:
    yield from told.get("verdicts", ())


def _duplicates(told: Mapping[str, Any]) -> Iterator[Row]:
    for step in told["duplicates"]:
        plain = {k: v for k, v in step.items() if k not in {"sizes", "jaccard", "same_text"}}
        yield {**plain, **{f"jaccard_{k}": v for k, v in step.get("jaccard", {}).items()}}


def _clusters(told: Mapping[str, Any]) -> Iterator[Row]:
    for step in told["duplicates"]:
        for row in step.get("sizes", ()):
            if row["documents"]:
                yield {"step": step["step"], **_renamed(row, "documents", "clusters")}


def _tokens(told: Mapping[str, Any]) -> Iterator[Row]:
    yield from told.get("tokens", {"top": ()})["top"]


def _ngrams(told: Mapping[str, Any]) -> Iterator[Row]:
    for length in told.get("ngrams", ()):
        about = {"n": length["n"], "elsewhere": length["elsewhere"]}
        yield from ({**about, **row} for row in length["top"])


def _renamed(row: Row, old: str, new: str) -> Row:
    return {new if name == old else name: value for name, value in row.items()}


_ROWS: dict[str, Callable[[Mapping[str, Any]], Iterator[Row]]] = {
    "counts": _counts,
    "lengths": _lengths,
    "columns": _columns,
    "values": _values,
    "languages": _languages,
    "domains": _domains,
    "verdicts": _verdicts,
    "duplicates": _duplicates,
    "clusters": _clusters,
    "tokens": _tokens,
    "ngrams": _ngrams,
}
