"""Limits on a record's field: text among some, numbers between two."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import judge
from dolmix.filters.field import RecordField


def verdicts(values: list[Any], **settings: Any) -> list[str | None]:
    """Reasons for records whose field `m.x` has these values; None: no field."""
    filter_ = RecordField(field="m.x", **settings)
    given = [None if value is None else json.dumps(value) for value in values]
    batch = TextBatch.of([""] * len(values), fields={"m.x": given})
    reasons: list[str | None] = judge(filter_, filter_.columns(batch), batch).to_pylist()
    return reasons


def test_text_is_kept_or_dropped_by_a_list() -> None:
    """`keep` drops the rest, `drop` keeps it; what is no text is compared by its JSON text."""
    values = ["cc-by", "mit", 7, True, ["a"], None]
    other = "field.other"
    assert verdicts(values, keep=["mit", "7", "true"]) == [other, None, None, None, other, None]
    listed = "field.listed"
    assert verdicts(values, drop=["mit", '["a"]']) == [None, listed, None, None, listed, None]


def test_numbers_have_two_sides_and_may_be_written_as_text() -> None:
    """A value equal to a limit is kept; text that spells no number is as good as none."""
    values = [1, 2.0, "3", 9, "n/a", True, float("nan"), None]
    low, high = "field.low", "field.high"
    assert verdicts(values, min=2, max=3) == [low, None, None, high, None, None, None, None]
    missing = ["field.low_missing"] * 4
    assert verdicts(values, min=2, max=3, on_missing="drop") == [low, None, None, high, *missing]


def test_zero_is_a_limit_and_null_is_none() -> None:
    """`max: 0` drops what is above; `max: null` drops nothing."""
    assert verdicts([0, 1], max=0) == [None, "field.high"]
    assert verdicts([0, 1], max=None) == [None, None]


def test_a_missing_value_can_stop_the_run() -> None:
    """Under `on_missing: fail` the error names the document and what is missing."""
    with pytest.raises(FilterError, match=r"document '1' \(record 1\): field\.value is missing"):
        verdicts(["a", None], keep=["a"], on_missing="fail")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "no limit; give keep, drop, min or max"),
        ({"keep": ["a"], "min": 1}, "use a filter for each"),
        ({"keep": ["a"], "drop": ["b"]}, "give keep or drop"),
    ],
)
def test_settings_that_contradict_are_refused(settings: dict[str, Any], said: str) -> None:
    """The error says what to give."""
    with pytest.raises(ValidationError, match=said):
        RecordField(field="x", **settings)
