"""Deciding again from known columns gives what deciding from the texts gives, byte by byte."""

import io
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from naive_edits import edits_of

from dolmix.document import Columns, TextBatch
from dolmix.errors import FilterError
from dolmix.filters import ColumnRule
from dolmix.filters.base import Filter, Rule
from dolmix.pipeline.decisions import KEY, decide, decision_schema
from dolmix.pipeline.known import Known, decide_known, judge_known, judged_columns, standing
from dolmix.text.edits import EDIT_TYPE


class Cut(Filter):
    """Take out one letter wherever it stands; drop texts with more of it than a limit."""

    rewrites: ClassVar[bool] = True
    rule_settings = ("most",)
    type: Literal["cut"] = "cut"
    letter: str = "x"
    put: int = 0
    most: int | None = None

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
        """One rule."""
        yield Rule("letters", above=self.most)


class Size(Filter):
    """Drop texts longer or shorter than a limit; `unit` decides what is counted."""

    rule_settings = ("longest", "shortest")
    type: Literal["size"] = "size"
    unit: Literal["characters", "bytes"] = "characters"
    longest: int | None = 5
    shortest: int | None = None
    measured: ClassVar[list[int]] = []

    def column_types(self) -> dict[str, pa.DataType]:
        """One column."""
        return {"size": pa.int64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Sizes; null for an empty text."""
        Size.measured.append(len(texts))
        of = len if self.unit == "characters" else (lambda text: len(text.encode()))
        return {"size": pa.array([of(t) or None for t in texts.text.to_pylist()], pa.int64())}

    def rules(self) -> Iterator[Rule]:
        """Two rules."""
        yield Rule("size", above=self.longest, reason="long")
        yield Rule("size", below=self.shortest, reason="short", on_missing="drop")


class Nth(Filter):
    """Drop every n-th document that it is shown: it has a state."""

    has_state = True
    type: Literal["nth"] = "nth"
    every: int = 2
    seen: ClassVar[int] = 0

    def begin_part(self) -> None:
        """Begin to count anew."""
        Nth.seen = 0

    def column_types(self) -> dict[str, pa.DataType]:
        """Give the number of the document."""
        return {"number": pa.int64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Count on."""
        numbers = [(Nth.seen + n) % self.every for n in range(len(texts))]
        Nth.seen += len(texts)
        return {"number": pa.array(numbers, pa.int64())}

    def rules(self) -> Iterator[Rule]:
        """One rule."""
        yield Rule("number", at_most=0)


limits = st.none() | st.integers(0, 5)
POOL: list[st.SearchStrategy[Filter]] = [
    st.builds(Cut, name=st.just("x"), put=st.integers(0, 2), most=limits),
    st.builds(Cut, name=st.just("space"), letter=st.just(" "), most=limits),
    st.builds(Size, longest=limits, shortest=limits),
    st.builds(Size, name=st.just("after"), unit=st.sampled_from(["characters", "bytes"]),
              longest=limits),
    st.builds(Nth, every=st.integers(2, 3)),
    st.builds(lambda most: ColumnRule(column="size.size", above=most), limits),
]  # fmt: skip


@st.composite
def cascades(draw: st.DrawFn) -> tuple[Filter, ...]:
    """Draw some filters of the pool, in any order, each with its own limits."""
    chosen = draw(st.lists(st.sampled_from(range(len(POOL))), unique=True, max_size=len(POOL)))
    filters = [draw(POOL[n]) for n in chosen]
    first = [f.label for f in filters]
    at = first.index("size") if "size" in first else len(filters)
    return tuple(f for n, f in enumerate(filters) if not f.reads() or n > at)


def decided(
    texts: TextBatch, filters: Sequence[Filter], cut: int, *, whole: bool, reading: str = "r"
) -> list[pa.Table]:
    """Decisions from the texts, batch by batch, as the filter pass makes them."""
    for filter_ in filters:
        filter_.begin_part()
    schema = decision_schema(filters, reading=reading)
    return [decide(batch, filters, schema, whole=whole) for batch in batches(texts, cut)]


def batches(texts: TextBatch, cut: int) -> list[TextBatch]:
    """Cut texts into batches of at most `cut` documents."""
    starts = range(0, len(texts), cut)
    return [texts.take(np.arange(start, min(start + cut, len(texts)))) for start in starts]


def written(tables: Sequence[pa.Table], schema: pa.Schema) -> bytes:
    """Bytes of the Parquet file of some tables, a row group each."""
    file = io.BytesIO()
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in tables:
            writer.write_table(table)
    return file.getvalue()


@given(
    st.lists(st.text("axé ", max_size=8), max_size=12),
    st.tuples(cascades(), cascades()),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(1, 5),
)
def test_known_columns_decide_as_texts_do(
    texts: list[str],
    filters: tuple[tuple[Filter, ...], tuple[Filter, ...]],
    whole: tuple[bool, bool],
    cut: int,
) -> None:
    """Thresholds changed, filters added, removed, reordered; edits; `tag: all`; filters with state.

    The Parquet file has the same bytes.
    """
    batch, (old, new) = TextBatch.of(texts), filters
    before = written(decided(batch, old, cut, whole=whole[0]), decision_schema(old, reading="r"))
    schema, labels = decision_schema(new, reading="r"), [f.label for f in old]
    expected = written(decided(batch, new, cut, whole=whole[1]), schema)
    again = []
    for filter_ in new:
        filter_.begin_part()
    with pq.ParquetFile(io.BytesIO(before)) as file:
        usable = standing(file.schema_arrow, schema, labels)
        for number, part in enumerate(batches(batch, cut)):
            known = Known.of(file.read_row_group(number), usable, labels, whole=whole[0])
            table = decide_known(known, new, schema, read=lambda p=part: p, whole=whole[1])
            again.append(table)
    assert written(again, schema) == expected


@given(st.lists(st.text("axé ", max_size=8), max_size=12), st.tuples(cascades(), cascades()))
def test_verdicts_from_columns_alone_are_right_where_they_are_known(
    texts: list[str], filters: tuple[tuple[Filter, ...], tuple[Filter, ...]]
) -> None:
    """A document that lacks no column is judged as from its text; the others are left open.

    Which documents lack one, and from which filter on, follows from what the first run read.
    """
    batch, (old, new) = TextBatch.of(texts), filters
    table = pa.concat_tables(decided(batch, old, 100, whole=False)) if texts else None
    if table is None:
        return
    labels, schema = [f.label for f in old], decision_schema(new, reading="r")
    usable = standing(table.schema, schema, labels)
    wanted = {name for name in judged_columns(new) if name in table.column_names}
    narrow = table.select(["record", "id", "reached", *sorted(wanted)])
    found = judge_known(Known.of(narrow, usable, labels, whole=False), new)
    true = decided(batch, new, 100, whole=False)[0]
    for row, right in enumerate(true.to_pylist()):
        lacking = found.lacking[row].as_py()
        if lacking is None:
            assert found.reason[row].as_py() == right["reason"]
            assert found.reached[row].as_py() == right["reached"]
        else:
            assert lacking in [f.label for f in new]
            place = [f.label for f in new].index(lacking)
            assert [f.label for f in new].index(right["reached"]) >= place


def again(
    texts: list[str], old: Sequence[Filter], new: Sequence[Filter], reading: str = "r"
) -> tuple[list[int], list[str | None]]:
    """How many texts were measured at a time when deciding again, and the reasons."""
    batch, labels = TextBatch.of(texts), [f.label for f in old]
    table = decided(batch, old, 100, whole=False)[0]
    schema = decision_schema(new, reading=reading)
    known = Known.of(table, standing(table.schema, schema, labels), labels, whole=False)
    Size.measured.clear()
    made = decide_known(known, new, schema, read=lambda: batch)
    return list(Size.measured), made["reason"].to_pylist()


TEXTS = ["abc", "abcdef", "ab x", "", "abcdefgh"]


def test_a_tighter_limit_reads_nothing() -> None:
    """No text is measured again for a limit alone, and none by filters that are still the same."""
    assert again(TEXTS, [Size(longest=7)], [Size(longest=3)])[0] == []
    assert again(TEXTS, [Size(longest=7)], [Size(longest=None, shortest=1)])[0] == []


def test_only_what_is_missing_is_computed() -> None:
    """Of filters behind a limit that was loosened, documents that now reach them are read."""
    old = [Size(longest=3), Size(name="after", longest=9)]
    measured, reasons = again(TEXTS, old, [Size(longest=7), Size(name="after", longest=5)])
    assert measured == [2]  # abcdef and `ab x`, which the first limit dropped
    assert reasons == [None, "after.long", None, None, "size.long"]


@pytest.mark.parametrize(
    "new",
    [
        [Size(unit="bytes", longest=3)],
        [Size(name="other", longest=3)],
        [Cut(), Size(longest=3)],
    ],
    ids=["setting", "name", "edit before"],
)
def test_what_columns_depend_on_is_noticed(new: list[Filter]) -> None:
    """Another setting, another name, an edit before: all is measured anew."""
    assert again(TEXTS, [Size(longest=7)], new)[0] == [5]


def test_other_reading_leaves_nothing_known() -> None:
    """Where records read otherwise, no column stands, and nothing of the file is used."""
    assert again(TEXTS, [Size(longest=7)], [Size(longest=3)], "other")[0] == [5]


def test_a_state_behind_an_edit_is_in_the_key() -> None:
    """Behind a filter with a state that rewrites, no column has a key; before it, all have."""

    class Shaky(Cut):
        has_state = True

    schema = decision_schema([Size(), Shaky(), Size(name="after")], reading="r")
    keys = {f.name: (f.metadata or {}).get(KEY) for f in schema}
    assert keys["size.size"]
    assert (keys["cut.letters"], keys["after.size"]) == (b"", b"")


def test_the_key_is_of_settings_that_matter() -> None:
    """Limits and the filter's own name are not in a key; everything else is."""

    def key(reading: str = "r", **settings: Any) -> bytes:
        made = Size(**settings)
        field = decision_schema([made], reading=reading).field(f"{made.label}.size")
        return bytes(field.metadata[KEY])

    assert key() == key(longest=9) == key(shortest=None) == key(name="other")
    assert len({key(), key(unit="bytes"), key("s")}) == 3


def test_a_missing_value_fails_as_it_would_from_texts() -> None:
    """`on_missing: fail` names the document, though no text is read."""
    table = decided(TextBatch.of(["abc", ""]), [Size()], 9, whole=False)[0]
    new = [Size(), ColumnRule(column="size.size", above=3, on_missing="fail")]
    schema = decision_schema(new, reading="r")
    known = Known.of(table, standing(table.schema, schema, ["size"]), ["size"], whole=False)
    with pytest.raises(FilterError, match=r"document '1' \(record 1\): size.size is missing"):
        decide_known(known, new, schema, read=lambda: pytest.fail("read a text"))
