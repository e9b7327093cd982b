"""How others permute indices: minimal versions of our own, written from their descriptions.

Each takes a key and N and has `forward` on uint64 arrays. Where a peer derives its round keys from
a seed in a way of its own, independent words are used instead, so that what fails is the structure.
"""

from math import gcd

import numpy as np
from naive_order import MASK, finalise
from numpy.typing import NDArray

U64Array = NDArray[np.uint64]


def words(key: int, count: int) -> list[int]:
    """Independent 64-bit words of a key."""
    return [finalise((key << 8) + n & MASK) for n in range(1, count + 1)]


class Lcg:
    """An affine permutation: a * x + b mod N with a prime to N."""

    def __init__(self, key: int, n: int) -> None:
        a, b = (word % n for word in words(key, 2))
        while gcd(a, n) != 1:
            a += 1
        # halves keep the product below 2**64
        self._low, self._high = np.uint64(a & 0xFFFF), np.uint64(a >> 16)
        self._b, self._n = np.uint64(b), np.uint64(n)
        if n >= 1 << 47:
            raise ValueError(f"{n} is too large for this version")

    def forward(self, x: U64Array) -> U64Array:
        """Map places to values."""
        shifted = (x * self._high % self._n << np.uint64(16)) % self._n
        return (x * self._low + shifted + self._b) % self._n


class _Walked:
    """A cipher on [0, 2**bits), walked until the value is below N."""

    def __init__(self, n: int) -> None:
        self._n = np.uint64(n)

    def rounds(self, x: U64Array) -> U64Array:
        """Encrypt once."""
        raise NotImplementedError

    def forward(self, x: U64Array) -> U64Array:
        """Map places to values."""
        y = self.rounds(x)
        outside = np.flatnonzero(y >= self._n)
        while outside.size:
            y[outside] = self.rounds(y[outside])
            outside = outside[y[outside] >= self._n]
        return y


class GrainSimon(_Walked):
    """A Simon cipher of few rounds on two halves of at least 8 bits, as Grain's `index_shuffle`.

    f(x) = (x <<< 1 & x <<< 8) ^ (x <<< 2); the block is large enough for N, other than Grain's.
    """

    def __init__(self, key: int, n: int, rounds: int = 4) -> None:
        super().__init__(n)
        bits = max(16, (n - 1).bit_length())
        self._half = np.uint64((bits + 1) // 2)
        self._mask = np.uint64((1 << int(self._half)) - 1)
        self._keys = [np.uint64(word) & self._mask for word in words(key, rounds)]

    def rounds(self, x: U64Array) -> U64Array:
        """Encrypt once."""
        left, right = x >> self._half, x & self._mask
        for key in self._keys:
            mixed = self._rotated(left, 1) & self._rotated(left, 8) ^ self._rotated(left, 2)
            left, right = right ^ mixed ^ key, left
        return left << self._half | right

    def _rotated(self, x: U64Array, places: int) -> U64Array:
        shift = np.uint64(places) % self._half
        return (x << shift | x >> self._half - shift) & self._mask


class LevanterFeistel(_Walked):
    """A Feistel network of five rounds with F(R) = R * 2654435761 + k mod 2**r, as Levanter's."""

    def __init__(self, key: int, n: int, rounds: int = 5) -> None:
        super().__init__(n)
        bits = max(2, (n - 1).bit_length())
        self._right = np.uint64((bits + 1) // 2)
        self._mask = np.uint64((1 << int(self._right)) - 1)
        self._keys = [np.uint64(word & 0xFFFFFFFF) for word in words(key, rounds)]

    def rounds(self, x: U64Array) -> U64Array:
        """Encrypt once."""
        left, right = x >> self._right, x & self._mask
        for key in self._keys:
            left, right = right, left ^ (right * np.uint64(2654435761) + key & self._mask)
        return left << self._right | right


class NumpyShuffle:
    """The control: all N numbers, shuffled by numpy's PCG64; 4 bytes a number."""

    def __init__(self, key: int, n: int) -> None:
        self._order = np.arange(n, dtype=np.uint32)
        np.random.Generator(np.random.PCG64(key)).shuffle(self._order)

    def forward(self, x: U64Array) -> U64Array:
        """Map places to values."""
        return self._order[x].astype(np.uint64)
