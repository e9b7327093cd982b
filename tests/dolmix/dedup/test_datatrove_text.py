"""datatrove's simplified text: the kernel and its plain-Python twin agree for all of Unicode."""

# ruff: noqa: RUF001 - characters that look like others are the point here

import unicodedata
from itertools import pairwise

import naive_dedup as naive
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolmix.dedup.datatrove_text import GROWTH, simplify, tables
from dolmix.document import TextBatch

POINTS = [chr(p) for p in range(0x110000) if not 0xD800 <= p < 0xE000]
MARKS = [c for c in POINTS if unicodedata.combining(c) and unicodedata.category(c) != "Mn"]
CROWDED = st.text(
    st.sampled_from([*"aAΣσİß1٣.,٫⎖ \n\t\x1c\u0301\u0345'’·-´≠각ªÅ１，", *MARKS]), max_size=30
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def simplified(texts: list[str]) -> list[str]:
    """Simplify texts in one batch by the kernel."""
    found: list[str] = simplify(TextBatch.of(texts)).text.to_pylist()
    return found


def test_golden_text() -> None:
    """The reference's worked example."""
    text = "The quick brown fox jumps over 1,234 lazy dogs; it doesn't stop. Café naïve."
    expected = "the quick brown fox jumps over 0 lazy dogs it doesn t stop cafe naive"
    assert simplified([text]) == [expected]


@given(st.lists(CROWDED | ANY_TEXT, max_size=5))
@example(["ΑΣ Σ ΑΣΑ Α\u0301Σ\u0301 ΑΣ'Α ΑΣ' Σ"])  # a sigma at the end of a word, and elsewhere
@example(["1.2.3,4 5,٣ 6..7 .8 9. ٣٫٤ 1⎖2"])
@example([" \u0301 a \u0301b \u0301 "])  # marks without a letter keep the spaces beside them
@settings(max_examples=300)
def test_texts_match_their_twin(texts: list[str]) -> None:
    """Any characters in any order, one text or several in a batch."""
    assert simplified(texts) == [naive.simplified(text) for text in texts]


def test_every_code_point_matches_its_twin() -> None:
    """Each code point alone, between letters, before a capital sigma, and within a number.

    All of them in planes 0, 1 and 14, and every 37th in the planes of Han and of private use.
    """
    points = [c for c in POINTS if ord(c) < 0x20000 or ord(c) >> 16 == 14 or ord(c) % 37 == 0]
    texts = [f"{c} a{c}b Aa{c}Σ{c} 1{c}2" for c in points]
    twins = naive.simplified
    wrong = [t for t, mine in zip(texts, simplified(texts), strict=True) if mine != twins(t)]
    assert wrong == []


def test_no_character_grows_beyond_its_room() -> None:
    """A byte becomes GROWTH bytes at most, and one byte of ASCII one: the output's buffer."""
    ends = simplify(TextBatch.of(POINTS)).offsets.tolist()
    grown = [stop - start for start, stop in pairwise(ends)]
    assert all(new <= 1 for new in grown[:0x80])
    assert max(n / len(c.encode()) for n, c in zip(grown, POINTS, strict=True)) <= GROWTH


def test_marks_out_of_order_are_left_to_datatrove() -> None:
    """Kept marks are put into canonical order across characters, in the middle of a batch too."""
    high, low = "\u302e", "\u1b44"  # combining classes 224 and 9
    texts = ["one", f"a{high}{low}b", f"a{high}\u0902{low}", "two"]
    assert simplified(texts) == [naive.simplified(text) for text in texts]
    assert simplified(texts)[1] == f"a{low}{high}b"


@pytest.mark.parametrize("rows", [slice(1, 3), slice(0, 0), slice(2, 5)])
def test_parts_of_a_batch_are_read_alone(rows: slice) -> None:
    """A batch that is a part of another one's buffers is simplified like any other."""
    batch = TextBatch.of(["One, two.", "3,4", "Ünï", "", "x"])
    part = TextBatch(
        batch.text[rows], batch.ids[rows], batch.urls[rows], batch.records[rows], fields={}
    )
    expected = [naive.simplified(text) for text in part.text.to_pylist()]
    assert simplify(part).text.to_pylist() == expected


def test_tables_cannot_be_written_to() -> None:
    """They are shared by all threads of a process."""
    with pytest.raises(ValueError, match="read-only"):
        tables().codes[0] = np.uint32(1)
