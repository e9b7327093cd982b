"""Gopher quality against the peers themselves: datatrove's filter, dolma's tagger, fastText's cut.

DCLM is no package, so its preset is held to the plain twin of its source
(tests/dolmix/filters/test_gopher.py); its page words are fastText's, which can be asked.
"""

from pathlib import Path
from typing import Any

import naive_gopher
import pytest
from peers import (
    adversarial_texts,
    ask_dolma,
    code_sample,
    datatrove_verdicts,
    english_documents,
    english_sample,
    needs,
)

from dolmix.document import TextBatch
from dolmix.filters import Gopher, judge
from dolmix.text.gopher_lines import page_words

pytestmark = pytest.mark.conformance

REASONS = {
    "gopher_short_doc": "gopher.word_count_low",
    "gopher_long_doc": "gopher.word_count_high",
    "gopher_below_avg_threshold": "gopher.mean_word_length_low",
    "gopher_above_avg_threshold": "gopher.mean_word_length_high",
    "gopher_too_many_hashes": "gopher.hash_frac",
    "gopher_too_many_ellipsis": "gopher.ellipsis_frac",
    "gopher_too_many_bullets": "gopher.bullet_line_frac",
    "gopher_too_many_end_ellipsis": "gopher.ellipsis_line_frac",
    "gopher_below_alpha_threshold": "gopher.alpha_word_frac",
    "gopher_enough_stop_words": "gopher.stop_words",
}
OFF: list[tuple[str, list[str]]] = [
    ("min_doc_words", ["min_word_count"]),
    ("max_doc_words", ["max_word_count"]),
    ("min_avg_word_length", ["min_mean_word_length"]),
    ("max_avg_word_length", ["max_mean_word_length"]),
    ("max_symbol_word_ratio", ["max_hash_frac", "max_ellipsis_frac"]),
    ("max_bullet_lines_ratio", ["max_bullet_line_frac"]),
    ("max_ellipsis_lines_ratio", ["max_ellipsis_line_frac"]),
    ("max_non_alpha_words_ratio", ["min_alpha_word_frac"]),
    ("min_stop_words", ["min_stop_words"]),
]
"""datatrove's settings in the order of its rules, and ours."""
DOLMA = {
    "word_count": "word_count",
    "median_word_length": "median_word_length",
    "symbol_frac": "symbol_to_word_ratio",
    "alpha_word_frac": "fraction_of_words_with_alpha_character",
    "required_words": "required_word_count",
    "bullet_line_frac": "fraction_of_lines_starting_with_bullet_point",
    "ellipsis_line_frac": "fraction_of_lines_ending_with_ellipsis",
}
DOLMA_SCRIPT = """
import dataclasses, json, sys
from dolma.taggers import gopher
# n-grams are most of the tagger's time and no part of what is compared
gopher.all_ngram_counts = lambda words: []
for line in sys.stdin:
    found = [gopher.get_attributes(json.loads(line), merge) for merge in (False, True)]
    print(json.dumps([dataclasses.asdict(values) for values in found]))
"""


@pytest.fixture(autouse=True)
def _spacy() -> None:
    needs("spacy")


def theirs(texts: list[str], **settings: Any) -> list[str | None]:
    """Give reasons of datatrove's filter, by our names; what it raises stays `raises ...`."""
    from datatrove.pipeline.filters import GopherQualityFilter

    verdicts = datatrove_verdicts(GopherQualityFilter(**settings), texts)
    return [None if keep else REASONS.get(str(reason), reason) for keep, reason, _ in verdicts]


def ours(texts: list[str], **settings: Any) -> list[str | None]:
    """Give reasons of the preset datatrove-0.10."""
    filter_, batch = Gopher(preset="datatrove-0.10", **settings), TextBatch.of(texts)
    reasons: list[str | None] = judge(filter_, filter_.columns(batch), batch).to_pylist()
    return reasons


def test_verdicts_and_reasons_are_datatroves_on_awkward_texts() -> None:
    """2,000 texts made to be hard: the same verdict, the same first reason, and each of them."""
    texts = adversarial_texts(2000)
    expected = theirs(texts)
    assert ours(texts) == expected
    assert {reason for reason in expected if reason} == {*REASONS.values()}


@pytest.mark.corpus
def test_verdicts_and_reasons_are_datatroves_on_real_documents(shared: Path) -> None:
    """The same on a keyed sample of the corpus's English documents."""
    texts = english_sample(shared)
    assert ours(texts) == theirs(texts)


@pytest.mark.conformance_full
@pytest.mark.corpus
def test_verdicts_and_reasons_are_datatroves_on_every_english_document(shared: Path) -> None:
    """The same on all of them."""
    texts = english_documents(shared)
    assert ours(texts) == theirs(texts)


def test_every_rule_agrees_when_those_before_it_are_off() -> None:
    """Rules are switched off one after the other: each in turn judges what is left to it."""
    peer: dict[str, Any] = {}
    own: dict[str, Any] = {}
    texts = [t for t in adversarial_texts(2000) if len(t) < 20_000][::3]
    for setting, names in OFF:
        peer[setting] = None
        own |= dict.fromkeys(names)
        for text, found, expected in zip(
            texts, ours(texts, **own), theirs(texts, **peer), strict=True
        ):
            if not (expected or "").startswith("raises") and has_plain_words(text):
                assert found == expected, f"{setting} off: {text[:200]!r}"


def test_columns_are_what_datatrove_computes_on_the_way() -> None:
    """Every column equals the plain twin's over datatrove's own words, to the last bit."""
    from datatrove.utils.text import split_into_words

    texts = [t for t in adversarial_texts(1200) if len(t) < 20_000]
    columns = Gopher(preset="datatrove-0.10").columns(TextBatch.of(texts))
    values = zip(*(column.to_pylist() for column in columns.values()), strict=True)
    found = [dict(zip(columns, row, strict=True)) for row in values]
    assert found == [naive_gopher.datatrove(t, split_into_words(t)) for t in texts]


def test_page_words_are_the_tokens_of_fasttext(shared: Path) -> None:
    """DCLM's page length is a count of fastText's own tokens."""
    from fasttext.FastText import tokenize

    texts = adversarial_texts(2000) + english_sample(shared, 1.0)
    expected = [sum(word[0].isalnum() for word in tokenize(text)) for text in texts]
    assert page_words(TextBatch.of(texts)).tolist() == expected


@pytest.mark.corpus
def test_values_are_dolmas(shared: Path) -> None:
    """Every column of dolma-1.2, under both readings of newlines, is the tagger's own value."""
    texts = [t for t in adversarial_texts(2000) if len(t) < 20_000]
    texts += english_sample(shared, 0.6) + code_sample(shared, 0.3)
    answers = ask_dolma(DOLMA_SCRIPT, texts)
    for which, newlines in enumerate(("each", "runs")):
        columns = Gopher(newlines=newlines).columns(TextBatch.of(texts))  # type: ignore[arg-type]
        for name, theirs_ in DOLMA.items():
            assert columns[name].to_pylist() == [both[which][theirs_] for both in answers]


def test_where_datatrove_raises_a_text_is_judged_all_the_same() -> None:
    """A difference: without its word rule datatrove divides by zero where there is no word."""
    settings = {"min_doc_words": None, "min_avg_word_length": None}
    own = {"min_word_count": None, "min_mean_word_length": None}
    with pytest.warns(
        RuntimeWarning, match="mean of empty slice|Mean of empty slice|invalid value"
    ):
        assert theirs(["", " \n"], **settings) == ["raises ZeroDivisionError"] * 2
    assert ours(["", " \n"], **own) == ["gopher.alpha_word_frac"] * 2


def test_words_of_symbols_alone_are_short_words() -> None:
    """A difference: the mean length of no words is 0.0 here and no number in datatrove."""
    with pytest.warns(
        RuntimeWarning, match="mean of empty slice|Mean of empty slice|invalid value"
    ):
        assert theirs(["( ) ; :"], min_doc_words=None) == ["gopher.alpha_word_frac"]
    assert ours(["( ) ; :"], min_word_count=None) == ["gopher.mean_word_length_low"]


def test_zero_is_a_threshold_here_and_off_there() -> None:
    """A difference: datatrove takes a threshold of 0 for none."""
    text = "- the cat and the dog sat on mats near\n" + "the cat and the dog sat on mats near\n" * 9
    assert theirs([text], max_bullet_lines_ratio=0.0) == [None]
    assert ours([text], max_bullet_line_frac=0.0) == ["gopher.bullet_line_frac"]


def has_plain_words(text: str) -> bool:
    """Whether datatrove finds a word that is not all punctuation."""
    from datatrove.utils.text import split_into_words

    return any(map(naive_gopher.is_plain, split_into_words(text)))
