"""The cluster pass: which documents are one, which of them stays, and what the others duplicate.

One task over all documents that the filters kept. Steps run in order: each sees only what the steps
before it left, and keeps the best document of every cluster by its own `keep_by`.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.dedup import clusters, sort_keys, survivors
from dolmix.document import BoolArray, I64Array
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult


def choose_survivors(context: TaskContext) -> TaskResult:
    """Write, for every part, the documents that dedup drops and what each duplicates."""
    documents = _kept_documents(context)
    alive = np.ones(len(documents), np.bool_)
    duplicate_of = np.full(len(documents), -1, np.int64)
    reasons = np.full(len(documents), None, dtype=object)
    counts: dict[str, object] = {"documents": len(documents)}
    for number, step in enumerate(context.plan.pipeline.dedup):
        labels = clusters(len(documents), _pairs(context, number))
        keys = sort_keys(step.keep_by, {c: documents[c] for c in documents.column_names})
        kept, original = survivors(labels, alive, keys)
        dropped = alive & ~kept
        duplicate_of[dropped] = original[dropped]
        reasons[dropped] = f"{step.label}.duplicate"
        alive &= kept
        counts[f"clusters-{step.label}"] = len(np.unique(original[dropped]))
    outputs = _write_drops(context, documents, reasons, duplicate_of)
    gone = documents.filter(pa.array(~alive))
    why = [r for r in reasons if r is not None]
    counts["dropped"] = _by_source(gone["source"].to_pylist(), why, None)
    sizes = gone["num_bytes"].to_pylist()
    counts["dropped_bytes"] = _by_source(gone["source"].to_pylist(), why, sizes)
    return TaskResult(outputs, counts)


def _kept_documents(context: TaskContext) -> pa.Table:
    """Every document that the filters kept, in number order, with what `keep_by` may name."""
    wanted = {c for step in context.plan.pipeline.dedup for c in step.keep_columns()}
    tables: list[pa.Table] = []
    for priority, (name, source) in enumerate(context.plan.pipeline.sources.items()):
        known = sorted(wanted & set(source.column_names()))
        for part in range(len(context.plan.parts[name])):
            record = context.record("filter", name, part)
            columns = ["record", "id", "num_bytes", *known]
            path = context.run / record.outputs["decisions"]
            table = pq.read_table(path, columns=[*columns, "reason"])
            table = table.filter(table["reason"].is_null()).select(columns)
            size = len(table)
            table = table.append_column("source", pa.array([name] * size, pa.string()))
            table = table.append_column("part", pa.array(np.full(size, len(tables))))
            table = table.append_column("source_priority", pa.array(np.full(size, priority)))
            tables.append(table.replace_schema_metadata())
            context.report(documents=sum(map(len, tables)))
    plain = [t.cast(pa.schema([f.remove_metadata() for f in t.schema])) for t in tables]
    return pa.concat_tables(plain, promote_options="default").combine_chunks()


def _pairs(context: TaskContext, step: int) -> Iterator[np.ndarray]:
    """Yield the star edges of one step, band by band."""
    for task in context.plan.tasks("candidates"):
        if task.step == step:
            record = context.book.read("candidates", task.key)
            yield np.load(context.run / record.outputs["pairs"])


def _write_drops(
    context: TaskContext, documents: pa.Table, reasons: np.ndarray, duplicate_of: I64Array
) -> dict[str, Path]:
    """Write one file a part: record, reason, and the source and id of the document that stays."""
    dropped: BoolArray = duplicate_of >= 0
    original = pa.array(duplicate_of[dropped])
    drops = pa.table(
        {
            "record": documents["record"].filter(pa.array(dropped)),
            "id": documents["id"].filter(pa.array(dropped)),
            "reason": pa.array(reasons[dropped].tolist(), pa.string()),
            "duplicate_of_source": documents["source"].take(original),
            "duplicate_of_id": documents["id"].take(original),
        }
    )
    part = documents["part"].to_numpy()[dropped]  # ascending, as documents are numbered by part
    outputs: dict[str, Path] = {}
    for number, (source, part_of_source) in enumerate(context.all_parts()):
        start, stop = np.searchsorted(part, [number, number + 1])
        name = f"{part_of_source:05d}-{context.task.key[:12]}.parquet"
        path = context.run / "decisions" / "duplicates" / source / name
        with commit.new_file(path) as attempt:
            pq.write_table(drops.slice(start, stop - start), attempt, compression="zstd")
        outputs[f"{source}/{part_of_source:05d}"] = path
    return outputs


def _by_source(
    sources: list[str], reasons: list[str], sizes: list[int] | None
) -> dict[str, dict[str, int]]:
    """Count documents, or bytes where sizes are given, by source and reason."""
    tally: dict[str, Counter[str]] = {}
    for n, (source, reason) in enumerate(zip(sources, reasons, strict=True)):
        tally.setdefault(source, Counter())[reason] += 1 if sizes is None else sizes[n]
    return {source: dict(counter) for source, counter in tally.items()}
