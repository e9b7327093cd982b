"""Columns of Parquet files: the wanted ones, checked like records, no Python object per text.

Dotted paths run through struct columns. What concerns a whole file (a missing column, a column of
another type, an unreadable footer or page) is raised; what concerns single rows is returned as
causes, by row.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.document import BoolArray
from dolmix.files.paths import is_remote, open_input, reading_errors
from dolmix.files.records import BadValueError, FieldPaths, Keys, suggest


@dataclass(frozen=True, slots=True)
class RowGroup:
    """Size of one row group: rows, and bytes before compression, as the footer states them."""

    num_rows: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class ColumnBatch:
    """Columns of a run of rows; rows in `causes` (row → what is wrong) hold nothing usable.

    text large_string, ids string or None, urls string, extra name → string; all of one length.
    """

    text: Any
    ids: Any | None
    urls: Any
    extra: dict[str, Any]
    causes: dict[int, str]

    @property
    def good(self) -> BoolArray:
        """(N,) bool: rows that are documents."""
        mask = np.ones(len(self.text), np.bool_)
        mask[list(self.causes)] = False
        return mask


@contextmanager
def open_parquet(uri: str) -> Iterator[Any]:
    """Open a file as `pyarrow.parquet.ParquetFile`, page checksums verified where it has them.

    Raises BadValueError if it is no Parquet file, DataError if it cannot be opened or read.
    """
    with ExitStack() as stack:
        source = stack.enter_context(open_input(uri)) if is_remote(uri) else uri
        with parquet_errors(uri):
            opened = pq.ParquetFile(source, page_checksum_verification=True)
            _check_footer(opened.metadata)
        yield stack.enter_context(opened)


def read_table(path: Path, columns: Sequence[str] | None = None) -> Any:
    """Read a file of our own into a `pyarrow.Table`, in this thread; all columns without a choice.

    For files of a part's size: `pyarrow.parquet.read_table` reads through threads and a data set,
    which takes two to four times as long there.
    """
    with pq.ParquetFile(path) as file:
        table = file.read(columns, use_threads=False)
        return table if columns is None else table.select(columns)


def _check_footer(metadata: Any) -> None:
    """Refuse a footer that contradicts itself: it has no checksum, and readers follow it."""
    groups = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    if sum(groups) != metadata.num_rows or any(n < 0 for n in groups):
        raise ValueError(f"footer states {metadata.num_rows} rows, its row groups {sum(groups)}")


@contextmanager
def parquet_errors(uri: str) -> Iterator[None]:
    """Turn what pyarrow raises on damaged content into BadValueError, a bad disk into DataError."""
    with reading_errors(uri):
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise BadValueError(f"corrupt Parquet: {first_line.rstrip('.')}") from error


def row_groups(uri: str) -> list[RowGroup] | None:
    """Sizes of a file's row groups, None if its footer cannot be read: the reader then says why."""
    try:
        with open_parquet(uri) as file, parquet_errors(uri):
            groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
            return [RowGroup(g.num_rows, max(0, g.total_byte_size)) for g in groups]
    except BadValueError:
        return None


def check_columns(schema: Any, paths: FieldPaths) -> list[str]:
    """Return the column names to read.

    Raises BadValueError for a column that is missing or of a wrong type.
    """
    text = _column_type(schema, paths.text, required=True)
    if _is_binary(text):
        name = ".".join(paths.text)
        raise BadValueError(
            f"column {name!r} is {text}, not text; if it holds UTF-8, write it again cast to string"
        )
    _require(paths.text, text, _is_text(text) or pa.types.is_null(text), "text")
    if paths.id is not None:
        kind = _column_type(schema, paths.id, required=True)
        fits = _is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)
        _require(paths.id, kind, fits, "text or integers")
    if paths.url is not None and (kind := _column_type(schema, paths.url)) is not None:
        _require(paths.url, kind, _is_text(kind) or pa.types.is_null(kind), "text")
    optional = [*paths.extra.values(), *([paths.url] if paths.url else [])]
    present = [k for k in optional if _column_type(schema, k) is not None]
    needed = [paths.text, *([paths.id] if paths.id else []), *present]
    return sorted({".".join(keys) for keys in needed})


def read_columns(batch: Any, paths: FieldPaths) -> ColumnBatch:
    """Take the wanted columns out of one record batch whose schema `check_columns` accepted."""
    causes: dict[int, str] = {}
    text = _texts(batch, paths.text, pa.large_string(), causes)
    _refuse_null(text, paths.text, causes)
    ids = None
    if paths.id is not None:
        ids = _texts(batch, paths.id, pa.string(), causes)
        _refuse_null(ids, paths.id, causes)
        for row in np.flatnonzero(pc.fill_null(pc.equal(ids, ""), fill_value=False)).tolist():
            causes.setdefault(row, f"field {'.'.join(paths.id)!r} is empty; an id is expected")
    urls = pa.nulls(len(text), pa.string())
    if paths.url is not None and _column(batch, paths.url) is not None:
        urls = _texts(batch, paths.url, pa.string(), causes)
    extra = {n: _as_json(_column(batch, k), n, len(text), causes) for n, k in paths.extra.items()}
    return ColumnBatch(text, ids, urls, extra, causes)


# --- types ----------------------------------------------------------------------------------------


def _column_type(schema: Any, keys: Keys, *, required: bool = False) -> Any | None:
    """Arrow type at a dotted path, None if there is no such column.

    Raises BadValueError if the path cannot be followed, or if it is required and absent.
    """
    name, kind = ".".join(keys), pa.struct(list(schema))
    for depth, key in enumerate(keys):
        if not pa.types.is_struct(kind):
            where = ".".join(keys[:depth])
            raise BadValueError(f"column {where!r} is {kind}; {name!r} needs a struct there")
        index = kind.get_field_index(key)
        if index < 0:
            if required:
                raise BadValueError(f"missing column {name!r}{suggest(name, list(_names(schema)))}")
            return None
        kind = kind.field(index).type
    return kind


def _names(fields: Any, prefix: str = "") -> Iterator[str]:
    for item in fields:
        yield prefix + item.name
    for item in fields:
        if pa.types.is_struct(item.type):
            yield from _names(list(item.type), f"{prefix}{item.name}.")


def _is_text(kind: Any) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(check(kind) for check in checks)


def _is_binary(kind: Any) -> bool:
    checks = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(check(kind) for check in checks)


def _require(keys: Keys, kind: Any, fits: bool, expected: str) -> None:
    if not fits:
        raise BadValueError(f"column {'.'.join(keys)!r} is {kind}; {expected} is expected")


# --- values ---------------------------------------------------------------------------------------


def _column(batch: Any, keys: Keys) -> Any | None:
    index = batch.schema.get_field_index(keys[0])
    if index < 0:
        return None
    array = batch.column(index)
    for key in keys[1:]:
        if array.type.get_field_index(key) < 0:
            return None
        array = pc.struct_field(array, key)
    return array


def _texts(batch: Any, keys: Keys, kind: Any, causes: dict[int, str]) -> Any:
    """Cast a column to text and note rows that are not UTF-8, which pyarrow does not check."""
    array = pc.cast(_column(batch, keys), kind)
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        binary = pa.large_binary() if pa.types.is_large_string(kind) else pa.binary()
        values = array.cast(binary).to_pylist()
        for row, value in enumerate(values):
            if value is not None and (fault := _utf8_fault(value)) is not None:
                causes.setdefault(row, f"field {'.'.join(keys)!r}: {fault}")
                values[row] = None
        array = pa.array(values, binary).cast(kind)
    return array


def _utf8_fault(value: bytes) -> str | None:
    try:
        value.decode()
    except UnicodeDecodeError as fault:
        return (
            f"invalid UTF-8: byte 0x{value[fault.start]:02x} at byte {fault.start + 1} of the value"
        )
    return None


def _refuse_null(array: Any, keys: Keys, causes: dict[int, str]) -> None:
    for row in np.flatnonzero(array.is_null()).tolist() if array.null_count else ():
        causes.setdefault(row, f"field {'.'.join(keys)!r} is null; a value is expected")


def _as_json(array: Any | None, name: str, size: int, causes: dict[int, str]) -> Any:
    """Each value as JSON text, null for null; rows whose value has no JSON form are noted."""
    if array is None:
        return pa.nulls(size, pa.string())
    try:
        values = [_dump(value) for value in array.to_pylist()]
    except (ValueError, TypeError, OverflowError):
        values = [None] * size
        for row in range(size):
            try:
                values[row] = _dump(array[row].as_py())
            except (ValueError, TypeError, OverflowError) as error:
                causes.setdefault(row, f"field {name!r} cannot be written as JSON: {error}")
    return pa.array(values, pa.string())


def _dump(value: Any) -> str | None:
    text = None if value is None else orjson.dumps(value, default=_plain).decode()
    return None if text == "null" else text  # a NaN, which JSON cannot hold


def _plain(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
