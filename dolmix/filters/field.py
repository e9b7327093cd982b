"""A limit on a field of the record: its value among some, or a number between two.

What a record says of itself (a licence, a crawl's date, a score that somebody else computed)
decides here, without reading the text.
"""

import math
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Self

import orjson
import pyarrow as pa
from pydantic import Field, model_validator

from dolmix.document import Columns, TextBatch
from dolmix.filters.base import Filter, OnMissing, Rule

Values = Annotated[tuple[str, ...], Field(min_length=1)]


class RecordField(Filter):
    """Drop documents by the value of one field of their records.

    Text is compared as it stands; a number, `true` or a list as its JSON text (`7`, `["a"]`). With
    `min` or `max` the value is a number, or a text that spells one (`"7"`); all else is missing.
    """

    rule_settings = ("keep", "drop", "min", "max", "on_missing")

    type: Literal["field"] = "field"
    field: str
    """Dotted path of the field in a record: `metadata.license`."""
    keep: Values | None = None
    """Values to keep; all others are dropped."""
    drop: Values | None = None
    """Values to drop; all others are kept."""
    min: float | None = None
    """Drop when the number is below this."""
    max: float | None = None
    """Drop when the number is above this."""
    on_missing: OnMissing = "keep"
    """What to do with a document whose record has no such field, null in it, or no number."""

    @model_validator(mode="after")
    def _has_one_kind_of_limit(self) -> Self:
        if not self.model_fields_set & {"keep", "drop", "min", "max"}:
            raise ValueError("no limit; give keep, drop, min or max, null to switch it off")
        if self.is_number and (self.keep is not None or self.drop is not None):
            raise ValueError(
                "keep and drop compare text, min and max numbers; use a filter for each"
            )
        if self.keep is not None and self.drop is not None:
            raise ValueError("keep drops all other values already; give keep or drop")
        return self

    @property
    def definition(self) -> str:
        """Say which field."""
        return f"record field {self.field}"

    @property
    def is_number(self) -> bool:
        """Whether the value is compared as a number."""
        return self.min is not None or self.max is not None

    def fields(self) -> tuple[str, ...]:
        """One path."""
        return (self.field,)

    def column_types(self) -> dict[str, pa.DataType]:
        """One column, null where the record has no value."""
        return {"value": pa.float64() if self.is_number else pa.string()}

    def columns(self, texts: TextBatch) -> Columns:
        """Read every distinct value once."""
        distinct = texts.fields[self.field].dictionary_encode()
        read: Callable[[str], Any] = as_number if self.is_number else as_text
        values = [read(raw) for raw in distinct.dictionary.to_pylist()]
        return {"value": pa.array(values, self.column_types()["value"]).take(distinct.indices)}

    def rules(self) -> Iterator[Rule]:
        """Rules for the limits that are given."""
        if self.is_number:
            yield Rule("value", below=self.min, reason="low", on_missing=self.on_missing)
            yield Rule("value", above=self.max, reason="high", on_missing=self.on_missing)
        else:
            yield Rule("value", not_in=self.keep, reason="other", on_missing=self.on_missing)
            yield Rule("value", any_of=self.drop, reason="listed", on_missing=self.on_missing)


def as_text(raw: str) -> str:
    """Text of a JSON value: a string itself, anything else its JSON text."""
    value = _from_json(raw)
    return value if isinstance(value, str) else raw


def as_number(raw: str) -> float | None:
    """Read the number of a JSON value, or of the text in it; None for anything else, NaN too."""
    value = _from_json(raw)
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _from_json(raw: str) -> Any:
    """Value of a JSON text; None where it is none, as `NaN` is not."""
    try:
        return orjson.loads(raw)
    except ValueError:
        return None
