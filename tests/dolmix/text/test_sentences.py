"""Sentences by name: where they stand, texts without some of them, packages that are missing."""

import sys
from itertools import chain, pairwise

import naive_sentences as naive
import naive_spacy
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import needs

from dolmix.document import TextBatch
from dolmix.errors import DataError, FilterError
from dolmix.text import blingfire_sentences, spacy_en
from dolmix.text.blingfire_sentences import split_by_blingfire
from dolmix.text.edits import edited
from dolmix.text.sentences import (
    Places,
    SentenceSplitter,
    cut_sentences,
    sentences_digest,
    split_sentences,
    trimmed,
)

PIECES = [*"aB.!?。\"')", "Mr.", "one", "e.g.", "...", " ", " ", " ", "  ", "\n", "\n\n", "\u3000"]
SOUPS = st.lists(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), max_size=4)


def read(texts: TextBatch, places: Places) -> list[list[str]]:
    """Units of each document as strings."""
    found = []
    for n, text in enumerate(texts.text.to_pylist()):
        mine = range(places.ends[n], places.ends[n + 1])
        found.append([text.encode()[places.starts[m] : places.stops[m]].decode() for m in mine])
    return found


def sentences(texts: list[str], splitter: SentenceSplitter) -> list[list[str]]:
    """Sentences of each text as strings."""
    batch = TextBatch.of(texts)
    return read(batch, split_sentences(batch, splitter))


@settings(deadline=None, max_examples=200)
@given(SOUPS)
def test_sentences_are_those_of_the_plain_twin(texts: list[str]) -> None:
    """Kernels cut where plain Python with spaCy's tables does, blank sentences left out."""
    needs("spacy")
    assert sentences(texts, "spacy-en") == [naive_spacy.sentences(text) for text in texts]


@pytest.mark.parametrize(
    ("splitter", "expected"),
    [
        ("spacy-en", ["Is it so?", "Yes… No end\n\nA new paragraph.", "日本語。", "B!"]),
        ("blingfire", ["Is it so?", "Yes…", "No end\n\nA new paragraph.", "日本語。", "B!"]),
    ],
)
def test_each_splitter_has_its_own_sentences(
    splitter: SentenceSplitter, expected: list[str]
) -> None:
    """Marks of any script end a sentence; white space at its ends is no part of it."""
    needs("spacy" if splitter == "spacy-en" else "blingfire")
    text = "  Is it so? Yes… No end\n\nA new paragraph. \n 日本語。 B!\n"
    found = sentences([text, "", " \n", text], splitter)
    assert found[1:3] == [[], []]
    assert found[0] == found[3]
    assert found[0] == expected


def test_every_splitter_has_a_digest_of_its_own() -> None:
    """What sentences depend on enters task keys: the digests differ, and stay as they are."""
    for package in ("spacy", "blingfire"):
        needs(package)
    assert len({sentences_digest("spacy-en"), sentences_digest("blingfire"), ""}) == 3
    assert sentences_digest("blingfire") == sentences_digest("blingfire")


def test_spacy_itself_marks_the_same_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the rules are not known, spaCy is asked, and says what the kernels say."""
    needs("spacy")
    texts = ["One. Two! “Three.” Mr. Four\n\nfive? Six. \n", "", "\n", " é. ü. ", "a.\n\n b.  "]
    expected = sentences(texts, "spacy-en")
    monkeypatch.setattr(spacy_en, "_rules", lambda: None)
    assert sentences(texts, "spacy-en") == expected


@settings(deadline=None, max_examples=200)
@given(SOUPS)
def test_units_lose_the_white_space_at_their_ends(texts: list[str]) -> None:
    """Bounds move inwards to what is no white space; units of white space alone go."""
    batch = TextBatch.of(texts)
    places: list[list[naive.Place]] = []
    for text in texts:
        cuts = sorted({0, *(len(text[:n].encode()) for n in range(0, len(text), 3)), len_of(text)})
        places.append(list(pairwise(cuts)))
    flat = np.array([place for mine in places for place in mine], np.int64).reshape(-1, 2)
    ends = np.cumsum([0, *map(len, places)])
    found = trimmed(batch, Places(flat[:, 0].copy(), flat[:, 1].copy(), ends))
    expected = [naive.trim(text, mine) for text, mine in zip(texts, places, strict=True)]
    spans = zip(found.starts.tolist(), found.stops.tolist(), strict=True)
    assert list(spans) == list(chain(*expected))
    assert found.ends.tolist() == np.cumsum([0, *map(len, expected)]).tolist()


def len_of(text: str) -> int:
    """Bytes of a text."""
    return len(text.encode())


@settings(deadline=None, max_examples=300)
@given(SOUPS, st.data())
def test_sentences_go_with_one_of_the_gaps_beside_them(
    texts: list[str], data: st.DataObject
) -> None:
    """What stays is every other sentence and, between two, the gap with more newlines."""
    needs("spacy")
    batch = TextBatch.of(texts)
    places = split_sentences(batch, "spacy-en")
    size = len(places.starts)
    out = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)), np.bool_)
    after = edited(batch, cut_sentences(batch, places, out)).text.to_pylist()
    for n, text in enumerate(texts):
        mine = slice(places.ends[n], places.ends[n + 1])
        spans = list(zip(places.starts[mine].tolist(), places.stops[mine].tolist(), strict=True))
        assert after[n] == naive.without(text, spans, out[mine].tolist())


def test_no_paragraph_runs_into_the_next() -> None:
    """The last sentence of a paragraph, or the first of the next, leaves the break behind."""
    needs("blingfire")
    batch = TextBatch.of(["One here. Two here.\n\nThree here. Four here.\n"])
    places = split_sentences(batch, "blingfire")
    rest = []
    for gone in range(4):
        out = np.arange(4) == gone
        rest += edited(batch, cut_sentences(batch, places, out)).text.to_pylist()
    assert rest == [
        "Two here.\n\nThree here. Four here.\n",
        "One here.\n\nThree here. Four here.\n",
        "One here. Two here.\n\nFour here.\n",
        "One here. Two here.\n\nThree here.\n",
    ]


def test_without_blingfire_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sentences and their digest fail with the setting and the way out."""
    blingfire_sentences._library.cache_clear()
    blingfire_sentences.library_digest.cache_clear()
    monkeypatch.setitem(sys.modules, "blingfire", None)
    message = r"sentences: blingfire .* pip install 'dolmix\[blingfire\]'"
    with pytest.raises(FilterError, match=message):
        split_sentences(TextBatch.of(["a"]), "blingfire")
    with pytest.raises(FilterError, match=message):
        sentences_digest("blingfire")


def test_a_document_that_blingfire_cannot_count_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library counts in 32 bits: a longer document is refused, with its id and its size."""
    monkeypatch.setattr(blingfire_sentences, "LONGEST_BYTES", 5)
    with pytest.raises(DataError, match="has 6 bytes of text; blingfire cuts documents of up"):
        split_by_blingfire(TextBatch.of(["short", "longer"]))
