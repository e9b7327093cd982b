"""The most frequent n-grams: exact counts, a bound on what is not listed, whatever the cut."""

from collections import Counter
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.report import frequent
from dolmix.report.frequent import Listed, Spans, Summary, Table, Top
from dolmix.text.frequent import ngram_hash
from dolmix.text.words import split_words

TEXTS = st.lists(
    st.lists(st.sampled_from(["a", "b", "ä", "ß,", "no", "x" * 9, "日本"]), max_size=25).map(
        "\n ".join
    ),
    max_size=8,
)


def batches_of(texts: list[str], unit: int) -> list[TextBatch]:
    """Texts in batches of `unit`."""
    return [TextBatch.of(texts[i : i + unit]) for i in range(0, len(texts), unit)]


def candidates(texts: list[str], n: int, *, slots: int, unit: int) -> Summary:
    """Find candidates as the report does, batch by batch, then merged; tables grow from 4 slots."""
    with patch.object(frequent, "FIRST_SLOTS", 4):
        whole = Table(slots)
        for batch in batches_of(texts, unit):
            table = Table(slots)
            table.add(split_words(batch), n)
            whole.merge(table.summary())
    return whole.summary()


def top_ngrams(texts: list[str], n: int, top: int, *, slots: int, unit: int) -> Top:
    """Find the most frequent n-grams as the report does, in two readings."""
    listed = Listed(n, candidates(texts, n, slots=slots, unit=unit), top)
    for batch in batches_of(texts, unit):
        words = split_words(batch)
        listed.add(*listed.read(words, Spans(batch.utf8, batch.offsets, words)))
    return listed.result()


def hash_of(ngram: str) -> int:
    """Hash by which an n-gram is known."""
    words = split_words(TextBatch.of([ngram]))
    return int(ngram_hash(words.hashes, 0, len(words.hashes)))


def counted(texts: list[str], n: int) -> Counter[str]:
    """Count the n-grams of texts in plain Python."""
    words = [text.split() for text in texts]
    return Counter(" ".join(w[i : i + n]) for w in words for i in range(len(w) - n + 1))


@settings(deadline=None, max_examples=100)
@given(TEXTS, st.integers(1, 3), st.integers(1, 6), st.integers(1, 8))
def test_where_all_fit_the_list_is_that_of_a_counter(
    texts: list[str], n: int, top: int, unit: int
) -> None:
    """Counts, order by count and words as they stand; the total and the distinct ones, too."""
    found = top_ngrams(texts, n, top, slots=4096, unit=unit)
    expected = counted(texts, n)
    assert (found.total, found.distinct, found.elsewhere) == (expected.total(), len(expected), 0)
    assert len(found.ngrams) == min(top, len(expected))
    assert all(expected[text] == count for text, count in found.ngrams)
    assert [c for _, c in found.ngrams] == [c for _, c in expected.most_common(top)]
    assert list(found.ngrams) == sorted(found.ngrams, key=lambda row: (-row[1], row[0]))


@settings(deadline=None, max_examples=200)
@given(TEXTS, st.integers(1, 3), st.integers(1, 4), st.sampled_from([4, 8, 16]), st.integers(1, 8))
def test_what_occurs_more_often_than_the_bound_is_listed(
    texts: list[str], n: int, top: int, slots: int, unit: int
) -> None:
    """Listed counts are exact of far too small a table; nothing else beats bound and last one."""
    found = top_ngrams(texts, n, top, slots=slots, unit=unit)
    expected = counted(texts, n)
    names = dict(found.ngrams)
    assert all(expected[text] == count for text, count in found.ngrams)
    assert found.total == expected.total()
    last = found.ngrams[-1][1] if len(found.ngrams) == top else 0
    for text, count in expected.items():
        assert text in names or count <= max(found.elsewhere, last)


@settings(deadline=None, max_examples=150)
@given(TEXTS, st.integers(1, 3), st.sampled_from([4, 8, 16]), st.integers(1, 8))
def test_every_ngram_above_the_guarantee_is_a_candidate(
    texts: list[str], n: int, slots: int, unit: int
) -> None:
    """However many tables were merged: what occurs more than 4 N / S times is a candidate."""
    found = candidates(texts, n, slots=slots, unit=unit)
    expected = counted(texts, n)
    assert found.error * slots <= 4 * expected.total()
    by_hash = {text: hash_of(text) for text in expected}
    kept = dict(zip(found.items.tolist(), found.counts.tolist(), strict=True))
    for text, count in expected.items():
        assert count - found.error <= kept.get(by_hash[text], 0) <= count


def test_memory_is_that_of_the_table_whatever_the_text() -> None:
    """Of ten times as many different n-grams as fit, a table holds what it may.

    It says by how much counts may be short; what both readings keep has the same bound.
    """
    slots = 1 << 12
    table = Table(slots)
    frequent_words = ["the", "same", "three", "words", "over", "and", "over"]
    for start in range(0, 20_000, 500):
        rare = [f"w{start + n} x{start + n}" for n in range(500)]
        texts = TextBatch.of([" ".join([*rare, *frequent_words])])
        table.add(split_words(texts), 2)
    assert table._table.shape == (slots, 2)
    assert table._room.shape == (slots // 4, 2)
    found = table.summary()
    assert len(found.items) <= slots // 2
    assert found.total == 40 * (2 * 500 + 7 - 1)
    assert 0 < found.error <= 4 * found.total // slots
    listed = Listed(2, found, 5)
    assert hash_of("same three") in found.items[: len(listed.items)]
    assert listed._index.shape[0] <= 4 * slots


def test_few_candidates_are_counted_where_few_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cap on what is counted exactly shows in the bound, and never costs the guarantee."""
    monkeypatch.setattr(frequent, "MOST_LISTED", 2)
    texts = [" ".join(f"w{i * i % 37}" for i in range(400))]
    found = top_ngrams(texts, 1, 2, slots=16, unit=1)
    expected = counted(texts, 1)
    assert found.elsewhere > 0
    listed = dict(found.ngrams)
    assert all(
        c <= max(found.elsewhere, min(listed.values()))
        for t, c in expected.items()
        if t not in listed
    )


def test_a_table_that_took_nothing_off_names_what_it_counted() -> None:
    """Without a purge the candidates chosen are the first `top`, and reading may end early."""
    table = Table(64)
    batch = TextBatch.of(["b a a b a c"])
    words = split_words(batch)
    table.add(words, 1)
    listed = Listed(1, table.summary(), 2)
    assert listed.exact
    assert not listed.done()
    assert listed.done({0, 1})
    listed.add(*listed.read(words, Spans(batch.utf8, batch.offsets, words)))
    assert listed.done()
    assert listed.result().ngrams == (("a", 3), ("b", 2))
    assert np.array_equal(listed.counts, [3, 2])
