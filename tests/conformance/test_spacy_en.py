"""The splitter `spacy-en` against datatrove's own words and sentences."""

# ruff: noqa: RUF001 - characters that look like others are the point here

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peers import adversarial_texts, english_documents, english_sample, needs, pieces

from dolmix.document import TextBatch
from dolmix.text.sentences import split_sentences
from dolmix.text.spacy_en import count_sentences, split_spacy_en

pytestmark = pytest.mark.conformance

AWKWARD = [*"""'"`.,:;!?()[]{}<>-–—_/\\|+*=#@&%$^~…’“”«»°²€😀日é\u0301\u200d\u200b\ufeff\u202e٣ש"""]
AWKWARD += [*"aAiIsSmMkKdDtToO0138 \n\t\r\x85\xa0\u2028\u3000\x1c", "'s", "n't", "www.", "http://"]
AWKWARD += [
    "km",
    "US$",
    "..",
    "...",
    "--",
    ".com",
    "@x",
    ":)",
    "p.m.",
    "°C.",
    "e.g.",
    "don't",
    "C++",
]


@pytest.fixture(scope="module", autouse=True)
def _spacy() -> None:
    needs("spacy")


def assert_same(texts: Sequence[str]) -> None:
    """Words, sentences, and numbers of sentences, are datatrove's."""
    from datatrove.utils.text import split_into_sentences, split_into_words

    batch = TextBatch.of(list(texts))
    words, counts = split_spacy_en(batch), count_sentences(batch.utf8, batch.offsets)
    places = split_sentences(batch, "spacy-en")
    for n, text in enumerate(texts):
        data, mine = text.encode(), range(words.ends[n], words.ends[n + 1])
        ours = [data[words.starts[w] : words.stops[w]].decode() for w in mine]
        assert ours == split_into_words(text), repr(text)
        theirs = split_into_sentences(text)
        assert counts[n] == len(theirs), repr(text)
        units = range(places.ends[n], places.ends[n + 1])
        found = [data[places.starts[m] : places.stops[m]].decode() for m in units]
        assert found == [stripped for s in theirs if (stripped := s.strip())], repr(text)


def test_pages_and_articles(shared: Path) -> None:
    """A sample of real English documents, whole and line by line."""
    texts = english_sample(shared, 0.7)
    assert_same(texts)
    assert_same(sorted({line for text in texts for line in text.split("\n")})[::7])


def test_awkward_texts() -> None:
    """2,000 texts made to be hard: every Unicode space, terminal, script, contraction, URL."""
    draw = random.Random(11)
    soups = ["".join(draw.choices(pieces(), k=30)) for _ in range(1700)]
    assert_same([*adversarial_texts(300), *soups, "", " ", "  ", "\n", ".", "a. ", "a.  ", "a.\n"])


@settings(deadline=None, max_examples=150)
@given(st.lists(st.lists(st.sampled_from(AWKWARD), max_size=30).map("".join), max_size=4))
def test_any_text(texts: list[str]) -> None:
    """Awkward characters in any order."""
    assert_same(texts)


def test_distinct_chunks(shared: Path) -> None:
    """Every distinct chunk of a sample, one a text: nothing around it decides how it is cut."""
    chunks = sorted({chunk for text in english_sample(shared, 1.5) for chunk in text.split()})
    assert_same([chunk for chunk in chunks if not chunk.isalpha()][::4])


def test_megabyte_texts() -> None:
    """Texts above spaCy's usual limit of a million characters are cut like others."""
    assert_same(["One word, (two) words. " * 50_000])


def test_freed_memory_is_not_read() -> None:
    """Deliberate difference: the token IS_ALPHA is a word, wherever and however often it stands.

    datatrove asks spaCy in memory zones, after which spaCy looks this one token up in memory that
    is freed; datatrove then takes the string out of the text, or passes on what it found there.
    """
    import spacy

    def fresh(text: str) -> Any:
        return [token.text for token in spacy.blank("en")(text)]

    text = "foo (IS_ALPHA) xIS_ALPHA IS_ALPHA."
    words = split_spacy_en(TextBatch.of([text, text]))
    data = text.encode()
    found = [data[a:b].decode() for a, b in zip(words.starts, words.stops, strict=True)]
    assert found == [*fresh(text), *fresh(text)]


@pytest.mark.conformance_full
def test_every_document(shared: Path) -> None:
    """Every English document of the corpus."""
    texts = [text for text in english_documents(shared) if "IS_ALPHA" not in text]
    for at in range(0, len(texts), 100):
        assert_same(texts[at : at + 100])
