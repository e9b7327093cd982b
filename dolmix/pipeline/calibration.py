"""Limits that a run finds in its own data, for filters that give them as a share of documents.

A sample of the source goes through its filters first, as far as the last that asks for a limit
(`Quantile`); the limits follow from what is measured there, filter by filter, each among the
documents that those before it leave. Guarantee: they follow from configuration and inputs alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.document import BoolArray
from dolmix.filters.base import Filter, Quantile
from dolmix.pipeline.known import Known, judge_known, judged_columns, standing
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.records import RecordBook


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit as it was found."""

    filter: str
    setting: str
    column: str
    """Full name of the column."""
    worst: str
    frac: float
    """Share that was asked for."""
    documents: int
    """Documents of the sample that reached the filter and have a value."""
    beyond: int
    """Those of them that are worse than the limit."""
    limit: float | None
    """None where no document has a value: the rule is off."""

    def describe(self) -> dict[str, Any]:
        """Give it as plain data."""
        return asdict(self)


def sampled_columns(filters: Sequence[Filter]) -> list[str]:
    """Full names of the columns that are kept of a sample: all that decides who reaches whom."""
    names = dict.fromkeys(judged_columns(filters))
    for filter_ in filters:
        if filter_.quantiles():
            names |= dict.fromkeys(f"{filter_.label}.{column}" for column in filter_.column_types())
    return list(names)


def find_limits(
    table: pa.Table, filters: Sequence[Filter], *, stored: pa.Schema | None = None
) -> tuple[tuple[Filter, ...], list[Limit]]:
    """Find the limits that filters ask for, in their order.

    table    of a sample: `id`, `record`, `reached`, and the columns that `sampled_columns` names,
             of these filters without limits
    filters  those that a sample goes through, with no such limits yet
    stored   schema of these filters' decisions, where the sample may be of others; what of it does
             not stand is not known

    returns  the filters with their limits, and the limits
    """
    labels = [f.label for f in filters]
    usable = {label: n for n, label in enumerate(labels)}
    if stored is not None:
        usable = standing(table.schema, stored, labels)
    known = Known.of(table, usable, labels, whole=False)
    limited: list[Filter] = []
    found: list[Limit] = []
    for filter_ in filters:
        asked = filter_.quantiles()
        if asked:
            verdicts = judge_known(known, limited)
            alive = _null(verdicts.reason) & _null(verdicts.lacking) & known.has(filter_)
            columns = known.columns(filter_, np.flatnonzero(alive))
            mine = [_limit(filter_, quantile, columns) for quantile in asked]
            found += mine
            filter_ = filter_.with_limits({one.setting: one.limit for one in mine})  # noqa: PLW2901
        limited.append(filter_)
    return tuple(limited), found


def _limit(filter_: Filter, quantile: Quantile, columns: Mapping[str, pa.Array]) -> Limit:
    numbers = columns[quantile.column].drop_null().cast(pa.float64())
    values = np.asarray(numbers.to_numpy(zero_copy_only=False), np.float64)
    limit = quantile.limit_of(values)
    beyond = 0
    if limit is not None:
        worse = values < limit if quantile.worst == "low" else values > limit
        beyond = int(np.count_nonzero(worse))
    return Limit(
        filter=filter_.label,
        setting=quantile.setting,
        column=f"{filter_.label}.{quantile.column}",
        worst=quantile.worst,
        frac=quantile.frac,
        documents=values.size,
        beyond=beyond,
        limit=limit,
    )


def _null(values: pa.Array) -> BoolArray:
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False), np.bool_)


def sample_table(plan: Plan, source: str) -> pa.Table:
    """Read what was measured of a source's sample: one row a document, part after part.

    Raises StoreError if the calibrate pass is not done.
    """
    book = RecordBook(plan.pipeline.output)
    tasks = plan.tasks("calibrate", source)
    return pa.concat_tables(
        pq.read_table(book.output("calibrate", task.key, "sample")) for task in tasks
    ).combine_chunks()
