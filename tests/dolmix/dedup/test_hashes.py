"""Hash functions of the peers in compiled code: the reference implementations' own numbers."""

import naive_dedup as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.dedup.hashes import SHA1_32, SHA1_64, XXH32, XXH64, hash_spans
from dolmix.document import U64Array

FUNCTIONS = {
    XXH64: ("xxhash", 64),
    XXH32: ("xxhash", 32),
    SHA1_64: ("sha1", 64),
    SHA1_32: ("sha1", 32),
}


def hashed(data: bytes, spans: list[tuple[int, int]], function: int) -> U64Array:
    """Hash parts of a buffer by the kernel."""
    starts, stops = (np.array([span[k] for span in spans], np.int64) for k in (0, 1))
    out = np.empty(len(spans), np.uint64)
    hash_spans(np.frombuffer(data, np.uint8), starts, stops, function, out)
    return out


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_length_has_the_reference_hash(function: int) -> None:
    """Strings of 0 to 300 bytes, of all padding and tail cases, overlapping."""
    data = np.random.default_rng(7).integers(0, 256, 1000, dtype=np.uint8).tobytes()
    spans = [(size % 97, size % 97 + size) for size in range(301)]
    expected = [naive.hash_bytes(data[a:b], *FUNCTIONS[function]) for a, b in spans]
    assert hashed(data, spans, function).tolist() == expected


@given(st.binary(min_size=1, max_size=200), st.data(), st.sampled_from(sorted(FUNCTIONS)))
def test_any_spans_have_the_reference_hash(data: bytes, draw: st.DataObject, function: int) -> None:
    """Any parts of any bytes, in groups of any size: SHA-1 works on sixteen at a time."""
    ends = st.tuples(st.integers(0, len(data)), st.integers(0, len(data)))
    spans = [(min(pair), max(pair)) for pair in draw.draw(st.lists(ends, max_size=40))]
    expected = [naive.hash_bytes(data[a:b], *FUNCTIONS[function]) for a, b in spans]
    assert hashed(data, spans, function).tolist() == expected
