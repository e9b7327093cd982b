"""Finding an edit: what is found gives the new text, and is found wherever there is one."""

from itertools import pairwise

import naive_edits
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.text.align import GAPS, find_edit

texts = st.text("aé\n b", max_size=14)


def is_reachable(old: str, new: str) -> bool:
    """Whether the characters of `new`, those that can be put in aside, are in `old` in order."""
    rest = iter(old)
    return all(c in GAPS or any(c == o for o in rest) for c in new)


@given(texts, texts)
def test_an_edit_is_found_where_there_is_one(old: str, new: str) -> None:
    """Applied, it gives the new text; spans are in order, in characters, and none does nothing."""
    spans = find_edit(old, new)
    assert (spans is not None) == is_reachable(old, new)
    if spans is not None:
        assert naive_edits.edited(old, spans) == new
        assert all(start < stop or put for start, stop, put in spans)
        assert all(one[1] <= two[0] for one, two in pairwise(spans))


@pytest.mark.parametrize(
    ("old", "new", "spans"),
    [
        ("one\ntwo\nthree", "one\nthree", [(4, 8, 0)]),
        ("one \r\n two", "one\ntwo", [(3, 7, 1)]),
        ("No yes.\nyes.", "yes.", [(0, 8, 0)]),  # the whole line, not the end of another
        ("Then a line.\nThe cat[1] sat.", "The cat sat.", [(0, 13, 0), (20, 23, 0)]),
        ("é x é", "é é", [(3, 5, 0)]),
        ("same", "same", []),
        ("gone", "", [(0, 4, 0)]),
    ],
)
def test_spans_say_what_a_rewriting_did(old: str, new: str, spans: list[naive_edits.Span]) -> None:
    """Whole lines are found before pieces of lines, long pieces before short ones."""
    assert find_edit(old, new) == spans


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("ab " * 20_000, "b " * 20_000),
        ("a\n" * 20_000, "a\n" * 15_000),
        ("word. " * 10_000, "word.\n" * 9_000),
        ("x" * 60_000, "x" * 59_999 + "y"),
        ("x", " " * 200_000 + "x"),
    ],
)
def test_awkward_texts_take_no_longer(old: str, new: str) -> None:
    """Many short pieces, one long line, no edit at all: linear time, and the right answer."""
    spans = find_edit(old, new)
    assert (spans is not None) == is_reachable(old, new)
    if spans is not None:
        assert naive_edits.edited(old, spans) == new
