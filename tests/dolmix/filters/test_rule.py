"""A rule on another filter's column: what it decides, and what it refuses at load."""

from pathlib import Path
from typing import Any

import builders
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from dolmix.config import parse
from dolmix.document import TextBatch
from dolmix.errors import ConfigError, FilterError
from dolmix.filters import AnyFilter, ColumnRule, judge
from dolmix.pipeline.spec import Pipeline

GOPHER = {"type": "gopher"}


def problems(*filters: dict[str, Any]) -> str:
    """Return the message that a pipeline with these filters is refused with."""
    raw = builders.pipeline(
        Path("out"), Path("t.json"), sources={"web": {"inputs": ["x"], "filters": list(filters)}}
    )
    with pytest.raises(ConfigError) as caught:
        parse(Pipeline, raw, origin="p.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("limit", "reasons"),
    [
        ({"below": 2}, ["x.low", None, None, None]),
        ({"at_most": 2.0}, ["x.low", "x.low", None, None]),
        ({"above": 2}, [None, None, "x.high", None]),
        ({"at_least": 2}, [None, "x.high", "x.high", None]),
        ({"at_least": 2, "reason": "many"}, [None, "x.many", "x.many", None]),
        ({"above": 2, "on_missing": "drop"}, [None, None, "x.high", "x.high_missing"]),
        ({"above": None}, [None] * 4),
    ],
)
def test_it_judges_as_its_limit_says(limit: dict[str, Any], reasons: list[str | None]) -> None:
    """Each limit, its reason, a missing value, and null for off."""
    rule = ColumnRule(name="x", column="gopher.word_count", **limit)
    columns = {"gopher.word_count": pa.array([1, 2, 3, None])}
    assert judge(rule, columns, TextBatch.of(["a"] * 4)).to_pylist() == reasons


def test_it_judges_text_too() -> None:
    """`not_in` keeps what is listed."""
    rule = ColumnRule(column="language.label", not_in=("en",))
    columns = {"language.label": pa.array(["en", "de", None])}
    assert rule.label == "language-label"
    verdicts = judge(rule, columns, TextBatch.of(["a"] * 3)).to_pylist()
    assert verdicts == [None, "language-label.other", None]


def test_a_missing_value_can_fail_and_names_the_column() -> None:
    """The column's own full name stands in the message."""
    rule = ColumnRule(column="stars.stars", below=2, on_missing="fail")
    with pytest.raises(FilterError, match=r"^document '0' \(record 0\): stars\.stars is missing"):
        judge(rule, {"stars.stars": pa.array([None], pa.int64())}, TextBatch.of(["a"]))


def test_a_column_that_nobody_writes_is_refused() -> None:
    """At load, with what was probably meant."""
    message = problems(GOPHER, {"type": "rule", "column": "gopher.word_cuont", "below": 50})
    assert (
        "sources.web: gopher-word_cuont: no filter before it writes 'gopher.word_cuont'; "
        "did you mean 'gopher.word_count'?"
    ) in message
    message = problems(GOPHER, {"type": "rule", "column": "word_count", "below": 50})
    assert (
        "word_count: no filter before it writes 'word_count'; did you mean 'gopher.wor" in message
    )
    message = problems({"type": "rule", "column": "fluency.score", "below": 0.5})
    assert "no filter before it writes 'fluency.score'; known: none" in message


def test_a_column_of_a_later_filter_is_refused() -> None:
    """The message says to move the rule behind that filter."""
    message = problems({"type": "rule", "column": "gopher.word_count", "below": 50}, GOPHER)
    assert (
        "column 'gopher.word_count' is written by gopher, which judges later; move "
        "gopher-word_count behind it"
    ) in message


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        ({}, "no limit; give one of below, at_most, above, at_least, not_in"),
        ({"below": 1, "above": 2}, "below and above are 2 limits; write a rule for each"),
        ({"not_in": ["en"]}, "column 'gopher.word_count' is int64, its limit needs text"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused(limit: dict[str, Any], said: str) -> None:
    """None, two at once, and one of another kind than the column."""
    assert said in problems(GOPHER, {"type": "rule", "column": "gopher.word_count", **limit})


@pytest.mark.parametrize("limit", ["not_in", "below"])
def test_a_rule_that_is_off_may_stand_on_any_column(limit: str) -> None:
    """Null switches a rule on text off as it does one on numbers."""
    edit = {"type": "datatrove", "filter": "C4QualityFilter"}
    for column in ("datatrove.reason", "datatrove.keep", "datatrove.edit"):
        filters = [edit, {"type": "rule", "column": column, limit: None}]
        sources = {"web": {"inputs": ["x"], "filters": filters}}
        raw = builders.pipeline(Path("out"), Path("t.json"), sources=sources)
        assert len(parse(Pipeline, raw, origin="p.yaml").sources["web"].filters) == 2


def test_an_edit_is_no_number() -> None:
    """A rule judges numbers and texts."""
    edit = {"type": "datatrove", "filter": "C4QualityFilter"}
    message = problems(edit, {"type": "rule", "column": "datatrove.edit", "above": 1})
    assert "column 'datatrove.edit' is list<" in message


@pytest.mark.parametrize("limit", [{"below": 3}, {"above": None}, {"not_in": ["en", "fr"]}])
def test_it_survives_its_own_record(limit: dict[str, Any]) -> None:
    """Written out with every limit, as a plan does, it reads back as the same filter."""
    adapter: TypeAdapter[Any] = TypeAdapter(AnyFilter)
    rule = adapter.validate_python({"type": "rule", "column": "gopher.word_count", **limit})
    again = adapter.validate_json(rule.model_dump_json())
    assert again == rule
    assert list(again.rules()) == list(rule.rules())
