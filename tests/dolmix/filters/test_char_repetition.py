"""Character repetition: dolma's columns, thresholds of one's own."""

from typing import Any

import naive_char_repetition as naive
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dolmix.config import parse
from dolmix.document import TextBatch
from dolmix.errors import ConfigError
from dolmix.filters import CharRepetition, judge


def reasons(filter_: CharRepetition, *texts: str) -> list[str | None]:
    """Reasons of some texts."""
    batch = TextBatch.of(list(texts))
    found: list[str | None] = judge(filter_, filter_.columns(batch), batch).to_pylist()
    return found


@given(st.lists(st.text("ab \né", max_size=40), max_size=5), st.booleans())
def test_columns_are_the_definitions_own(texts: list[str], by_paragraph: bool) -> None:
    """Score, length and the very float of the share, for documents and for paragraphs."""
    scope: Any = "paragraph" if by_paragraph else "document"
    columns = CharRepetition(scope=scope, drop_at_score=4).columns(TextBatch.of(texts))
    found = [naive.char_repeats(text, by_paragraph=by_paragraph) for text in texts]
    assert columns["max_score"].to_pylist() == [score for score, _, _, _ in found]
    assert columns["max_length"].to_pylist() == [length for _, length, _, _ in found]
    shares = [repeated / chars if chars else 0.0 for _, _, repeated, chars in found]
    assert columns["repeated_frac"].to_pylist() == shares


@pytest.mark.parametrize(
    ("settings", "column", "kept", "dropped"),
    [
        ({"drop_at_score": 6}, "max_score", "ha ha ha ha ha", "ha ha ha ha ha ha"),
        ({"drop_at_length": 6}, "max_length", "x=====x", "x======x"),
        ({"max_repeated_frac": 0.5}, "repeated_frac", "....text", "....tex"),
    ],
)
def test_every_rule_fires_at_its_limit(
    settings: dict[str, Any], column: str, kept: str, dropped: str
) -> None:
    """Score and length drop from their limit on, the share beyond it."""
    expected = [None, f"char_repetition.{column}", None]
    assert reasons(CharRepetition(**settings), kept, dropped, "") == expected


def test_the_first_rule_in_order_gives_the_reason() -> None:
    """Score is judged before length, length before share."""
    filter_ = CharRepetition(drop_at_score=5, drop_at_length=8, max_repeated_frac=0.1)
    texts = ("ha ha ha ha ha", "haha! haha! haha! haha!", "haha" * 2 + "x" * 2)
    assert reasons(filter_, *texts) == [
        "char_repetition.max_score",
        "char_repetition.max_length",
        "char_repetition.max_length",
    ]


def test_scope_says_whether_lines_can_repeat() -> None:
    """Four equal lines are a repetition of the document, and not of a paragraph."""
    text = "the same line again\n" * 4
    assert reasons(CharRepetition(drop_at_score=4), text) == ["char_repetition.max_score"]
    assert reasons(CharRepetition(drop_at_score=4, scope="paragraph"), text) == [None]


def test_a_filter_without_any_rule_is_refused() -> None:
    """The preset has no thresholds, and the message says what to set."""
    with pytest.raises(ConfigError) as caught:
        parse(CharRepetition, {"type": "char_repetition"}, origin="p.yaml")
    (problem,) = caught.value.problems
    assert "Set drop_at_score, drop_at_length or max_repeated_frac" in problem.message
    with pytest.raises(ValidationError, match="drop_at_score"):
        CharRepetition(drop_at_score=3)


def test_a_limit_of_zero_is_a_threshold() -> None:
    """A share of 0.0 drops every document with a repetition; it does not switch the rule off."""
    filter_ = CharRepetition(max_repeated_frac=0.0)
    assert reasons(filter_, "no", "nooooo") == [None, "char_repetition.repeated_frac"]


def test_settings_and_definition_are_recorded() -> None:
    """The tagger is named by scope, and the settings survive being written out."""
    document, paragraph = (
        CharRepetition(drop_at_score=9),
        CharRepetition(drop_at_score=9, scope="paragraph"),
    )
    assert document.definition == "dolma 1.2.1 repetitions_v1"
    assert paragraph.definition == "dolma 1.2.1 paragraph_repetitions_v1"
    again = TypeAdapter(CharRepetition).validate_json(paragraph.model_dump_json())
    assert again == paragraph
