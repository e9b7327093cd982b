"""Long lists as hashes: what is an entry, and what is found."""

import naive_lists
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolmix.text.list_hashes import hash_list, hash_texts, listed

LINES = st.lists(
    st.sampled_from([b"", b" ", b"#x", b" # x", b"a.org", b"\ta.org\r", b"b", b"\x0b", b"\xc3\xa9"])
)


@settings(deadline=None, max_examples=100)
@given(LINES, st.booleans())
def test_entries_are_the_stripped_lines_that_are_no_comments(
    lines: list[bytes], newline_at_end: bool
) -> None:
    """Hashes of a list are those of the plain twin's entries, distinct and ascending."""
    data = b"\n".join(lines) + b"\n" * newline_at_end
    expected = sorted({naive_lists.fnv(entry) for entry in naive_lists.entries(data)})
    assert hash_list(data).tolist() == expected


@settings(deadline=None, max_examples=100)
@given(st.lists(st.text(max_size=12)), st.lists(st.text(max_size=3)))
def test_a_text_is_listed_if_it_is_an_entry(asked: list[str], entries: list[str]) -> None:
    """Texts and lines that spell them have the same hash; nothing else is found."""
    hashes = np.unique(hash_texts(entries))
    assert listed(hash_texts(asked), hashes).tolist() == [text in entries for text in asked]
    assert hash_texts(asked).tolist() == [naive_lists.fnv(text.encode()) for text in asked]
