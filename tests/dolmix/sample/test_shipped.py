"""What ships with dolmix: enough, small, complete, and the same everywhere."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.sample import BROKEN, shipped_documents
from dolmix.sample.draws import Draws
from dolmix.sample.recipes import Echo, Scramble, prose_words
from dolmix.sample.shipped import shipped_bytes

PROSE = {"en", "de", "es", "fi", "fr", "it", "nl", "pl", "pt", "ru", "sv", "zh", "ja", "ar"}


def test_there_are_enough_documents_in_enough_languages() -> None:
    """At least 60 documents, in at least six natural languages, under distinct ids."""
    documents = shipped_documents()
    assert len(documents) >= 60
    assert {d.metadata["language"] for d in documents} >= PROSE
    assert len({d.id for d in documents}) == len(documents)


def test_they_are_small() -> None:
    """The package carries less than 200 kB for them; what is bulky is generated."""
    assert shipped_bytes() < 200_000
    assert max(len(d.text.split()) for d in shipped_documents()) > 100_000


def test_each_says_what_it_is() -> None:
    """Id, source and metadata agree; licence, origin, language and expectation are always there."""
    for document in shipped_documents():
        assert document.id.split("/")[0] == document.source
        assert {"origin", "license", "language", "expect"} <= document.metadata.keys()
        assert document.metadata["license"] == "Apache-2.0"
        assert document.text == document.text.encode().decode()


def test_good_prose_is_long_enough_to_judge() -> None:
    """Documents meant to survive as prose have 80 words or more."""
    good = [
        d for d in shipped_documents() if d.metadata["expect"] == "keep" and d.source != "repos"
    ]
    short = [d.id for d in good if d.metadata["language"] in PROSE and len(d.text.split()) < 80]
    assert short == []


def test_stars_come_in_every_odd_form() -> None:
    """Few, none, null, as text, as a fraction, negative, and no number at all."""
    stars = [d.metadata.get("stars", "absent") for d in shipped_documents() if d.source == "repos"]
    for value in (0, 1, 2, "7", 3.0, -1, "n/a", None, "absent"):
        assert any(s == value and type(s) is type(value) for s in stars), value


def test_every_kind_of_document_is_there() -> None:
    """Copies, near copies and survivors, in more than one source each."""
    kinds = Counter((d.metadata["expect"], d.source) for d in shipped_documents())
    for kind in ("keep", "exact.duplicate", "minhash.duplicate"):
        assert sum(expect == kind for expect, _ in kinds) >= 3


def test_broken_records_differ_in_what_is_wrong() -> None:
    """No two are broken alike, and none contains a newline."""
    assert len({cause for cause, _ in BROKEN}) == len(BROKEN) >= 5
    assert all(b"\n" not in line for _, line in BROKEN)
    with pytest.raises(UnicodeDecodeError):
        dict(BROKEN)["not UTF-8"].decode()


@given(st.integers(0, 2**32), st.lists(st.integers(), max_size=30))
def test_a_shuffle_loses_nothing_and_repeats_itself(seed: int, items: list[int]) -> None:
    """The same seed gives the same order of the same elements."""
    shuffled = Draws(seed).shuffled(items)
    assert shuffled == Draws(seed).shuffled(items)
    assert sorted(shuffled) == sorted(items)


def test_draws_are_the_published_ones() -> None:
    """Draws follow from blake2b and never from Python's generator: these values are for ever."""
    draws = Draws(1)
    assert [draws.below(1000) for _ in range(6)] == [612, 953, 351, 914, 972, 5]


def test_scrambling_keeps_the_words() -> None:
    """A scrambled document has the words of its original, elsewhere."""
    recipe = Scramble(name="web/x", expect="keep", recipe="scramble", of="a", seed=3)
    text = "one two three four five six seven eight nine ten"
    scrambled = recipe.text({"a": text})
    assert scrambled != text
    assert sorted(scrambled.split()) == sorted(text.split())


@given(st.integers(20, 200), st.integers(1, 20), st.integers(0, 50))
def test_an_echo_repeats_its_beginning(words: int, block: int, seed: int) -> None:
    """An echo has `words + block` words, of which the last ones are the first ones."""
    recipe = Echo(name="web/x", expect="", recipe="echo", words=words, seed=seed, block=block)
    made = recipe.text({}).split()
    assert made == prose_words(words, seed) + made[:block]
    assert len(made) == words + block
