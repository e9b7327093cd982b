"""Bloom filters: which 64-bit keys were seen before, in some bits a key (Bloom 1970).

A filter of m bits sets k of them for each key. A key that was added is always found; one that was
not is found with a probability of (1 - e^(-kn/m))^k after n different keys, which is lowest for
k = m/n ln 2. `BloomFilter.sized` chooses m = -n ln p / (ln 2)^2 for a stated probability p. The k
places of a key come from two hashes by enhanced double hashing (Dillinger and Manolios 2004).

Filters of equal shape and seed are merged by OR, in any order, with the bits that one filter of all
keys would have. A file holds a line of JSON, then the bits, and is refused where either is not what
it says.
"""

import math
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from dolmix.document import BoolArray, U64Array
from dolmix.errors import DataError
from dolmix.files import commit
from dolmix.text.compiled import kernel
from dolmix.text.xxh64 import spread

FORMAT = "dolmix-bloom-1"
MOST_HASHES = 64
LN2 = math.log(2)


@dataclass(eq=False)
class BloomFilter:
    """A set of 64-bit keys that may say yes to a key that it does not hold.

    words       (m / 64,) uint64  the bits
    num_hashes  k, bits that a key sets
    seed        of the two hashes; filters of unequal seeds do not merge
    keys_of     what the keys are; filters of other keys do not merge
    added       keys that the filter did not have when they were added; of merged filters, the sum
    """

    words: U64Array
    num_hashes: int
    seed: int = 0
    added: int = 0
    keys_of: str = ""

    @classmethod
    def sized(cls, capacity: int, false_positive_rate: float, seed: int = 0) -> "BloomFilter":
        """Make an empty filter with the stated rate once it holds `capacity` different keys."""
        per_key = -math.log(false_positive_rate) / LN2**2
        hashes = min(max(1, round(per_key * LN2)), MOST_HASHES)
        # the bits that make the rate hold for a whole number of hashes
        share = -math.log1p(-(false_positive_rate ** (1 / hashes)))
        words = max(1, math.ceil(capacity * hashes / share / 64))
        return cls(np.zeros(words, np.uint64), hashes, seed)

    @property
    def num_bits(self) -> int:
        """Bits of the filter, m."""
        return 64 * len(self.words)

    @property
    def fill(self) -> float:
        """Share of the bits that are set."""
        return int(np.bitwise_count(self.words).sum()) / self.num_bits

    @property
    def false_positive_rate(self) -> float:
        """Probability that the filter, as it is, finds a key that was never added."""
        return float(self.fill**self.num_hashes)

    def add(self, keys: U64Array) -> BoolArray:
        """Add keys in their order; (N,) bool, which were found already, or earlier in `keys`."""
        seen = np.empty(len(keys), np.bool_)
        add_bits(keys, self.words, self.num_hashes, np.uint64(self.seed), seen)
        self.added += int(len(keys) - seen.sum())
        return seen

    def contains(self, keys: U64Array) -> BoolArray:
        """(N,) bool: which keys are found."""
        seen = np.empty(len(keys), np.bool_)
        find_bits(keys, self.words, self.num_hashes, np.uint64(self.seed), seen)
        return seen

    def merge(self, other: "BloomFilter") -> None:
        """Take in what another filter holds.

        Raises DataError if it has another shape or seed.
        """
        if self.shape != other.shape:
            raise DataError(
                f"Bloom filters of {_said(self.shape)} and of {_said(other.shape)} do not merge; "
                f"make both with the same settings"
            )
        self.words |= other.words
        self.added += other.added

    @property
    def shape(self) -> tuple[int, int, int, str]:
        """Bits, hashes, seed and what keys are: what filters that merge have in common."""
        return self.num_bits, self.num_hashes, self.seed, self.keys_of

    def save(self, path: Path) -> None:
        """Write the filter to a file, which appears complete or not at all."""
        bits = self.words.astype("<u8").tobytes()
        about = {
            "format": FORMAT,
            "bits": self.num_bits,
            "num_hashes": self.num_hashes,
            "seed": self.seed,
            "added": self.added,
            "keys_of": self.keys_of,
            "digest": blake2b(bits, digest_size=32).hexdigest(),
        }
        commit.write_bytes(path, orjson.dumps(about) + b"\n" + bits)

    @classmethod
    def load(cls, path: Path) -> "BloomFilter":
        """Read a filter back.

        Raises DataError for a file of another format or version, or one that is damaged.
        """
        head, _, bits = path.read_bytes().partition(b"\n")
        about = _header(path, head)
        if 8 * len(bits) != about["bits"]:
            raise DataError(
                f"{path}: {len(bits):,} bytes of bits, {about['bits'] // 8:,} expected; the file "
                f"is cut off or damaged. Make it again."
            )
        if blake2b(bits, digest_size=32).hexdigest() != about["digest"]:
            raise DataError(f"{path}: the bits are not those that were written. Make it again.")
        words = np.frombuffer(bits, "<u8").astype(np.uint64)
        return cls(words, about["num_hashes"], about["seed"], about["added"], about["keys_of"])


def filter_digest(path: Path) -> str:
    """Digest of a filter file's bits, 64 hex digits, as its first line says.

    Raises DataError for a file of another format or version.
    """
    with path.open("rb") as file:
        return str(_header(path, file.readline())["digest"])


def _header(path: Path, head: bytes) -> dict[str, Any]:
    try:
        about: Any = orjson.loads(head)
    except orjson.JSONDecodeError:
        about = None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        found = about.get("format") if isinstance(about, dict) else None
        raise DataError(
            f"{path}: no Bloom filter of format {FORMAT!r} (found {found!r}). Make it again with "
            f"this version of dolmix."
        )
    return about


def _said(shape: tuple[int, int, int, str]) -> str:
    about = f"{shape[0]:,} bits, {shape[1]} hashes and seed {shape[2]}"
    return f"{about} ({shape[3]})" if shape[3] else about


@kernel
def add_bits(
    keys: U64Array, words: U64Array, num_hashes: int, seed: np.uint64, seen: BoolArray
) -> None:
    """Set the bits of every key, and tell for which all were set already.

    keys   (N,) uint64
    words  (m / 64,) uint64  in place
    seen   (N,) bool         out

    O(N x k). Twin: tests/naive_paragraphs.py `Bloom`.
    """
    size = np.uint64(64 * words.size)
    for n in range(keys.size):
        at, step = spread(keys[n] + seed) % size, spread(keys[n] ^ ~seed) % size
        found = True
        for k in range(num_hashes):
            bit = np.uint64(1) << (at & np.uint64(63))
            word = at >> np.uint64(6)
            found &= (words[word] & bit) != 0
            words[word] |= bit
            at, step = _next(at, step, np.uint64(k + 1), size)
        seen[n] = found


@kernel
def find_bits(
    keys: U64Array, words: U64Array, num_hashes: int, seed: np.uint64, seen: BoolArray
) -> None:
    """Tell for which keys all bits are set; arguments as in `add_bits`. O(N x k)."""
    size = np.uint64(64 * words.size)
    for n in range(keys.size):
        at, step = spread(keys[n] + seed) % size, spread(keys[n] ^ ~seed) % size
        found = True
        for k in range(num_hashes):
            bit = np.uint64(1) << (at & np.uint64(63))
            if words[at >> np.uint64(6)] & bit == 0:
                found = False
                break
            at, step = _next(at, step, np.uint64(k + 1), size)
        seen[n] = found


@kernel
def _next(
    at: np.uint64, step: np.uint64, k: np.uint64, size: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Place and step of a key's next bit: at + step, step + k, modulo the size."""
    at += step
    if at >= size:
        at -= size
    return at, (step + k) % size
