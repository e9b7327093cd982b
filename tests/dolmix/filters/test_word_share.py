"""Word shares: how they are counted, and where the limit lies."""

import naive
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.filters import WordShare, judge


@given(st.lists(st.lists(st.sampled_from(["a ", "b\n", "c ", "dd "]), max_size=30).map("".join)))
def test_word_shares_equal_the_plain_definition(texts: list[str]) -> None:
    """Shares go by occurrences among whitespace words; 0.0 without words."""
    columns = WordShare().columns(TextBatch.of(texts))
    expected = [
        (first / max(len(words), 1), (first + second) / max(len(words), 1))
        for words in map(str.split, texts)
        for first, second in [naive.top_counts(words)]
    ]
    assert list(zip(*(c.to_pylist() for c in columns.values()), strict=True)) == expected


def test_word_shares_are_dropped_above_the_limit_alone() -> None:
    """30 % for one word and 50 % for two are kept; beyond, the single word is the first reason."""
    at_limit = "a a a b b c d e f g"
    filter_ = WordShare()
    texts = TextBatch.of([at_limit, "a a a a b c d e f g", "a a a b b b c d e f"])
    assert judge(filter_, filter_.columns(texts), texts).to_pylist() == [
        None,
        "word_share.top1_frac",
        "word_share.top2_frac",
    ]
