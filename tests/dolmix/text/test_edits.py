"""Edits: what is left of a text, and two edits as one."""

from itertools import pairwise

import naive_edits
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_edits import Span, edits_of, spans_of

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.text.edits import EDIT_TYPE, PUTS, Edits, compose, edited, read_edits

texts = st.text("aé\n ", max_size=12)


@st.composite
def spans(draw: st.DrawFn, text: str) -> list[Span]:
    """Draw spans of a text in order; empty ones, touching ones and none at all among them."""
    places = [len(text[:n].encode()) for n in range(len(text) + 1)]
    count = draw(st.integers(0, 4))
    cuts = sorted(draw(st.lists(st.sampled_from(places), min_size=2 * count, max_size=2 * count)))
    codes = [draw(st.integers(0, len(PUTS) - 1)) for _ in range(count)]
    return [(cuts[2 * n], cuts[2 * n + 1], codes[n]) for n in range(count)]


@st.composite
def documents(draw: st.DrawFn) -> list[tuple[str, list[Span], list[Span]]]:
    """Draw texts, an edit of each, and an edit of each edited text."""
    rows = []
    for text in draw(st.lists(texts, max_size=5)):
        first = draw(spans(text))
        rows.append((text, first, draw(spans(naive_edits.edited(text, first)))))
    return rows


@given(documents())
def test_texts_after_an_edit_equal_their_naive_twin(
    rows: list[tuple[str, list[Span], list[Span]]],
) -> None:
    """What is kept and put in is what a plain reading of the spans gives; lengths follow."""
    batch = TextBatch.of([text for text, _, _ in rows])
    edits = edits_of([first for _, first, _ in rows])
    after = edited(batch, edits)
    assert after.text.to_pylist() == [naive_edits.edited(t, first) for t, first, _ in rows]
    after.text.validate(full=True)
    assert (batch.num_bytes - after.num_bytes).tolist() == edits.removed_bytes.tolist()
    assert edits.changed.tolist() == [bool(first) for _, first, _ in rows]


@given(documents())
def test_two_edits_are_one(rows: list[tuple[str, list[Span], list[Span]]]) -> None:
    """Composing commutes with applying; no more spans come out than went in, none overlap."""
    batch = TextBatch.of([text for text, _, _ in rows])
    first, then = edits_of([a for _, a, _ in rows]), edits_of([b for _, _, b in rows])
    both = compose(first, then)
    assert (
        edited(batch, both).text.to_pylist() == edited(edited(batch, first), then).text.to_pylist()
    )
    for made, (_, a, b) in zip(spans_of(both), rows, strict=True):
        assert len(made) <= len(a) + len(b)
        assert all(one[1] <= two[0] for one, two in pairwise(made))


@given(documents(), st.data())
def test_two_edits_are_one_whatever_stands_beside(
    rows: list[tuple[str, list[Span], list[Span]]], data: st.DataObject
) -> None:
    """A document's spans are the same in any batch, one without any other edit included."""
    first, then = edits_of([a for _, a, _ in rows]), edits_of([b for _, _, b in rows])
    chosen = np.array([n for n in range(len(rows)) if data.draw(st.booleans())], np.int64)
    alone = compose(first.take(chosen), then.take(chosen))
    assert spans_of(alone) == spans_of(compose(first, then).take(chosen))


@given(documents(), st.data())
def test_an_edit_column_reads_back(
    rows: list[tuple[str, list[Span], list[Span]]], data: st.DataObject
) -> None:
    """Spans survive the column, slices and selections of it too; no span is null."""
    edits = edits_of([first for _, first, _ in rows])
    column = edits.to_column()
    assert column.type == EDIT_TYPE
    assert spans_of(read_edits(column)) == spans_of(edits)
    assert column.is_valid().to_pylist() == edits.changed.tolist()
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    at = np.array(chosen, np.int64)
    assert spans_of(edits.take(at)) == [spans_of(edits)[n] for n in chosen]
    assert spans_of(read_edits(column.take(pa.array(at)))) == spans_of(edits.take(at))
    assert spans_of(read_edits(column.slice(len(rows) // 2))) == spans_of(edits)[len(rows) // 2 :]


def test_an_empty_edit_is_not_null_where_it_is_said_so() -> None:
    """A later edit that undoes an earlier one is an empty list: the text is the original again."""
    undone = compose(edits_of([[(3, 3, 1)]]), edits_of([[(3, 4, 0)]]))
    assert spans_of(undone) == [[]]
    assert undone.to_column().to_pylist() == [None]
    assert undone.to_column(unchanged=np.array([False])).to_pylist() == [[]]


@pytest.mark.parametrize(
    ("first", "then", "both"),
    [
        ([(0, 2, 0)], [(0, 2, 0)], [(0, 4, 0)]),  # what follows a deletion
        ([(2, 4, 1)], [(2, 3, 0)], [(2, 4, 0)]),  # the put alone
        ([(2, 4, 1)], [(1, 4, 2)], [(1, 5, 2)]),  # the put and its neighbours
        ([(2, 4, 1)], [(2, 2, 2)], [(2, 2, 2), (2, 4, 1)]),  # something in front of the put
        ([(2, 4, 1)], [(3, 3, 2)], [(2, 4, 1), (4, 4, 2)]),  # and behind it
        ([], [(1, 2, 0)], [(1, 2, 0)]),
        ([(1, 2, 0)], [], [(1, 2, 0)]),
    ],
)
def test_a_later_edit_reaches_what_an_earlier_one_put_in(
    first: list[Span], then: list[Span], both: list[Span]
) -> None:
    """Spans that cover a put take it out; those beside it leave it; touching spans are joined."""
    assert spans_of(compose(edits_of([first]), edits_of([then]))) == [both]


def test_ids_and_fields_stay_and_shared_work_does_not() -> None:
    """An edited batch keeps what says where it came from, and no words of the texts before."""
    batch = TextBatch.of(["one\ntwo"], ids=["x"], fields={"a.b": ["7"]})
    batch.shared("words", lambda: edits_of([[]]))
    after = edited(batch, edits_of([[(3, 7, 0)]]))
    assert after.text.to_pylist() == ["one"]
    assert (after.ids, after.urls, after.fields) == (batch.ids, batch.urls, batch.fields)
    assert after.records is batch.records
    assert (after.made, after.inherited) == ({}, {})
    assert edited(batch, Edits.none(1)) is batch


def test_a_selection_of_a_batch_is_edited_in_its_place() -> None:
    """Offsets need not start at 0: a slice of Arrow buffers is edited as a copy of it would be."""
    batch = TextBatch.of(["skip", "a-b", "c-d"])
    part = TextBatch(batch.text.slice(1), batch.ids[1:], batch.urls[1:], batch.records[1:], {})
    after = edited(part, edits_of([[(1, 2, 2)], []]))
    assert after.text.to_pylist() == ["a b", "c-d"]


@settings(deadline=None, max_examples=80)
@given(st.data())
def test_whole_texts_are_put_in(data: st.DataObject) -> None:
    """A text of ASCII stands where its span stood, also where a later edit cuts into it."""
    rows = []
    for text in ("abé cd", ""):
        size = len(text.encode())
        cuts = sorted(data.draw(st.lists(st.sampled_from([0, 1, 2, 4, 5, 6, 7]), max_size=4)))
        cuts = [cut for cut in cuts if cut <= size]
        masks = st.text("|A b\n", max_size=4)
        pairs = zip(cuts[::2], cuts[1::2], strict=False)
        rows.append([(start, stop, data.draw(masks)) for start, stop in pairs])
    batch = TextBatch.of(["abé cd", ""])
    expected = []
    for text, row in zip(("abé cd", ""), rows, strict=True):
        raw, pieces, place = text.encode(), b"", 0
        for start, stop, mask in row:
            pieces, place = pieces + raw[place:start] + mask.encode(), stop
        expected.append((pieces + raw[place:]).decode())
    assert edited(batch, Edits.of(rows)).text.to_pylist() == expected


def test_only_ascii_is_put_in() -> None:
    """What no code stands for is refused, and named."""
    with pytest.raises(ValueError, match=r"'<é>' cannot be put into a text: 'é'"):
        Edits.of([[(0, 1, "<é>")]])


@pytest.mark.parametrize(
    "wrong",
    [
        [(2, 1, 0)],
        [(0, 9, 0)],
        [(-1, 1, 0)],
        [(2, 3, 0), (1, 2, 0)],
        [(0, 2, 0)],
        [(0, 1, len(PUTS))],
    ],
)
def test_an_edit_that_does_not_fit_is_refused(wrong: list[Span]) -> None:
    """Spans out of order, outside the text, through a character, or with an unknown code."""
    batch = TextBatch.of(["fine", "aéb"], ids=["one", "two"])
    with pytest.raises(FilterError, match=r"^document 'two' \(record 1\): its edit does not fit"):
        edited(batch, edits_of([[], wrong]))


def test_edits_of_another_batch_are_refused() -> None:
    """The counts must agree."""
    with pytest.raises(ValueError, match="edits of 2 documents for a batch of 1"):
        edited(TextBatch.of(["a"]), Edits.none(2))
    with pytest.raises(ValueError, match="edits of 1 documents, then of 2"):
        compose(Edits.none(1), Edits.none(2))
