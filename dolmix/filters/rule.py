"""A rule on a column that an earlier filter of the same source wrote.

A filter's own thresholds are settings of that filter. This one judges any column a second time, or
for the first time: a score that another filter only measures, a limit that only one source has, a
limit that stands after an expensive filter. It reads no text.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import Field, StringConstraints, model_validator

from dolmix.document import Columns, TextBatch
from dolmix.filters.base import Filter, OnMissing, Rule

LIMITS = {"below": "low", "at_most": "low", "above": "high", "at_least": "high", "not_in": "other"}
"""Settings that are limits, and the reason code of each unless `reason` says otherwise."""

Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]


class ColumnRule(Filter):
    """Drop a document when a column of an earlier filter is beyond a limit.

    Without `name` it is called after its column: `gopher-word_count`. Give one limit; null switches
    the rule off.
    """

    type: Literal["rule"] = "rule"
    column: str
    """Column to judge, as `<filter>.<column>`; the filter must stand before this one."""
    below: float | None = None
    """Drop when the value is below this."""
    at_most: float | None = None
    """Drop when the value is this or below."""
    above: float | None = None
    """Drop when the value is above this."""
    at_least: float | None = None
    """Drop when the value is this or above."""
    not_in: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Drop when the value, of a column of text, is none of these."""
    reason: Code | None = None
    """Reason code behind this filter's name; `low`, `high` or `other` by the limit if not given."""
    on_missing: OnMissing = "keep"
    """What to do with a document for which the column has no value."""

    @model_validator(mode="after")
    def _has_one_limit(self) -> Self:
        given = [name for name in LIMITS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} are {len(given)} limits; write a rule for each, with a name"
            )
        if not self.model_fields_set & LIMITS.keys():
            raise ValueError(f"no limit; give one of {', '.join(LIMITS)}, null to switch it off")
        return self

    @property
    def label(self) -> str:
        """The filter's name; after its column when none is given."""
        return self.name or self.column.replace(".", "-").lower()

    @property
    def definition(self) -> str:
        """Say what it judges; how that column is defined, its own metadata says."""
        return f"rule on {self.column}"

    def reads(self) -> tuple[str, ...]:
        """One column, of an earlier filter."""
        return (self.column,)

    def column_types(self) -> dict[str, pa.DataType]:
        """No column of its own."""
        return {}

    def columns(self, texts: TextBatch) -> Columns:
        """Nothing to compute."""
        del texts
        return {}

    def rules(self) -> Iterator[Rule]:
        """Give the one rule."""
        limits: dict[str, Any] = {name: getattr(self, name) for name in LIMITS}
        given = next((name for name, value in limits.items() if value is not None), "above")
        reason = self.reason or LIMITS[given]
        yield Rule(self.column, reason=reason, on_missing=self.on_missing, **limits)
