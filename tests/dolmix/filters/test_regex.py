"""Expressions over text and URL."""

import re
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dolmix.document import TextBatch
from dolmix.filters import judge
from dolmix.filters.regex import Regex


def batch(texts: list[str], urls: list[str | None] | None = None) -> TextBatch:
    """Texts, with URLs where given."""
    made = TextBatch.of(texts)
    column = pa.array(urls or [None] * len(texts), pa.string())
    return TextBatch(made.text, made.ids, column, made.records, made.fields)


def verdicts(given_: TextBatch, **settings_: Any) -> list[str | None]:
    """Reasons of a filter."""
    filter_ = Regex(**settings_)
    reasons: list[str | None] = judge(filter_, filter_.columns(given_), given_).to_pylist()
    return reasons


@settings(deadline=None, max_examples=60)
@given(st.lists(st.text("ab1 \né\x01", max_size=20)))
def test_both_syntaxes_count_alike_where_they_mean_the_same(texts: list[str]) -> None:
    """Matches that do not overlap, counted from the left, as `re.finditer` finds them."""
    patterns = {
        "ab": "a+b",
        "digit": "[0-9]",
        "line": "(?m)^a",
        "accent": "é",
        "start": r"\A.b",
        "mark": "[b\x01]",
        "group": "(a)(b)|1",
    }
    expected = {n: [len(re.findall(p, t)) for t in texts] for n, p in patterns.items()}
    for syntax in ("re2", "python"):
        columns = Regex(patterns=patterns, syntax=syntax).columns(batch(texts))
        assert {name: column.to_pylist() for name, column in columns.items()} == expected


def test_the_first_match_drops_unless_more_are_allowed() -> None:
    """The default drops at a match; `max_matches` allows some, `min_matches` asks for some."""
    given_ = batch(["no", "login", "login login"])
    patterns = {"login": "login"}
    drop = "regex.login"
    assert verdicts(given_, patterns=patterns) == [None, drop, drop]
    assert verdicts(given_, patterns=patterns, max_matches=1) == [None, None, drop]
    assert verdicts(given_, patterns=patterns, max_matches=None, min_matches=2) == [
        drop,
        drop,
        None,
    ]
    both = verdicts(given_, patterns=patterns, min_matches=1, max_matches=1)
    assert both == ["regex.login_low", None, "regex.login_high"]


def test_urls_can_be_matched_and_may_be_missing() -> None:
    """Under `of: url` a document without one follows `on_missing`."""
    given_ = batch(["", "", ""], ["https://a.org/tag/x", "https://a.org/x", None])
    patterns = {"tag": "/tag/"}
    assert verdicts(given_, patterns=patterns, of="url") == ["regex.tag", None, None]
    dropped = verdicts(given_, patterns=patterns, of="url", on_missing="drop")
    assert dropped == ["regex.tag", None, "regex.tag_missing"]


def test_time_is_linear_where_backtracking_is_not() -> None:
    """An expression that takes Python's `re` 2**40 steps is nothing to RE2."""
    assert verdicts(batch(["a" * 40 + "b"]), patterns={"evil": "(a+)+$"}) == [None]


def test_an_expression_that_does_not_compile_is_refused_at_load() -> None:
    """The error names the expression and says why; look-around is Python's."""
    with pytest.raises(ValidationError, match=r"patterns\.x: '\(' is no re2 expression"):
        Regex(patterns={"x": "("})
    with pytest.raises(ValidationError, match=r"patterns\.x: .* is no re2 expression"):
        Regex(patterns={"x": "a(?=b)"})
    with pytest.raises(ValidationError, match="matches the empty text, and with it every document"):
        Regex(patterns={"x": "a*"})
    assert Regex(patterns={"x": "a(?=b)"}, syntax="python").definition == "Python re"
