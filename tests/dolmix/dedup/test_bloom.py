"""Bloom filters: never a miss, false alarms as stated, merged by OR, kept in a checked file."""

import math
from collections.abc import Callable
from pathlib import Path

import naive_paragraphs as naive
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolmix.dedup.bloom import BloomFilter
from dolmix.document import U64Array
from dolmix.errors import DataError

KEYS = st.lists(st.integers(0, (1 << 64) - 1), max_size=30)


def keys_of(count: int, seed: int) -> U64Array:
    """Different keys, drawn from a seed."""
    return np.random.default_rng(seed).integers(0, 1 << 64, count, dtype=np.uint64)


@given(KEYS, st.integers(1, 5), st.integers(1, 20), st.integers(0, (1 << 63) - 1))
def test_the_filter_sets_the_bits_of_its_twin(
    keys: list[int], words: int, num_hashes: int, seed: int
) -> None:
    """Answers and bits are those of the plain-Python twin, key by key."""
    made = BloomFilter(np.zeros(words, np.uint64), num_hashes, seed)
    bits: set[int] = set()
    seen = []
    for key in keys:
        places = naive.bloom_places(key, 64 * words, num_hashes, seed)
        seen.append(bits.issuperset(places))
        bits |= set(places)
    assert made.add(np.array(keys, np.uint64)).tolist() == seen
    assert made.added == seen.count(False)
    packed = sum(int(word) << (64 * n) for n, word in enumerate(made.words))
    assert packed == sum(1 << place for place in bits)
    assert made.contains(np.array(keys, np.uint64)).all()


@pytest.mark.parametrize("rate", [0.5, 0.1, 1e-2, 1e-3])
def test_false_positives_come_as_often_as_stated(rate: float) -> None:
    """At its capacity the filter finds new keys with the stated probability; so it says itself.

    Six deviations of the draw, and 3 % for the chance in how full this one filter is.
    """
    made = BloomFilter.sized(20_000, rate, seed=5)
    made.add(keys_of(20_000, 1))
    asked = 400_000
    found = made.contains(keys_of(asked, 2)).sum()
    assert abs(found - rate * asked) <= 6 * math.sqrt(rate * asked) + 0.03 * rate * asked
    assert made.false_positive_rate == pytest.approx(rate, rel=0.08)


def test_a_filter_has_no_more_bits_than_it_needs() -> None:
    """Bits a key are within 4 % of the least that the rate allows: log2(1/p) / ln 2."""
    for rate in (1e-2, 1e-6, 1e-9):
        needed = -math.log2(rate) / math.log(2)
        assert BloomFilter.sized(100_000, rate).num_bits / 100_000 < 1.04 * needed + 0.01


def test_merging_in_any_order_gives_the_filter_of_all() -> None:
    """OR of the filters of three workers is the filter of one that saw everything."""
    keys = keys_of(3_000, 3)
    whole = BloomFilter.sized(3_000, 1e-3, seed=9)
    whole.add(keys)
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = BloomFilter.sized(3_000, 1e-3, seed=9)
        for third in order:
            one = BloomFilter.sized(3_000, 1e-3, seed=9)
            one.add(keys[third * 1_000 : (third + 1) * 1_000])
            merged.merge(one)
        assert merged.words.tolist() == whole.words.tolist()
        assert merged.contains(keys).all()


def test_filters_of_other_shape_or_seed_do_not_merge() -> None:
    """The error has both shapes."""
    one, other = BloomFilter.sized(100, 0.1, seed=1), BloomFilter.sized(100, 0.1, seed=2)
    with pytest.raises(DataError, match=r"512 bits, 3 hashes and seed 1 and of .* seed 2"):
        one.merge(other)


def test_a_file_gives_the_filter_back(tmp_path: Path) -> None:
    """Saved and loaded, a filter is the same, and goes on where it was."""
    made = BloomFilter.sized(500, 1e-4, seed=3)
    made.add(keys_of(500, 4))
    made.save(tmp_path / "a.bloom")
    again = BloomFilter.load(tmp_path / "a.bloom")
    assert again.words.tolist() == made.words.tolist()
    assert (again.shape, again.added) == (made.shape, made.added)
    assert again.add(keys_of(500, 4)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[:-8], "is cut off or damaged"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "are not those that were written"),
        (lambda data: data.replace(b"dolmix-bloom-1", b"dolmix-bloom-9"), "found 'dolmix-bloom-9'"),
        (lambda data: b"not JSON" + data, "no Bloom filter of format"),
    ],
)
def test_damaged_and_foreign_files_are_refused(
    tmp_path: Path, change: Callable[[bytes], bytes], message: str
) -> None:
    """A file that is cut off, changed, or of another version names itself and the cause."""
    path = tmp_path / "a.bloom"
    made = BloomFilter.sized(50, 1e-2)
    made.add(keys_of(50, 5))
    made.save(path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(DataError, match=message):
        BloomFilter.load(path)
