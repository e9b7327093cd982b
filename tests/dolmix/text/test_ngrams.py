"""Lines, paragraphs and n-grams by each peer's definition equal their plain twins."""

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import naive
import naive_repetition as plain
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.text import ngrams, paragraphs, repeats
from dolmix.text.ngrams_joined import joined_chars
from dolmix.text.paragraphs import split_segments, text_chars
from dolmix.text.repeats import duplicate_sums, later_sums, sum_parts
from dolmix.text.words import Words, split_words

SEPARATORS = {paragraphs.EACH: r"\n", paragraphs.RUNS: r"\n+", paragraphs.BLANKS: r"\n{2,}"}
STRIPS = {paragraphs.NOTHING: "nothing", paragraphs.TEXT: "text", paragraphs.SEGMENTS: "segments"}
PIECES = [
    "\n",
    "\n\n",
    " ",
    "\u3000",
    "\x85",
    "a",
    "ab",
    "é",
    "中",
    "a longer piece",
    "\n \n",
    "😀",
]
texts = st.lists(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), max_size=4)
small = st.lists(st.lists(st.integers(0, 3), max_size=60), max_size=4)
tokens = st.sampled_from(["a", "b", "ab", "ba", "é", "aab", "in", "put", "input", "x" * 17])
token_lists = st.lists(st.lists(tokens, max_size=70), max_size=4)


def as_words(documents: list[list[str]]) -> tuple[TextBatch, Words]:
    """Documents of words given, with one space between two; and the words."""
    batch = TextBatch.of([" ".join(words) for words in documents])
    return batch, split_words(batch)


def ends_of(documents: list[list[int]]) -> np.ndarray:
    """(N + 1,) ends of the documents laid end to end."""
    return np.concatenate([[0], np.cumsum([len(d) for d in documents])]).astype(np.int64)


@given(texts, st.sampled_from(list(SEPARATORS)), st.sampled_from(list(STRIPS)))
def test_segments_match_their_twin(documents: list[str], separators: int, strip: int) -> None:
    """Hashes and lengths are those of the pieces between separators, stripped as asked."""
    found = split_segments(TextBatch.of(documents), separators=separators, strip=strip)
    expected = [plain.segments(t, SEPARATORS[separators], STRIPS[strip]) for t in documents]
    hashes = [found.hashes[a:b].tolist() for a, b in pairwise(found.ends)]
    chars = [found.chars[a:b].tolist() for a, b in pairwise(found.ends)]
    assert hashes == [[naive.span_hash(part.encode()) for part in parts] for parts in expected]
    assert chars == [[len(part) for part in parts] for parts in expected]


@pytest.mark.parametrize("size", [*range(30), 1000])
def test_a_newline_is_found_at_every_distance(size: int) -> None:
    """Searching eight bytes at a time misses no newline and sees none that is not there."""
    near = "".join(chr(c) for c in (0x0B, 0x09, 0x8A, 0x10A)) * size
    text = f"{'x' * size}\n{near[:size]}\n\n{'y' * (size % 7)}"
    found = split_segments(TextBatch.of([text, text]), separators=1, strip=0)
    parts = [len(part) for part in plain.segments(text, r"\n+", "nothing")]
    assert found.chars.tolist() == parts * 2
    assert text_chars(TextBatch.of([text, "", "é"])).tolist() == [len(text), 0, 1]


@given(small)
def test_later_sums_match_their_twin(documents: list[list[int]]) -> None:
    """The first occurrence never counts, and elements of other documents never do."""
    ends = ends_of(documents)
    flat = np.array([x for doc in documents for x in doc], np.uint64)
    weights = np.arange(flat.size, dtype=np.int64)
    expected = [
        plain.later_sums(doc, list(range(start, start + len(doc))))
        for doc, start in zip(documents, ends[:-1].tolist(), strict=True)
    ]
    assert [tuple(row) for row in later_sums(flat, weights, ends).T.tolist()] == expected
    sums = [sum(range(a, b)) for a, b in pairwise(ends.tolist())]
    assert sum_parts(weights, ends).tolist() == sums


def test_a_full_table_starts_again() -> None:
    """When its entries could not be numbered further, a table is cleared, and nothing is lost."""
    table = repeats.tables(4)
    elements = np.array([5, 6, 5, 5], np.uint64)
    for base in (repeats.FULL - 5, repeats.FULL - 4, repeats.FULL - 1):
        table.base[0] = base
        repeats.identify(elements, 4, table)
        assert table.base[0] == (base + 4 if base + 4 < repeats.FULL else 5)
        assert (table.ids[:4].tolist(), table.counts[:2].tolist()) == ([0, 1, 0, 0], [3, 1])


def test_a_table_too_large_to_keep_leaves_the_kept_one_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Clearing one table never makes the entries of another look new."""
    monkeypatch.setattr(repeats, "_KEPT", repeats._Kept())
    monkeypatch.setattr(repeats, "KEPT_BYTES", 1 << 13)
    elements = np.arange(3000, dtype=np.uint64)
    for _ in range(2):
        small = repeats.tables(500)
        small.base[0] = repeats.FULL - 600
        repeats.identify(elements, 500, small)
        assert small.ids[:500].tolist() == list(range(500))
        large = repeats.tables(3000)
        repeats.identify(elements, 3000, large)
        assert large.ids[:3000].tolist() == list(range(3000))
        assert large.slots is not repeats.tables(500).slots


def test_scratch_is_lent_again_and_grows() -> None:
    """A thread gets the same memory back while it is long enough; very large arrays are let go."""
    first = repeats.scratch("test", 10, np.int32)
    assert repeats.scratch("test", first.size, np.int32) is first
    longer = repeats.scratch("test", first.size + 1, np.int32)
    assert longer.size > first.size
    assert repeats.scratch("test", 5, np.int32) is longer
    large = repeats.scratch("test", repeats.KEPT_BYTES, np.int32)
    assert repeats.scratch("test", 5, np.int32) is longer
    assert large.size == repeats.KEPT_BYTES
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(repeats.scratch, "test", 5, np.int32).result() is not longer


def test_lent_memory_is_never_in_two_hands() -> None:
    """An array is not lent again while it or a view of it is held; after that it is."""
    first = repeats.lent("lent", 2000, np.int32)
    view = first[5:10].reshape(1, 5)[0]
    del first
    others = [repeats.lent("lent", 10, np.int32) for _ in range(4)]
    assert not any(np.shares_memory(view, other) for other in others)
    assert len({other.ctypes.data for other in others}) == len(others)
    assert len(repeats._KEPT.lent["lent"]) == repeats.LENT
    del others
    large = repeats.lent("lent", repeats.LENT_BYTES, np.int32)
    assert large.size == repeats.LENT_BYTES
    repeats._KEPT.lent.clear()
    again = repeats.lent("lent", 2000, np.int32)
    place = again.ctypes.data
    del again
    assert repeats.lent("lent", 1500, np.int32).ctypes.data == place


def test_threads_do_not_disturb_each_other() -> None:
    """Batches measured at the same time give what they give one after the other."""
    draw = np.random.default_rng(5)
    batches = [
        as_words([draw.choice(["a", "b", "cd"], 3000).tolist() for _ in range(3)]) for _ in range(8)
    ]

    def measure(given: tuple[TextBatch, Words]) -> list[list[int]]:
        batch, words = given
        tops = ngrams.datatrove_top_chars(words).tolist()
        return [*tops, *joined_chars(batch, words).tolist()]

    expected = [measure(given) for given in batches]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(measure, batches)) == expected


@given(token_lists)
def test_top_ngrams_match_datatroves(documents: list[list[str]]) -> None:
    """Spaces between words count, one occurrence does too, and of equals the first is meant."""
    _, words = as_words(documents)
    expected = [[plain.datatrove_top_chars(doc, n) for n in (2, 3, 4)] for doc in documents]
    assert ngrams.datatrove_top_chars(words).T.tolist() == expected


@given(token_lists)
def test_joined_ngrams_match_their_twin(documents: list[list[str]]) -> None:
    """Equal text makes n-grams equal, however it falls into words; found ones are jumped over."""
    batch, words = as_words(documents)
    expected = [[plain.joined_chars(doc, n) for n in range(5, 11)] for doc in documents]
    assert joined_chars(batch, words).T.tolist() == expected


@given(
    st.lists(tokens, min_size=1, max_size=15),
    st.integers(1, 12),
    st.lists(tokens, max_size=40),
    st.lists(tokens, max_size=9),
)
def test_ngrams_match_on_repeated_passages(
    span: list[str], times: int, rest: list[str], last: list[str]
) -> None:
    """The same, where long passages recur, so that every length of n-gram repeats."""
    doc = [*span * times, *rest, *span, *last]
    batch, words = as_words([doc])
    assert joined_chars(batch, words)[:, 0].tolist() == [
        plain.joined_chars(doc, n) for n in range(5, 11)
    ]
    total = sum(map(len, doc))
    expected = [plain.dclm_chars(doc, n) / total for n in range(2, 11)]
    assert ngrams.dclm_shares(words)[:, 0].tolist() == expected
    assert ngrams.dolma_shares(words)[:, 0].tolist() == naive.ngram_shares(doc)


@given(token_lists)
def test_dclm_shares_match_their_twin(documents: list[list[str]]) -> None:
    """Only repeats count; of equally common n-grams the longest; no word counts twice."""
    _, words = as_words(documents)
    expected = [
        [plain.dclm_chars(doc, n) / max(sum(map(len, doc)), 1) for n in range(2, 11)]
        for doc in documents
    ]
    assert ngrams.dclm_shares(words).T.tolist() == expected


@given(
    st.lists(st.sampled_from("ab"), min_size=1, max_size=9),
    st.integers(1, 40),
    st.lists(st.sampled_from("abc"), max_size=12),
)
def test_ngrams_match_where_nearly_everything_repeats(
    span: list[str], times: int, last: list[str]
) -> None:
    """The short way for texts of nothing but repeats is taken only where it is right."""
    for doc in (span * times, [*span * times, *last], [*last, *span * times], last * times):
        _, words = as_words([doc])
        total = max(sum(map(len, doc)), 1)
        expected = [plain.dclm_chars(doc, n) / total for n in range(2, 11)]
        assert ngrams.dclm_shares(words)[:, 0].tolist() == expected
        assert ngrams.dolma_shares(words)[:, 0].tolist() == naive.ngram_shares(doc)


@pytest.mark.parametrize("word", ["a", "wörd"])
def test_one_word_over_and_over_matches_the_twins(word: str) -> None:
    """Texts of one word, at each length around the longest n-gram's, by every rule."""
    for doc in [[word] * count for count in range(1, 15)]:
        batch, words = as_words([doc, [*doc, "b"]])
        total = sum(map(len, doc))
        tops = [plain.datatrove_top_chars(doc, n) for n in (2, 3, 4)]
        covered = [plain.dclm_chars(doc, n) / total for n in range(2, 11)]
        assert ngrams.dolma_shares(words)[:, 0].tolist() == naive.ngram_shares(doc)
        assert ngrams.datatrove_top_chars(words)[:, 0].tolist() == tops
        assert ngrams.dclm_shares(words)[:, 0].tolist() == covered
        assert ngrams.dolma_shares(words)[:, 1].tolist() == naive.ngram_shares([*doc, "b"])
        joined = [plain.joined_chars(doc, n) for n in range(5, 11)]
        assert joined_chars(batch, words)[:, 0].tolist() == joined


def test_ngrams_that_fall_into_words_differently_are_equal() -> None:
    """`in put` repeats `input` for datatrove alone, beyond the first 16 bytes and within them."""
    cuts = ["in put one two three four five", "input on etwo th ree fo urfive"]
    for first, second in [cuts, ["a b c d e", "ab c de f g"], ["ab c d e fg", "a bc de f g"]]:
        doc = [*first.split(), "and", *second.split()]
        batch, words = as_words([doc])
        expected = [plain.joined_chars(doc, n) for n in range(5, 11)]
        assert joined_chars(batch, words)[:, 0].tolist() == expected
        assert ngrams.dclm_shares(words).max() == 0
    assert expected[0] == 7


def test_long_documents_and_long_words_match_their_twin() -> None:
    """Thousands of words, words of thousands of characters, and a document after a longer one."""
    draw = np.random.default_rng(3)
    vocabulary = [*(f"w{n}" for n in range(40)), "é" * 3000, "y" * 15, "y" * 16, "y" * 17]
    documents = [draw.choice(vocabulary, size).tolist() for size in (4000, 30, 5, 4, 0, 300)]
    documents[0][2000:3000] = documents[0][:1000]
    batch, words = as_words(documents)
    expected = [[plain.joined_chars(doc, n) for n in range(5, 11)] for doc in documents]
    assert joined_chars(batch, words).T.tolist() == expected
    assert ngrams.dolma_shares(words).T.tolist() == [naive.ngram_shares(d) for d in documents]


def test_nothing_gives_nothing() -> None:
    """No document, and documents without words or text, give zeros of the right shape."""
    for documents in ([], [""], ["", " ", ""]):
        batch = TextBatch.of(documents)
        words = split_words(batch)
        count = len(documents)
        assert joined_chars(batch, words).tolist() == [[0] * count] * 6
        assert ngrams.datatrove_top_chars(words).tolist() == [[0] * count] * 3
        assert ngrams.dclm_shares(words).tolist() == [[0.0] * count] * 9
        assert text_chars(batch).tolist() == [len(text) for text in documents]
        lines = split_segments(batch, separators=1, strip=2)
        assert lines.ends.tolist() == [0] * (count + 1)
        sums = duplicate_sums(lines.hashes, lines.chars, lines.ends)
        assert sums.tolist() == [[0] * count] * 2


def test_a_sliced_batch_reads_only_its_own_rows() -> None:
    """Arrow slices share buffers with their parent; kernels keep to the slice."""
    whole = TextBatch.of(["a\nb", "x y x y x y x y x y x y", "c\n\nc\n\nc", "d"])
    part = TextBatch(
        text=whole.text.slice(1, 2),
        ids=whole.ids.slice(1, 2),
        urls=whole.urls.slice(1, 2),
        records=whole.records[1:3],
        fields={},
    )
    words = split_words(part)
    docs = [str(text).split() for text in part.text.to_pylist()]
    expected = [[plain.joined_chars(doc, n) for n in range(5, 11)] for doc in docs]
    assert joined_chars(part, words).T.tolist() == expected
    assert split_segments(part, separators=2, strip=1).ends.tolist() == [0, 1, 4]
    assert text_chars(part).tolist() == [23, 7]
