"""UAX #29 words: the very segments that uniseg finds, whatever classes of characters meet."""

import itertools
import random
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import awkward_texts, english_sample, needs

from dolmix.document import TextBatch
from dolmix.errors import FilterError
from dolmix.filters import Gopher
from dolmix.text import unicode_breaks
from dolmix.text.splitters import splitter_digest
from dolmix.text.unicode_words import split_unicode_segments, split_unicode_words
from dolmix.text.words import Words, split_words


@pytest.fixture(autouse=True)
def _uniseg() -> None:
    needs("uniseg")


HARD_ONES = (
    "|can't|can''t|'tis|dogs'|a.b.c|a..b|a:b|a,b|a;b|e.g.|U.S.A.|_|_a|a_b|__|a_1_ア|_ア|x\u2060y"
    "|3.14|1,234,567|1,,2|3.a|a.3|1'000|10:30|1;2|3.|.5|a1b2|1a|²²²|a²b|Ⅻ|アイ|アa|ア1|ｱﾞ|カ゛"
    '|中文字|한국어|ไทย|א"ב|א"|א"a|א\'|א\'ב|א\'a|a"b|א1|"א|צה\u05f4ל|ג\u05f3\u05d9ר'
    "|a\u0301b|a\u200db|a\u00adb|a.\u0301b|a\u0301.|1\u0301,\u03012|a'\u200d\u0301b"
    "|👩\u200d👩\u200d👧|👍🏽|a\u200d👍|\u2139\u200d\u2139|\u200d👍|☺\ufe0f|👍\u0301\u200d👍"
    "|🇬🇧|🇬🇧🇫🇷|🇬🇧🇫|🇬\u0301🇧🇫|a🇬🇧|🇬a🇧🇫|🇬\u200d🇧|🇬 🇧🇫"
    "| |  |\r\n|\r\r\n\n|a\r\u0301b|\u0301a|\n\u0301a|\u200da| \u0301 |\u3000\u3000| \u2003|\xa0 "
    "|\x85a|a\x0bb\x0c|\u2028a"
)
"""Quotes in words, separators in numbers, Hebrew, Katakana, marks, joiners, flags, line breaks."""
HARD = HARD_ONES.split("|")


def segments(words: Words, texts: list[str]) -> list[list[str]]:
    """Give the words' own text, document by document."""
    found = []
    for n, text in enumerate(texts):
        data, at = text.encode(), range(words.ends[n], words.ends[n + 1])
        found.append([data[words.starts[w] : words.stops[w]].decode() for w in at])
    return found


def check(texts: list[str]) -> None:
    """Compare all segments, the words among them, and their lengths, with uniseg's."""
    from uniseg.wordbreak import words as peer

    batch = TextBatch.of(texts)
    expected = [list(peer(text)) for text in texts]
    every = split_unicode_segments(batch)
    assert segments(every, texts) == expected
    assert every.chars.tolist() == [len(s) for found in expected for s in found]
    kept = [[s for s in found if s[0].isalnum()] for found in expected]
    words = split_unicode_words(batch)
    assert segments(words, texts) == kept
    assert words.chars.tolist() == [len(s) for found in kept for s in found]


@cache
def alphabet() -> tuple[str, ...]:
    """Give some code points of every kind that the rules tell apart."""
    marks = unicode_breaks.break_tables().marks
    chosen = []
    for kind in np.unique(marks):
        points = [int(c) for c in np.flatnonzero(marks == kind) if not 0xD800 <= c < 0xE000]
        chosen += [chr(c) for c in (points[0], points[len(points) // 2], points[-1])]
    return tuple(dict.fromkeys(chosen))


def test_hard_texts_split_as_uniseg_splits_them() -> None:
    """Texts that each stand for a rule or an exception give uniseg's segments."""
    check(HARD)
    check([f"{a}{b}" for a in HARD for b in ("", " x", "\u0301x", "1", "'s")])


def test_every_class_meets_every_other() -> None:
    """All triples of kinds of characters, and many longer texts of them, give uniseg's segments."""
    one_each = [alphabet()[n] for n in range(0, len(alphabet()), 3)]
    assert len(one_each) > 20
    check(["".join(three) for three in itertools.product(one_each, repeat=3)])
    draw = random.Random(29)
    check(["".join(draw.choices(alphabet(), k=draw.randint(4, 12))) for _ in range(3000)])


@given(
    st.lists(st.lists(st.sampled_from("a1²_ア中 .'\u0301\u200d🇬👍א\"\n"), max_size=25), max_size=4)
)
def test_dense_texts_split_as_uniseg_splits_them(texts: list[list[str]]) -> None:
    """Words as close together as they can be all find room; no document reads into the next."""
    check(["".join(text) for text in texts])


@given(st.lists(awkward_texts(), max_size=2))
def test_awkward_texts_split_as_uniseg_splits_them(texts: list[str]) -> None:
    """The texts that every filter is tested with give uniseg's segments."""
    check(texts)


@pytest.mark.corpus
def test_real_documents_split_as_uniseg_splits_them(shared: Path) -> None:
    """Documents of the corpus give uniseg's segments."""
    check(english_sample(shared, 0.25))


def test_properties_are_those_of_uniseg() -> None:
    """The table has, for every code point, what uniseg's public functions say of it."""
    from uniseg.emoji import extended_pictographic
    from uniseg.wordbreak import word_break

    marks = unicode_breaks.break_tables().marks.tolist()
    for point in range(sys.maxunicode + 1):
        char = chr(point)
        assert marks[point] & unicode_breaks.CLASS == unicode_breaks.CLASSES[word_break(char).value]
        assert bool(marks[point] & unicode_breaks.PICTOGRAPH) == extended_pictographic(char)
        assert bool(marks[point] & unicode_breaks.WORD_START) == char.isalnum()


def test_a_word_has_the_same_hash_whoever_splits() -> None:
    """Words of different splitters can be compared by their hashes."""
    texts = TextBatch.of(["the cat it's 3.14 naïve"])
    assert split_unicode_words(texts).hashes.tolist() == split_words(texts).hashes.tolist()


def test_words_are_no_spaces_and_no_punctuation() -> None:
    """The words are those that DCLM keeps: segments that start with a letter or a digit."""
    texts = ['The "quick" fox, 3.5% _odd can\'t go😀on']
    words = segments(split_unicode_words(TextBatch.of(texts)), texts)[0]
    assert words == ["The", "quick", "fox", "3.5", "can't", "go", "on"]


def test_the_digest_tells_the_unicode_version() -> None:
    """What the words depend on is recorded: uniseg's Unicode, and a digest of its properties."""
    import uniseg

    version, digest = splitter_digest("unicode").split(":")
    assert version == f"unicode-{uniseg.unidata_version}"
    assert len(digest) == 32


def test_without_uniseg_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing package is named, with the extra that brings it and what does without."""
    monkeypatch.setitem(sys.modules, "uniseg", None)
    unicode_breaks.break_tables.cache_clear()
    with pytest.raises(FilterError, match=r"pip install 'dolmix\[unicode\]', or choose words: wh"):
        Gopher(words="unicode").digests()
