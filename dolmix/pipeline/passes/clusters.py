"""The cluster pass: which documents are one, which of them stays, and what the others duplicate.

One task over all documents that the filters kept. Steps run in order: each drops only documents
that the steps before it left, and keeps the best of every cluster by its own `keep_by`. Clusters
themselves are made of all documents that the filters kept: two may hang together through one that
an earlier step dropped.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.dedup import clusters, sort_keys, survivors
from dolmix.document import I64Array
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult, widened

NOT_DROPPED = -1


def choose_survivors(context: TaskContext) -> TaskResult:
    """Write, for every part, the documents that dedup drops and what each duplicates."""
    documents = _kept_documents(context)
    columns = {name: documents[name] for name in documents.column_names}
    alive = np.ones(len(documents), np.bool_)
    duplicate_of = np.full(len(documents), NOT_DROPPED, np.int64)
    dropped_by = np.full(len(documents), NOT_DROPPED, np.int64)
    for number, step in enumerate(context.plan.pipeline.dedup):
        labels = clusters(len(documents), _pairs(context, number))
        kept, original = survivors(labels, alive, sort_keys(step.keep_by, columns))
        dropped = alive & ~kept
        duplicate_of[dropped] = original[dropped]
        dropped_by[dropped] = number
        alive &= kept
    drops = _drops(context, documents, dropped_by, duplicate_of)
    counts = {"documents": len(documents), **_counts(context, drops)}
    return TaskResult(_write(context, drops), counts)


def _kept_documents(context: TaskContext) -> pa.Table:
    """Every document that the filters kept, in number order, with what `keep_by` may name."""
    wanted = {c for step in context.plan.pipeline.dedup for c in step.keep_columns()}
    sources = list(context.plan.pipeline.sources)
    tables: list[pa.Table] = []
    documents = 0
    for number, (name, part) in enumerate(context.all_parts()):
        record = context.record("filter", name, part)
        known = wanted & set(context.plan.pipeline.sources[name].column_names())
        columns = ["record", "id", "num_bytes", *sorted(known)]
        path = context.run / record.outputs["decisions"]
        table = pq.read_table(path, columns=[*columns, "reason"])
        table = table.filter(table["reason"].is_null()).select(columns)
        for column, value in (("part", number), ("source_priority", sources.index(name))):
            table = table.append_column(column, pa.array(np.full(len(table), value)))
        tables.append(widened(table))
        documents += len(table)
        context.report(documents=documents)
    return pa.concat_tables(tables, promote_options="default").combine_chunks()


def _pairs(context: TaskContext, step: int) -> Iterator[I64Array]:
    """Yield the star edges of one step, band by band."""
    for task in context.plan.tasks("candidates"):
        if task.step == step:
            record = context.book.read("candidates", task.key)
            yield np.load(context.run / record.outputs["pairs"])


def _drops(
    context: TaskContext, documents: pa.Table, dropped_by: I64Array, duplicate_of: I64Array
) -> pa.Table:
    """Rows of the dropped documents, in number order."""
    rows = np.flatnonzero(dropped_by != NOT_DROPPED)
    dropped, stays = documents.take(pa.array(rows)), pa.array(duplicate_of[rows])
    reasons = pa.array([f"{step.label}.duplicate" for step in context.plan.pipeline.dedup])
    sources = pa.array(list(context.plan.pipeline.sources), pa.string())
    return pa.table(
        {
            "part": dropped["part"],
            "source": sources.take(dropped["source_priority"].combine_chunks()),
            "num_bytes": dropped["num_bytes"],
            "record": dropped["record"],
            "id": dropped["id"],
            "reason": reasons.take(pa.array(dropped_by[rows])),
            "duplicate_of_source": sources.take(
                documents["source_priority"].take(stays).combine_chunks()
            ),
            "duplicate_of_id": documents["id"].take(stays),
        }
    )


def _write(context: TaskContext, drops: pa.Table) -> dict[str, Path]:
    """Write one file a part: record, reason, and the source and id of the document that stays."""
    part = drops["part"].to_numpy()  # ascending, since documents are numbered by part
    rows = drops.drop_columns(["part", "source", "num_bytes"])
    outputs: dict[str, Path] = {}
    for number, (source, part_of_source) in enumerate(context.all_parts()):
        start, stop = np.searchsorted(part, [number, number + 1])
        name = f"{part_of_source:05d}-{context.task.key[:12]}.parquet"
        path = context.run / "decisions" / "duplicates" / source / name
        with commit.new_file(path) as attempt:
            pq.write_table(rows.slice(start, stop - start), attempt, compression="zstd")
        outputs[f"{source}/{part_of_source:05d}"] = path
    return outputs


def _counts(context: TaskContext, drops: pa.Table) -> dict[str, dict[str, dict[str, int]]]:
    """Count documents and bytes by source and reason."""
    documents: dict[str, dict[str, int]] = {s: {} for s in context.plan.pipeline.sources}
    num_bytes: dict[str, dict[str, int]] = {s: {} for s in context.plan.pipeline.sources}
    grouped = drops.group_by(["source", "reason"]).aggregate(
        [("num_bytes", "count"), ("num_bytes", "sum")]
    )
    for row in grouped.to_pylist():
        documents[row["source"]][row["reason"]] = row["num_bytes_count"]
        num_bytes[row["source"]][row["reason"]] = row["num_bytes_sum"]
    return {"dropped": documents, "dropped_bytes": num_bytes}
