"""Records of JSONL streams: lines, the wanted fields of each, and what makes one bad.

Lines end at byte 10 alone: texts may hold U+2028, U+0085 or a bare carriage return. A record that
cannot be used is never dropped here: it comes back as a `BadValueError` or in a `BadRecord`, with
its cause.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow as pa

from dolmix.document import TextBatch
from dolmix.files.paths import BadContentError

Keys: TypeAlias = tuple[str, ...]
"""A dotted path in parts: `metadata.url` is `("metadata", "url")`."""

MAX_RECORD_BYTES = 256 << 20
"""A longer line is a bad record: such a file has lost its line ends and would fill memory."""

RAW_BYTES = 64 << 10
"""How much of a bad record's line is kept."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_JSON_TYPES = {
    type(None): "null",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}
_ABSENT = object()


@dataclass(frozen=True, slots=True)
class BadRecord:
    """One record, or one stretch of a damaged file, that could not be read.

    path     the file, as `Part.path` names it
    record   position within the part, from 0, in lines (JSONL, blank ones counted), rows (Parquet)
             or records of any type (WARC)
    line     line, row or WARC record in the file, from 1; None where only reading the file from its
             beginning would tell
    offset   byte in the file's text (after decompression) at which the line begins; of WARC, byte
             of the stored file at which the record or its gzip member begins; None where unknown
    cause    one sentence: what is wrong and what was expected
    raw      the line, at most 64 KiB of it, or how a WARC record begins; empty for damage to a
             stream
    """

    path: str
    record: int
    line: int | None
    offset: int | None
    cause: str
    raw: bytes


class BadValueError(BadContentError):
    """A record that cannot become a document; the message is the cause."""


@dataclass(frozen=True, slots=True)
class FieldPaths:
    """Where the wanted values of a record are; without `id`, ids are made from places."""

    text: Keys
    id: Keys | None
    url: Keys | None
    extra: Mapping[str, Keys]


@dataclass(frozen=True, slots=True)
class Row:
    """The wanted values of one record; `extra` in the order of `FieldPaths.extra`."""

    text: str
    id: str | None
    url: str | None
    extra: tuple[str | None, ...]


@dataclass
class Rows:
    """Rows on their way into a TextBatch."""

    names: tuple[str, ...]
    limits: tuple[int, int]
    """Documents and bytes that close a batch."""
    texts: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    urls: list[str | None] = field(default_factory=list)
    records: list[int] = field(default_factory=list)
    extra: list[tuple[str | None, ...]] = field(default_factory=list)
    num_bytes: int = 0

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def is_full(self) -> bool:
        """Whether the batch is closed."""
        return len(self) >= self.limits[0] or self.num_bytes >= self.limits[1]

    def append(self, row: Row, id_: str, record: int, num_bytes: int) -> None:
        """Add a row; `num_bytes` is what it counts for when a batch is closed."""
        self.texts.append(row.text)
        self.ids.append(id_)
        self.urls.append(row.url)
        self.records.append(record)
        self.extra.append(row.extra)
        self.num_bytes += num_bytes

    def take(self) -> TextBatch:
        """Build the batch and start the next one."""
        columns = zip(*self.extra, strict=True) if self.names else ()
        batch = TextBatch(
            text=pa.array(self.texts, pa.large_string()),
            ids=pa.array(self.ids, pa.string()),
            urls=pa.array(self.urls, pa.string()),
            records=np.array(self.records, np.int64),
            fields={n: pa.array(c, pa.string()) for n, c in zip(self.names, columns, strict=True)},
        )
        for values in (self.texts, self.ids, self.urls, self.records, self.extra):
            values.clear()
        self.num_bytes = 0
        return batch


def split_lines(
    own: Iterable[bytes], tail: Iterable[bytes] = (), *, skip_first: bool = False
) -> Iterator[tuple[int, list[bytes]]]:
    """Yield runs of lines, without line ends, as `line_runs` does."""
    for begin, run in line_runs(own, tail, skip_first=skip_first):
        yield begin, run.split(b"\n")


def line_runs(
    own: Iterable[bytes], tail: Iterable[bytes] = (), *, skip_first: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Yield runs of whole lines, each with the offset in `own` where it begins.

    A run has no line end at its own end; line ends are between its lines alone.

    own          blocks of a part
    tail         blocks after it, read only as far as the line that `own` leaves open, and then on
                 to the next empty block (so that a compressed tail is verified)
    skip_first   the part begins within a line, or at the end of one: all up to its first newline is
                 another's

    So a newline's owner owns the line after it, and each line of a file belongs to exactly one of
    its parts. A line of more than MAX_RECORD_BYTES is cut to one byte more than that.
    """
    position = begin = 0
    carry = _Carry()
    skip = skip_first
    for block in own:
        first = block.find(b"\n")
        if first < 0:
            carry.append(block)
        else:
            last = block.rfind(b"\n")
            carry.append(block[:first])
            line = carry.take()
            if not skip:
                yield begin, line
            skip = False
            if last > first:
                yield position + first + 1, block[first + 1 : last]
            carry.append(block[last + 1 :])
            begin = position + last + 1
        position += len(block)
    if skip:
        return
    ended = _finish(carry, iter(tail))
    line = carry.take()
    if line or ended:
        yield begin, line


class _Carry:
    """Pieces of a line that is not complete yet; what exceeds the limit is forgotten."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._left = MAX_RECORD_BYTES + 1

    def append(self, piece: bytes) -> None:
        if self._left > 0:
            self._pieces.append(piece[: self._left])
            self._left -= len(piece)

    def take(self) -> bytes:
        line = b"".join(self._pieces)
        self._pieces.clear()
        self._left = MAX_RECORD_BYTES + 1
        return line


def _finish(carry: _Carry, tail: Iterator[bytes]) -> bool:
    """Add to `carry` up to the next newline in `tail`; return whether there is one."""
    for block in tail:
        end = block.find(b"\n")
        carry.append(block if end < 0 else block[:end])
        if end >= 0:
            while next(tail, b""):
                pass
            return True
    return False


# --- one record -----------------------------------------------------------------------------------


def parse_record(line: bytes, paths: FieldPaths) -> Row:
    """Read the wanted fields of one line. Raises BadValueError with the cause."""
    if len(line) > MAX_RECORD_BYTES:
        raise BadValueError(
            f"record is longer than {MAX_RECORD_BYTES >> 20} MiB; are line ends missing?"
        )
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise BadValueError(_json_cause(line, error)) from None
    if type(record) is not dict:
        raise BadValueError(
            f"not an object but {_JSON_TYPES[type(record)]}; one JSON object a line is expected"
        )
    text = _find(record, paths.text)
    if type(text) is not str:
        raise BadValueError(_field_cause(record, paths.text, text, "text"))
    url = None if paths.url is None else _find(record, paths.url)
    if url is _ABSENT:
        url = None
    if url is not None and type(url) is not str:
        raise BadValueError(_field_cause(record, paths.url or (), url, "text or null"))
    id_ = None if paths.id is None else _read_id(record, paths.id)
    return Row(text, id_, url, tuple(json_at(record, k) for k in paths.extra.values()))


def _find(record: Any, keys: Keys) -> Any:
    for key in keys:
        if type(record) is not dict:
            return _ABSENT
        record = record.get(key, _ABSENT)
    return record


def _read_id(record: dict[str, Any], keys: Keys) -> str:
    value = _find(record, keys)
    if type(value) is int:
        return str(value)
    if type(value) is not str:
        raise BadValueError(_field_cause(record, keys, value, "text or an integer"))
    if not value:
        raise BadValueError(f"field {'.'.join(keys)!r} is empty; an id is expected")
    return value


def json_at(record: Any, keys: Keys) -> str | None:
    """JSON text of the value at a path; None where there is none, or null."""
    return _as_json(_find(record, keys))


def _as_json(value: Any) -> str | None:
    return None if value is None or value is _ABSENT else orjson.dumps(value).decode()


# --- causes ---------------------------------------------------------------------------------------


def _json_cause(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as fault:
        return (
            f"invalid UTF-8: byte 0x{line[fault.start]:02x} at byte {fault.start + 1} of the line"
        )
    if "surrogate" in error.msg:
        return f"invalid JSON: lone surrogate escape at column {error.colno}, which is no character"
    return f"invalid JSON: {error.msg} at column {error.colno}"


def _field_cause(record: dict[str, Any], keys: Keys, value: Any, expected: str) -> str:
    name = ".".join(keys)
    if value is _ABSENT:
        return f"missing field {name!r}{suggest(name, list(_paths(record)))}"
    return f"field {name!r} is {_JSON_TYPES[type(value)]}; {expected} is expected"


def suggest(name: str, known: list[str]) -> str:
    """Say which of the `known` paths `name` probably meant, or which there are."""
    same_last = [k for k in known if k.rpartition(".")[2] == name.rpartition(".")[2]]
    close = same_last or get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    shown = ", ".join(repr(k[:60]) for k in known if "." not in k)
    return f"; there are {shown}" if shown else "; there are no fields"


def _paths(record: dict[str, Any], depth: int = 3, limit: int = 30) -> Iterator[str]:
    """Yield dotted paths of a record, outer before inner, a bounded number of them."""
    for key in list(record)[:limit]:
        yield key
    if depth > 1:
        for key, value in list(record.items())[:limit]:
            if type(value) is dict:
                yield from (f"{key}.{inner}" for inner in _paths(value, depth - 1, limit))
