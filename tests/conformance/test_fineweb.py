"""FineWeb's rules against datatrove's own filter: verdicts and reasons."""

from pathlib import Path
from typing import Any

import pytest
from peers import (
    adversarial_texts,
    datatrove_verdicts,
    english_documents,
    english_sample,
    needs,
    terminals,
)

from dolmix.document import TextBatch
from dolmix.filters import judge
from dolmix.filters.fineweb import FineWeb

pytestmark = pytest.mark.conformance

REASONS = {
    None: None,
    "empty": "fineweb.lines",
    "line_punct_ratio": "fineweb.line_punct_frac",
    "short_line_ratio": "fineweb.short_line_frac",
    "char_dup_ratio": "fineweb.dup_line_char_frac",
    "list_ratio": "fineweb.newlines_per_word",
}
"""Datatrove's reasons, and ours."""
VARIANTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"line_punct_exclude_zero": True}, {"line_punct_exclude_zero": True}),
    (
        {"stop_chars": (".", "'", '"', "!", "?"), "short_line_length": 60},
        {"stop_chars": ".'\"!?", "short_line_chars": 60},
    ),
    (
        {"line_punct_thr": 0.0, "short_line_thr": 1.0, "char_duplicates_ratio": 0.0},
        {"min_line_punct_frac": 0.0, "max_short_line_frac": 1.0, "max_dup_line_char_frac": 0.0},
    ),
    (
        {"line_punct_thr": 0.0, "short_line_thr": 1.0, "char_duplicates_ratio": 1.0},
        {"min_line_punct_frac": None, "max_short_line_frac": None, "max_dup_line_char_frac": None},
    ),
]
"""Datatrove's settings, and ours; in the last, rules that cannot fire and rules that are off."""


def check(texts: list[str], theirs: dict[str, Any], settings: dict[str, Any]) -> None:
    """Compare verdict and reason with datatrove's, document by document."""
    from datatrove.pipeline.filters import FineWebQualityFilter

    needs("spacy")
    filter_, batch = FineWeb(**settings), TextBatch.of(texts)
    found = judge(filter_, filter_.columns(batch), batch).to_pylist()
    verdicts = datatrove_verdicts(FineWebQualityFilter(**theirs), texts)
    for text, own, (_, reason, _) in zip(texts, found, verdicts, strict=True):
        assert own == REASONS[reason], repr(text[:300])


def test_decisions_on_real_documents(shared: Path) -> None:
    """The same verdict and reason on a sample of English documents."""
    check(english_sample(shared, 6.0), {}, {})


def test_decisions_on_awkward_texts() -> None:
    """The same on 2,000 adversarial texts, and on a line for each terminal punctuation mark."""
    line = "A line that is long enough to be no short line"
    marked = [f"{line} {mark}\n{line}{mark}" for mark in terminals()]
    check([*adversarial_texts(2000), *marked], {}, {})


@pytest.mark.parametrize(("theirs", "settings"), VARIANTS)
def test_decisions_with_other_settings(theirs: dict[str, Any], settings: dict[str, Any]) -> None:
    """Zeros excluded, other stop characters, limits of 0.0, and rules switched off."""
    check(adversarial_texts(2000)[::2], theirs, settings)


@pytest.mark.conformance_full
def test_decisions_on_every_document(shared: Path) -> None:
    """The same on all English documents of the corpus."""
    check(english_documents(shared), {}, {})
