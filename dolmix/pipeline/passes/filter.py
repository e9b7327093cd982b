"""The filter pass: one part read once, every document judged, nothing forgotten.

Writes the part's decisions (one Parquet row a document: id, size, every column, the last filter
that judged it, the reason if it was dropped) and sets bad records aside as JSON lines.
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import orjson
import pyarrow.parquet as pq

from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.decisions import decide, decision_schema
from dolmix.pipeline.tally import Tally
from dolmix.sources import BadRecord


def filter_part(context: TaskContext) -> TaskResult:
    """Judge every document of one part."""
    filters = context.source.filters
    folder = context.run / "decisions" / context.task.source
    decisions = folder / f"{context.stem}.parquet"
    bad = context.run / "bad-records" / context.task.source / f"{context.stem}.jsonl"
    tally = Tally(filters)
    outputs = {"decisions": decisions}
    schema = decision_schema(filters)
    with _set_aside(bad) as (put, aside), commit.new_file(decisions) as attempt:
        reader = context.open_part(report=put)
        for filter_ in filters:
            filter_.begin_part()
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
