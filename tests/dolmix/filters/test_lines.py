"""Repeated and listed lines taken out, as an edit."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import judge
from dolmix.filters.lines import Lines
from dolmix.text.edits import edited, read_edits


def cleaned(texts: list[str], **kwargs: Any) -> tuple[list[str], dict[str, list[Any]]]:
    """Texts after the edit, and the other columns."""
    filter_, batch = Lines(**kwargs), TextBatch.of(texts)
    columns = filter_.columns(batch)
    after: list[str] = edited(batch, read_edits(columns.pop("edit"))).text.to_pylist()
    return after, {name: column.to_pylist() for name, column in columns.items()}


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(st.sampled_from(["a", " a", "b  c", "b c", "", " "])).map("\n".join)))
def test_the_lines_left_are_the_first_ones_of_their_kind(texts: list[str]) -> None:
    """Of equal lines the first stays as it was, in its place; blank lines are no lines."""
    after, columns = cleaned(texts, min_repeated_bytes=0)
    for row, text in enumerate(texts):
        lines = [line for line in text.split("\n") if line.strip()]
        kept: dict[str, str] = {}
        for line in lines:
            kept.setdefault(" ".join(line.split()), line)
        assert [line for line in after[row].split("\n") if line.strip()] == list(kept.values())
        assert columns["lines_total"][row] == len(lines)
        assert columns["lines_repeated"][row] == len(lines) - len(kept)


def test_short_lines_may_repeat() -> None:
    """A closing bracket is no boilerplate."""
    text = "if x:\n}\nShare this on your network\n}\nShare this on your network\nend"
    assert cleaned([text])[0] == ["if x:\n}\nShare this on your network\n}\nend"]


def test_listed_lines_go_wherever_they_stand(tmp_path: Path) -> None:
    """A list's lines are compared as the text's are; counts say which rule took a line."""
    path = tmp_path / "boilerplate.txt"
    path.write_text("Accept  all cookies\n\n Share \n", encoding="utf-8")
    texts = ["Accept all cookies\nText.\nShare\n", "Share", "Share this"]
    after, columns = cleaned(texts, listed=[path], repeated=False)
    assert [text.strip() for text in after] == ["Text.", "", "Share this"]
    assert columns["lines_listed"] == [2, 1, 0]
    assert columns["removed_frac"] == [2 / 3, 1.0, 0.0]
    with pytest.raises(FilterError, match=r"lines\.listed: there is no file .*none\.txt"):
        Lines(listed=[tmp_path / "none.txt"]).digests()


def test_a_document_that_loses_too_much_can_be_dropped() -> None:
    """The share is of lines; without a limit nothing is dropped."""
    batch = TextBatch.of(["One line of some length.\n" * 4, "One line of some length."])
    for limit, reasons in ((0.5, ["lines.removed_frac", None]), (None, [None, None])):
        filter_ = Lines(max_removed_frac=limit)
        assert judge(filter_, filter_.columns(batch), batch).to_pylist() == reasons


def test_a_filter_that_takes_nothing_out_is_refused() -> None:
    """The error says what to give."""
    with pytest.raises(ValidationError, match="nothing to take out; set repeated: true"):
        Lines(repeated=False)
