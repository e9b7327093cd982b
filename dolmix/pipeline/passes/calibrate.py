"""The calibrate pass and the limits pass: a sample of each source measured, limits found in it.

A task over a part lets the documents of the sample go through the source's filters, as far as the
last that asks for a limit, with no such limit yet. One task a source then finds the limits in all
of them, which every task of the filter pass judges by. They are written to `calibration/`.
"""

import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.files import commit
from dolmix.pipeline.calibration import find_limits, sample_table, sampled_columns
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.decisions import decide, decision_schema, reading_digest
from dolmix.pipeline.limits import without_limits
from dolmix.pipeline.sampling import num_sampled, sample_rate, sampled

FORMAT = "dolmix-limits-1"
BASE = ("record", "id", "num_bytes", "reached", "reason")


def measure_part(context: TaskContext) -> TaskResult:
    """Measure the sampled documents of one part."""
    plan, name = context.plan, context.task.source
    filters = without_limits(context.source.filters)[: num_sampled(context.source.filters)]
    schema = decision_schema(filters, reading=reading_digest(context.source))
    kept = [*BASE, *sampled_columns(filters)]
    chosen = [task.part for task in plan.tasks("calibrate", name)]
    rate = sample_rate(plan.pipeline, plan.parts[name], chosen)
    path = context.run / "work" / "calibrate" / name / f"{context.stem}.parquet"
    documents = seen = num_bytes = 0
    for filter_ in filters:
        filter_.begin_part()
    with commit.new_file(path) as attempt:
        fields = pa.schema([schema.field(column) for column in kept])
        with pq.ParquetWriter(attempt, fields, compression="zstd") as writer:
            for batch in context.open_part():
                rows = sampled(batch.ids, rate, seed=plan.pipeline.seed, source=name)
                seen += len(batch)
                if rows.any():
                    chosen_rows = batch if rows.all() else batch.take(rows)
                    documents += len(chosen_rows)
                    num_bytes += int(chosen_rows.num_bytes.sum())
                    writer.write_table(decide(chosen_rows, filters, schema).select(kept))
                context.report(bytes=num_bytes, documents=documents)
    return TaskResult(
        {"sample": path}, {"documents": documents, "of_documents": seen, "bytes": num_bytes}
    )


def write_limits(context: TaskContext) -> TaskResult:
    """Find the limits of one source in its sample."""
    name = context.task.source
    filters = without_limits(context.source.filters)[: num_sampled(context.source.filters)]
    table = sample_table(context.plan, name)
    _, limits = find_limits(table, filters)
    path = context.run / "calibration" / f"{name}-{context.task.key[:12]}.json"
    told = {
        "format": FORMAT,
        "source": name,
        "documents": len(table),
        "limits": [limit.describe() for limit in limits],
    }
    commit.write_json(path, told, indent=1)
    return TaskResult({"limits": path}, {"documents": len(table)})
