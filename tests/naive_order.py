"""Plain-Python twins of the order: one instance at a time, straight from docs/order.md.

Slow and scalar on purpose. Nothing here comes from dolmix, so that agreement means something.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from hashlib import blake2b
from math import isqrt
from typing import NamedTuple

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def finalise(x: int) -> int:
    """SplitMix64's finaliser."""
    x ^= x >> 30
    x = x * 0xBF58476D1CE4E5B9 & MASK
    x ^= x >> 27
    x = x * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def keys(context: tuple[str | int, ...]) -> list[int]:
    """Twelve keys of a context."""
    joined = "\x1f".join(str(part) for part in context).encode("utf-8")
    z = int.from_bytes(blake2b(joined, digest_size=8, person=b"dolmix-ord-v1").digest(), "little")
    return [finalise(z + (i + 1) * GOLDEN & MASK) for i in range(12)]


def round_function(s: int, key: int, m: int) -> int:
    """F(s, k, m)."""
    c = 0xD6E8FEB86659FD93
    h = (s ^ key) * c & MASK
    h ^= h >> 32
    h = (h * c & MASK) >> 32
    return (h * m & MASK) >> 32


def sorted_permutation(context: tuple[str | int, ...], n: int) -> list[int]:
    """PERM_SORT as a whole table; Python's sort is stable."""
    key = keys(context)[0]
    values = [finalise(key + (i + 1) * GOLDEN & MASK) for i in range(n)]
    return sorted(range(n), key=values.__getitem__)


def feistel(context: tuple[str | int, ...], n: int, x: int) -> int:
    """PERM_GF12 at x."""
    round_keys = keys(context)
    a = isqrt(n) if isqrt(n) ** 2 == n else isqrt(n) + 1
    b = n // a + (n % a > 0)
    while True:
        q, r = divmod(x, a)
        for i in range(12):
            if i % 2 == 0:
                r = (r + round_function(q, round_keys[i], a)) % a
            else:
                q = (q + round_function(r, round_keys[i], b)) % b
        x = q * a + r
        if x < n:
            return x


def permute(context: tuple[str | int, ...], n: int, x: int) -> int:
    """dolmix-perm-1 at x."""
    return sorted_permutation(context, n)[x] if n <= 65536 else feistel(context, n, x)


def counts(k: int, size: int, quotas: Sequence[int]) -> list[int]:
    """c_s(k) for the sources in name order."""
    out, current, rest = [], k, size
    for quota in quotas:
        following = current * (rest - quota) // rest if rest else 0
        out.append(current - following)
        current, rest = following, rest - quota
    return out


class NaiveStage(NamedTuple):
    """A stage: name, size, kind, quotas by name."""

    name: str
    size: int
    order: str
    quotas: Mapping[str, int]


def instance_at(
    stages: Sequence[NaiveStage], supply: Mapping[str, int], k: int, *, seed: int, block: int
) -> tuple[str, int, int]:
    """(source, epoch, instance) of the k-th instance of the whole run."""
    earlier: list[NaiveStage] = []
    for stage in stages:
        if k < stage.size:
            break
        k -= stage.size
        earlier.append(stage)
    names = sorted(supply)
    quotas = [stage.quotas[s] for s in names]
    number = k // block
    start, stop = number * block, min((number + 1) * block, stage.size)
    slot = permute((seed, "block", stage.name, number), stop - start, k - start)
    before, after = counts(start, stage.size, quotas), counts(stop, stage.size, quotas)
    n = 0
    while slot >= after[n] - before[n]:
        slot -= after[n] - before[n]
        n += 1
    name = names[n]
    reuse = stage.order == "reuse"
    offset = 0 if reuse else sum(e.quotas[name] for e in earlier if e.order == "fresh")
    epoch, i = divmod(offset + before[n] + slot, supply[name])
    tail = ("reuse", stage.name, name, epoch) if reuse else ("source", name, epoch)
    return name, epoch, permute((seed, *tail), supply[name], i)


def hamilton(total: int, weights: Mapping[str, Fraction]) -> dict[str, int]:
    """Floors, then one at a time to the largest remainder, the first by name among equals."""
    whole = sum(weights.values())
    ideal = {s: Fraction(total) * weights[s] / whole for s in sorted(weights)}
    quotas = {s: ideal[s].numerator // ideal[s].denominator for s in ideal}
    while sum(quotas.values()) < total:
        best = max(ideal[s] - quotas[s] for s in ideal)
        quotas[next(s for s in ideal if ideal[s] - quotas[s] == best)] += 1
    return quotas


def batch_of(step: int, phases: Sequence[tuple[int, int]]) -> int:
    """Instances of a step; phases are (from_step, instances)."""
    return [size for first, size in phases if first <= step][-1]


def windowed(context: tuple[str | int, ...], n: int, chunk: int, chunks: int) -> list[int]:
    """Table of the windowed permutation: lay permuted chunks out, then permute by window."""
    seed, *purpose = context
    parts = [list(range(start, min(start + chunk, n))) for start in range(0, n, chunk)]
    count = len(parts)
    laid = [parts[p] for p in sorted_permutation((seed, "chunks", *purpose), count)]
    out: list[int] = []
    for number, first in enumerate(range(0, count, chunks)):
        values = [value for part in laid[first : first + chunks] for value in part]
        where = (seed, "window", number, *purpose)
        out += [values[p] for p in sorted_permutation(where, len(values))]
    return out


class NaiveRecord(NamedTuple):
    """A ledger's record, as far as it decides."""

    stage: str
    from_block: int
    quotas: Mapping[str, int]


def run_with_ledger(
    stages: Sequence[NaiveStage],
    supply: Mapping[str, int],
    records: Sequence[NaiveRecord],
    *,
    seed: int,
    block: int,
) -> list[tuple[str, int, int]]:
    """Every (source, epoch, instance) of a run, walked block by block with counters."""
    names, out = sorted(supply), []
    fresh = dict.fromkeys(names, 0)
    for stage in stages:
        given = dict.fromkeys(names, 0) if stage.order == "reuse" else fresh
        base = 0
        quotas = dict(stage.quotas)
        for number in range(-(-stage.size // block)):
            for record in records:
                if (record.stage, record.from_block) == (stage.name, number):
                    base, quotas = number * block, dict(record.quotas)
            start, stop = number * block, min((number + 1) * block, stage.size)
            listed = [quotas[s] for s in names]
            before = counts(start - base, stage.size - base, listed)
            after = counts(stop - base, stage.size - base, listed)
            slots = [
                (s, given[s] + j) for n, s in enumerate(names) for j in range(after[n] - before[n])
            ]
            context = (seed, "block", stage.name, number)
            for slot in sorted_permutation(context, stop - start):
                name, ordinal = slots[slot]
                epoch, i = divmod(ordinal, supply[name])
                reuse = ("reuse", stage.name, name, epoch)
                tail = reuse if stage.order == "reuse" else ("source", name, epoch)
                out.append((name, epoch, permute((seed, *tail), supply[name], i)))
            for n, s in enumerate(names):
                given[s] += after[n] - before[n]
    return out
