"""FineWeb: each rule at its edge, under both presets, and what the published one did."""

from typing import Any

import naive_fineweb
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dolmix.document import TextBatch
from dolmix.filters import judge
from dolmix.filters.fineweb import FineWeb

LINE = "The cat sat on the mat, and the dog on the {}."
PROSE = "\n".join(LINE.format(n) for n in ("rug", "log", "bed", "lawn", "sill"))
pieces = st.sampled_from(["The cat ", "sat. ", "on\n", "\n", "\n\n", " ", '"', "。", "…", "x" * 31])
pieces |= st.sampled_from(["Some longer words that stand here.\n", "a line\n", "!", "?\r\n"])


def reason(text: str, **settings: Any) -> str | None:
    """Reason of one text; words at white space, unless the settings say otherwise."""
    filter_ = FineWeb(**{"words": "whitespace", **settings})
    texts = TextBatch.of([text])
    columns = filter_.columns(texts)
    assert {name: c.type for name, c in columns.items()} == filter_.column_types()
    found: str | None = judge(filter_, columns, texts)[0].as_py()
    return found


@pytest.mark.parametrize(
    ("text", "now", "published"),
    [
        (PROSE, None, None),
        ("", "fineweb.lines", "fineweb.line_punct_frac"),
        (" \n\u3000\n", "fineweb.lines", "fineweb.line_punct_frac"),
        (PROSE.replace(".", ","), "fineweb.line_punct_frac", "fineweb.line_punct_frac"),
        (PROSE.replace(".", '."'), "fineweb.line_punct_frac", None),
        (PROSE.replace(".", "。"), None, "fineweb.line_punct_frac"),
        (PROSE.replace(".", ". "), "fineweb.line_punct_frac", "fineweb.line_punct_frac"),
        (PROSE.replace("\n", "\n" * 4), None, "fineweb.short_line_frac"),
        ("A short line here.\n" * 3, "fineweb.short_line_frac", "fineweb.short_line_frac"),
        (f"{PROSE}\n{PROSE}", "fineweb.dup_line_char_frac", "fineweb.dup_line_char_frac"),
        (PROSE.replace("\n", "\n" * 5), "fineweb.newlines_per_word", "fineweb.short_line_frac"),
    ],
)
def test_each_rule_fires(text: str, now: str | None, published: str | None) -> None:
    """By today's datatrove and by the published one: stop characters and blank lines differ."""
    assert (reason(text), reason(text, preset="2024-04")) == (now, published)


def test_a_value_at_its_limit() -> None:
    """Today's datatrove keeps it; the published one dropped it, but for newlines."""
    ending, short = "x" * 30 + ".", "y" * 30
    half = f"{ending}\n{short}"
    limits = {"min_line_punct_frac": 0.5, "max_newlines_per_word": 0.5}
    rest = {"max_short_line_frac": None, "max_dup_line_char_frac": None}
    assert reason(half, **limits, **rest) is None
    assert reason(half, preset="2024-04", **limits, **rest) == "fineweb.line_punct_frac"
    limits = {"min_line_punct_frac": None, "max_short_line_frac": 0.5}
    assert reason(half, **limits, max_newlines_per_word=0.5) is None
    assert reason(half, preset="2024-04", **limits) == "fineweb.short_line_frac"
    limits = {"min_line_punct_frac": None, "max_dup_line_char_frac": 0.5}
    twice = f"{ending}\n{ending}"
    assert reason(twice, **limits, max_newlines_per_word=0.5) is None
    assert reason(twice, preset="2024-04", **limits) == "fineweb.dup_line_char_frac"
    off = {"min_line_punct_frac": None, "max_short_line_frac": None, "max_dup_line_char_frac": None}
    assert reason(half, preset="2024-04", **off, max_newlines_per_word=0.5) is None
    assert reason(half, preset="2024-04", **off, max_newlines_per_word=0.49) is not None


def test_zero_is_a_threshold_and_null_is_none() -> None:
    """0.0 drops what is above it; null drops nothing, and `lines` too can be switched off."""
    assert reason(f"{PROSE}\nA short one.", max_short_line_frac=0.0) == "fineweb.short_line_frac"
    off = {"min_line_punct_frac": None, "max_short_line_frac": None, "max_dup_line_char_frac": None}
    assert reason("a\nb\na", **off, max_newlines_per_word=None) is None
    assert reason("", **off, max_newlines_per_word=None) == "fineweb.lines"
    assert reason("", **off, max_newlines_per_word=None, min_lines=None) is None


def test_no_stop_character_at_all_can_be_excluded() -> None:
    """Then such a document has no share, and no share is no reason to drop it."""
    text = PROSE.replace(".", ",")
    assert reason(text, line_punct_exclude_zero=True) is None
    assert (
        reason(f"{text}\nEnd.", line_punct_exclude_zero=True, min_line_punct_frac=0.2) is not None
    )
    filter_ = FineWeb(line_punct_exclude_zero=True, words="whitespace")
    columns = filter_.columns(TextBatch.of([text, PROSE]))
    assert columns["line_punct_frac"].to_pylist() == [None, 1.0]


def test_stop_characters_can_be_given() -> None:
    """Any characters, of any script, instead of datatrove's; white space is refused."""
    assert reason(PROSE.replace(".", "…"), stop_chars="…;") is None
    with pytest.raises(ValidationError, match="stop_chars has white space"):
        FineWeb(stop_chars=". ")


def test_definition_says_what_is_unverified() -> None:
    """The published data set's words were NLTK's."""
    assert FineWeb().definition == "datatrove 0.10 FineWebQualityFilter"
    assert "unverified" in FineWeb(preset="2024-04").definition
    assert FineWeb().splitter == "spacy-en"
    assert FineWeb(max_newlines_per_word=None).splitter == ""
    assert FineWeb(words="whitespace").digests() == {}


def test_spacys_rules_enter_the_task_key() -> None:
    """Where they make the words."""
    pytest.importorskip("spacy")
    assert set(FineWeb().digests()) == {"splitter"}


@given(st.lists(st.lists(pieces, max_size=30).map("".join), max_size=6))
def test_the_published_rules_equal_their_plain_definition(texts: list[str]) -> None:
    """As datatrove had them up to 0.3: all lines count, and limits are inclusive."""
    filter_ = FineWeb(preset="2024-04", words="whitespace")
    batch = TextBatch.of(texts)
    found = judge(filter_, filter_.columns(batch), batch).to_pylist()
    names = {None: None} | {name: f"fineweb.{name}" for name in naive_fineweb.PUBLISHED_REASONS}
    assert found == [names[naive_fineweb.published_reason(text)] for text in texts]
