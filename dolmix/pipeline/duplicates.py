"""What dedup decides, row by row: who goes, for whom, how alike the two are; and its files."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.dedup import sort_keys, survivors
from dolmix.dedup.base import Dedup
from dolmix.dedup.clusters import Members
from dolmix.dedup.signed import SignedParts
from dolmix.document import F64Array, I64Array
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext
from dolmix.pipeline.kept_rows import KeptRows, part_starts
from dolmix.pipeline.passes.signatures import older_side
from dolmix.pipeline.passes.verify import shingle_files

KEPT = -1
SCHEMA = pa.schema(
    [
        ("record", pa.int64()),
        ("id", pa.large_string()),
        ("reason", pa.string()),
        ("cluster", pa.int64()),
        ("duplicate_of_source", pa.large_string()),
        ("duplicate_of_id", pa.large_string()),
        ("jaccard", pa.float64()),
    ]
)
"""A dropped document: docs/formats.md."""


@dataclass
class Outcome:
    """What the steps decided so far about the documents that share a cluster.

    rows        their rows
    dropped_by  (W,) int64   number of the step that dropped each, -1 while it stays
    drops       tables of `SCHEMA` and `row`, one a step that drops
    reported    the same of steps that drop nothing
    """

    rows: KeptRows
    dropped_by: I64Array
    drops: list[pa.Table] = field(default_factory=list)
    reported: list[pa.Table] = field(default_factory=list)

    @classmethod
    def nothing(cls, rows: KeptRows) -> "Outcome":
        """All documents stay."""
        return cls(rows, np.full(len(rows.numbers), KEPT, np.int64))


def choose(
    context: TaskContext, number: int, found: tuple[SignedParts, Members], outcome: Outcome
) -> None:
    """Let one step keep the best of each of its clusters, and note what becomes of the others.

    Documents of an older run are never dropped, and come before all of this run.
    """
    step = context.plan.pipeline.document_steps[number]
    signed, members = found
    table, alive = _member_rows(context, number, found, outcome)
    is_own = members.documents >= signed.own
    keys = sort_keys(step.keep_by, {name: table[name] for name in _names(step)})
    kept, original = survivors(members.labels, alive, [is_own.astype(np.int64), *keys])
    gone = np.flatnonzero(alive & ~kept & is_own)
    stays = original[gone]
    numbers = members.documents[gone] - signed.own
    rows = np.searchsorted(outcome.rows.numbers, numbers)
    taken, best = table.take(pa.array(gone)), table.take(pa.array(stays))
    pairs = np.column_stack((members.documents[stays], members.documents[gone]))
    result = {
        "row": pa.array(rows),
        "record": outcome.rows.table["record"].take(pa.array(rows)),
        "id": taken["id"],
        "reason": pa.array([f"{step.label}.duplicate"] * len(gone), pa.string()),
        "cluster": pa.array(_first_own(members, signed.own)[gone]),
        "duplicate_of_source": best["source"],
        "duplicate_of_id": best["id"],
        "jaccard": pa.array(_jaccard(context, number, signed, pairs), from_pandas=True),
    }
    decided = pa.table(result).cast(pa.schema([("row", pa.int64()), *SCHEMA]))
    if step.drop == "none":
        outcome.reported.append(decided)
    else:
        outcome.drops.append(decided)
        outcome.dropped_by[rows] = number


def write_results(
    context: TaskContext, outcome: Outcome, together: Members
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Write one file a part of each kind; return the outputs and counts of the pass's record."""
    outputs = _write(context, "duplicates", "", outcome, outcome.drops)
    if any(step.drop == "none" for step in context.plan.pipeline.document_steps):
        outputs |= _write(context, "reported", "reported/", outcome, outcome.reported)
    outputs |= _write_clusters(context, outcome.rows, together)
    documents, num_bytes = _counts(context, outcome, outcome.drops)
    reported, _ = _counts(context, outcome, outcome.reported)
    counts = {"dropped": documents, "dropped_bytes": num_bytes, "reported": reported}
    return outputs, counts


def _member_rows(
    context: TaskContext, number: int, found: tuple[SignedParts, Members], outcome: Outcome
) -> tuple[pa.Table, np.ndarray]:
    """Rows of all members of a step's clusters, older ones first, and which of them are alive."""
    step, (signed, members) = context.plan.pipeline.document_steps[number], found
    old = members.documents[members.documents < signed.own]
    numbers = members.documents[len(old) :] - signed.own
    rows = np.searchsorted(outcome.rows.numbers, numbers)
    names = ["source", *_names(step)]
    if "id" not in names:
        names.append("id")
    known = [name for name in names if name in outcome.rows.table.column_names]
    table = outcome.rows.table.select(known).take(pa.array(rows))
    alive = outcome.dropped_by[rows] == KEPT
    index = older_side(context.plan, number)
    if index is not None and len(old):
        before = index.rows(old, names)
        alive = np.concatenate([before["alive"].to_numpy(), alive])
        before = before.drop_columns(["alive"])
        table = pa.concat_tables([before, table], promote_options="permissive")
    for name in names:
        if name not in table.column_names:  # no source of either run writes it
            table = table.append_column(name, pa.nulls(len(table), pa.float64()))
    return table.combine_chunks(), alive


def _names(step: Dedup) -> list[str]:
    return [key.removeprefix("-") for key in step.keep_by]


def _first_own(members: Members, own: int) -> I64Array:
    """(M,) int64: number of the first document of this run in each one's cluster."""
    labels = members.labels
    first = np.full(len(labels), -1, np.int64)
    mine = np.flatnonzero(members.documents >= own)[::-1]
    first[labels[mine]] = members.documents[mine] - own
    return first[labels]


def _jaccard(
    context: TaskContext, number: int, signed: SignedParts, pairs: I64Array
) -> F64Array | None:
    """Similarity of pairs, (P,): as it is, as sketches estimate it, or NaN where nobody knows."""
    step = context.plan.pipeline.document_steps[number]
    if step.same_text:
        return np.ones(len(pairs))
    if step.verifies:
        return shingle_files(context.plan, number).jaccard(pairs)
    if step.sketch_bytes:
        return signed.similarities(pairs, step.sketch_bytes)
    return np.full(len(pairs), np.nan)


def _write(
    context: TaskContext, folder: str, prefix: str, outcome: Outcome, tables: Sequence[pa.Table]
) -> dict[str, Path]:
    """Write one file a part: record, reason, and the source and id of the document that stays."""
    whole = pa.concat_tables([pa.schema([("row", pa.int64()), *SCHEMA]).empty_table(), *tables])
    whole = whole.sort_by([("row", "ascending"), ("reason", "ascending")])
    parts = outcome.rows.table["part"].take(whole["row"]).to_numpy()
    whole = whole.drop_columns(["row"])
    cuts = np.searchsorted(parts, np.arange(len(context.all_parts()) + 1))
    paths = _write_parts(context, folder, whole, cuts)
    return {f"{prefix}{name}": path for name, path in paths.items()}


def _write_clusters(context: TaskContext, rows: KeptRows, together: Members) -> dict[str, Path]:
    """Write one file a part: the documents that share a cluster of any step, and which."""
    starts = part_starts(context)
    cuts = np.searchsorted(together.documents, starts)
    records = rows.table["record"].take(pa.array(np.searchsorted(rows.numbers, together.documents)))
    whole = pa.table({"record": records, "document": together.documents, "cluster": together.roots})
    paths = _write_parts(context, "clusters", whole, cuts)
    return {f"clusters/{name}": path for name, path in paths.items()}


def _write_parts(
    context: TaskContext, folder: str, whole: pa.Table, cuts: I64Array
) -> dict[str, Path]:
    """Write one file a part: rows `cuts[n]` to `cuts[n + 1]` for part n; paths by `source/part`."""
    paths = {
        f"{source}/{part:05d}": _path(context, folder, source, part)
        for source, part in context.all_parts()
    }
    with commit.new_files(list(paths.values())) as attempts:
        for attempt, (start, stop) in zip(attempts, pairwise(cuts.tolist()), strict=True):
            pq.write_table(whole.slice(start, stop - start), attempt, compression="zstd")
    return paths


def _path(context: TaskContext, folder: str, source: str, part: int) -> Path:
    name = f"{part:05d}-{context.task.key[:12]}.parquet"
    return context.run / "decisions" / folder / source / name


def _counts(
    context: TaskContext, outcome: Outcome, tables: Sequence[pa.Table]
) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    """Count documents and bytes by source and reason."""
    documents: dict[str, dict[str, int]] = {s: {} for s in context.plan.pipeline.sources}
    num_bytes: dict[str, dict[str, int]] = {s: {} for s in context.plan.pipeline.sources}
    for table in tables:
        chosen = outcome.rows.table.take(table["row"]).select(["source", "num_bytes"])
        grouped = chosen.append_column("reason", table["reason"]).group_by(["source", "reason"])
        for row in grouped.aggregate([("num_bytes", "count"), ("num_bytes", "sum")]).to_pylist():
            documents[row["source"]][row["reason"]] = row["num_bytes_count"]
            num_bytes[row["source"]][row["reason"]] = row["num_bytes_sum"]
    return documents, num_bytes
