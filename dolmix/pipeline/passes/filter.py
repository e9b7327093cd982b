"""The filter pass: one part read once, every document judged, nothing forgotten.

Writes the part's decisions (one Parquet row a document: id, size, every column, the last filter
that judged it, the reason if it was dropped) and sets bad records aside as JSON lines.
"""

import base64
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.document import BoolArray, TextBatch
from dolmix.files import commit
from dolmix.filters.base import Filter, judge
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.sources import BadRecord

BASE_FIELDS = (
    pa.field("record", pa.int64()),
    pa.field("id", pa.string()),
    pa.field("num_bytes", pa.int64()),
)
VERDICT_FIELDS = (pa.field("reached", pa.string()), pa.field("reason", pa.string()))


def filter_part(context: TaskContext) -> TaskResult:
    """Judge every document of one part."""
    filters = context.source.filters
    folder = context.run / "decisions" / context.task.source
    decisions = folder / f"{context.stem}.parquet"
    bad = context.run / "bad-records" / context.task.source / f"{context.stem}.jsonl"
    tally = Tally([f.label for f in filters])
    outputs = {"decisions": decisions}
    schema = decision_schema(filters)
    with _set_aside(bad) as (put, aside), commit.new_file(decisions) as attempt:
        reader = context.open_part(report=put)
        with pq.ParquetWriter(attempt, schema, compression="zstd") as writer:
            for batch in reader:
                table = decide(batch, filters, schema, whole=context.plan.pipeline.tag == "all")
                tally.add(table)
                writer.write_table(table)
                context.report(bytes=tally.num_bytes, documents=tally.documents, kept=tally.kept)
    if aside.exists():
        outputs["bad_records"] = bad
    counts = {
        **tally.counts(),
        "lines": reader.num_lines,
        "records": reader.num_records,
        "bad_records": reader.num_bad,
    }
    return TaskResult(outputs, counts)


def decision_schema(filters: Sequence[Filter]) -> pa.Schema:
    """Build the schema of a source's decisions; metadata says whose definition a column follows."""
    fields = list(BASE_FIELDS)
    for filter_ in filters:
        about = {
            "filter": filter_.type,
            "version": str(filter_.version),
            "definition": filter_.definition,
            "splitter": filter_.splitter,
        }
        for column, kind in filter_.column_types().items():
            fields.append(pa.field(f"{filter_.label}.{column}", kind, metadata=about))
    return pa.schema([*fields, *VERDICT_FIELDS])


def decide(
    batch: TextBatch, filters: Sequence[Filter], schema: pa.Schema, *, whole: bool = False
) -> pa.Table:
    """Columns and verdicts of one batch.

    A document that was dropped reaches no later filter; with `whole`, later columns are computed
    all the same, and no later filter judges it. Raises FilterError, naming the document, where a
    filter is told to fail on it.
    """
    size = len(batch)
    reasons = pa.nulls(size, pa.string())
    reached = pa.nulls(size, pa.string())
    made: dict[str, pa.Array] = {}
    for filter_ in filters:
        alive = np.asarray(reasons.is_null().to_numpy(zero_copy_only=False), np.bool_)
        living = batch if alive.all() else batch.take(alive)
        columns = filter_.columns(batch if whole else living)
        for column, values in columns.items():
            made[f"{filter_.label}.{column}"] = values if whole else _spread(values, alive)
        if whole:
            columns = {column: _living(values, alive) for column, values in columns.items()}
        reasons = pc.coalesce(reasons, _spread(judge(filter_, columns, living), alive))
        reached = pc.if_else(pa.array(alive), filter_.label, reached)
    made |= {
        "record": pa.array(batch.records),
        "id": batch.ids,
        "num_bytes": pa.array(batch.num_bytes),
        "reached": reached,
        "reason": reasons,
    }
    return pa.table([made[name].cast(schema.field(name).type) for name in schema.names], schema)


def _living(values: pa.Array, rows: BoolArray) -> pa.Array:
    """Take the values of the chosen rows."""
    return values if rows.all() else values.filter(pa.array(rows))


def _spread(values: pa.Array, rows: BoolArray) -> pa.Array:
    """Put values of the chosen rows back into full length, null elsewhere."""
    if rows.all():
        return values
    place = np.cumsum(rows) - 1
    return values.take(pa.array(place, mask=~rows))


class Tally:
    """Documents and bytes of one part: read, judged by each filter, dropped for each reason."""

    def __init__(self, labels: Sequence[str]) -> None:
        self.documents = 0
        self.num_bytes = 0
        self.kept = 0
        self.kept_bytes = 0
        self.judged: Counter[str] = Counter(dict.fromkeys(labels, 0))
        self.dropped: Counter[str] = Counter()
        self.dropped_bytes: Counter[str] = Counter()
        self._labels = list(labels)

    def add(self, table: pa.Table) -> None:
        """Count one batch of decisions."""
        sizes = table["num_bytes"].to_numpy()
        self.documents += len(table)
        self.num_bytes += int(sizes.sum())
        grouped = table.group_by(["reached", "reason"]).aggregate(
            [("num_bytes", "sum"), ("num_bytes", "count")]
        )
        for row in grouped.to_pylist():
            count, num_bytes = row["num_bytes_count"], row["num_bytes_sum"]
            if row["reached"] is not None:
                passed = self._labels[: self._labels.index(row["reached"]) + 1]
                self.judged.update(dict.fromkeys(passed, count))
            if row["reason"] is None:
                self.kept += count
                self.kept_bytes += num_bytes
            else:
                self.dropped[row["reason"]] += count
                self.dropped_bytes[row["reason"]] += num_bytes

    def counts(self) -> dict[str, Any]:
        """Give the counts as plain data, for the task's record."""
        return {
            "documents": self.documents,
            "bytes": self.num_bytes,
            "kept": self.kept,
            "kept_bytes": self.kept_bytes,
            "judged": dict(self.judged),
            "dropped": dict(self.dropped),
            "dropped_bytes": dict(self.dropped_bytes),
        }


@contextmanager
def _set_aside(final: Path) -> Iterator[tuple[Any, Path]]:
    """Yield a function that sets a bad record aside, and the path; no file without bad records."""
    final.parent.mkdir(parents=True, exist_ok=True)
    attempt = commit.attempt_path(final)
    file: IO[bytes] | None = None

    def put(record: BadRecord) -> None:
        nonlocal file
        if file is None:
            file = attempt.open("wb")
        file.write(_bad_line(record))

    try:
        yield put, final
        if file is not None:
            file.close()
            commit.publish(attempt, final)
    finally:
        if file is not None:
            file.close()
        attempt.unlink(missing_ok=True)


def _bad_line(record: BadRecord) -> bytes:
    try:
        raw = {"raw": record.raw.decode()}
    except UnicodeDecodeError:
        raw = {"raw_base64": base64.b64encode(record.raw).decode()}
    return orjson.dumps(
        {
            "path": record.path,
            "record": record.record,
            "line": record.line,
            "offset": record.offset,
            "cause": record.cause,
            **raw,
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
