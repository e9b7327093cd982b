"""Phrases are found exactly where Python finds them in the lower-cased text."""

import re

import naive_c4
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.text import phrases as phrases_module
from dolmix.text.phrases import Edges, Phrase, phrase_table, phrases_in

PHRASES = (
    Phrase("kit", 1, whole=True),
    Phrase("b*t", 1, whole=True),
    Phrase("a k", 2, whole=True),
    Phrase("it i", 4),
    Phrase("σκ", 8, whole=True),
    Phrase("oς", 16),
    Phrase("i\u0307", 32),
    Phrase("é中", 64),
    Phrase("Kit", 128),
)
NONWORD = re.compile(r"\W")
PIECES = [
    "k",
    "i",
    "t",
    "K",
    "I",
    "T",
    "b*t",
    "a",
    " ",
    "  ",
    "\n",
    "_",
    "-",
    "*",
    "\u212a",
    "İ",
    "Σ",
]
PIECES += ["κ", "o", "é", "É", "中", "\u0307", "\xa0", "\u3000", "9", "٣", "kit", "it i", "𐐷", ""]
pieces = st.sampled_from(PIECES)


@pytest.mark.parametrize("edges", ["nonword", "whitespace"])
@given(st.lists(st.lists(pieces, max_size=8).map("".join), max_size=8))
def test_phrases_equal_their_plain_twin(edges: Edges, texts: list[str]) -> None:
    """Kelvin signs, dotted capital I, both small sigmas, edges of both kinds included."""
    if edges == "whitespace":
        phrases = tuple(p for p in PHRASES if not (p.whole and " " in p.text))
    else:
        phrases = PHRASES
    found = phrases_in(TextBatch.of(texts), phrase_table(phrases, edges))
    assert found.tolist() == [naive_c4.phrases_in(text, phrases, edges) for text in texts]


def test_every_character_is_lower_cased_as_python_does() -> None:
    """Each of Unicode's cased characters, alone, is found by what `lower()` makes of it."""
    cased = [chr(c) for c in range(0x110000) if chr(c).lower() != chr(c)]
    singles = [c for c in cased if len(c.lower()) == 1]
    assert [c for c in cased if c not in singles] == ["İ"]
    table = phrase_table(tuple(Phrase(low, 1) for low in sorted({c.lower() for c in singles})))
    assert phrases_in(TextBatch.of(singles), table).all()
    assert not phrases_in(TextBatch.of(["İ", "中", "1", ""]), phrase_table((Phrase("k", 1),))).any()


def test_every_character_is_an_edge_as_python_says() -> None:
    r"""Between any two equal characters a word is whole if they are `\W`, or white space."""
    plain = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    texts = [f"{c}word{c}" for c in plain]
    for edges in ("nonword", "whitespace"):
        is_edge = str.isspace if edges == "whitespace" else NONWORD.match
        table = phrase_table((Phrase("word", 1, whole=True),), edges)  # type: ignore[arg-type]
        expected = [bool(is_edge(c.lower()[-1]) and is_edge(c.lower()[0])) for c in plain]
        assert phrases_in(TextBatch.of(texts), table).astype(bool).tolist() == expected


def test_a_phrase_with_a_capital_is_never_found() -> None:
    """As in `phrase in text.lower()`."""
    table = phrase_table((Phrase("Word", 1),))
    assert not phrases_in(TextBatch.of(["Word", "word"]), table).any()


def test_a_list_beyond_what_states_can_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how large the list is, and what to do; a table that just fits is built."""
    words = (Phrase("abc", 1), Phrase("bd", 1))
    monkeypatch.setattr(phrases_module, "LARGEST", 110)
    assert phrase_table(words).moves.size == 110
    monkeypatch.setattr(phrases_module, "LARGEST", 109)
    phrase_table.cache_clear()
    with pytest.raises(FilterError, match=r"2 phrases of 4 different characters .* 110 moves"):
        phrase_table(words)
