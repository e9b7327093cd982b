"""Deciding over a batch: which filter saw which document, and what was counted."""

from collections.abc import Iterator
from typing import Any, Literal

import builders
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.filters.base import Filter, Rule
from dolmix.pipeline.decisions import decide, decision_schema
from dolmix.pipeline.tally import Tally


class Size(Filter):
    """Drop texts longer than a limit; texts with `?` have no size."""

    type: Literal["size"] = "size"
    longest: int = 5
    on_missing: Literal["keep", "drop", "fail"] = "keep"

    def column_types(self) -> dict[str, pa.DataType]:
        """One column."""
        return {"chars": pa.int64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Characters, null for texts with a question mark."""
        values = [None if "?" in t else len(t) for t in texts.text.to_pylist()]
        return {"chars": pa.array(values, pa.int64())}

    def rules(self) -> Iterator[Rule]:
        """One rule."""
        yield Rule("chars", above=self.longest, reason="too_long", on_missing=self.on_missing)


class Length(Size):
    """As Size, but every text has a size."""

    def columns(self, texts: TextBatch) -> Columns:
        """Characters."""
        return {"chars": pa.array([len(t) for t in texts.text.to_pylist()], pa.int64())}


class Renamed(Size):
    """A filter with a rule on a column that it does not write."""

    def column_types(self) -> dict[str, pa.DataType]:
        """One column, by another name."""
        return {"letters": pa.int64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Characters, by another name."""
        return {"letters": super().columns(texts)["chars"]}


def decided(texts: list[str], *filters: Filter, whole: bool = False) -> list[dict[str, Any]]:
    """Decisions as rows."""
    return decide(TextBatch.of(texts), filters, decision_schema(filters), whole=whole).to_pylist()


def test_a_dropped_document_reaches_no_later_filter() -> None:
    """`reached` is the last filter that judged; later columns are null."""
    first, second = Size(name="a", longest=5), Size(name="b", longest=3)
    long, middle, short = decided(["longer text", "four", "abc"], first, second)
    assert (long["reason"], long["reached"], long["b.chars"]) == ("a.too_long", "a", None)
    assert (middle["reason"], middle["reached"], middle["b.chars"]) == ("b.too_long", "b", 4)
    assert (short["reason"], short["reached"], short["b.chars"]) == (None, "b", 3)


def test_tag_all_computes_every_column_and_keeps_the_first_reason() -> None:
    """With `tag: all` later columns exist, verdicts are unchanged."""
    first, second = Size(name="a", longest=5), Size(name="b", longest=3)
    long = decided(["longer text"], first, second, whole=True)[0]
    assert (long["reason"], long["reached"], long["b.chars"]) == ("a.too_long", "a", 11)


def test_missing_values_follow_their_rule() -> None:
    """Keep, drop with a reason of its own, or stop and name the document."""
    assert decided(["?"], Size())[0]["reason"] is None
    assert decided(["?"], Size(on_missing="drop"))[0]["reason"] == "size.too_long_missing"
    with pytest.raises(FilterError, match=r"^document '1' \(record 1\): size\.chars is missing"):
        decided(["ok", "?"], Size(on_missing="fail"))


@pytest.mark.parametrize("whole", [False, True])
def test_a_failure_names_a_document_that_reached_the_filter(whole: bool) -> None:
    """A dropped document misses nothing, `tag: all` or not; the first living one is named."""
    texts = ["much longer?", "four?", "abc", "?"]
    filters = (Length(name="a", longest=5), Size(name="b", on_missing="fail"))
    with pytest.raises(
        FilterError, match=r"^document '1' \(record 1\): b\.chars is missing, .* 3 d"
    ):
        decided(texts, *filters, whole=whole)
    assert [row["reason"] for row in decided([texts[0], "abc"], *filters, whole=whole)] == [
        "a.too_long",
        None,
    ]


def test_a_rule_without_its_column_is_named() -> None:
    """A filter whose columns and rules disagree is an error with the rule and the columns."""
    with pytest.raises(FilterError, match="needs column 'chars', but there are only letters"):
        decided(["ok"], Renamed(on_missing="fail"))


def test_columns_carry_their_definition() -> None:
    """Field metadata says which filter and version made a column."""
    field = decision_schema([Size(name="a")]).field("a.chars")
    assert field.metadata[b"filter"] == b"size"
    assert field.metadata[b"version"] == b"1"


@given(st.lists(st.text("ab?", max_size=8), max_size=30), st.integers(1, 7))
def test_decisions_do_not_depend_on_the_batches(texts: list[str], cut: int) -> None:
    """Any cut into batches gives the same rows and the same counts."""
    filters = (Size(name="a", longest=5, on_missing="drop"), Size(name="b", longest=3))
    schema = decision_schema(filters)
    batch = TextBatch.of(texts)
    whole, pieces = Tally(filters), Tally(filters)
    table = decide(batch, filters, schema)
    whole.add(table)
    rows = []
    for start in range(0, len(texts), cut):
        part = decide(batch.take(np.arange(start, min(start + cut, len(texts)))), filters, schema)
        pieces.add(part)
        rows += part.to_pylist()
    assert rows == table.to_pylist()
    assert pieces.counts() == whole.counts()


@given(st.lists(st.text("ab?", max_size=8), max_size=30))
def test_every_document_is_counted_once(texts: list[str]) -> None:
    """Kept and dropped add up to what was read, in documents and in bytes."""
    filters = (Size(name="a", longest=5, on_missing="drop"), Size(name="b", longest=3))
    tally = Tally(filters)
    tally.add(decide(TextBatch.of(texts), filters, decision_schema(filters)))
    assert tally.kept + sum(tally.dropped.values()) == tally.documents == len(texts)
    num_bytes = sum(len(t.encode()) for t in texts)
    assert tally.kept_bytes + sum(tally.dropped_bytes.values()) == tally.num_bytes == num_bytes
    assert tally.judged["a"] == len(texts)


def test_a_source_without_filters_keeps_all() -> None:
    """No filter is a valid choice: everything is kept, nothing is reached."""
    rows = decided([builders.prose(1)])
    assert rows[0]["reason"] is None
    assert rows[0]["reached"] is None
