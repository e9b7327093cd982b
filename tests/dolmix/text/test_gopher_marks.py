"""What Gopher asks of words and lines: every kernel equals its plain twin."""

import re
import sys

import naive_gopher
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from peers import awkward_texts

from dolmix.document import TextBatch
from dolmix.text.characters import point_marks, trim_space
from dolmix.text.gopher_lines import TextMarks, datatrove_marks, dclm_marks, page_words
from dolmix.text.gopher_words import WordMarks, median_chars, symbol_words, word_marks
from dolmix.text.words import Words, split_words

PIECES = [
    *"ab#-*1.…•● \n\t\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\u2028\u2029\u2027\xa0\u3000\u200b\x00\x7f"
]
PIECES += [
    *"\ufeff\uff11\U0001d518😀٣",
    "\r\n",
    "e\u0301",
    "中文",
    "a" * 300,
    "-- ",
    "wİth",
    "witH",
]
PIECES += ["...", ". . .", " . .", "....", "..", "the ", "THE ", "The", " of", " with ", "have\n"]
texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join)
batches = st.lists(st.one_of(texts, awkward_texts()), max_size=4)


def rows(marks: WordMarks | TextMarks) -> list[list[int]]:
    """Give one list of counts a document."""
    return np.stack([*vars(marks).values()]).T.tolist()


@given(batches)
def test_words_are_marked_as_their_twin_marks_them(documents: list[str]) -> None:
    """Counts of words, and their median length, document by document."""
    batch = TextBatch.of(documents)
    words, plain = split_words(batch), [text.split() for text in documents]
    assert rows(word_marks(batch, words)) == [naive_gopher.word_marks(w) for w in plain]
    assert symbol_words(batch, words).tolist() == [naive_gopher.symbol_words(w) for w in plain]
    assert median_chars(words).tolist() == [naive_gopher.median_chars(w) for w in plain]


@given(batches)
def test_texts_are_marked_as_their_twins_mark_them(documents: list[str]) -> None:
    """Symbols and lines, as datatrove and as DCLM count them."""
    batch = TextBatch.of(documents)
    assert rows(datatrove_marks(batch)) == [naive_gopher.datatrove_marks(t) for t in documents]
    assert rows(dclm_marks(batch)) == [naive_gopher.dclm_marks(t) for t in documents]
    assert page_words(batch).tolist() == [naive_gopher.page_words(t) for t in documents]


@given(
    st.lists(st.lists(st.sampled_from(["#", "…", "a", "b…", "#c", " "]), max_size=9), max_size=4)
)
def test_symbols_outside_words_are_in_no_word(documents: list[list[str]]) -> None:
    """A splitter may leave anything out: here every word is one letter."""
    plain = ["".join(pieces) for pieces in documents]
    spans = [[m.span() for m in re.finditer("[#a-c]", text)] for text in plain]
    places = [
        [len(text[: p[0]].encode()) for p in found]
        for text, found in zip(plain, spans, strict=True)
    ]
    ends = np.cumsum([0, *map(len, spans)])
    starts = np.array([p for found in places for p in found], np.int64)
    words = Words(starts.astype(np.uint64), np.ones_like(starts), starts, starts + 1, ends)
    found = symbol_words(TextBatch.of(plain), words).tolist()
    assert found == [text.count("#") for text in plain]


def test_every_character_counts_as_python_says() -> None:
    """Each code point as a word of its own: letter and punctuation; between lines: break or not."""
    points = [chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000]
    between = [f"- x{c}-{c}" for c in points if ord(c) < 0x3100 or ord(c) % 97 == 0]
    expected = [naive_gopher.datatrove_marks(text) for text in between]
    assert rows(datatrove_marks(TextBatch.of(between))) == expected
    alone = [c for c in points if not c.isspace()]
    batch = TextBatch.of(alone)
    marks = word_marks(batch, split_words(batch))
    assert marks.letter_words.tolist() == [c.isalpha() for c in alone]
    assert marks.plain_words.tolist() == [naive_gopher.is_plain(c) for c in alone]
    assert marks.lowered.sum() == 0


def test_lower_casing_reaches_the_stop_words_from_ascii_only() -> None:
    """No other letter lower-cases to one of the stop words' letters, so ASCII is all to look at."""
    letters = {*"".join(naive_gopher.STOP_WORDS)}
    others = [chr(c) for c in range(128, sys.maxunicode + 1) if {*chr(c).lower()} <= letters]
    assert others == []


def test_stop_words_are_whole_words() -> None:
    """A word that starts with a stop word is none, whatever follows, zero bytes included."""
    words = [f"{stop}{end}" for stop in naive_gopher.STOP_WORDS for end in ("", "\0", "\0\0\0\0x")]
    words += [word.upper() for word in words] + [f"{word}re" for word in words] + ["th", "e", "\0"]
    batch = TextBatch.of([*words, " ".join(words)])
    marks = word_marks(batch, split_words(batch))
    assert rows(marks) == [naive_gopher.word_marks(text.split()) for text in batch.text.to_pylist()]


@pytest.mark.parametrize("middle", [253, 254, 255, 256, 400])
def test_long_medians_are_exact(middle: int) -> None:
    """Medians at and beyond the histogram's end, odd and even, neighbours unharmed."""
    lengths = [1, middle - 1, middle, middle + 3, 900]
    documents = ["a bb", *(" ".join("x" * n for n in lengths[:k]) for k in (3, 4, 5)), "ccc", ""]
    batch = TextBatch.of(documents)
    expected = [naive_gopher.median_chars(text.split()) for text in documents]
    assert median_chars(split_words(batch)).tolist() == expected


@given(texts)
def test_trailing_space_is_what_rstrip_takes(text: str) -> None:
    """The kernel's end of a text is `str.rstrip`'s."""
    data = np.frombuffer(text.encode(), np.uint8)
    assert trim_space(data, 0, data.size) == len(text.rstrip().encode())


def test_marks_cover_all_letters_and_digits_of_python() -> None:
    """`point_marks` says of every code point what its methods say."""
    marks = point_marks()
    assert marks.size == sys.maxunicode + 1
    for point in range(sys.maxunicode + 1):
        char, mark = chr(point), int(marks[point])
        expected = (char.isalpha(), char.isalnum(), char.isspace())
        assert (bool(mark & 1), bool(mark & 2), bool(mark & 16)) == expected


@pytest.mark.parametrize("documents", [[], [""], ["", "", ""]])
def test_empty_batches_and_empty_documents_count_nothing(documents: list[str]) -> None:
    """No document, and documents without text, give zeros of the right shape."""
    batch = TextBatch.of(documents)
    words = split_words(batch)
    assert rows(word_marks(batch, words)) == [[0] * 8] * len(documents)
    assert rows(datatrove_marks(batch)) == [[0] * 5] * len(documents)
    assert rows(dclm_marks(batch)) == [[0] * 5] * len(documents)
    for counts in (symbol_words(batch, words), median_chars(words), page_words(batch)):
        assert counts.tolist() == [0] * len(documents)


def test_a_sliced_batch_reads_only_its_own_rows() -> None:
    """Dots and spaces of the documents around it belong to no line of a slice."""
    whole = TextBatch.of(["one ..", ". the #two", "", "- x\u2028..", ". end"])
    part = TextBatch(
        text=whole.text.slice(1, 3),
        ids=whole.ids.slice(1, 3),
        urls=whole.urls.slice(1, 3),
        records=whole.records[1:4],
        fields={},
    )
    texts = whole.text.to_pylist()[1:4]
    words = split_words(part)
    assert rows(datatrove_marks(part)) == [naive_gopher.datatrove_marks(t) for t in texts]
    assert rows(dclm_marks(part)) == [naive_gopher.dclm_marks(t) for t in texts]
    assert rows(word_marks(part, words)) == [naive_gopher.word_marks(t.split()) for t in texts]
    assert symbol_words(part, words).tolist() == [1, 0, 0]
    assert page_words(part).tolist() == [1, 0, 1]
