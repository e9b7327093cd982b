"""Every kernel equals its plain twin, on texts made to hit the edges of the definitions."""

import sys
from itertools import pairwise

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.text.characters import cut_pieces
from dolmix.text.lines import line_marks
from dolmix.text.ngrams import dolma_shares
from dolmix.text.periodic import periodic_times
from dolmix.text.repeats import duplicate_sums, top_counts
from dolmix.text.words import split_words

SPACES = "".join(chr(c) for c in range(sys.maxunicode + 1) if chr(c).isspace())
PIECES = [*"ab#-*1.\n\t  ", *SPACES, *"\x00\x1b\x7f\xa1\xad\u180e\u200b\u200d\u2027\u2030\ufeff"]
PIECES += [
    "the",
    "The",
    "be",
    "to",
    "of",
    "and",
    "that",
    "have",
    "with",
    "th",
    "thee",
    " the ",
    " ",
]
PIECES += [
    "…",
    "...",
    "中",
    "文字",
    "é",
    "e\u0301",
    "Я",
    "\U0001d518",
    "😀",
    "٣",
    "\u0660",
    "ⅷ",
    "a" * 300,
]
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
batches = st.lists(texts, max_size=6)
small_ints = st.lists(st.integers(0, 2), max_size=90)
relaxed = settings(deadline=None, max_examples=150)


def ends_of(parts: list[list[int]]) -> np.ndarray:
    """(N + 1,) ends of the parts laid end to end."""
    return np.concatenate([[0], np.cumsum([len(p) for p in parts])]).astype(np.int64)


def parts_of(values: np.ndarray, ends: np.ndarray) -> list[list[int]]:
    """Cut an array back into the documents' parts."""
    return [values[a:b].tolist() for a, b in pairwise(ends)]


@relaxed
@given(batches)
def test_words_are_those_of_str_split(documents: list[str]) -> None:
    """Hashes and lengths are those of the words that `str.split()` gives, document by document."""
    words = split_words(TextBatch.of(documents))
    expected = [naive.split_words(text) for text in documents]
    assert parts_of(words.hashes, words.ends) == [[h for h, _ in doc] for doc in expected]
    assert parts_of(words.chars, words.ends) == [[c for _, c in doc] for doc in expected]


def test_exactly_pythons_spaces_split_words() -> None:
    """Between two letters, every code point splits where `str.isspace` holds, and nowhere else."""
    texts = [f"x{chr(c)}y" for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    words = split_words(TextBatch.of(texts))
    assert np.diff(words.ends).tolist() == [len(text.split()) for text in texts]


@relaxed
@given(
    st.lists(
        st.lists(st.sampled_from(["\n", "-", "*", "…", "a", " "]), max_size=20).map("".join),
        max_size=5,
    ),
    st.booleans(),
)
def test_line_marks_match_their_twin(documents: list[str], merge: bool) -> None:
    """Bullets and ellipses are counted at the ends of the very lines that the twin sees."""
    found = line_marks(TextBatch.of(documents), merge=merge)
    rows = zip(found.lines, found.bullets, found.ellipses, strict=True)
    assert list(rows) == [naive.line_marks(text, merge=merge) for text in documents]


@relaxed
@given(st.lists(small_ints, max_size=5))
def test_duplicate_sums_match_their_twin(documents: list[list[int]]) -> None:
    """All occurrences of repeated elements count, and elements of other documents never do."""
    ends = ends_of(documents)
    flat = np.array([x for doc in documents for x in doc], np.uint64)
    weights = np.arange(flat.size, dtype=np.int64)
    expected = [
        naive.duplicate_sums(doc, list(range(start, start + len(doc))))
        for doc, start in zip(documents, ends[:-1].tolist(), strict=True)
    ]
    found = duplicate_sums(flat, weights, ends)
    assert [tuple(row) for row in found.T.tolist()] == expected


@relaxed
@given(st.lists(small_ints, max_size=5))
def test_top_counts_match_their_twin(documents: list[list[int]]) -> None:
    """First and second counts, 0 where a document has fewer distinct elements."""
    flat = np.array([x for doc in documents for x in doc], np.uint64)
    found = top_counts(flat, ends_of(documents))
    assert [tuple(row) for row in found.T.tolist()] == [naive.top_counts(d) for d in documents]


words = st.sampled_from(["a", "bb", "ccc", "…é"])


@relaxed
@given(st.lists(st.lists(words, max_size=60), max_size=4))
def test_ngram_shares_match_their_twin(documents: list[list[str]]) -> None:
    """The cascade gives the very floats that counting every n-gram gives, ties included."""
    split = split_words(TextBatch.of([" ".join(doc) for doc in documents]))
    found = dolma_shares(split)
    assert found.T.tolist() == [naive.ngram_shares(doc) for doc in documents]


@relaxed
@given(st.lists(words, min_size=1, max_size=15), st.integers(1, 12), st.lists(words, max_size=40))
def test_ngram_shares_match_on_repeated_passages(
    span: list[str], times: int, rest: list[str]
) -> None:
    """The same, where long passages recur, so that every length of n-gram repeats."""
    doc = [*span * times, *rest, *span]
    split = split_words(TextBatch.of([" ".join(doc)]))
    found = dolma_shares(split)
    assert found[:, 0].tolist() == naive.ngram_shares(doc)


@relaxed
@given(st.lists(small_ints, max_size=4))
def test_periodic_times_match_their_twin(documents: list[list[int]]) -> None:
    """Runs of equal neighbours count the same repeats as looking for them span by span."""
    flat = np.array([x for doc in documents for x in doc], np.uint64)
    found = periodic_times(flat, ends_of(documents))
    assert found.tolist() == [naive.periodic_times(doc) for doc in documents]


@pytest.mark.parametrize("period", range(1, 16))
def test_a_span_repeated_32_times_counts_32(period: int) -> None:
    """Spans of 1 to 13 units count their full repeats, at any place; longer spans do not count."""
    span = list(range(10, 10 + period))
    units = np.array([1, 2, *span * 32, *span[:-1], 3, 4], np.uint32)
    found = periodic_times(units, np.array([0, units.size]))
    assert found.tolist() == [32 if period <= 13 else 0]


@relaxed
@given(batches, st.integers(1, 5))
def test_pieces_match_their_twin(documents: list[str], chars: int) -> None:
    """Pieces hold whole characters, in order, and know their document."""
    pieces, owners = cut_pieces(TextBatch.of(documents), chars)
    expected = [(n, p) for n, text in enumerate(documents) for p in naive.cut_pieces(text, chars)]
    assert list(zip(owners.tolist(), pieces.text.to_pylist(), strict=True)) == expected


def test_empty_batches_and_empty_documents_work() -> None:
    """No document, and documents without text, give empty results of the right shape."""
    for documents in ([], [""], ["", "", ""]):
        batch = TextBatch.of(documents)
        split = split_words(batch)
        assert split.hashes.size == 0
        assert dolma_shares(split).shape == (9, len(documents))
        assert line_marks(batch, merge=False).lines.tolist() == [1] * len(documents)


def test_a_sliced_batch_reads_only_its_own_rows() -> None:
    """Arrow slices share buffers with their parent; kernels keep to the slice."""
    whole = TextBatch.of(["one two", "three", "four\nfive six", "seven"])
    part = TextBatch(
        text=whole.text.slice(1, 2),
        ids=whole.ids.slice(1, 2),
        urls=whole.urls.slice(1, 2),
        records=whole.records[1:3],
        fields={},
    )
    assert split_words(part).ends.tolist() == [0, 1, 4]
    assert line_marks(part, merge=False).lines.tolist() == [1, 2]
