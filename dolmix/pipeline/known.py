"""Deciding again from columns that are there already: no text is read but for what is missing.

A column stands for as long as what it was computed from does: the records' fields, the filter's
settings but for those that enter rules alone, its version and files, and the edits before it. All
of that is in the column's `key` (`dolmix.pipeline.decisions`). Guarantee: `decide_known` gives the
rows that `decide` gives on the texts, byte by byte, whatever part of the columns is known.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolmix.document import BoolArray, Columns, I64Array, TextBatch
from dolmix.filters.base import EDIT, Filter, judge
from dolmix.pipeline.decisions import BASE_FIELDS, KEY, spread
from dolmix.text.edits import Edits, compose, edited, read_edits

ALL = np.iinfo(np.int64).max
Measure = Callable[[Filter, I64Array], tuple[Columns, I64Array]]
"""Columns of a filter for the documents at some rows; those rows for which there are any."""


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of N documents.

    table    decisions of an earlier run, N rows; or the columns of them that somebody needs
    usable   filter's name → its place among the earlier run's filters; filters whose columns still
             stand
    reached  (N,) int64   place of the last filter that read each document; larger than any where
             every filter read all
    """

    table: pa.Table
    usable: Mapping[str, int]
    reached: I64Array

    @classmethod
    def of(
        cls, table: pa.Table, usable: Mapping[str, int], labels: Sequence[str], *, whole: bool
    ) -> "Known":
        """Take rows of decisions, with `reached`.

        labels  names of the earlier run's filters, in order
        whole   whether they read every document (`tag: all`)
        """
        at = pc.index_in(_whole(table["reached"]), pa.array(labels, pa.string()))
        last: I64Array = np.asarray(pc.fill_null(at, -1).to_numpy(zero_copy_only=False), np.int64)
        return cls(table, usable, np.full(len(last), ALL) if whole else last)

    def has(self, filter_: Filter) -> BoolArray:
        """(N,) bool: documents whose columns of a filter are known."""
        if not filter_.column_types():
            return np.ones(len(self.table), np.bool_)
        place = self.usable.get(filter_.label)
        return np.zeros(len(self.table), np.bool_) if place is None else self.reached >= place

    def columns(self, filter_: Filter, rows: I64Array) -> Columns:
        """Values of a filter's columns at `rows`, by their bare names; those that the table has."""
        at, names = pa.array(rows), {c: f"{filter_.label}.{c}" for c in filter_.column_types()}
        there = set(self.table.column_names)
        return {c: _whole(self.table[n]).take(at) for c, n in names.items() if n in there}

    def names(self) -> TextBatch:
        """Ids and record numbers of the documents, no texts: enough to name one in an error."""
        count = len(self.table)
        empty = pa.repeat(pa.scalar("", pa.large_string()), count)
        ids, records = _whole(self.table["id"]), self.table["record"].to_numpy()
        return TextBatch(empty, ids, pa.nulls(count, pa.string()), records, {})


def standing(stored: pa.Schema, schema: pa.Schema, labels: Sequence[str]) -> dict[str, int]:
    """Find the filters whose columns in an earlier run's decisions a new run can use.

    stored   schema of the earlier decisions
    schema   schema of the new ones
    labels   names of the earlier run's filters, in order

    returns  name → place among `labels`; empty where the records may read otherwise
    """
    places = {label: n for n, label in enumerate(labels)}
    base = {field.name for field in BASE_FIELDS}
    same: dict[str, bool] = {}
    for new in schema:
        if new.name in base:
            if _key(stored, new) != _key(schema, new):
                return {}
        elif new.metadata and KEY in new.metadata:
            label = new.name.rpartition(".")[0]
            equal = _key(stored, new) == _key(schema, new) != b""
            same[label] = same.get(label, True) and equal
    return {label: places[label] for label, equal in same.items() if equal and label in places}


def _key(schema: pa.Schema, field: pa.Field) -> bytes | None:
    """Key of the column of a schema that has a field's name and type; None without one."""
    at = schema.get_field_index(field.name)
    if at < 0 or schema.field(at).type != field.type:
        return None
    key: bytes | None = (schema.field(at).metadata or {}).get(KEY)
    return key


def decide_known(
    known: Known,
    filters: Sequence[Filter],
    schema: pa.Schema,
    *,
    read: Callable[[], TextBatch],
    whole: bool = False,
) -> pa.Table:
    """Decide as `decide` does, from what is known; what is not is computed.

    read   gives the texts of the N documents; called once at most, and only if something is missing

    Raises FilterError as `decide` does.
    """
    made, verdicts = _walk(known, filters, _Measured(known, read), whole=whole)
    made |= {name: _whole(known.table[name]) for name in ("record", "id", "num_bytes")}
    made |= {"reached": verdicts.reached, "reason": verdicts.reason}
    return pa.table([made[name].cast(schema.field(name).type) for name in schema.names], schema)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What became of N documents.

    reason   (N,) string  null = kept, or not known
    reached  (N,) string  last filter that judged each
    lacking  (N,) string  first filter whose columns a document lacks; null where it is decided
    """

    reason: pa.StringArray
    reached: pa.StringArray
    lacking: pa.StringArray


def judge_known(known: Known, filters: Sequence[Filter]) -> Verdicts:
    """Decide from what is known alone; a document is left open at the first filter it lacks.

    The table needs `id`, `record`, and the columns that `judged_columns` names.
    """

    def measure(filter_: Filter, rows: I64Array) -> tuple[Columns, I64Array]:
        there = rows[known.has(filter_)[rows]]
        return known.columns(filter_, there) if len(there) else _empty(filter_), there

    return _walk(known, filters, measure, whole=False)[1]


def judged_columns(filters: Sequence[Filter]) -> list[str]:
    """Full names of the columns that rules of these filters read, or take reasons from."""
    names: dict[str, None] = {}
    for filter_ in filters:
        names |= dict.fromkeys(filter_.reads())
        for rule in filter_.rules():
            for column in (rule.column, rule.reason_from):
                if column and rule.active:
                    names[column if "." in column else f"{filter_.label}.{column}"] = None
    return list(names)


def _walk(
    known: Known, filters: Sequence[Filter], measure: Measure, *, whole: bool
) -> tuple[dict[str, pa.Array], Verdicts]:
    """Go through the filters; returns columns by full name, N values each, and verdicts."""
    count, names = len(known.table), known.names()
    reasons = reached = lacking = pa.nulls(count, pa.string())
    alive = read = np.ones(count, np.bool_)
    made: dict[str, pa.Array] = {}
    for filter_ in filters:
        columns, there = measure(filter_, np.flatnonzero(read))
        if len(there) < np.count_nonzero(read):
            lacks = read.copy()
            lacks[there] = False
            lacking = pc.if_else(pa.array(lacks), filter_.label, lacking)
            alive, read = alive & ~lacks, read & ~lacks
        made |= {f"{filter_.label}.{c}": spread(values, read) for c, values in columns.items()}
        columns |= {name: made[name].filter(pa.array(read)) for name in filter_.reads()}
        judged = pa.array(alive[read])
        columns = {column: values.filter(judged) for column, values in columns.items()}
        reason = judge(filter_, columns, names.take(alive))
        reasons = pc.coalesce(reasons, spread(reason, alive))
        reached = pc.if_else(pa.array(alive), filter_.label, reached)
        alive = alive & np.asarray(reasons.is_null().to_numpy(zero_copy_only=False), np.bool_)
        read = read if whole else alive
    return made, Verdicts(reasons, reached, lacking)


class _Measured:
    """Columns that are known, and those that are computed; carries the edits so far along."""

    def __init__(self, known: Known, read: Callable[[], TextBatch]) -> None:
        self._known = known
        self._read = read
        self._edits = Edits.none(len(known.table))
        self._texts: TextBatch | None = None
        self._last: tuple[I64Array, TextBatch] | None = None
        """Documents that were read last, with texts as they still are: what filters share of them
        is computed once."""

    def __call__(self, filter_: Filter, rows: I64Array) -> tuple[Columns, I64Array]:
        have = self._known.has(filter_)[rows]
        lack = rows[~have]
        columns = self._known.columns(filter_, rows[have]) if have.any() or not len(rows) else {}
        if len(lack):
            fresh = self._computed(filter_, lack)
            place = pa.array(np.argsort(np.concatenate([rows[have], lack])))
            columns = {
                c: pa.concat_arrays([columns[c], v]).take(place) if columns else v
                for c, v in fresh.items()
            }
        elif not len(rows):
            columns = _empty(filter_)
        if filter_.has_edit:
            self._follow(columns[EDIT], rows)
        return columns, rows

    def _computed(self, filter_: Filter, rows: I64Array) -> Columns:
        before = self._edits.take(rows)
        columns = filter_.columns(self._texts_of(rows, before))
        if filter_.has_edit:
            then = read_edits(columns[EDIT])
            columns[EDIT] = compose(before, then).to_column(unchanged=~then.changed)
        types = filter_.column_types()
        return {c: _whole(values).cast(types[c]) for c, values in columns.items()}

    def _texts_of(self, rows: I64Array, before: Edits) -> TextBatch:
        """Texts of some documents as the filters so far left them."""
        if self._last is not None and np.isin(rows, self._last[0]).all():
            texts = self._last[1].take(np.searchsorted(self._last[0], rows))
        else:
            if self._texts is None:
                self._texts = self._read()
            texts = edited(self._texts.take(rows), before)
        self._last = rows, texts
        return texts

    def _follow(self, column: pa.Array, rows: I64Array) -> None:
        """Take a filter's edit, which holds those before it, for the documents that it changed."""
        if column.null_count == len(column):
            return
        mask = np.zeros(len(self._edits), np.bool_)
        mask[rows] = True
        self._edits = read_edits(pc.coalesce(spread(column, mask), self._edits.to_column()))
        self._last = None


def _empty(filter_: Filter) -> Columns:
    """Columns of no document."""
    return {c: pa.array([], kind) for c, kind in filter_.column_types().items()}


def _whole(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One array, whatever pieces a table holds it in."""
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
