"""C4's lines, by datatrove's reading and by dolma's: the kernels equal their plain twins."""

import naive_c4
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.text.c4_lines import LineRules, clean_lines
from dolmix.text.c4_spans import mark_c4_lines, third_longest_lines
from dolmix.text.edits import edited

SPACES = [chr(c) for c in range(0x110000) if chr(c).isspace()]
PIECES = [
    "One two three.",
    "One two",
    "A b c!",
    'd e f"',
    "g h i...",
    "…",
    "word",
    "é中",
    " ",
    "\n",
]
PIECES += ["\r\n", "[1]", "[", "]", "[٣]", "[edit]", "[citation needed]", "[edit", "[12", "{", "}"]
PIECES += ["lorem ipsum", "Lorem", "JavaScript", "privacy policy", "use coo\u212aies", "x" * 6]
pieces = st.sampled_from(PIECES) | st.sampled_from(SPACES)
texts_of_pieces = st.lists(st.lists(pieces, max_size=14).map("".join), max_size=5)
rules_of_lines = st.builds(
    LineRules,
    max_word_chars=st.sampled_from([-1, 0, 5, 1000]),
    citations=st.booleans(),
    punctuation=st.booleans(),
    min_words=st.integers(0, 4),
    javascript=st.booleans(),
    policy=st.booleans(),
)


@given(texts_of_pieces, rules_of_lines)
def test_clean_lines_equal_their_plain_twin(texts: list[str], rules: LineRules) -> None:
    """Counts, kept lines, and the edited text, whatever rules are on."""
    batch = TextBatch.of(texts)
    found = clean_lines(batch, rules)
    new = edited(batch, found.edits).text.to_pylist()
    data = found.utf8.tobytes()
    lines = [data[a:b].decode() for a, b in zip(found.offsets, found.offsets[1:], strict=False)]
    for n, text in enumerate(texts):
        counts, kept, expected = naive_c4.clean_lines(text, **rules._asdict())
        assert found.counts[:, n].tolist() == counts
        assert lines[found.ends[n] : found.ends[n + 1]] == kept
        assert new[n] == expected


def test_a_text_that_needs_no_edit_has_no_span() -> None:
    r"""Kept lines with "\n" between them are left as they are."""
    texts = ["One two three.\nFour five six!", "A b c.", ""]
    found = clean_lines(TextBatch.of(texts), LineRules(punctuation=True, min_words=3))
    assert found.edits.ends.tolist() == [0, 0, 0, 0]


def test_a_batch_that_starts_inside_its_buffer() -> None:
    """Spans, counts and kept lines are those of the documents, wherever their bytes lie."""
    texts = ["no mark\nA b c.", "No mark.\nIt is so[1] now.\nx", "x\ny\nz"]
    whole = TextBatch.of(["before\nand [2] before.", *texts])
    batch = TextBatch(
        whole.text.slice(1), whole.ids.slice(1), whole.urls.slice(1), whole.records[1:], fields={}
    )
    rules = LineRules(citations=True, punctuation=True, min_words=3)
    found = clean_lines(batch, rules)
    assert edited(batch, found.edits).text.to_pylist() == ["A b c.", "It is so now.", ""]
    assert found.utf8.tobytes() == b"A b c.It is so now."
    marked = mark_c4_lines(batch, punctuation=True, min_words=2)
    assert edited(batch, marked.edits).text.to_pylist() == [
        "A b c.",
        "No mark.\nIt is so[1] now.\n",
        "",
    ]
    assert third_longest_lines(batch).tolist() == [0, 1, 1]


def test_lines_are_cut_where_python_cuts_them() -> None:
    """Every code point either ends a line, as `str.splitlines()` says, or does not."""
    texts = [f"a{chr(c)}b" for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    found = clean_lines(TextBatch.of(texts), LineRules())
    assert found.counts[0].tolist() == [len(text.splitlines()) for text in texts]


@given(texts_of_pieces, st.booleans(), st.integers(0, 4))
def test_marked_lines_equal_their_plain_twin(
    texts: list[str], punctuation: bool, min_words: int
) -> None:
    """Counts and the text of the lines that stay; touching spans are one."""
    batch = TextBatch.of(texts)
    found = mark_c4_lines(batch, punctuation=punctuation, min_words=min_words)
    new = edited(batch, found.edits).text.to_pylist()
    for n, text in enumerate(texts):
        counts, expected = naive_c4.mark_lines(text, punctuation=punctuation, min_words=min_words)
        assert found.counts[:, n].tolist() == counts
        assert new[n] == expected
        starts = found.edits.starts[found.edits.ends[n] : found.edits.ends[n + 1]]
        stops = found.edits.stops[found.edits.ends[n] : found.edits.ends[n + 1]]
        assert not np.any(starts[1:] == stops[:-1])


@given(texts_of_pieces)
def test_third_longest_line_equals_its_plain_twin(texts: list[str]) -> None:
    """In characters, with ties, and 0 for fewer than three lines."""
    found = third_longest_lines(TextBatch.of(texts))
    assert found.tolist() == [naive_c4.third_longest_line(text) for text in texts]
