"""Statistics of a run, source by source, from what its passes wrote down; texts where asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.errors import UsageError
from dolmix.filters import Language
from dolmix.pipeline.funnel import Funnel, funnels
from dolmix.pipeline.plan import read_plan
from dolmix.report.columns import describe_columns
from dolmix.report.counting import Lengths, TopValues
from dolmix.report.domains import Domains
from dolmix.report.progress import Progress
from dolmix.report.run_duplicates import describe_duplicates
from dolmix.report.run_source import RunSource
from dolmix.report.store_stats import urls_of
from dolmix.report.texts import measure_texts
from dolmix.report.wanted import Wanted, describe_texts
from dolmix.shards.reader import Store
from dolmix.shards.stats import length_histogram

OWN = {"record", "id", "reached", "reason"}
"""Columns of the decisions that are described elsewhere."""


def run_stats(run: Path, wanted: Wanted, progress: Progress) -> dict[str, Any]:
    """Describe a run.

    Raises UsageError for a folder that holds no run, and for the kept documents of a run that has
    not decided yet which they are.
    """
    plan = read_plan(run)
    sources = [RunSource(plan, name, kept=wanted.kept) for name in plan.pipeline.sources]
    notes = list(_waiting(run, sources, kept=wanted.kept))
    made = {funnel.source: funnel for funnel in funnels(plan)}
    described = {}
    for source in sources:
        progress.begin(f"{source.name}: columns")
        described[source.name] = _source(source, made[source.name], wanted, progress, notes)
    return {
        "run": str(run),
        "view": "kept" if wanted.kept else "all",
        "sources": described,
        "notes": notes,
    }


def _waiting(run: Path, sources: list[RunSource], *, kept: bool) -> list[str]:
    """Say which parts are not judged; refuse the kept documents of what is not decided."""
    if kept and not all(source.is_decided for source in sources):
        raise UsageError(
            f"{run}: which documents are kept is not decided yet. Run the pipeline to its end, or "
            f"leave --kept out. `dolmix status {run}` tells how far it is."
        )
    return [
        f"{s.name}: {s.num_waiting:,} parts are not judged yet, and are left out"
        for s in sources
        if s.num_waiting
    ]


def _source(
    source: RunSource, funnel: Funnel, wanted: Wanted, progress: Progress, notes: list[str]
) -> dict[str, Any]:
    stores = source.stores()
    if not stores and not source.kept:
        notes.append(f"{source.name}: no store yet: no tokens and no domains")
    sizes = Lengths("bytes")
    documents = num_bytes = 0
    for some in source.sizes():
        sizes.add(some)
        documents, num_bytes = documents + len(some), num_bytes + int(some.sum())
    columns = describe_columns(source, column_types(source), wanted.top)
    _add_not_reached(source, columns)
    told = {
        "counts": _counts(documents, num_bytes, stores, funnel, columns),
        "lengths": {"bytes": sizes.describe(), "tokens": _token_lengths(stores)},
        "columns": columns,
        "languages": _languages(source, wanted.top),
        "domains": _domains(source, stores, wanted.top),
        "verdicts": _verdicts(funnel),
        "duplicates": describe_duplicates(source, funnel),
    }
    for store in stores:
        store.close()
    if wanted.ngrams:
        progress.begin(f"{source.name}: n-grams, candidates")
        workers = wanted.workers
        measured = measure_texts(
            source.units(), wanted.ngrams, wanted.top, workers=workers, progress=progress
        )
        told |= describe_texts(measured)
    return told


def column_types(source: RunSource) -> dict[str, pa.DataType]:
    """Types of the columns that are described: those of the filters, and the documents' size."""
    types: dict[str, pa.DataType] = {"num_bytes": pa.int64()}
    for filter_ in source.plan.pipeline.sources[source.name].filters:
        types |= {f"{filter_.label}.{c}": kind for c, kind in filter_.column_types().items()}
    return types


def _add_not_reached(source: RunSource, columns: dict[str, dict[str, Any]]) -> None:
    """Say of each column in how many documents it is null as an earlier filter dropped them."""
    labels = [f.label for f in source.plan.pipeline.sources[source.name].filters]
    reached = TopValues()
    for table in source.tables(["reached"]):
        counts = table["reached"].combine_chunks().drop_null().value_counts()
        reached.add(counts.field("values").to_pylist(), counts.field("counts").to_pylist())
    stopped = {label: counts[0] for label, counts in reached.top(len(labels))}
    whole = source.plan.pipeline.tag == "all"
    for name, told in columns.items():
        label = name.partition(".")[0]
        before = labels[: labels.index(label)] if label in labels and not whole else []
        told["not_reached"] = sum(stopped.get(other, 0) for other in before)


def _counts(
    documents: int,
    num_bytes: int,
    stores: list[Store],
    funnel: Funnel,
    columns: dict[str, dict[str, Any]],
) -> dict[str, Any]:
    """Count the documents; tokens are those of the kept ones, words those that a column knows."""
    tokens = sum(s.num_tokens for s in stores) if stores else None
    words = next((n for n in columns if n.rpartition(".")[2] == "word_count"), None)
    found = {"values": 0} if words is None else columns[words]
    return {
        "documents": documents,
        "bytes": num_bytes,
        "records": funnel.records,
        "bad_records": funnel.bad_records,
        "kept": sum(s.num_documents for s in stores) if stores else None,
        "held_out": funnel.held_out,
        "tokens": tokens,
        "words": found.get("sum"),
        "words_column": words,
        "words_documents": found["values"],
    }


def _token_lengths(stores: list[Store]) -> list[dict[str, int]]:
    """Histogram of the kept documents by tokens, held-out ones too."""
    bins: dict[int, dict[str, int]] = {}
    for row in (row for store in stores for row in length_histogram(store)):
        here = bins.setdefault(row["from"], {**row, "documents": 0, "tokens": 0})
        here["documents"] += row["documents"]
        here["tokens"] += row["tokens"]
    return [bins[start] for start in sorted(bins)]


def _languages(source: RunSource, top: int) -> list[dict[str, Any]]:
    """Count documents, bytes as read and documents kept by language, of each filter `language`."""
    rows: list[dict[str, Any]] = []
    for filter_ in source.plan.pipeline.sources[source.name].filters:
        if not isinstance(filter_, Language):
            continue
        column, counts = f"{filter_.label}.label", TopValues(2)
        for table in source.judged([column, "num_bytes"]):
            grouped = table.group_by(column).aggregate(
                [([], "count_all"), ("num_bytes", "sum"), ("kept", "sum")]
            )
            grouped = grouped.filter(grouped[column].is_valid())
            amounts = ("count_all", "num_bytes_sum", "kept_sum")
            counts.add(grouped[column].to_pylist(), *(grouped[a].to_pylist() for a in amounts))
        rows += [
            {
                "column": column,
                "language": name,
                "documents": documents,
                "bytes": size,
                "kept": kept if source.is_decided else None,
            }
            for name, (documents, size, kept) in counts.top(top)
        ]
    return rows


def _domains(source: RunSource, stores: list[Store], top: int) -> dict[str, Any] | None:
    """Count documents by domain as far as their URLs were written down.

    Kept documents have theirs in the stores, dropped ones under `keep_dropped` only. None where no
    document has one.
    """
    domains = Domains("kept", "tokens")
    for store in stores:
        for urls, tokens in urls_of(store):
            domains.add(urls, np.ones(len(urls), np.int64), tokens)
    excluded = None if source.kept or not stores else source.excluded()
    for path in excluded or ():
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=["url"]):
                nothing = np.zeros(len(batch), np.int64)
                domains.add(batch["url"], nothing, nothing)
    found = domains.describe(top)
    return {"of": "kept" if excluded is None else "all", **found} if found["top"] else None


def _verdicts(funnel: Funnel) -> list[dict[str, Any]]:
    """Each reason in the order in which the steps judge: documents, bytes, share of all."""
    rows = []
    for step in funnel.steps:
        for code, count in funnel.reasons_of(step).items():
            reason = f"{step}.{code}"
            rows.append(
                {
                    "step": step,
                    "reason": reason,
                    "documents": count,
                    "bytes": funnel.dropped_bytes[reason],
                    "frac": count / max(funnel.documents, 1),
                }
            )
    return rows
