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
from itertools import pairwise
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
SHORT = 2048
"""Runs below this many places are worked on together where there are several."""
CHUNK = 16_384
"""Values worked on at a time: two halves and two scratch arrays of 128 KiB stay in cache."""

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_MULTIPLIER = 0xD6E8FEB86659FD93
_C = np.uint64(_MULTIPLIER)
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
        self._inside(i)
        return self._network.at(i)

    def find(self, y: int) -> int:
        """Place of value y."""
        self._inside(y)
        return self._network.find(y)

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


def forward_groups(orders: Sequence[Permutation], sizes: Sequence[int], x: U64Array) -> U64Array:
    """Map many runs of places at once, each by its own permutation; as `forward` for each run.

    sizes   places of each run, sum (m,)
    x       (m,) uint64, the runs end to end, each within its permutation

    Short runs share the rounds of their networks, so that a run of fifty places costs no more than
    its part of fifty.
    """
    values = np.empty_like(x)
    networks, taken = [], []
    for order, (start, stop) in zip(orders, pairwise([0, *np.cumsum(sizes).tolist()]), strict=True):
        network = order._network  # noqa: SLF001 - its own module
        if isinstance(network, _Feistel) and stop - start < SHORT:
            networks.append(network)
            taken.append((start, stop))
        else:
            values[start:stop] = network.forward(x[start:stop])
    which = np.repeat(np.arange(len(taken)), [stop - start for start, stop in taken])
    if which.size == x.size:
        return _walk_groups(networks, which, x) if networks else values
    if networks:
        rows = np.concatenate([np.arange(start, stop) for start, stop in taken])
        values[rows] = _walk_groups(networks, which, x[rows])
    return values


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
        self._key, self._n = np.uint64(key), n

    def _draw(self) -> U64Array:
        counters = np.arange(1, self._n + 1, dtype=np.uint64)
        return _finalise(counters * np.uint64(_GOLDEN) + self._key)

    @cached_property
    def _drawn(self) -> U64Array:
        return self._draw()

    @cached_property
    def _values(self) -> NDArray[np.uint16]:
        return np.argsort(self._draw(), kind="stable").astype(np.uint16)

    @cached_property
    def _places(self) -> NDArray[np.uint16]:
        places = np.empty_like(self._values)
        places[self._values] = np.arange(self._n, dtype=np.uint16)
        return places

    def forward(self, x: U64Array) -> U64Array:
        return self._values[x].astype(np.uint64)

    def inverse(self, y: U64Array) -> U64Array:
        return self._places[y].astype(np.uint64)

    def at(self, i: int) -> int:
        return int(self._values[i])

    def find(self, y: int) -> int:
        """Count what sorts before y: no need to sort for one value."""
        mine = self._drawn[y]
        earlier = np.count_nonzero(self._drawn < mine)
        return int(earlier + np.count_nonzero(self._drawn[:y] == mine))


class _Feistel:
    """PERM_GF12: twelve rounds on (q, r) with x = q*a + r, walked until the value is below n."""

    def __init__(self, keys: list[int], n: int) -> None:
        a = isqrt(n - 1) + 1
        self.n, self.sides, self.keys = n, (a, -(-n // a)), keys
        self.row = np.array([n, *self.sides, *keys], np.uint64)
        self._sides = (self.row[1], self.row[2])
        self._keys = list(self.row[3:])

    def forward(self, x: U64Array) -> U64Array:
        return self._walk(x, back=False)

    def inverse(self, y: U64Array) -> U64Array:
        return self._walk(y, back=True)

    def at(self, i: int) -> int:
        return self._walk_one(i, back=False)

    def find(self, y: int) -> int:
        return self._walk_one(y, back=True)

    def _walk(self, x: U64Array, *, back: bool) -> U64Array:
        y = np.empty_like(x)
        for start in range(0, x.size, CHUNK):
            chunk = x[start : start + CHUNK]
            y[start : start + CHUNK] = _rounds(chunk, self._sides, self._keys, back=back)
        n = np.uint64(self.n)
        outside = np.flatnonzero(y >= n)  # fewer than one in sqrt(n)
        while outside.size:
            y[outside] = _rounds(y[outside], self._sides, self._keys, back=back)
            outside = outside[y[outside] >= n]
        return y

    def _walk_one(self, x: int, *, back: bool) -> int:
        """Walk with plain integers: for one value ten times faster than arrays of one."""
        a, b = self.sides
        while True:
            q, r = divmod(x, a)
            for i in reversed(range(ROUNDS)) if back else range(ROUNDS):
                if i % 2 == 0:
                    h = _round_value(q, self.keys[i], a)
                    r = (r - h if back else r + h) % a
                else:
                    h = _round_value(r, self.keys[i], b)
                    q = (q - h if back else q + h) % b
            x = q * a + r
            if x < self.n:
                return x


def _walk_groups(networks: Sequence[_Feistel], which: NDArray[np.int64], x: U64Array) -> U64Array:
    """Map places forward, each by the network that `which` names."""
    table = np.array([network.row for network in networks], np.uint64).T
    n, a, b, *keys = table.take(which, axis=1)
    y = _rounds(x, (a, b), keys, back=False)
    outside = np.flatnonzero(y >= n)
    while outside.size:
        sides, some = (a[outside], b[outside]), [key[outside] for key in keys]
        y[outside] = _rounds(y[outside], sides, some, back=False)
        outside = outside[y[outside] >= n[outside]]
    return y


def _rounds(
    x: U64Array,
    sides: tuple[U64Array | np.uint64, U64Array | np.uint64],
    keys: Sequence[U64Array | np.uint64],
    *,
    back: bool,
) -> U64Array:
    """Apply the twelve rounds once; sides (a, b) and each key are one for all or one a value."""
    q, r = np.divmod(x, sides[0])
    h, t = np.empty_like(q), np.empty_like(q)
    for i in reversed(range(ROUNDS)) if back else range(ROUNDS):
        side, other, size = (r, q, sides[0]) if i % 2 == 0 else (q, r, sides[1])
        _round_function(other, keys[i], size, (h, t))
        # size < 2**63: of a sum and its reduced twin, the smaller (mod 2**64) is the residue
        if back:
            side -= h
            np.add(side, size, out=t)
        else:
            side += h
            np.subtract(side, size, out=t)
        np.minimum(side, t, out=side)
    q *= sides[0]
    q += r
    return q


def _round_value(s: int, key: int, size: int) -> int:
    """F(s, key, size) for one value."""
    h = (s ^ key) * _MULTIPLIER & _MASK
    h ^= h >> 32
    return ((h * _MULTIPLIER & _MASK) >> 32) * size >> 32


def _round_function(
    s: U64Array,
    key: U64Array | np.uint64,
    size: U64Array | np.uint64,
    scratch: tuple[U64Array, U64Array],
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
