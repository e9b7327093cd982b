"""Gopher quality: each rule at its edge, by every preset's reading of words and lines."""

from collections.abc import Callable
from typing import Any

import naive_gopher
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import awkward_texts, needs

from dolmix.document import TextBatch
from dolmix.filters import Gopher, gopher, judge
from dolmix.filters.gopher import LIMITS, PRESETS

PROSE = "the cat and the dog sat on mats near " * 10
LINE = "the cat and all those other dogs were over there by then"
TWINS: dict[str, Callable[[str], naive_gopher.Values]] = {
    "dolma-1.2": lambda text: naive_gopher.dolma(text, text.split(), merge=True),
    "datatrove-0.10": lambda text: naive_gopher.datatrove(text, text.split()),
    "dclm": lambda text: naive_gopher.dclm(text, text.split()),
}
pieces = st.sampled_from(["the ", "of\n", "word ", "…", "# ", "12 ", "\n", "\n\n", "* ", "- ", "é"])
soups = st.lists(pieces, max_size=30).map("".join)


def made(**settings: Any) -> Gopher:
    """Make the filter; datatrove's words at whitespace, so that these tests need no spaCy."""
    if settings.get("preset") == "datatrove-0.10":
        settings = {"words": "whitespace", **settings}
    return Gopher(**settings)


def reason(text: str, **settings: Any) -> str | None:
    """Reason of one text under some settings, without the filter's name."""
    filter_, texts = made(**settings), TextBatch.of([text])
    found: str | None = judge(filter_, filter_.columns(texts), texts)[0].as_py()
    return found and found.removeprefix("gopher.")


CASES: dict[str, tuple[str | None, str | None, str | None]] = {
    PROSE: (None, None, None),
    PROSE[:100]: ("word_count_low",) * 3,
    "": ("word_count_low",) * 3,
    "there ---- ---- the of " * 15: ("alpha_word_frac", "word_count_low", "word_count_low"),
    "a the " + "bb of " * 60_000: ("word_count_high",) * 3,
    "to of " * 60: ("median_word_length_low", "mean_word_length_low", "mean_word_length_low"),
    "incomprehensible to " + "incomprehensible " * 60: (
        *("median_word_length_high", "mean_word_length_high", "mean_word_length_high"),
    ),
    "to of a " * 20 + "everything " * 40: ("median_word_length_low", None, None),
    "the #tag and so what " * 20: ("symbol_frac", "hash_frac", "symbol_frac"),
    "the… and then some more " * 12: ("symbol_frac", "ellipsis_frac", "symbol_frac"),
    "the... and then some more " * 12: (None, "ellipsis_frac", "symbol_frac"),
    f"{LINE} . . . and {LINE} " * 5: (None, None, None),
    "over there . . . and then some more " * 12: ("alpha_word_frac",) * 2 + ("symbol_frac",),
    "the 123 and 456 789 once " * 12: ("alpha_word_frac",) * 2 + ("non_alpha_word_frac",),
    "cats chase mice " * 20: ("required_words", "stop_words", "required_words"),
    "The And Of With That " * 20: ("required_words", "stop_words", None),
    "the cats chase mice " * 20: (None, "stop_words", None),
    f"* {LINE}\n" * 20: ("bullet_line_frac", None, "bullet_line_frac"),
    f"- {LINE}\n" * 20: ("bullet_line_frac",) * 3,
    f"\u3000\t- {LINE}\n" * 20: (None, "bullet_line_frac", "bullet_line_frac"),
    f"• {LINE}\n" * 20: (None, "bullet_line_frac", "bullet_line_frac"),
    f"● {LINE}\n" * 20: (None, None, "bullet_line_frac"),
    LINE + f"\u2028- {LINE}" * 20: (None, "bullet_line_frac", None),
    f"{LINE}…\n" * 20: ("ellipsis_line_frac",) * 3,
    f"{LINE}...\n" * 20: (None, "ellipsis_line_frac", "ellipsis_line_frac"),
    f"{LINE}… \n" * 20: (None, "ellipsis_line_frac", "ellipsis_line_frac"),
    f"{LINE} there . . .\n" * 20: (None, None, "ellipsis_line_frac"),
    f"{LINE}…\r" * 20 + LINE: (None, "ellipsis_line_frac", None),
}
"""Reasons by text: of dolma-1.2, datatrove-0.10 and dclm."""


@pytest.mark.parametrize("text", CASES, ids=lambda text: repr(text[:30]))
def test_each_rule_fires_by_its_presets_reading(text: str) -> None:
    """Symbols, bullets, ellipses, lines, lengths and stop words differ as the peers differ."""
    assert tuple(reason(text, preset=preset) for preset in PRESETS) == CASES[text]


def test_dclm_counts_the_words_of_fasttext() -> None:
    """A page's words are cut at ASCII spaces and NUL only, and start with a letter or a digit."""
    text = "one\u00a0two three\0four \u201cfive\u201d (six) 7"
    columns = Gopher(preset="dclm").columns(TextBatch.of([text]))
    assert columns["word_count"].to_pylist() == [4]
    assert Gopher(preset="dclm").splitter == "whitespace; word_count: fasttext"


@pytest.mark.parametrize("preset", PRESETS)
def test_thresholds_are_strict(preset: str) -> None:
    """A value equal to its threshold is kept; 0.0 is a threshold."""
    assert reason("the catsy of " * 20, preset=preset, min_word_count=60) is None
    assert reason("the catsy of " * 20, preset=preset, min_word_count=61) == "word_count_low"
    assert reason(PROSE, preset=preset, max_bullet_line_frac=0.0) is None
    assert (
        reason(f"- the cat\n{PROSE}", preset=preset, max_bullet_line_frac=0.0) == "bullet_line_frac"
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_each_rule_can_be_switched_off(preset: str) -> None:
    """Null overrides the preset, rule by rule; with all off, everything is kept."""
    texts = TextBatch.of(["", "#", "cats chase mice " * 20, "- #…\n" * 99, "x1 2 3…", PROSE])
    settings = dict.fromkeys(LIMITS[preset])
    off = made(preset=preset, **settings)
    assert judge(off, off.columns(texts), texts).null_count == len(texts)
    for name in settings:
        one = made(preset=preset, **{name: None})
        assert [rule.code for rule in one.rules() if not rule.active] == [
            rule.code
            for rule, limit in zip(made(preset=preset).rules(), settings, strict=True)
            if limit == name
        ]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_text_without_words_is_no_error(preset: str) -> None:
    """Without words or lines there is no share: every column is 0, or counts what there is."""
    columns = made(preset=preset).columns(TextBatch.of(["", " \n"]))
    assert [values.to_pylist() for values in columns.values()] == [[0, 0]] * len(columns)


def test_blank_lines_count_only_with_each_newline() -> None:
    """The two dolma taggers differ in whether a blank line is a line."""
    texts = TextBatch.of(["* one\n\ntwo\n\n* three"])
    shares = {
        newlines: Gopher(newlines=newlines).columns(texts)["bullet_line_frac"].to_pylist()
        for newlines in ("runs", "each", None)
    }
    assert shares == {"runs": [2 / 3], "each": [2 / 5], None: [2 / 3]}


def test_a_threshold_that_the_preset_does_not_measure_is_refused() -> None:
    """Refused at load, all of them at once, with the presets that measure it."""
    with pytest.raises(ValueError, match="Leave it out, or change the preset") as caught:
        Gopher(max_hash_frac=0.2, min_mean_word_length=2.5)
    message = str(caught.value)
    assert (
        "min_mean_word_length is 2.5, but preset dolma-1.2 measures no such thing; "
        "datatrove-0.10 and dclm does. max_hash_frac is 0.2, but"
    ) in message
    with pytest.raises(ValueError, match="newlines is each, but preset dclm measures no such"):
        Gopher(preset="dclm", newlines="each")
    assert Gopher(max_hash_frac=None, preset="dclm", newlines=None).max_hash_frac is None


def test_the_splitter_is_the_presets_unless_given() -> None:
    """A splitter of one's own is what the words are, and what every column is recorded with."""
    assert [Gopher(preset=preset).splitter.partition(";")[0] for preset in PRESETS] == [
        *("whitespace", "spacy-en", "whitespace")
    ]
    needs("uniseg")
    ours, texts = Gopher(words="unicode"), TextBatch.of(["-- it's 'so' #3"])
    assert ours.splitter == "unicode"
    assert Gopher().columns(texts)["word_count"].to_pylist() == [4]
    assert ours.columns(texts)["word_count"].to_pylist() == [3]


def test_the_tables_of_a_splitter_enter_the_task_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tables are another key; whitespace has none."""
    assert Gopher().digests() == {}
    monkeypatch.setattr(gopher, "splitter_digest", lambda splitter: f"tables of {splitter}")
    assert Gopher(words="unicode").digests() == {"splitter": "tables of unicode"}
    assert Gopher(preset="datatrove-0.10").digests() == {"splitter": "tables of spacy-en"}


@pytest.mark.parametrize("preset", PRESETS)
@given(st.lists(st.one_of(soups, awkward_texts()), max_size=4))
def test_columns_equal_the_plain_definition(preset: str, texts: list[str]) -> None:
    """The very floats that the definition gives, document by document."""
    columns = made(preset=preset).columns(TextBatch.of(texts))
    values = zip(*(column.to_pylist() for column in columns.values()), strict=True)
    found = [dict(zip(columns, row, strict=True)) for row in values]
    assert found == [TWINS[preset](text) for text in texts]
