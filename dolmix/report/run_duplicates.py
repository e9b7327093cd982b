"""What dedup found in one source of a run, step by step: how much, in clusters of which sizes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dolmix.dedup.base import Dedup
from dolmix.document import I64Array
from dolmix.pipeline.funnel import Funnel
from dolmix.report.columns import as_numbers
from dolmix.report.counting import Lengths
from dolmix.report.quantiles import PERCENTS, Values, held_quantiles
from dolmix.report.run_source import RunSource


def describe_duplicates(source: RunSource, funnel: Funnel) -> list[dict[str, Any]]:
    """One entry a step, then one of all steps together; empty while dedup is not done.

    Sizes of clusters are those within the source. Of one step a cluster is what it drops, or would
    drop, and the one that stays; of all together also what other steps drop. Memory: 8 bytes for
    each document that shares a cluster.
    """
    if source.clusters() is None:
        return []
    pipeline = source.plan.pipeline
    entries = [_step(source, funnel, step) for step in pipeline.document_steps]
    entries.append(_together(source, funnel))
    if pipeline.paragraph_step is not None and source.is_decided:
        entries.append(_paragraphs(funnel, pipeline.paragraph_step.label))
    return entries


def _step(source: RunSource, funnel: Funnel, step: Dedup) -> dict[str, Any]:
    """Describe what one step dropped, or reported under `drop: none`."""
    drops = step.drop != "none"
    reason = f"{step.label}.duplicate"
    clusters = [np.zeros(0, np.int64)]
    alike: list[Values] = [np.zeros(0)]
    for table in _read(source.cluster_files("" if drops else "reported/")):
        mine = table.filter(pc.equal(table["reason"], reason))
        clusters.append(mine["cluster"].to_numpy())
        alike.append(as_numbers(mine["jaccard"].combine_chunks().drop_null()))
    found = np.concatenate(clusters)
    sizes = np.unique(found, return_counts=True)[1] + 1
    return {
        **_entry(step.label, funnel, len(found), sizes),
        "dropped": drops,
        "same_text": step.same_text,
        "jaccard": _quantiles(np.concatenate(alike)) if not step.same_text else {},
    }


def _together(source: RunSource, funnel: Funnel) -> dict[str, Any]:
    """Clusters of all steps together, members that an earlier filter dropped apart."""
    files = source.cluster_files("clusters/")
    clusters = [table["cluster"].to_numpy() for table in _read(files)]
    found = np.concatenate([np.zeros(0, np.int64), *clusters])
    sizes = np.unique(found, return_counts=True)[1]
    return {**_entry("all steps", funnel, int((sizes - 1).sum()), sizes), "dropped": None}


def _paragraphs(funnel: Funnel, label: str) -> dict[str, Any]:
    """Describe what paragraph dedup found: its units are no documents, and have no clusters."""
    counts = funnel.edit_counts[label]
    return {
        "step": label,
        "documents": funnel.judged[label],
        "duplicates": funnel.dropped_by(label),
        "duplicate_frac": funnel.dropped_by(label) / max(funnel.judged[label], 1),
        "dropped": True,
        "units": counts["units"],
        "duplicate_units": counts["duplicate_units"],
        "duplicate_bytes": counts["duplicate_bytes"],
    }


def _entry(step: str, funnel: Funnel, duplicates: int, sizes: I64Array) -> dict[str, Any]:
    histogram = Lengths("members")
    histogram.add(sizes)
    return {
        "step": step,
        "documents": funnel.kept_by_filters,
        "duplicates": duplicates,
        "duplicate_frac": duplicates / max(funnel.kept_by_filters, 1),
        "clusters": len(sizes),
        "sizes": histogram.describe(),
    }


def _quantiles(values: Any) -> dict[str, float]:
    if not len(values):
        return {}
    return {f"p{p}": v for p, v in zip(PERCENTS, held_quantiles(values), strict=True)}


def _read(paths: list[Path]) -> Iterator[pa.Table]:
    for path in paths:
        yield pq.read_table(path)
