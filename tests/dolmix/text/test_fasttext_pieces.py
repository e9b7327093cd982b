"""Whole words at once, for models with n-grams of two to four characters, against plain Python."""

from pathlib import Path

import numpy as np
import pytest
from fasttext_models import trained
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_fasttext import SPACES, rows

from dolmix.document import I32Array, TextBatch, U8Array, U32Array, U64Array
from dolmix.text import fasttext_scorer
from dolmix.text.compiled import kernel
from dolmix.text.fasttext_masks import WINDOW, is_space, space_mask
from dolmix.text.fasttext_model import CACHE_LINE, read_model
from dolmix.text.fasttext_piece import (
    BYTES,
    Piece,
    cut_piece,
    empty_piece,
    end_of_word,
    list_piece,
)
from dolmix.text.fasttext_scorer import FastText, spans_of
from dolmix.text.fasttext_tables import Tables
from dolmix.text.fasttext_three import LEAST_BUCKETS, quick_factor, quick_remainder

WORDS = st.one_of(
    st.text(st.sampled_from("ab<>_é长😀\x1f"), min_size=1, max_size=20),
    st.sampled_from(["das", "short", "это", "предложение", "</s", "__label__", "__label__en"]),
    st.sampled_from(["__label__zz", "_", "larger", "wörtern", "x" * 15, "y" * 16, "z" * 70]),
)
GAPS = st.sampled_from([" ", " ", " ", "\n", "\n\n", "  ", "\t", "\x00", "\r\n", "\x0b \x0c"])
TEXT = st.tuples(
    st.lists(st.tuples(WORDS, GAPS), max_size=15).map(lambda pairs: "".join(map("".join, pairs))),
    st.sampled_from([1, 1, 2, 40]),
    st.sampled_from(["", " ", " </s> ", "</s>x"]),
    st.lists(st.tuples(WORDS, GAPS), max_size=3).map(lambda pairs: "".join(map("".join, pairs))),
).map(lambda parts: parts[0] * parts[1] + parts[2] + parts[3])


@kernel
def _masks(text: U8Array, masks: U64Array, spaces: U8Array) -> None:
    for i in range(masks.size):
        masks[i] = space_mask(text, i)
    for i in range(text.size):
        spaces[i] = is_space(text[i])


@given(text=st.binary(min_size=WINDOW, max_size=WINDOW + 9) | st.just(bytes(range(256))))
def test_masks_say_where_words_are_cut(text: bytes) -> None:
    """One bit a byte, for each of the bytes that fastText cuts at and for no other."""
    utf8 = np.frombuffer(text, np.uint8)
    masks, spaces = np.zeros(len(text) - WINDOW + 1, np.uint64), np.zeros(len(text), np.uint8)
    _masks(utf8, masks, spaces)
    assert spaces.tolist() == [byte in SPACES for byte in text]
    for at, mask in enumerate(masks.tolist()):
        assert [mask >> i & 1 for i in range(WINDOW)] == spaces[at : at + WINDOW].tolist()


@kernel
def _remainders(hashes: U32Array, divisor: np.uint32) -> U32Array:
    factor = quick_factor(divisor)
    found = np.empty_like(hashes)
    for n in range(hashes.size):
        found[n] = quick_remainder(hashes[n], divisor, factor)
    return found


@settings(max_examples=200)
@given(
    buckets=st.integers(LEAST_BUCKETS, 2**31 - 1) | st.sampled_from([2**n for n in range(11, 31)]),
    values=st.lists(st.integers(0, 2**32 - 1), max_size=20),
    quotients=st.lists(st.integers(0, 2**21), max_size=20),
)
def test_quick_remainders(buckets: int, values: list[int], quotients: list[int]) -> None:
    """Equal to % for any 32-bit hash, next to multiples too, the largest of them among these."""
    multiples = [buckets * (q % (2**32 // buckets + 1)) for q in [*quotients, 2**32 // buckets]]
    near = [multiple + d for multiple in multiples for d in (-1, 0, 1)]
    hashes = np.array([v for v in [*values, *near, 2**32 - 1] if 0 <= v < 2**32], np.uint32)
    found = _remainders(hashes, np.uint32(buckets))
    assert found.tolist() == [int(v) % buckets for v in hashes]


@kernel
def _text_to_rows(text: U8Array, tables: Tables, piece: Piece, out: I32Array) -> int:
    at, count = 0, 0
    while at < text.size:
        end = cut_piece(text, at, text.size)
        if end == at:
            at = end_of_word(text, at, text.size)
            continue
        listed, is_last = list_piece(text, (at, end), tables, piece)
        for n in range(listed):
            out[count + n] = piece.rows[n]
        count += listed
        at = text.size if is_last else end
    return count


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Of a model that has all rows."""
    return read_model(trained("two to four", tmp_path_factory.mktemp("whole"))).tables


@settings(max_examples=60)
@given(text=TEXT)
def test_rows_of_whole_words_are_the_twins(whole: Tables, text: str) -> None:
    """The same rows in the same order, wherever a piece ends, labels and `</s>` among the words."""
    dictionary, shape = whole.words, whole.shape.tolist()
    spans = zip(dictionary.starts.tolist(), dictionary.sizes.tolist(), strict=True)
    entries = {dictionary.file[a : a + b].tobytes(): n for n, (a, b) in enumerate(spans)}
    about = {"words": entries, "num_words": shape[0], "bucket": shape[2], "kept": None}
    about |= {"least": shape[3], "most": shape[4], "word_ngrams": 1}
    expected = rows(text, about)[: -1 if shape[7] >= 0 else None]
    out = np.zeros(len(expected) + 1000, np.int32)
    count = _text_to_rows(np.frombuffer(text.encode(), np.uint8), whole, empty_piece(whole), out)
    assert out[:count].tolist() == expected


@pytest.fixture(scope="module", params=["two to four", "languages"])
def models(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FastText, FastText]:
    """Give a model, with all rows or pruned, that takes whole words, and one that does not."""
    path: Path = trained(request.param, tmp_path_factory.mktemp("models"))
    model, general = FastText(path), FastText(path)
    return model, general


@settings(max_examples=40)
@given(
    texts=st.lists(TEXT, min_size=1, max_size=4),
    long=st.sampled_from([0, BYTES - 2, BYTES - 1, BYTES, BYTES + 1, 2500]),
)
def test_whole_words_answer_as_stretches_do(
    models: tuple[FastText, FastText], texts: list[str], long: int
) -> None:
    """The same answers to the last bit as from the kernel for any model, with words of any size."""
    texts = [*texts, "é".join(["x" * long, *texts])]
    spans = spans_of(TextBatch.of(texts))
    found = models[0].ask(spans, text="datatrove", most=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fasttext_scorer, "empty_piece", _no_piece)
        expected = models[1].ask(spans, text="datatrove", most=3)
    assert (found.labels == expected.labels).all()
    assert (found.probs == expected.probs).all()


def _no_piece(tables: Tables) -> Piece:
    assert empty_piece(tables).letters.size
    return Piece(*(values[:0] for values in empty_piece(tables)))


def test_expanded_rows_begin_where_cache_lines_do(tmp_path: Path) -> None:
    """A row of sixteen values of a matrix that was expanded lies in one line of the cache."""
    tables = read_model(trained("languages", tmp_path)).tables
    assert tables.rows.shape[1] == CACHE_LINE // 4
    assert tables.rows.ctypes.data % CACHE_LINE == 0
