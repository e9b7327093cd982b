"""`dolmix-perm-1`: keyed bijections on [0, n) that need no memory and no state.

A context (seed, purpose, names, numbers) and n fix a permutation bit for bit, on every machine and
with every version of numpy. It is computed where it is asked for, forwards and backwards, so an
order is looked up instead of stored. Normative: docs/order.md, section 1. Up to 65,536 places the
permutation is a keyed sort; above, a generalised Feistel network of twelve rounds on Z_a x Z_b with
cycle walking.
"""

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from math import isqrt
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.errors import OrderError

U64Array: TypeAlias = NDArray[np.uint64]
Context: TypeAlias = tuple[str | int, ...]
"""What a permutation is for: the seed, a purpose (`source`, `block`, `reuse`, `docs`), then names
and numbers."""

MAX_DOMAIN = 1 << 62
SORT_LIMIT = 65_536
"""Largest n that is permuted by sorting; few-round Feistel networks are biased on small domains."""
ROUNDS = 12
CHUNK = 16_384
"""Values worked on at a time: two halves and two scratch arrays of 128 KiB stay in cache."""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_C = np.uint64(0xD6E8FEB86659FD93)
_HALF = np.uint64(32)


class Permutation:
    """The bijection on [0, n) that belongs to a context.

    Raises OrderError unless 0 <= n < 2**62, and for any argument outside [0, n).
    """

    def __init__(self, context: Context, n: int) -> None:
        if not 0 <= n < MAX_DOMAIN:
            raise OrderError(
                f"cannot permute {n:,} places for {context!r}: the order is defined for 0 to "
                f"2**62 - 1 places. Split the source or the stage."
            )
        self.context = context
        self.n = n
        keys = round_keys(context)
        self._network = _Sorted(keys[0], n) if n <= SORT_LIMIT else _Feistel(keys, n)

    def forward(self, x: U64Array | Sequence[int] | int) -> U64Array:
        """Map places to values: any shape of integers in [0, n) → uint64 of the same shape."""
        places = self._inside(x)
        return self._network.forward(places.ravel()).reshape(places.shape)

    def inverse(self, y: U64Array | Sequence[int] | int) -> U64Array:
        """Map values back to places: `inverse(forward(x)) == x`; uint64 of the same shape."""
        values = self._inside(y)
        return self._network.inverse(values.ravel()).reshape(values.shape)

    def at(self, i: int) -> int:
        """Value at place i."""
        return int(self.forward(i))

    def find(self, y: int) -> int:
        """Place of value y."""
        return int(self.inverse(y))

    def _inside(self, x: U64Array | Sequence[int] | int) -> U64Array:
        try:
            places = np.asarray(x, np.uint64)
        except OverflowError:
            raise OrderError(f"{x!r} is outside [0, {self.n:,}) of {self.context!r}") from None
        if places.size and int(places.max()) >= self.n:
            raise OrderError(
                f"{int(places.max()):,} is outside [0, {self.n:,}) of {self.context!r}"
            )
        return places


def round_keys(context: Context) -> list[int]:
    """Twelve 64-bit keys of a context: SplitMix64, seeded with blake2b-64 of its parts.

    Parts are joined by U+001F, integers in decimal.
    """
    joined = "\x1f".join(map(str, context)).encode()
    digest = blake2b(joined, digest_size=8, person=b"dolmix-ord-v1").digest()
    z = int.from_bytes(digest, "little")
    counters = [(z + (i + 1) * _GOLDEN) & _MASK for i in range(ROUNDS)]
    return [int(key) for key in _finalise(np.array(counters, np.uint64))]


class _Sorted:
    """PERM_SORT: the stable argsort of one keyed pseudo-random number a place."""

    def __init__(self, key: int, n: int) -> None:
        counters = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(_GOLDEN) + np.uint64(key)
        self._values = np.argsort(_finalise(counters), kind="stable").astype(np.uint64)

    @cached_property
    def _places(self) -> U64Array:
        places = np.empty_like(self._values)
        places[self._values] = np.arange(places.size, dtype=np.uint64)
        return places

    def forward(self, x: U64Array) -> U64Array:
        return self._values[x]

    def inverse(self, y: U64Array) -> U64Array:
        return self._places[y]


class _Feistel:
    """PERM_GF12: twelve rounds on (q, r) with x = q*a + r, walked until the value is below n."""

    def __init__(self, keys: list[int], n: int) -> None:
        a = isqrt(n - 1) + 1
        self._n = np.uint64(n)
        self._a, self._b = np.uint64(a), np.uint64(-(-n // a))
        self._keys = [np.uint64(key) for key in keys]

    def forward(self, x: U64Array) -> U64Array:
        return self._walk(x, back=False)

    def inverse(self, y: U64Array) -> U64Array:
        return self._walk(y, back=True)

    def _walk(self, x: U64Array, *, back: bool) -> U64Array:
        y = np.empty_like(x)
        for start in range(0, x.size, CHUNK):
            y[start : start + CHUNK] = self._rounds(x[start : start + CHUNK], back=back)
        outside = np.flatnonzero(y >= self._n)  # fewer than one in sqrt(n)
        while outside.size:
            y[outside] = self._rounds(y[outside], back=back)
            outside = outside[y[outside] >= self._n]
        return y

    def _rounds(self, x: U64Array, *, back: bool) -> U64Array:
        q, r = np.divmod(x, self._a)
        h, t = np.empty_like(q), np.empty_like(q)
        for i in reversed(range(ROUNDS)) if back else range(ROUNDS):
            side, other, size = (r, q, self._a) if i % 2 == 0 else (q, r, self._b)
            _round_function(other, self._keys[i], size, (h, t))
            # size < 2**63: of a sum and its reduced twin, the smaller (mod 2**64) is the residue
            if back:
                side -= h
                np.add(side, size, out=t)
            else:
                side += h
                np.subtract(side, size, out=t)
            np.minimum(side, t, out=side)
        q *= self._a
        q += r
        return q


def _round_function(
    s: U64Array, key: np.uint64, size: np.uint64, scratch: tuple[U64Array, U64Array]
) -> None:
    """F(s, key, size) into scratch[0]: uint64 in [0, size)."""
    h, t = scratch
    np.bitwise_xor(s, key, out=h)
    h *= _C
    np.right_shift(h, _HALF, out=t)
    h ^= t
    h *= _C
    h >>= _HALF
    h *= size
    h >>= _HALF


def _finalise(x: U64Array) -> U64Array:
    """SplitMix64's finaliser, in place."""
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    return x
