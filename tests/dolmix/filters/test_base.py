"""Rules and verdicts: which rule gives the reason, and what missing values and off rules mean."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.filters.base import Filter, OnMissing, Rule, identity, judge, with_preset


class Two(Filter):
    """A filter of two columns, to judge with."""

    type: Literal["two"] = "two"
    low: float | None = 1.0
    high: float | None = 5.0
    on_missing: OnMissing = "keep"
    b_missing: OnMissing = "keep"

    def column_types(self) -> dict[str, pa.DataType]:
        """Name two columns."""
        return {"a": pa.float64(), "b": pa.int64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Give zeros."""
        size = len(texts)
        return {"a": pa.array([0.0] * size), "b": pa.array([0] * size)}

    def rules(self) -> Iterator[Rule]:
        """Give one rule a column."""
        yield Rule("a", below=self.low, reason="a_low", on_missing=self.on_missing)
        yield Rule("b", above=self.high, on_missing=self.b_missing)


def batch(size: int) -> TextBatch:
    """Documents named 0, 1, ..., to judge."""
    return TextBatch.of(["x"] * size)


values = st.lists(st.tuples(st.none() | st.integers(0, 3), st.none() | st.integers(3, 7)))


@given(values, st.none() | st.just(2.0), st.none() | st.just(5.0))
def test_the_first_rule_that_fires_is_the_reason(
    rows: list[tuple[int | None, int | None]], low: float | None, high: float | None
) -> None:
    """Verdicts equal a plain reading of the rules, row by row."""
    columns = {
        "a": pa.array([a for a, _ in rows], pa.float64()),
        "b": pa.array([b for _, b in rows], pa.int64()),
    }
    expected = []
    for a, b in rows:
        if a is not None and low is not None and a < low:
            expected.append("x.a_low")
        elif b is not None and high is not None and b > high:
            expected.append("x.b")
        else:
            expected.append(None)
    assert (
        judge(Two(name="x", low=low, high=high), columns, batch(len(rows))).to_pylist() == expected
    )


@pytest.mark.parametrize(("on_missing", "reason"), [("keep", None), ("drop", "two.a_low_missing")])
def test_a_missing_value_is_kept_or_dropped_as_told(
    on_missing: OnMissing, reason: str | None
) -> None:
    """A null drops with a reason of its own, or not at all."""
    columns = {"a": pa.array([None, 9.0]), "b": pa.array([0, 0])}
    assert judge(Two(on_missing=on_missing), columns, batch(2)).to_pylist() == [reason, None]


def test_a_missing_value_can_fail_and_says_where() -> None:
    """`fail` names the column, the first document by id and record, and what to do."""
    columns = {"a": pa.array([9.0, None, None]), "b": pa.array([0, 0, 0])}
    texts = TextBatch.of(["x"] * 4, ids=["one", "two", "three", "four"]).take(np.array([1, 2, 3]))
    with pytest.raises(FilterError) as caught:
        judge(Two(on_missing="fail"), columns, texts)
    assert str(caught.value) == (
        "document 'three' (record 2): two.a is missing, as it is for 1 more of the 3 documents "
        "read with it. Set two.on_missing to keep or drop, or mend the input."
    )


def test_a_document_that_an_earlier_rule_drops_misses_nothing() -> None:
    """`fail` is about documents that the rule judges: those that no earlier rule dropped."""
    first = {"a": pa.array([0.0, 9.0]), "b": pa.array([None, 0], pa.int64())}
    filter_ = Two(b_missing="fail")
    assert judge(filter_, first, batch(2)).to_pylist() == ["two.a_low", None]
    second = {"a": pa.array([0.0, 9.0]), "b": pa.array([None, None], pa.int64())}
    with pytest.raises(FilterError, match=r"^document '1' \(record 1\): two\.b is missing\. Set"):
        judge(filter_, second, batch(2))


def test_a_rule_that_is_off_does_not_look_at_missing_values() -> None:
    """None switches a rule off whole, its treatment of nulls included."""
    columns = {"a": pa.array([None], pa.float64()), "b": pa.array([0])}
    assert judge(Two(low=None, on_missing="fail"), columns, batch(1)).to_pylist() == [None]


def test_zero_is_a_threshold() -> None:
    """0.0 drops what is beyond it; it does not mean off."""
    columns = {"a": pa.array([2.0, 2.0]), "b": pa.array([0, 1])}
    assert judge(Two(high=0.0), columns, batch(2)).to_pylist() == [None, "two.b"]


def test_a_rule_without_its_column_is_refused() -> None:
    """Columns made with other settings are named as such, not ignored."""
    with pytest.raises(FilterError, match="needs column 'b', but there are only a"):
        judge(Two(), {"a": pa.array([2.0])}, batch(1))


class Named(Filter):
    """A filter that gives reasons of its own, and whose texts may change."""

    rewrites: ClassVar[bool] = True
    type: Literal["named"] = "named"
    edits: bool = True
    low: float | None = None

    def column_types(self) -> dict[str, pa.DataType]:
        """Verdict, reason, count, and the edit if it is on."""
        types = {"keep": pa.bool_(), "why": pa.string(), "lines": pa.int64()}
        return types | ({"edit": pa.list_(pa.int64())} if self.edits else {})

    def rules(self) -> Iterator[Rule]:
        """One rule before and one with reasons from a column."""
        yield Rule("lines", below=self.low)
        yield Rule("keep", below=1, reason="gone", reason_from="why", on_missing="drop")


def test_reasons_can_come_from_a_column() -> None:
    """Each drop has its own reason, the rule's where there is none; earlier rules come first."""
    columns = {
        "lines": pa.array([0, 9, 9, 9, 9, 9]),
        "keep": pa.array([False, False, False, False, True, None]),
        "why": pa.array(["a", "b", None, "a", "never", "never"]),
    }
    verdicts = judge(Named(low=1), columns, batch(6)).to_pylist()
    assert verdicts == [
        *("named.lines", "named.b", "named.gone", "named.a", None, "named.gone_missing"),
    ]


def test_a_filter_with_an_edit_counts_in_whole_numbers() -> None:
    """Without the column there is no edit, whatever the class may do."""
    assert (Named().has_edit, Named().edit_counts()) == (True, ("lines",))
    assert (Named(edits=False).has_edit, Named(edits=False).edit_counts()) == (False, ())
    assert (Two().has_edit, Two().edit_counts(), Two().reads()) == (False, (), ())


def test_identity_names_what_a_verdict_depends_on() -> None:
    """Settings and version; another threshold is another identity."""
    assert identity(Two()) == {
        "config": Two().model_dump(mode="json"), "version": 1, "digests": {},
    }  # fmt: skip
    assert identity(Two(low=2.0)) != identity(Two())


@pytest.mark.parametrize(
    ("rule", "limit"),
    [
        (Rule("x", below=50), "< 50"),
        (Rule("x", above=100_000), "> 100,000"),
        (Rule("x", above=0.3), "> 0.3"),
        (Rule("x", at_least=32), ">= 32"),
        (Rule("x", at_most=0.65), "<= 0.65"),
        (Rule("x", not_in=("en", "fr")), "not in en, fr"),
        (Rule("x"), ""),
    ],
)
def test_limits_read_well(rule: Rule, limit: str) -> None:
    """A limit prints as a person writes it."""
    assert rule.limit == limit


def test_a_preset_fills_in_only_what_was_not_given() -> None:
    """Given keys stand, null included; other data than a mapping is left for validation."""
    presets = {"p": {"x": 1, "y": 2}}
    assert with_preset({"preset": "p", "x": None}, presets) == {"preset": "p", "x": None, "y": 2}
    assert with_preset({"y": 3}, presets, "p") == {"x": 1, "y": 3}
    assert with_preset({"preset": ["p"]}, presets) == {"preset": ["p"]}
    assert with_preset(7, presets) == 7
