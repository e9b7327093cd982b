"""Repetitions of characters: the regular expression's matches, without its quadratic time."""

import random
import time
from collections.abc import Callable
from itertools import pairwise

import naive_char_repetition as naive
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.text.char_repeats import char_repeats
from dolmix.text.char_repeats_units import (
    PAD,
    POINTS,
    TOO_MANY,
    is_space,
    narrow_units,
    space_table,
    wide_units,
)

MANY = "".join(map(chr, range(0x4E00, 0x4E00 + 128)))
"""More different characters than a byte can tell apart beside ASCII."""
ALPHABETS = [
    "ab",
    "ab ",
    "ab \n",
    "a \n\t",
    "aé\u3000\n",
    " \t\xa0\x85\n\u2028",
    "中文 a\n",
    "abcdefgh",
]
GAPS = ["", "", "", " ", "\n", "\t", "\u2003", "  ", "x"]


def measured(texts: list[str], *, by_paragraph: bool) -> list[tuple[int, ...]]:
    """Score, length, repeated characters, characters of each text."""
    found = char_repeats(TextBatch.of(texts), by_paragraph=by_paragraph)
    rows = (found.max_score, found.max_length, found.repeated, found.chars)
    return list(zip(*(row.tolist() for row in rows), strict=True))


def check(texts: list[str]) -> None:
    """Compare with the regular expression, both scopes."""
    for by_paragraph in (False, True):
        expected = [naive.char_repeats(text, by_paragraph=by_paragraph) for text in texts]
        assert measured(texts, by_paragraph=by_paragraph) == expected


def repeats(rng: random.Random) -> str:
    """Make groups of up to 150 characters, 2 to 6 times, spaced in every way, some left over."""
    alphabet = rng.choice([*ALPHABETS, "abcdefghijklmnopqrstuvw xyz"])
    pieces, group = [], ""
    for _ in range(rng.randint(1, 4)):
        if not group or rng.random() < 0.6:
            group = "".join(rng.choices(alphabet, k=rng.randint(1, rng.choice([9, 40, 150]))))
        pieces += [group + rng.choice(GAPS) for _ in range(rng.randint(2, 6))]
        pieces.append(group[: rng.randint(0, len(group))])
        pieces.append("".join(rng.choices(alphabet, k=rng.randint(0, 12))))
    return "".join(pieces)


small = st.sampled_from(ALPHABETS).flatmap(lambda letters: st.text(letters, max_size=60))
nested = st.recursive(
    st.text("ab \n", min_size=1, max_size=5),
    lambda inner: st.tuples(inner, st.integers(2, 5), st.sampled_from(GAPS), inner).map(
        lambda made: (made[0] + made[2]) * made[1] + made[3]
    ),
    max_leaves=4,
).map(lambda text: text[:400])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (0, 0, 0, 0)),
        ("aaa", (0, 0, 0, 3)),
        ("aaaa", (4, 4, 4, 4)),
        ("ha ha ha", (0, 0, 0, 8)),
        ("so ha ha haha ok", (4, 10, 10, 16)),
        ("abc abc\nabc\u00a0abc.", (4, 15, 15, 16)),
        # the copies of one space are pairs of spaces, and the score counts spaces
        ("x         y", (9, 9, 9, 11)),
        ("one two\n" * 4, (4, 31, 31, 32)),
        ("éé éé中中中中中" + MANY, (5, 5, 10, 138)),
    ],
)
def test_small_texts(text: str, expected: tuple[int, ...]) -> None:
    """Score counts the group, a copy may follow one whitespace character, four are needed."""
    assert measured([text], by_paragraph=False) == [expected]
    check([text])


def test_a_paragraph_ends_a_repetition() -> None:
    """Lines that repeat are a repetition of the document, and none of its paragraphs."""
    texts = ["one two\n" * 4, "ab\nab\nabab ab\tab"]
    assert measured(texts, by_paragraph=True) == [(0, 0, 0, 32), (4, 10, 10, 16)]


@settings(max_examples=100)
@given(st.lists(small, max_size=40))
@example(["\n", "", " ", "\n\n\n\n\n", "    "])
def test_texts_of_few_letters_match_the_expression(texts: list[str]) -> None:
    """Score, length and share are those of Python's `re`, in narrow and in wide units."""
    check([*texts, *(text + MANY for text in texts)])


@settings(max_examples=80)
@given(nested)
def test_nested_repeats_match_the_expression(text: str) -> None:
    """Repeats within repeats: the leftmost match, of the shortest group, wins as in `re`."""
    check([text, text + "\n" + text, text.replace("a", "中"), text + MANY])


@settings(max_examples=60)
@given(st.integers(0, 2**32))
def test_long_groups_match_the_expression(seed: int) -> None:
    """Groups of every level, some copies spaced and some not, at any place of a line."""
    rng = random.Random(seed)
    check([repeats(rng) for _ in range(8)])


@pytest.mark.parametrize("before", [0, 31, 40])
@pytest.mark.parametrize(
    "period", [*range(1, 9), 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 255, 256, 300, 513]
)
def test_periods_at_the_limits_of_levels(period: int, before: int) -> None:
    """Four of a group are found, and three are not, with each copy spaced or not.

    No other character occurs twice, so that nothing else can match, nor lead to what does; 32
    places are looked at in one go, and before 31 of them the repetition starts with the last.
    """
    letters = "".join(map(chr, range(0x3400, 0x3400 + period + 50)))
    group, head, tail = letters[:period], letters[period:][:before], letters[-10:]
    for spaced in range(8):
        copies = "".join((" " if spaced >> n & 1 else "") + group for n in range(3))
        length = period * 4 + spaced.bit_count()
        texts = [head + group + copies, head + group + copies + tail]
        fewer = [head + group[:-1] + "!" + copies + rest for rest in ("", tail)]
        found = measured(texts + fewer, by_paragraph=True)
        assert [row[:3] for row in found] == [(4, length, length)] * 2 + [(0, 0, 0)] * 2


def test_real_lines_with_a_repeat_put_in_match_the_expression() -> None:
    """Prose-like lines, a stretch of which is repeated in place, in every document of many."""
    rng = random.Random(11)
    words = ["".join(rng.choices("etaoinshr", k=rng.randint(1, 9))) for _ in range(300)]
    texts = []
    for _ in range(60):
        line = " ".join(rng.choices(words, k=60))
        first, last = sorted(rng.sample(range(len(line)), 2))
        gap = rng.choice(["", " ", "\n"])
        texts.append(line[:first] + gap.join([line[first:last]] * rng.randint(3, 6)) + line[last:])
    check(texts)


@given(st.lists(st.text("ab \xa0éü\u3000中\U0001f600\n", max_size=30), max_size=6))
def test_units_are_equal_where_characters_are(texts: list[str]) -> None:
    """Narrow and wide units keep equality and whitespace, the pad equals none, names come back."""
    spaces, names = space_table(newline=True), np.zeros(POINTS, np.uint8)
    for text in texts:
        utf8 = np.frombuffer(text.encode(), np.uint8)
        narrow, wide = np.zeros(utf8.size + PAD, np.uint8), np.zeros(utf8.size + PAD, np.uint32)
        table = np.zeros(256, np.uint8)
        assert narrow_units(utf8, spaces, names, narrow, table) == len(text)
        assert wide_units(utf8, wide) == len(text)
        assert not names.any()
        for units, known in ((narrow, table), (wide, spaces)):
            found = units[: len(text)].tolist()
            assert [found.index(unit) for unit in found] == naive.units(text)
            assert [is_space(known, unit) for unit in found] == [c.isspace() for c in text]
            assert not set(units[len(text) : len(text) + PAD].tolist()) & set(found)


def test_a_document_of_many_characters_is_left_to_wide_units() -> None:
    """127 characters beyond ASCII fit in a byte, 128 do not; names are cleared in both cases."""
    names, table = np.zeros(POINTS, np.uint8), np.zeros(256, np.uint8)
    for count, expected in ((127, 127), (128, TOO_MANY)):
        utf8 = np.frombuffer(MANY[:count].encode(), np.uint8)
        units = np.zeros(utf8.size + PAD, np.uint8)
        assert narrow_units(utf8, space_table(newline=True), names, units, table) == expected
        assert not names.any()


def fibonacci(length: int) -> str:
    """Build the word in which cubes of every size lie everywhere, and no fourth power."""
    last, word = "a", "ab"
    while len(word) < length:
        last, word = word, word + last
    return word[:length]


def test_a_word_of_cubes_has_no_repetition() -> None:
    """The Fibonacci word has three copies of ever longer groups, and nowhere four."""
    assert measured([fibonacci(50_000)], by_paragraph=False) == [(0, 0, 0, 50_000)]
    check([fibonacci(1500)])


def drawn(letters: str, count: int) -> str:
    """Draw letters, the same ones every time."""
    return "".join(random.Random(5).choices(letters, k=count))


def runs(size: int) -> str:
    """Make runs of one letter, of every length up to 50."""
    rng = random.Random(5)
    return "".join("a" * rng.randint(1, 50) + "b" for _ in range(size // 26))


SHAPES: dict[str, Callable[[int], str]] = {
    "random letters": lambda size: drawn("abcdefghijklmnopqrstuvwxyz ", size),
    "one letter": lambda size: "a" * size,
    "two letters": lambda size: "ab" * (size // 2),
    "random bits": lambda size: drawn("ab", size),
    "spaces": lambda size: " " * size,
    "random spaces": lambda size: drawn(" \t\n\r\xa0", size),
    "short lines": lambda size: "\n".join(drawn("abcdefgh", size // 2)),
    "a line again": lambda size: (drawn("abcdefgh ", 700) + "\n") * (size // 701),
    "three copies": lambda size: drawn("abcdefgh ", size // 3) * 3,
    "four copies": lambda size: " ".join([drawn("abcdefgh", size // 4)] * 4),
    "runs": runs,
    "cubes": fibonacci,
    "many characters": lambda size: drawn(MANY * 20, size),
}
"""Texts of about a given size on which the expression, or a careless search, is slow."""


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
def test_no_shape_takes_quadratic_time(shape: Callable[[int], str]) -> None:
    """A megabyte takes at most some 20 times what 64 kB take, or is quick anyhow.

    Twice as long takes twice the time, and a level more: 16 times as long, 16 times and a little.
    """
    times = []
    for size in (62_500, 1_000_000):
        batch = TextBatch.of([shape(size)])
        best = float("inf")
        for _ in range(3):
            start = time.process_time()
            char_repeats(batch)
            best = min(best, time.process_time() - start)
        times.append(best)
    assert all(after < max(48 * before, 0.05) for before, after in pairwise(times))
