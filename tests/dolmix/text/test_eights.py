"""Eight bytes at a time: hashes and ends of words are those that one byte at a time gives."""

from itertools import product

import naive
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dolmix.text.eights import hash_ink, hash_letters, hash_span, span_hash

PIECES = [
    *"azAZ09@[`{ ~\x00\x20\x21\x7f\n\t",
    "é",
    "中",
    "😀",
    "word",
    "letters",
    "a" * 8,
    "b" * 15,
]
texts = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)


def as_bytes(text: str) -> np.ndarray:
    """(B,) uint8: the bytes of a text."""
    return np.frombuffer(text.encode(), np.uint8)


@given(texts, texts)
def test_spans_are_hashed_alike_wherever_they_stand(before: str, text: str) -> None:
    """Hash and characters are the twin's, at the end of the bytes and before others."""
    begin = len(before.encode())
    end = begin + len(text.encode())
    expected = naive.span_hash(text.encode())
    assert span_hash(text.encode()) == expected
    for after in ("", "x", "more than eight"):
        found = hash_span(as_bytes(before + text + after), begin, end)
        assert (int(found[0]), found[1]) == (expected, len(text))


def test_short_spans_never_share_a_hash() -> None:
    """All spans of up to two bytes, and zeros up to seven, are told apart, zero bytes included."""
    spans = [bytes(p) for n in range(3) for p in product(range(256), repeat=n)]
    spans += [bytes(n) for n in range(3, 8)]
    hashes = {int(hash_span(np.frombuffer(span, np.uint8), 0, len(span))[0]) for span in spans}
    assert len(hashes) == len(spans)


@given(texts, st.integers(0, 30))
def test_words_end_where_they_do_byte_by_byte(text: str, behind: int) -> None:
    """Letters and ASCII characters end at the first other byte, or at the document's end."""
    data = text.encode()
    utf8 = as_bytes(text + "word" * behind)
    kinds = ((hash_letters, lambda b: chr(b | 0x20) in "abcdefghijklmnopqrstuvwxyz"),)
    kinds += ((hash_ink, lambda b: 0x20 < b < 0x80),)
    for read, belongs in kinds:
        for begin in range(len(data) + 1):
            end = begin
            while end < len(data) and belongs(data[end]):
                end += 1
            found, code = read(utf8, begin, len(data))
            assert (found, int(code)) == (end, naive.span_hash(data[begin:end]))
