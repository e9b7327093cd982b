"""Parquet columns mean what the same values mean as JSON records."""

import datetime as dt
import decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dolmix.files.parquet import (
    check_columns,
    open_parquet,
    read_columns,
    read_table,
    row_groups,
)
from dolmix.files.records import BadValueError, FieldPaths

PATHS = FieldPaths(
    text=("text",),
    id=("id",),
    url=("metadata", "url"),
    extra={"metadata.stars": ("metadata", "stars"), "n": ("n",)},
)


def batch(**columns: pa.Array) -> pa.RecordBatch:
    """Build a record batch, with ids unless given."""
    rows = len(next(iter(columns.values())))
    columns.setdefault("id", pa.array([f"d{n}" for n in range(rows)]))
    return pa.RecordBatch.from_pydict(columns)


def binary_as_text(values: list[bytes], kind: pa.DataType) -> pa.Array:
    """Build a text column from bytes that need not be UTF-8."""
    return pa.Array.from_buffers(kind, len(values), pa.array(values, pa.binary()).buffers())


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int32(), pa.string()),
        pa.dictionary(pa.int8(), pa.large_string()),
    ],
)
def test_every_text_type_is_read_alike(kind: pa.DataType) -> None:
    """Text and ids may be plain, large, views or dictionaries; texts come as large_string."""
    rows = batch(text=pa.array(["one", "zwei", "один"], kind), id=pa.array(["a", "b", "c"], kind))
    check_columns(rows.schema, PATHS)
    found = read_columns(rows, PATHS)
    assert found.text.type == pa.large_string()
    assert found.text.to_pylist() == ["one", "zwei", "один"]
    assert found.ids.to_pylist() == ["a", "b", "c"]
    assert found.causes == {}


def test_dotted_paths_run_through_structs_and_their_nulls() -> None:
    """A null struct has null fields; a missing optional column is null; values are JSON text."""
    metadata = pa.array([{"url": "u", "stars": 7}, None, {"url": None, "stars": None}])
    rows = batch(text=pa.array(["a", "b", "c"]), metadata=metadata)
    assert check_columns(rows.schema, PATHS) == ["id", "metadata.stars", "metadata.url", "text"]
    found = read_columns(rows, PATHS)
    assert found.urls.to_pylist() == ["u", None, None]
    assert found.extra["metadata.stars"].to_pylist() == ["7", None, None]
    assert found.extra["n"].to_pylist() == [None, None, None]


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (pa.array([3.0, float("nan")]), ["3.0", None]),
        (pa.array(["7", None]), ['"7"', None]),
        (pa.array([[1, 2], []]), ["[1,2]", "[]"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array([dt.date(2024, 2, 1), None]), ['"2024-02-01"', None]),
        (pa.array([decimal.Decimal("1.50"), None]), ['"1.50"', None]),
        (pa.array([b"\xff", b""]), ['"ff"', '""']),
    ],
)
def test_further_columns_are_json_text(values: pa.Array, kept: list[str | None]) -> None:
    """Every Arrow type has one JSON form; NaN, which has none, is null."""
    rows = batch(text=pa.array(["a", "b"]), n=values)
    assert read_columns(rows, PATHS).extra["n"].to_pylist() == kept


def test_integer_ids_are_text() -> None:
    """As in JSON records."""
    rows = batch(text=pa.array(["a", "b"]), id=pa.array([5, 2**63], pa.uint64()))
    check_columns(rows.schema, PATHS)
    assert read_columns(rows, PATHS).ids.to_pylist() == ["5", "9223372036854775808"]


def test_bad_rows_are_named_with_their_first_cause() -> None:
    """Null text, null or empty ids and bytes that are no UTF-8 are each found in their row."""
    text = ["good", None, "a", "b", "c"]
    rows = batch(text=pa.array(text), id=pa.array(["x", None, None, "", "y"]))
    found = read_columns(rows, PATHS)
    assert {row: cause.split(";")[0] for row, cause in found.causes.items()} == {
        1: "field 'text' is null",
        2: "field 'id' is null",
        3: "field 'id' is empty",
    }
    assert found.good.tolist() == [True, False, False, False, True]
    broken = binary_as_text([b"ok", b"a\xffb", b"\xed\xa0\x80"], pa.string())
    found = read_columns(batch(text=broken), PATHS)
    assert found.causes[1] == "field 'text': invalid UTF-8: byte 0xff at byte 2 of the value"
    assert sorted(found.causes) == [1, 2]
    assert found.text.to_pylist()[0] == "ok"
    found = read_columns(batch(text=pa.array(["a"] * 3), n=broken), PATHS)
    assert sorted(found.causes) == [1, 2]
    assert found.extra["n"].to_pylist()[0] == '"ok"'


@pytest.mark.parametrize(
    ("schema", "cause"),
    [
        ({"txt": pa.string()}, "missing column 'text'; did you mean 'txt'?"),
        ({"d": pa.struct({"text": pa.string()})}, "missing column 'text'; did you mean 'd.text'?"),
        ({"text": pa.binary()}, "column 'text' is binary, not text; if it holds UTF-8"),
        ({"text": pa.large_binary()}, "column 'text' is large_binary, not text"),
        ({"text": pa.int64()}, "column 'text' is int64; text is expected"),
        ({"text": pa.string()}, "missing column 'id'"),
        ({"text": pa.string(), "id": pa.float64()}, "column 'id' is double; text or integers"),
        (
            {"text": pa.string(), "id": pa.string(), "metadata": pa.string()},
            "column 'metadata' is string; 'metadata.url' needs a struct there",
        ),
        (
            {"text": pa.string(), "id": pa.string(), "metadata": pa.struct({"url": pa.int8()})},
            "column 'metadata.url' is int8; text is expected",
        ),
    ],
)
def test_a_column_that_does_not_fit_is_refused(schema: dict[str, pa.DataType], cause: str) -> None:
    """The column, its type and what was expected are named before any row is read."""
    with pytest.raises(BadValueError) as error:
        check_columns(pa.schema(list(schema.items())), PATHS)
    assert str(error.value).startswith(cause)


def test_row_groups_are_known_without_reading_rows(tmp_path: Path) -> None:
    """Planning needs rows and stored bytes; a file that is no Parquet has none."""
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["abc" * n for n in range(25)]}), path, row_group_size=10)
    groups = row_groups(str(path)) or []
    assert [g.num_rows for g in groups] == [10, 10, 5]
    assert groups[0].num_bytes < groups[1].num_bytes
    assert sum(g.num_bytes for g in groups) > sum(3 * n for n in range(25))
    path.write_bytes(path.read_bytes()[:-9])
    assert row_groups(str(path)) is None
    with pytest.raises(BadValueError, match="corrupt Parquet"), open_parquet(str(path)):
        pass


@pytest.mark.parametrize("columns", [None, [], ["b.x"], ["id", "b"], ["b", "b.x", "id"]])
def test_a_table_is_read_as_pyarrow_reads_it(tmp_path: Path, columns: list[str] | None) -> None:
    """The chosen columns, in the order asked, and no other, though one name begins another."""
    written = pa.table(
        {
            "id": ["a", None, "c"],
            "b": pa.array([{"x": 1}, {"x": 2}, None]),
            "b.x": [[0.5], [], None],
        }
    )
    path = tmp_path / "table.parquet"
    pq.write_table(written, path, row_group_size=2)
    table = read_table(path, columns)
    assert table.equals(written if columns is None else written.select(columns))
