"""Words, shingles and white space: every kernel agrees with its plain-Python twin."""

import naive_dedup as naive
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolmix.dedup.whitespace import collapse
from dolmix.dedup.words import ALONE, decode, letter_table, shingle_hashes, word_hashes
from dolmix.document import TextBatch, U64Array

CROWDED = st.text(
    st.sampled_from("aAéÉb0٣9 .-_\n\u0301\u00ad\u200b\u00a0\u3000中あไ한İß½²😀"), max_size=40
)
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TEXTS = st.lists(CROWDED | ANY_TEXT, max_size=6)


def hashed_words(text: str) -> U64Array:
    """Word hashes of one text, by the kernel, with text before and after it in the buffer."""
    data = np.frombuffer(b"before " + text.encode() + b" after", np.uint8)
    stop = len(data) - len(b" after")
    out = np.zeros(len(data) // 2 + 1, np.uint64)
    return out[: word_hashes(data, len(b"before "), stop, letter_table(), out)]


@given(CROWDED | ANY_TEXT)
@example("The quick brown fox jumps over 1,234 lazy dogs; it doesn't stop. Café naïve.")
@example("seventh eight-th NINTHLETT fifteen letters: aBcDeFgHiJkLmNo, AbCdEfGhIjKlMnOp7x straße")
@example("3️⃣ e\u0301 é ﬁ ǅ Ǆ ᾈ \u1e9e Ω Å")
@example("0\U000e01f00")  # beside the variation selectors, assigned to nothing
@settings(max_examples=300, deadline=None)
def test_word_hashes_match_their_twin(text: str) -> None:
    """The kernel finds the words that the twin finds, in order, and hashes them alike."""
    expected = [naive.word_hash(word) for word in naive.words(text) if word]
    assert hashed_words(text).tolist() == expected


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Hello, World!", "hello   world"),
        ("born in 1984", "born in 7"),
        ("٣٤ items", "12 items"),
        ("Café Zürich", "cafe\u0301 zurich"),
        ("co\u00adoper\u200bate", "cooperate"),
        ("snake_case-name", "snake case name"),
        ("你好", "你 好"),
        ("ไทย", "ไ ท ย"),
    ],
)
def test_what_does_not_count_as_a_difference(left: str, right: str) -> None:
    """Case, accents, digits, punctuation, invisible characters and spacing do not change words."""
    assert hashed_words(left).tolist() == hashed_words(right).tolist()


@pytest.mark.parametrize(
    ("left", "right"),
    [("a b", "b a"), ("ab", "a b"), ("a1b", "ab"), ("не", "ни"), ("½", "²"), ("한국", "한 국")],
)
def test_what_counts_as_a_difference(left: str, right: str) -> None:
    """Other letters, other word limits, another order of words: other hashes."""
    assert hashed_words(left).tolist() != hashed_words(right).tolist()


def test_every_code_point_maps_as_its_twin_says() -> None:
    """The table agrees with the twin for the code points that Unicode describes one by one."""
    table = letter_table()
    for point in [
        *range(0x3400),
        *range(0xA000, 0xD800),
        *range(0xE000, 0x20000),
        0x2F81A,
        0xE0100,
    ]:
        mapped = naive.letter(chr(point))
        expected = {"": 1, " ": 0}.get(mapped, ord(mapped) if mapped else 1)
        assert int(table[point]) & ~ALONE == expected, hex(point)


@given(st.binary(max_size=24))
@settings(max_examples=200, deadline=None)
def test_broken_utf8_is_read_within_its_limits(data: bytes) -> None:
    """Bytes that are no UTF-8 never lead outside the document, nor to more words than fit."""
    buffer = np.frombuffer(data + b"\xff\xff\xff\xff", np.uint8)
    out = np.zeros(len(data) // 2 + 2, np.uint64)
    count = word_hashes(buffer, 0, len(data), letter_table(), out)
    assert 0 <= count <= len(data) // 2 + 1
    for at in range(len(data)):
        point, after = decode(buffer, at, len(data))
        assert at < after <= len(data)
        assert 0 <= point < 0x110000


@given(st.lists(st.integers(0, 2**64 - 1), max_size=12), st.integers(1, 7))
@settings(deadline=None)
def test_rolling_shingles_equal_shingles_hashed_apart(words: list[int], ngram: int) -> None:
    """The rolling hash of each run of words equals the polynomial computed from scratch."""
    buffer = np.array([*words, 0], np.uint64)
    count = shingle_hashes(buffer, len(words), ngram)
    length = min(ngram, len(words))
    expected = []
    for start in range(len(words) - length + 1 if words else 0):
        value = 0
        for word in words[start : start + length]:
            value = (value * naive.ROLL + word) & naive.MASK64
        expected.append(naive.mix(value ^ naive.mix(length)))
    assert buffer[:count].tolist() == expected


@given(TEXTS)
@settings(max_examples=200, deadline=None)
def test_collapse_matches_its_twin(texts: list[str]) -> None:
    """White space collapses as `str.split` and `str.join` would do it."""
    batch = TextBatch.of(texts)
    utf8, ends = collapse(batch.utf8, batch.offsets)
    found = [utf8[ends[n] : ends[n + 1]].tobytes().decode() for n in range(len(texts))]
    assert found == [naive.collapsed(text) for text in texts]


def test_collapse_knows_every_white_space_character() -> None:
    """Each character that `str.isspace` accepts is white space, and no other one is."""
    points = [p for p in range(0x110000) if not 0xD800 <= p < 0xE000]
    batch = TextBatch.of([f"a{chr(p)}b" for p in points])
    utf8, ends = collapse(batch.utf8, batch.offsets)
    spaces = {p for n, p in enumerate(points) if utf8[ends[n] : ends[n + 1]].tobytes() == b"a b"}
    assert spaces == {p for p in points if chr(p).isspace()}
