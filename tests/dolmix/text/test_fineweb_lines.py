"""FineWeb's counts of lines: the kernel equals its plain twin."""

from dataclasses import astuple

import naive_fineweb
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dolmix.document import TextBatch
from dolmix.filters.fineweb import stop_marks
from dolmix.text.fineweb_lines import fineweb_lines

SPACES = [chr(c) for c in range(0x110000) if chr(c).isspace()]
pieces = st.sampled_from(["a", "bc.", "é!", "中。", "\n", "\n\n", " ", "x" * 5, "𐐷'", "\r\n"])
pieces |= st.sampled_from(SPACES)
STOPS = "'.!。𐐷"


@given(st.lists(st.lists(pieces, max_size=30).map("".join), max_size=5), st.integers(0, 7))
def test_counts_equal_their_plain_twin(texts: list[str], short_chars: int) -> None:
    """Every count, document by document; the table of lines is not carried over."""
    found = fineweb_lines(TextBatch.of(texts), stops=stop_marks(STOPS), short_chars=short_chars)
    rows = [tuple(row) for row in np.stack(astuple(found)).T.tolist()]
    assert rows == [
        naive_fineweb.count_lines(text, stops=STOPS, short_chars=short_chars) for text in texts
    ]


def test_many_distinct_and_many_equal_lines() -> None:
    """A table of lines that grows with its document, and one that does not."""
    texts = ["\n".join(map(str, range(5000))), "same\n" * 5000, "same\nsame"]
    found = fineweb_lines(TextBatch.of(texts), stops=stop_marks(None), short_chars=30)
    assert found.repeated_chars.tolist() == [0, 4 * 4999, 4]


def test_a_batch_that_starts_inside_its_buffer() -> None:
    """Counts are those of the documents, wherever their bytes lie."""
    whole = TextBatch.of(["before\n", "a.\na.\n\nb", "", "a."])
    batch = TextBatch(
        whole.text.slice(1), whole.ids.slice(1), whole.urls.slice(1), whole.records[1:], fields={}
    )
    found = fineweb_lines(batch, stops=stop_marks(None), short_chars=1)
    assert np.stack(astuple(found)).T.tolist() == [
        [4, 3, 2, 1, 1, 2, 5, 3],
        [1, 0, 0, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 2, 0],
    ]
