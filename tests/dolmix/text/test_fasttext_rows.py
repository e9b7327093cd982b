"""From words to rows to sums: each step of the compiled fastText against plain Python."""

import random

import numpy as np
import pytest
from fasttext_models import trained
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_fasttext import rows

from dolmix.document import I32Array, I64Array, U8Array, U32Array, U64Array
from dolmix.text.compiled import kernel
from dolmix.text.fasttext_lookup import (
    divisor_of,
    pruned_lookup,
    remainder,
    rows_of,
    whole_lookup,
)
from dolmix.text.fasttext_model import read_model
from dolmix.text.fasttext_ngrams import list_rows
from dolmix.text.fasttext_stretch import (
    WORD_STOP,
    Stretch,
    begin_text,
    empty_stretch,
    go_on,
    write_words,
)
from dolmix.text.fasttext_sums import Sum, add_plain_rows
from dolmix.text.fasttext_tables import FIRST_WORD, NOWHERE, F32Array, Lookup, Tables
from dolmix.text.fasttext_words import (
    Dictionary,
    dictionary_of,
    find_words,
    hash_word,
    may_be_entry,
    word_hash,
)

WORDS = st.one_of(
    st.text(st.sampled_from("ab<>_é长😀"), min_size=1, max_size=12),
    st.sampled_from(["das", "short", "это", "предложение", "</s", "__label__", "larger"]),
)


@kernel
def _remainders(hashes: U32Array, lookup: Lookup) -> U32Array:
    division = divisor_of(lookup)
    found = np.empty_like(hashes)
    for n in range(hashes.size):
        found[n] = remainder(hashes[n], division)
    return found


@settings(max_examples=200)
@given(
    buckets=st.integers(1, 2**31 - 1) | st.sampled_from([2**n for n in range(31)]),
    values=st.lists(st.integers(0, 2**32 - 1), max_size=20),
    factors=st.lists(st.integers(0, 2**31), max_size=10),
)
def test_remainders_without_division(buckets: int, values: list[int], factors: list[int]) -> None:
    """Equal to % for any 32-bit hash and any number of buckets, next to its multiples too."""
    near = [buckets * f + d for f in factors for d in (-1, 0, 1)]
    hashes = np.array([v for v in values + near if 0 <= v < 2**32], np.uint32)
    found = _remainders(hashes, whole_lookup(0, buckets))
    assert found.tolist() == [int(v) % buckets for v in hashes]


@kernel
def _rows(places: U32Array, shape: tuple[int, int, int], lookup: Lookup, rows: I32Array) -> int:
    return rows_of(places, shape, lookup, rows)


@settings(max_examples=100)
@given(
    num_words=st.integers(0, 150),
    buckets=st.integers(1, 300),
    pairs=st.lists(st.tuples(st.integers(0, 299), st.integers(0, 99)), max_size=60),
    slots=st.sampled_from([1, 2, 3, 5]),
    draw=st.randoms(use_true_random=False),
)
def test_rows_of_a_pruned_model_are_those_of_its_pairs(
    num_words: int, buckets: int, pairs: list[tuple[int, int]], slots: int, draw: random.Random
) -> None:
    """Places in any mixture lead to the rows that a map of buckets gives, column by column."""
    pairs = [(bucket % buckets, row) for bucket, row in pairs]
    lookup, order = pruned_lookup(num_words, buckets, np.array(pairs, np.int32).reshape(-1, 2))
    first = int(lookup.firsts[FIRST_WORD])
    expected = {bucket: num_words + row for bucket, row in pairs}
    expected |= {first + word: word for word in range(num_words)}
    known = [*range(buckets), int(lookup.firsts[NOWHERE]), *range(first, first + num_words)]
    columns, step = 40, 48
    places = np.array(draw.choices(known, k=slots * step), np.uint32)
    rows = np.zeros(slots * step, np.int32)
    count = _rows(places, (columns, slots, step), lookup, rows)
    asked = [int(places[s * step + i]) for i in range(columns) for s in range(slots)]
    assert order[rows[:count]].tolist() == [expected[p] for p in asked if p in expected]


def test_rows_of_a_whole_model_are_its_places() -> None:
    """Every place is its row, but for the one that is none."""
    lookup = whole_lookup(10, 100)
    places = np.array([3, 2**32 - 1, 109, 0, 2**32 - 1, 10], np.uint32)
    rows = np.zeros(6, np.int32)
    assert _rows(places, (3, 2, 3), lookup, rows) == 4
    assert rows[:4].tolist() == [3, 0, 109, 10]


@kernel
def _sum(hidden: F32Array, vectors: F32Array, rows: I32Array) -> None:
    add_plain_rows(hidden, vectors, rows, rows.size)


@settings(max_examples=50)
@given(
    dims=st.integers(1, 40),
    rows=st.lists(st.integers(0, 30), max_size=50),
    seed=st.integers(0, 2**32 - 1),
)
def test_sums_are_made_in_order(dims: int, rows: list[int], seed: int) -> None:
    """Every dimension is the running sum of the rows in their order, to the last bit."""
    draw = np.random.default_rng(seed)
    scales = 10.0 ** draw.integers(-4, 5, (31, 1))
    vectors = (draw.standard_normal((31, dims)) * scales).astype(np.float32)
    hidden = np.ones(dims, np.float32)
    _sum(hidden, vectors, np.array(rows, np.int32))
    expected = np.ones(dims, np.float32)
    for row in rows:
        expected += vectors[row]
    assert (hidden == expected).all()


@kernel
def _words_to_rows(text: U8Array, tables: Tables, room: tuple[Stretch, Sum, I32Array]) -> int:
    stretch, total, out = room
    begin_text(stretch)
    at, count = 0, 0
    while at < text.size:
        if stretch.fill[WORD_STOP]:
            at = go_on(text, at, stretch)
        else:
            at = write_words(text, (at, text.size), tables, stretch, total)
        for n in range(list_rows(text, stretch, tables)):
            out[count] = stretch.rows[n]
            count += 1
    return count


@pytest.fixture(scope="module", params=["hs", "ova", "words", "softmax"])
def tables(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Of a model that has all rows, with n-grams of characters or without."""
    return read_model(trained(request.param, tmp_path_factory.mktemp("rows"))).tables


@settings(max_examples=25)
@given(
    words=st.lists(WORDS, max_size=15),
    long=st.sampled_from([0, 1, 900, 1021, 1022, 1023, 1024, 2500]),
    repeats=st.sampled_from([1, 1, 40]),
)
def test_rows_of_words_and_ngrams_are_the_twins(
    tables: Tables, words: list[str], long: int, repeats: int
) -> None:
    """The same rows in the same order, wherever a stretch ends, in a word or between two."""
    text = " ".join([*words * repeats, "长b" * (long // 2), *words])
    utf8 = np.frombuffer(text.encode(), np.uint8)
    dictionary, shape = tables.words, tables.shape.tolist()
    spans = zip(dictionary.starts.tolist(), dictionary.sizes.tolist(), strict=True)
    entries = {dictionary.file[a : a + b].tobytes(): n for n, (a, b) in enumerate(spans)}
    about = {"words": entries, "num_words": shape[0], "bucket": shape[2], "kept": None}
    about |= {"least": shape[3], "most": shape[4], "word_ngrams": 1}
    expected = rows(text, about)[: -1 if shape[7] >= 0 else None]
    out = np.zeros(len(expected) + 1, np.int32)
    total = Sum(np.zeros(1, np.float32), np.zeros(2, np.int64), np.zeros(0, np.int32))
    count = _words_to_rows(utf8, tables, (empty_stretch(tables), total, out))
    assert out[:count].tolist() == expected


@given(word=st.binary(max_size=40), before=st.integers(0, 3), behind=st.integers(0, 20))
def test_the_hash_of_a_word_is_its_twins(word: bytes, before: int, behind: int) -> None:
    """Whatever stands around the word, and wherever the array ends."""
    text = np.frombuffer(b"x" * before + word + b"y" * behind, np.uint8)
    assert hash_word(text, before, before + len(word)) == word_hash(word)


@kernel
def _find(text: U8Array, asked: tuple[I64Array, U64Array], words: Dictionary) -> None:
    find_words(text, asked, (0, asked[1].size), words)


@settings(max_examples=60)
@given(entries=st.sets(WORDS, max_size=40), words=st.lists(WORDS, min_size=1, max_size=40))
def test_words_are_found_as_in_a_dict(entries: set[str], words: list[str]) -> None:
    """Each word gets its own entry or none, and none that is an entry is passed over."""
    known = sorted(entry.encode() for entry in entries)
    asked = [word.encode() for word in [*words, *entries]]
    dictionary = dictionary_of(*_joined(known))
    text, starts, sizes = _joined(asked)
    spans = np.zeros((starts.size, 4), np.int64)
    spans[:, 0], spans[:, 1] = starts, starts + sizes
    hashes = np.array([word_hash(word) for word in asked], np.uint64)
    _find(text, (spans, hashes), dictionary)
    expected = [known.index(word) if word in known else -1 for word in asked]
    assert spans[:, 3].tolist() == expected
    seen = [may_be_entry(value, dictionary.seen) for value in hashes]
    assert all(flag for flag, entry in zip(seen, expected, strict=True) if entry >= 0)


def _joined(words: list[bytes]) -> tuple[U8Array, I64Array, I32Array]:
    """Texts one after the other: their bytes, where each starts, and its size."""
    sizes = np.array([len(word) for word in words], np.int32)
    starts = np.cumsum(sizes, dtype=np.int64) - sizes
    return np.frombuffer(b"".join(words), np.uint8), starts, sizes
