"""Rows of chosen documents that the filters kept, addressed by their number in the run.

Documents are numbered over all parts, survivors of the filters only, in the order of sources, parts
and records. Parts are read one at a time; only the rows that were asked for stay in memory.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dolmix.document import I64Array
from dolmix.files.parquet import read_table
from dolmix.pipeline.context import TaskContext, widened
from dolmix.pipeline.plan import Plan

GIVEN = ("record", "id", "num_bytes")
SCHEMA = pa.schema(
    [
        ("record", pa.int64()),
        ("id", pa.large_string()),
        ("num_bytes", pa.int64()),
        ("part", pa.int64()),
        ("source_priority", pa.int64()),
        ("source", pa.large_string()),
    ]
)
"""Columns that every document has."""


@dataclass(frozen=True, eq=False)
class KeptRows:
    """Rows of chosen documents.

    numbers  (W,) int64, ascending
    table    (W,) `part` (place among all parts), `source_priority`, `source`, `record`, `id`,
             `num_bytes`, and the columns that `keep_by` of any step names
    """

    numbers: I64Array
    table: pa.Table

    @classmethod
    def read(cls, context: TaskContext, numbers: I64Array) -> "KeptRows":
        """Read the rows of these documents from the decisions of their parts."""
        starts = part_starts(context)
        cuts = np.searchsorted(numbers, starts)
        tables = [SCHEMA.empty_table()]
        for place, (source, part) in enumerate(context.all_parts()):
            here = numbers[cuts[place] : cuts[place + 1]] - starts[place]
            if len(here):
                tables.append(_part_rows(context, place, source, part).take(pa.array(here)))
                context.report(documents=int(cuts[place + 1]))
        return cls(numbers, pa.concat_tables(tables, promote_options="permissive").combine_chunks())


def part_starts(context: TaskContext) -> I64Array:
    """(parts + 1,) int64: number of the first document of each part, then of all documents."""
    counts = [
        context.record("signatures", source, part).counts["documents"]
        for source, part in context.all_parts()
    ]
    return np.cumsum([0, *counts], dtype=np.int64)


def whole_parts(context: TaskContext) -> Iterator[tuple[str, int, pa.Table]]:
    """Yield source, part and the rows of all documents that the filters kept, part by part."""
    for place, (source, part) in enumerate(context.all_parts()):
        yield source, part, _part_rows(context, place, source, part)


def clusters_of_part(plan: Plan, source: str, part: int, starts: I64Array) -> I64Array:
    """Cluster of every document that the filters kept in a part.

    starts   as `part_starts` gives it
    returns  (documents,) int64: number of the first document of each one's cluster; its own where
             it shares none. Documents of equal numbers, in any part, hang together.
    """
    place = [(s, n) for s, parts in plan.parts.items() for n in range(len(parts))]
    at = place.index((source, part))
    numbers = np.arange(starts[at], starts[at + 1], dtype=np.int64)
    path = cluster_file(plan, source, part)
    table = read_table(path, ["document", "cluster"])
    numbers[table["document"].to_numpy() - starts[at]] = table["cluster"].to_numpy()
    return numbers


def cluster_file(plan: Plan, source: str, part: int) -> Path:
    """Path of the file that names the clusters of a part's documents."""
    from dolmix.pipeline.records import RecordBook

    key = plan.passes["clusters"][0].key
    return RecordBook(plan.pipeline.output).output("clusters", key, f"clusters/{source}/{part:05d}")


def _part_rows(context: TaskContext, place: int, source: str, part: int) -> pa.Table:
    """Every document that the filters kept in a part, in order; `place` is among all parts."""
    pipeline = context.plan.pipeline
    wanted = {c for step in pipeline.document_steps for c in step.keep_columns()} - set(GIVEN)
    names = [*GIVEN, *sorted(wanted & set(pipeline.sources[source].column_names()))]
    path = context.run / context.record("filter", source, part).outputs["decisions"]
    table = read_table(path, [*names, "reason"])
    table = table.filter(pc.is_null(table["reason"])).select(names)
    where = {
        "part": pa.array(np.full(len(table), place, np.int64)),
        "source_priority": pa.array(
            np.full(len(table), list(pipeline.sources).index(source), np.int64)
        ),
        "source": pa.repeat(pa.scalar(source, pa.large_string()), len(table)),
    }
    for name, values in where.items():
        table = table.append_column(name, values)
    return widened(table)
