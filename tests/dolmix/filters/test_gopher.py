"""Gopher quality: each rule at its edge, and the peers' reading of words and lines."""

import naive
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.filters import Gopher, judge

PROSE = "the cat and the dog sat on mats near " * 10
pieces = st.sampled_from(["the ", "of\n", "word ", "…", "# ", "12 ", "\n", "\n\n", "* ", "- ", "é"])


def reason(text: str, **settings: object) -> str | None:
    """Reason of one text under the default preset and some settings."""
    filter_ = Gopher(**settings)  # type: ignore[arg-type]
    texts = TextBatch.of([text])
    found: str | None = judge(filter_, filter_.columns(texts), texts)[0].as_py()
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PROSE, None),
        (PROSE[:100], "gopher.word_count_low"),
        ("", "gopher.word_count_low"),
        ("a the " + "bb of " * 60_000, "gopher.word_count_high"),
        ("to of " * 60, "gopher.median_word_length_low"),
        ("incomprehensible to " + "incomprehensible " * 60, "gopher.median_word_length_high"),
        ("the #tag and so what " * 12, "gopher.symbol_frac"),
        ("the… and then some more " * 12, "gopher.symbol_frac"),
        ("the... and then some more " * 12, None),
        ("the 123 and 456 789 once " * 12, "gopher.alpha_word_frac"),
        ("cats chase mice " * 20, "gopher.required_words"),
        ("The And Of With That " * 20, "gopher.required_words"),
        ("* the cat and dogs\n" * 20, "gopher.bullet_line_frac"),
        ("- the cat and dogs\n" * 20, "gopher.bullet_line_frac"),
        ("  - the cat and dogs\n" * 20, None),
        (
            "the cat and all those other dogs were over there by then…\n" * 20,
            "gopher.ellipsis_line_frac",
        ),
        ("the cat and all those dogs over there...\n" * 20, None),
    ],
)
def test_each_rule_fires_by_dolmas_reading(text: str, expected: str | None) -> None:
    """Words are split at whitespace, stop words go by case, bullets are not stripped."""
    assert reason(text) == expected


def test_thresholds_are_strict() -> None:
    """A value equal to its threshold is kept."""
    assert reason("the cat " * 25) is None
    assert reason("the cat " * 24 + "dog") == "gopher.word_count_low"
    assert reason(PROSE, max_bullet_line_frac=0.0) is None
    assert reason("* the cat\n" + PROSE, max_bullet_line_frac=0.0) == "gopher.bullet_line_frac"


def test_a_rule_switched_off_stays_off() -> None:
    """Null overrides the preset; the other rules stand."""
    assert reason("cats chase mice " * 20, min_required_words=None) is None
    assert reason("cats chase", min_required_words=None) == "gopher.word_count_low"


def test_blank_lines_count_only_with_each_newline() -> None:
    """The two dolma taggers differ in whether a blank line is a line."""
    text = "* one\n\ntwo\n\n* three"
    shares = {
        newlines: Gopher(newlines=newlines)
        .columns(TextBatch.of([text]))["bullet_line_frac"]
        .to_pylist()
        for newlines in ("runs", "each")
    }
    assert shares == {"runs": [2 / 3], "each": [2 / 5]}


@given(st.lists(st.lists(pieces, max_size=30).map("".join), max_size=5))
def test_columns_equal_the_plain_definition(texts: list[str]) -> None:
    """The very floats that the definition gives, document by document."""
    columns = Gopher().columns(TextBatch.of(texts))
    rows = [list(row) for row in zip(*(c.to_pylist() for c in columns.values()), strict=True)]
    expected = []
    for text in texts:
        words, symbols, letters, required, median = naive.word_statistics(text)
        lines, bullets, ellipses = naive.line_marks(text, merge=True)
        shares = [symbols / max(words, 1), letters / max(words, 1)]
        expected.append([words, median, *shares, required, bullets / lines, ellipses / lines])
    assert rows == expected
