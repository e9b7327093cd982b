"""The limits of a run's filters, where it found them in its own data (`calibration`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from dolmix.filters.base import Filter
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.records import RecordBook


def judging_filters(plan: Plan, source: str) -> tuple[Filter, ...]:
    """Give the filters of a source as they judge: with the limits that its run found.

    While the limits are not found, rules that use them are off.
    """
    filters: tuple[Filter, ...] = plan.pipeline.sources[source].filters
    found = limits_of(plan, source)
    return without_limits(filters) if found is None else with_limits(filters, found["limits"])


def limits_of(plan: Plan, source: str) -> dict[str, Any] | None:
    """Read what was found for a source; None where nothing is asked for, or while it is not."""
    task = next((t for t in plan.passes.get("limits", []) if t.source == source), None)
    book = RecordBook(plan.pipeline.output)
    if task is None or not book.has("limits", task.key):
        return None
    found: dict[str, Any] = orjson.loads(book.output("limits", task.key, "limits").read_bytes())
    return found


def without_limits(filters: Sequence[Filter]) -> tuple[Filter, ...]:
    """Give filters whose rules on limits that must be found are off."""
    return tuple(
        f.with_limits(dict.fromkeys((q.setting for q in f.quantiles()), None))
        if f.quantiles()
        else f
        for f in filters
    )


def with_limits(
    filters: Sequence[Filter], limits: Sequence[Mapping[str, Any]]
) -> tuple[Filter, ...]:
    """Give filters the limits that were found, as `Limit.describe` gives them."""
    by_filter: dict[str, dict[str, float | None]] = {}
    for one in limits:
        by_filter.setdefault(one["filter"], {})[one["setting"]] = one["limit"]
    return tuple(f.with_limits(by_filter[f.label]) if f.label in by_filter else f for f in filters)
