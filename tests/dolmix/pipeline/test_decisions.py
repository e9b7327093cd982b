"""Deciding over texts that filters rewrite: who reads which text, and what is kept of an edit."""

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_edits import edits_of

from dolmix.document import Columns, TextBatch
from dolmix.filters import ColumnRule
from dolmix.filters.base import Filter, Rule
from dolmix.pipeline.decisions import decide, decision_schema, edit_column, last_edit
from dolmix.pipeline.tally import Tally
from dolmix.text.edits import EDIT_TYPE, Edits, edited


class Cut(Filter):
    """Take out one letter wherever it stands, and count it; `put` goes where it stood."""

    rewrites: ClassVar[bool] = True
    type: Literal["cut"] = "cut"
    letter: str = "x"
    put: int = 0

    def column_types(self) -> dict[str, pa.DataType]:
        """Count the letter; say where it stood."""
        return {"letters": pa.int64(), "edit": EDIT_TYPE}

    def columns(self, texts: TextBatch) -> Columns:
        """Find the letter, of one byte."""
        spans = [
            [(n, n + 1, self.put) for n, c in enumerate(text.encode()) if c == ord(self.letter)]
            for text in texts.text.to_pylist()
        ]
        counts = pa.array([len(row) for row in spans], pa.int64())
        return {"letters": counts, "edit": edits_of(spans).to_column()}

    def rules(self) -> Iterator[Rule]:
        """Drop nothing."""
        yield from ()


class Size(Filter):
    """Drop texts longer than a limit."""

    type: Literal["size"] = "size"
    longest: int = 5

    def column_types(self) -> dict[str, pa.DataType]:
        """One column."""
        return {"chars": pa.int64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Characters."""
        return {"chars": pa.array([len(t) for t in texts.text.to_pylist()], pa.int64())}

    def rules(self) -> Iterator[Rule]:
        """One rule."""
        yield Rule("chars", above=self.longest, reason="too_long")


def decided(texts: list[str], *filters: Filter, whole: bool = False) -> list[dict[str, Any]]:
    """Decisions as rows."""
    return decide(TextBatch.of(texts), filters, decision_schema(filters), whole=whole).to_pylist()


def plain(text: str, filters: tuple[Filter, ...]) -> tuple[str | None, str, dict[str, list[int]]]:
    """Reason, text at the end, and per filter what it measured, by a plain reading."""
    seen: dict[str, list[int]] = {}
    for filter_ in filters:
        if isinstance(filter_, Cut):
            count = text.count(filter_.letter)
            seen[filter_.label] = [count, len(text.encode())]
            text = text.replace(filter_.letter, ["", "\n", " "][filter_.put])
        elif isinstance(filter_, Size):
            seen[filter_.label] = [len(text)]
            if len(text) > filter_.longest:
                return f"{filter_.label}.too_long", text, seen
    return None, text, seen


CASES: list[tuple[Filter, ...]] = [
    (Cut(), Size(longest=3)),
    (Size(longest=6), Cut(put=1), Size(name="after", longest=3)),
    (Cut(put=2), Cut(name="space", letter=" "), Size(longest=2), Cut(name="last", letter="a")),
    (Cut(put=1), Cut(name="line", letter="\n", put=2)),
]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("filters", CASES, ids=range(len(CASES)))
@given(st.lists(st.text("axé ", max_size=8), max_size=12))
def test_later_filters_read_what_earlier_ones_left(
    whole: bool, filters: tuple[Filter, ...], texts: list[str]
) -> None:
    """Verdicts, columns and final texts equal a plain reading; sizes stay those of the input.

    The last edit column that is not null gives a document's text from the original alone.
    """
    batch, schema = TextBatch.of(texts), decision_schema(filters)
    table = decide(batch, filters, schema, whole=whole)
    assert table["num_bytes"].to_pylist() == [len(t.encode()) for t in texts]
    names = [edit_column(f) for f in filters if f.has_edit]
    edits = last_edit([table[name].combine_chunks() for name in names])
    after = edited(batch, edits).text.to_pylist()
    for text, row, left in zip(texts, table.to_pylist(), after, strict=True):
        reason, final, seen = plain(text, filters)
        assert row["reason"] == reason
        if reason is None:
            assert left == final
        for label, numbers in seen.items():
            measured = row.get(f"{label}.letters", row.get(f"{label}.chars"))
            assert measured == numbers[0]


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("filters", CASES, ids=range(len(CASES)))
@given(st.lists(st.text("axé ", max_size=8), max_size=12), st.integers(1, 5))
def test_what_edits_took_out_is_counted(
    whole: bool, filters: tuple[Filter, ...], texts: list[str], cut: int
) -> None:
    """Bytes read are bytes dropped, taken out of what is kept, or left; batches change no count."""
    schema, tally, pieces = decision_schema(filters), Tally(filters), Tally(filters)
    tally.add(decide(TextBatch.of(texts), filters, schema, whole=whole))
    for start in range(0, len(texts), cut):
        part = TextBatch.of(texts).take(np.arange(start, min(start + cut, len(texts))))
        pieces.add(decide(part, filters, schema, whole=whole))
    counts = tally.counts()
    assert pieces.counts() == counts
    finals = [plain(text, filters) for text in texts]
    kept = [
        (text, left) for text, (reason, left, _) in zip(texts, finals, strict=True) if not reason
    ]
    assert counts["kept_bytes"] == sum(len(text.encode()) for text, _ in kept)
    assert counts["kept_text_bytes"] == sum(len(left.encode()) for _, left in kept)
    assert counts["emptied"] == sum(bool(text) and not left for text, left in kept)
    assert counts["bytes"] == counts["kept_bytes"] + sum(counts["dropped_bytes"].values())
    for filter_ in filters:
        if isinstance(filter_, Cut):
            seen = [s[filter_.label][0] for _, _, s in finals if filter_.label in s]
            assert counts["edit_counts"][filter_.label] == {"letters": sum(seen)}
            changed, removed = sum(n > 0 for n in seen), sum(seen) * (filter_.put == 0)
            assert counts["edits"][filter_.label] == {
                "documents": changed, "removed_bytes": removed,
            }  # fmt: skip


class Marks(Size):
    """Measure by work that filters share, and note how many texts were measured."""

    asked: ClassVar[list[int]] = []

    def columns(self, texts: TextBatch) -> Columns:
        """Characters, each counted as a mark."""

        def make() -> Edits:
            self.asked.append(len(texts))
            return edits_of([[(0, 0, 0)] * len(text) for text in texts.text.to_pylist()])

        return {"chars": pa.array(np.diff(texts.shared("marks", make).ends))}


@pytest.mark.parametrize(("whole", "work"), [(False, [3, 2]), (True, [4, 4])])
def test_filters_share_work_however_many_documents_were_dropped(
    whole: bool, work: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one computed after a drop serves those after further drops; an edit begins it anew."""
    monkeypatch.setattr(Marks, "asked", [])
    marks = [Marks(name=f"m{n}", longest=n) for n in range(7)]
    filters = (Size(longest=6), marks[6], marks[5], marks[4], Cut(), marks[3], marks[2])
    rows = decided(["aaaaaaa", "aaaaa", "axaa", "aa"], *filters, whole=whole)
    assert [row["reason"] for row in rows] == ["size.too_long", "m4.too_long", "m2.too_long", None]
    assert Marks.asked == work


def test_an_edit_that_changes_nothing_is_null() -> None:
    """Null where a filter left the text alone; a list where it undid what came before."""
    rows = decided(["ax", "a", "b"], Cut(put=2), Cut(name="undo", letter=" "))
    assert [row["cut.edit"] for row in rows] == [[{"start": 1, "stop": 2, "put": 2}], None, None]
    assert [row["undo.edit"] for row in rows] == [[{"start": 1, "stop": 2, "put": 0}], None, None]


def test_columns_after_an_edit_say_so() -> None:
    """Field metadata names the edits before a column with the digest of their settings."""
    schema = decision_schema(
        [Size(), Cut(), Size(name="b"), Cut(name="c", letter="y"), Size(name="d")]
    )
    edits = {name: schema.field(name).metadata[b"edits"].decode() for name in schema.names[3:-2]}
    assert edits["size.chars"] == edits["cut.edit"] == ""
    first = edits["b.chars"]
    assert first.startswith("cut:")
    assert len(first) == len("cut:") + 16
    assert edits["d.chars"].startswith(f"{first},c:")
    other = decision_schema([Cut(letter="z"), Size()]).field("size.chars").metadata[b"edits"]
    assert other.decode() != first


@pytest.mark.parametrize("whole", [False, True])
def test_a_rule_judges_an_earlier_filter_s_column(whole: bool) -> None:
    """Of the documents that are still there, with the values measured then."""
    filters = (Size(), Cut(), ColumnRule(column="size.chars", below=3), Cut(name="last"))
    rows = decided(["too long a text", "xx", "abcx"], *filters, whole=whole)
    assert [row["reason"] for row in rows] == ["size.too_long", "size-chars.low", None]
    assert [row["reached"] for row in rows] == ["size", "size-chars", "last"]
