"""What is counted of source code, against plain Python."""

import sys

import numpy as np
import pytest
from code_texts import code_texts
from hypothesis import given
from hypothesis import strategies as st
from naive_code import code_marks as naive_marks

from dolmix.document import TextBatch
from dolmix.text.code_marks import BREAKS, code_marks

FIELDS = ("lines", "longest", "line_chars", "chars", "alnums", "letters", "pieces", "xml")
AWKWARD = st.lists(
    st.sampled_from([*BREAKS, *"aZ9_ é中+-²٣\u0301\u200d\U0001d518\t", "\r\n", "<?xml version="])
    | st.characters(exclude_categories=["Cs"]),
    max_size=60,
).map("".join)


def counted(texts: list[str]) -> list[tuple[int, ...]]:
    """Count each document, in the order of `CodeMarks`."""
    marks = code_marks(TextBatch.of(texts), words=True)
    return list(zip(*(getattr(marks, field).tolist() for field in FIELDS), strict=True))


@given(st.lists(AWKWARD, max_size=5))
def test_counts_equal_their_plain_twin(texts: list[str]) -> None:
    """Every count of every document, whatever stands beside it in the batch."""
    assert counted(texts) == [naive_marks(text) for text in texts]


def test_counts_equal_their_twin_on_code() -> None:
    """The same on made-up source code."""
    texts = [text for ext in ("py", "java", "js", "html") for text in code_texts(100, ext)]
    assert counted(texts) == [naive_marks(text) for text in texts]


def test_every_code_point_is_counted_as_python_and_regex_do() -> None:
    """Each between two letters, so that a line break, a word or a symbol shows."""
    points = [p for p in range(sys.maxunicode + 1) if not 0xD800 <= p < 0xE000]
    texts = [f"a{chr(p)}b" for p in points if p < 0x3000 or p % 97 == 0]
    assert counted(texts) == [naive_marks(text) for text in texts]


@pytest.mark.parametrize("before", ["x", "é", "\U0001d518"])
def test_the_xml_declaration_is_looked_for_in_a_hundred_characters(before: str) -> None:
    """All of it must lie within them, whatever a character's width."""
    texts = [before * n + "<?xml version=" for n in (0, 86, 87)] + [before * 9 + "<?xml version"]
    assert [counts[-1] for counts in counted(texts)] == [1, 1, 0, 0]


def test_without_words_the_rest_is_the_same() -> None:
    """Only `pieces` needs the package `regex`."""
    texts = TextBatch.of(code_texts(20, "py"))
    with_words, without = code_marks(texts, words=True), code_marks(texts, words=False)
    for field in set(FIELDS) - {"pieces"}:
        np.testing.assert_array_equal(getattr(with_words, field), getattr(without, field))
    assert without.pieces.tolist() == [1] * 20
