"""Decisions: every column and verdict of a batch, one row a document.

Filters judge in order, each on what those before it left: a document that one drops reaches no
later one, and a text that one rewrites is what the later ones read. Edits are written as spans of
the original text, however many came before, so that the text that a store trains on follows from
the input and one column alone.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import unidata_version

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolmix.document import BoolArray, I64Array, TextBatch
from dolmix.filters.base import EDIT, Filter, column_identity, identity, judge
from dolmix.pipeline.clock import Clock
from dolmix.pipeline.plan import KEY_FORMAT, digest_of
from dolmix.pipeline.spec import Source
from dolmix.text.edits import Edits, compose, edited, read_edits

if TYPE_CHECKING:
    import pyarrow.parquet as pq

BASE_FIELDS = (
    pa.field("record", pa.int64()),
    pa.field("id", pa.string()),
    pa.field("num_bytes", pa.int64()),
)
VERDICT_FIELDS = (pa.field("reached", pa.string()), pa.field("reason", pa.string()))
_PLAIN = (pa.int64(), pa.float64())
DIGEST_CHARACTERS = 16
"""Hex digits of an edit's digest that a column's metadata holds."""
KEY = b"key"
"""Metadata of a column: two columns of one name, type and key hold equal values for one part. Empty
where nobody can know that."""
READ_BY_RUN_ALONE = {"filters", "version", "inputs", "holdout", "warc"}
"""Settings of a source that do not change how its records read."""


def reading_digest(source: Source) -> str:
    """Digest of everything that decides how a record reads, its file apart."""
    settings = source.model_dump(mode="json", exclude=READ_BY_RUN_ALONE)
    if (reading := source.reading()) is not None:
        settings["reading"] = reading
    return digest_of({"format": KEY_FORMAT, "reading": settings, "unicode": unidata_version})


def decision_schema(filters: Sequence[Filter], *, reading: str = "") -> pa.Schema:
    """Build the schema of a source's decisions.

    reading  digest of what decides how a record reads; enters every key

    Metadata says whose definition a column follows, under `edits` which edits the text had been
    through: `<filter>:<digest of its settings>`, in order, joined by commas, empty for the original
    text; under `key` what its values depend on; and under `limits` those that the run found.
    """
    fields = [field.with_metadata({KEY: reading.encode()}) for field in BASE_FIELDS]
    edits: list[str] = []
    keys = _Keys(reading)
    for filter_ in filters:
        about = {
            "filter": filter_.type,
            "version": str(filter_.version),
            "definition": filter_.definition,
            "splitter": filter_.splitter,
            "edits": ",".join(edits),
            KEY.decode(): keys.of(filter_),
            **_limits(filter_),
        }
        for column, kind in filter_.column_types().items():
            fields.append(pa.field(f"{filter_.label}.{column}", kind, metadata=about))
        if filter_.has_edit:
            digest = digest_of(identity(filter_))[:DIGEST_CHARACTERS]
            edits.append(f"{filter_.label}:{digest}")
    return pa.schema([*fields, *VERDICT_FIELDS])


def _limits(filter_: Filter) -> dict[str, str]:
    """Metadata of a filter that judges by limits that its run found: which, as JSON."""
    limits = {q.setting: getattr(filter_, q.setting) for q in filter_.quantiles()}
    return {"limits": json.dumps(limits, sort_keys=True)} if limits else {}


class _Keys:
    """Keys of the columns of filters, asked for in the filters' order."""

    def __init__(self, reading: str) -> None:
        self._reading = reading
        self._edits: list[dict[str, Any]] | None = []
        """What the edits so far depend on; None behind one that has a state."""

    def of(self, filter_: Filter) -> str:
        """Key of a filter's columns, empty where they depend on other documents."""
        about, before = column_identity(filter_), self._edits
        known = None if about is None or before is None else {"filter": about, "edits": before}
        if filter_.has_edit:
            self._edits = None if about is None or before is None else [*before, about]
        return "" if known is None else digest_of({"reading": self._reading, **known})


@dataclass(frozen=True, eq=False)
class Decided:
    """What filters decided about one batch.

    table  columns and verdicts, a row a document
    left   the documents that all filters keep, with their texts as the filters left them
    rows   (len(left),) int64: their rows in the table
    """

    table: pa.Table
    left: TextBatch
    rows: I64Array


def decide(
    batch: TextBatch, filters: Sequence[Filter], schema: pa.Schema, *, whole: bool = False
) -> pa.Table:
    """Columns and verdicts of one batch; see `decide_batch`."""
    return decide_batch(batch, filters, schema, whole=whole, clock=Clock()).table


def decide_batch(
    batch: TextBatch, filters: Sequence[Filter], schema: pa.Schema, *, whole: bool, clock: Clock
) -> Decided:
    """Columns and verdicts of one batch, and what is left of it.

    clock  told of each filter's time, by its name

    A document that was dropped reaches no later filter; with `whole`, later columns are computed
    all the same, and no later filter judges it. Raises FilterError, naming the document, where a
    filter is told to fail on it.
    """
    course = _Course(batch, whole=whole)
    for filter_ in filters:
        with clock.step(filter_.label):
            course.ask(filter_)
    return course.decided(schema)


class _Course:
    """How one batch goes through filters."""

    def __init__(self, batch: TextBatch, *, whole: bool) -> None:
        self._batch, self._whole = batch, whole
        self._reasons = self._reached = pa.nulls(len(batch), pa.string())
        self._made: dict[str, pa.Array] = {}
        self._alive = self._read = np.ones(len(batch), np.bool_)
        self._texts, self._edits = batch, Edits.none(len(batch))
        """Of the documents that the next filter reads."""

    def ask(self, filter_: Filter) -> None:
        """Let the next filter compute its columns, and judge."""
        texts, read = self._texts, self._read
        columns = filter_.columns(texts)
        then = read_edits(columns[EDIT]) if filter_.has_edit else Edits.none(len(texts))
        both = compose(self._edits, then)
        if filter_.has_edit:
            columns[EDIT] = both.to_column(unchanged=~then.changed)
        self._made |= {f"{filter_.label}.{c}": spread(v, read) for c, v in columns.items()}
        columns |= {name: _chosen(self._made[name], read) for name in filter_.reads()}
        judged = self._alive[read]
        if not judged.all():
            columns = {column: _chosen(values, judged) for column, values in columns.items()}
            texts = texts.take(judged)
        reason = judge(filter_, columns, texts)
        self._reasons = pc.coalesce(self._reasons, spread(reason, self._alive))
        self._reached = pc.if_else(pa.array(self._alive), filter_.label, self._reached)
        kept = self._reasons.is_null().to_numpy(zero_copy_only=False)
        self._alive = np.asarray(kept, np.bool_)
        stay = self._alive[read] | self._whole
        self._texts = edited(self._texts, then, only=stay)
        self._edits = both.take(np.flatnonzero(stay))
        self._read = self._alive | self._whole

    def decided(self, schema: pa.Schema) -> Decided:
        """Give columns and verdicts, and what is left."""
        made = self._made | {
            "record": pa.array(self._batch.records),
            "id": self._batch.ids,
            "num_bytes": pa.array(self._batch.num_bytes),
            "reached": self._reached,
            "reason": self._reasons,
        }
        fields = [_as_type(made[field.name], field.type) for field in schema]
        left = self._alive[self._read]
        texts = self._texts if left.all() else self._texts.take(left)
        return Decided(pa.table(fields, schema), texts, np.flatnonzero(self._alive))


def decision_writer(path: Path, schema: pa.Schema) -> "pq.ParquetWriter":
    """Open a file for decisions, of this schema, one row group a batch.

    Only verdicts and labels repeat, so that other columns get no dictionary; nobody reads
    statistics, which a row group of some hundred rows is too small for.
    """
    import pyarrow.parquet as pq  # planning does without

    repeating = [f.name for f in schema if pa.types.is_string(f.type) and f.name != "id"]
    return pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=repeating, write_statistics=False
    )


def edit_column(filter_: Filter) -> str:
    """Full name of the column in which a filter's edit is kept, as spans of the original text."""
    return f"{filter_.label}.{EDIT}"


def last_edit(columns: Sequence[pa.ListArray]) -> Edits:
    """Give each document's edit, from its edit columns in their order (`Source.edit_names`)."""
    return read_edits(pc.coalesce(*reversed(columns)))


def _chosen(values: pa.Array, rows: BoolArray) -> pa.Array:
    """Take the values of the chosen rows."""
    return values if rows.all() else values.filter(pa.array(rows))


def _as_type(values: pa.Array, kind: pa.DataType) -> pa.Array:
    return values if values.type == kind else values.cast(kind)


def spread(values: pa.Array, rows: BoolArray) -> pa.Array:
    """Put values of the chosen rows back into full length, null elsewhere; `rows` is (N,) bool."""
    if len(values) == len(rows):
        return values
    if values.type in _PLAIN and values.null_count == 0:  # most columns; Arrow's take costs more
        out = np.zeros(len(rows), values.type.to_pandas_dtype())
        out[rows] = values.to_numpy()
        present = pa.py_buffer(np.packbits(rows, bitorder="little"))
        return pa.Array.from_buffers(values.type, len(rows), [present, pa.py_buffer(out)])
    place = np.cumsum(rows) - 1
    return values.take(pa.array(place, mask=~rows))
