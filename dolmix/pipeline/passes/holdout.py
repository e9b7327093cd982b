"""The held-out pass: which surviving documents are kept from training, whole clusters together.

One task over all parts. A document's key is a hash of the seed, its source and its id; a cluster's
key is the smallest key of its members, so that neither depends on the order of anything. Clusters
are taken in the order of their mixed keys: of a source with `frac: x` those below x of the range,
of one with `documents: n` as many as hold n of its documents. A cluster is taken whole, from all
sources at once; one with a survivor in a source that holds nothing out is never taken. Without a
dedup step every document is a cluster of its own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from hashlib import blake2b
from typing import TYPE_CHECKING, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dolmix.document import BoolArray, I64Array, U64Array
from dolmix.errors import DataError
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.plan import Task
from dolmix.text.hashes import name_hashes

if TYPE_CHECKING:
    from pathlib import Path

PERSON = b"dolmix-holdout1"
RANGE = 1 << 64


def choose_held_out(context: TaskContext) -> TaskResult:
    """Write, for every part of a source that holds documents out, which of its survivors they are.

    Raises DataError if a source has not the documents asked for.
    """
    clusters = _Clusters.read(context)
    limits = {
        source: _limit(context, source, clusters)
        for source, settings in context.plan.pipeline.sources.items()
        if settings.holdout is not None
    }
    clusters.take(limits)
    outputs: dict[str, Path] = {}
    counts = dict.fromkeys(limits, 0)
    for part in _parts(context, list(limits)):
        held = np.flatnonzero(clusters.held(part, limits[part.source]))
        counts[part.source] += len(held)
        name = f"{part.number:05d}-{context.task.key[:12]}.npy"
        path = context.run / "work" / "holdout" / part.source / name
        with commit.new_file(path) as attempt, attempt.open("wb") as file:
            np.save(file, held)
        outputs[f"{part.source}/{part.number:05d}"] = path
    counted = {"documents": sum(counts.values()), "by_source": counts}
    return TaskResult(outputs, {**counted, "clusters": int(clusters.taken.sum())})


def held_out(context: TaskContext, part: int) -> I64Array:
    """(H,) int64: which survivors of a part of the task's source are held out, by number in it."""
    if context.source.holdout is None:
        return np.zeros(0, np.int64)
    key = context.plan.passes["holdout"][0].key
    path = context.book.output("holdout", key, f"{context.task.source}/{part:05d}")
    numbers: I64Array = np.load(path)
    return numbers


def mixed(keys: U64Array) -> U64Array:
    """(N,) uint64: keys in an order that has nothing to do with theirs (SplitMix64's finaliser).

    The smallest of many keys is small; what it is mixed to is as likely to be large.
    """
    mixing = keys.copy()
    mixing ^= mixing >> np.uint64(30)
    mixing *= np.uint64(0xBF58476D1CE4E5B9)
    mixing ^= mixing >> np.uint64(27)
    mixing *= np.uint64(0x94D049BB133111EB)
    mixing ^= mixing >> np.uint64(31)
    return mixing


def frac_limit(frac: float) -> int:
    """Largest mixed key that is below this share of the range: whole numbers from the decimal."""
    return max(0, int(Fraction(Decimal(repr(frac))) * RANGE) - 1)


@dataclass(frozen=True)
class _Part:
    """One part's survivors."""

    context: TaskContext
    source: str
    number: int

    @cached_property
    def _decided(self) -> tuple[pa.Table, BoolArray]:
        alive = self.context.reasons(final=True).is_null().to_numpy(zero_copy_only=False)
        return self.context.decisions(["record", "id"]), np.asarray(alive, np.bool_)

    @property
    def alive(self) -> BoolArray:
        """(documents of the part,) bool: it survived."""
        return self._decided[1]

    @property
    def records(self) -> I64Array:
        """(documents of the part,) int64, ascending."""
        records: I64Array = self._decided[0]["record"].to_numpy()
        return records

    def keys(self, rows: I64Array) -> U64Array:
        """Keys of documents, by their rows."""
        seed = str(self.context.plan.pipeline.seed)
        ids = self._decided[0]["id"].take(pa.array(rows)).to_pylist()
        start = blake2b(f"{seed}\x1f{self.source}\x1f".encode(), digest_size=8, person=PERSON)
        return name_hashes(ids, start)


def _parts(context: TaskContext, sources: list[str]) -> Iterator[_Part]:
    for source, number in context.all_parts():
        if source in sources:
            task = Task("holdout", f"{source}/{number:05d}", context.task.key, source, number)
            yield _Part(TaskContext(context.plan, task, context.report_path), source, number)


class _Clusters:
    """Documents that share a cluster with others, of all sources, part by part."""

    def __init__(self, members: dict[tuple[str, int], tuple[I64Array, I64Array]]) -> None:
        """Take, for every part, rows of its members within its decisions, and their clusters."""
        self._members = members
        roots = [roots for _, roots in members.values()]
        self._roots = np.unique(np.concatenate([np.zeros(0, np.int64), *roots]))
        self._keys = np.full(self._roots.size, RANGE - 1, np.uint64)
        self._sources: dict[str, BoolArray] = {}
        self.taken = np.zeros(self._roots.size, np.bool_)

    @classmethod
    def read(cls, context: TaskContext) -> Self:
        """Read what the cluster pass found, if the pipeline has one."""
        if not context.plan.pipeline.document_steps:
            return cls({})
        sources = list(context.plan.pipeline.sources)
        found = {}
        for part in _parts(context, sources):
            key = context.plan.passes["clusters"][0].key
            kind = f"clusters/{part.source}/{part.number:05d}"
            table = pq.read_table(context.book.output("clusters", key, kind))
            rows = np.searchsorted(part.records, table["record"].to_numpy())
            found[part.source, part.number] = rows, table["cluster"].to_numpy()
        clusters = cls(found)
        for part in _parts(context, sources):
            clusters._add(part)
        clusters._keys = mixed(clusters._keys)
        return clusters

    def _add(self, part: _Part) -> None:
        rows, roots = self._members[part.source, part.number]
        places = np.searchsorted(self._roots, roots)
        np.minimum.at(self._keys, places, part.keys(rows))
        here = self._sources.setdefault(part.source, np.zeros(self._roots.size, np.bool_))
        here[places[part.alive[rows]]] = True

    def order(self, part: _Part, with_holdout: set[str]) -> U64Array:
        """Mixed keys of the part's survivors that may be held out."""
        keys, places = self._keys_of(part)
        bound = np.zeros(self._roots.size + 1, np.bool_)  # the last stands for place -1
        for source, here in self._sources.items():
            if source not in with_holdout:
                bound[:-1] |= here
        return keys[~bound[places]]

    def take(self, limits: dict[str, int | None]) -> None:
        """Decide about every cluster, by the limits of the sources that it has survivors in."""
        possible = np.ones(self._roots.size, np.bool_)
        for source, here in self._sources.items():
            limit = limits.get(source)
            if source not in limits:
                possible &= ~here
            elif limit is not None:
                self.taken |= here & (self._keys <= np.uint64(limit))
        self.taken &= possible

    def held(self, part: _Part, limit: int | None) -> BoolArray:
        """(survivors of the part,) bool: it is held out."""
        keys, places = self._keys_of(part)
        alone = np.zeros(keys.size, np.bool_) if limit is None else keys <= np.uint64(limit)
        shared = places >= 0
        alone[shared] = self.taken[places[shared]]
        return alone

    def _keys_of(self, part: _Part) -> tuple[U64Array, I64Array]:
        """Mixed keys of the part's survivors, and the place of each one's cluster, -1 for none."""
        survivors = np.flatnonzero(part.alive)
        keys = mixed(part.keys(survivors))
        places = np.full(len(part.alive), -1, np.int64)
        if (part.source, part.number) in self._members:
            rows, roots = self._members[part.source, part.number]
            places[rows] = np.searchsorted(self._roots, roots)
        places = places[survivors]
        shared = np.flatnonzero(places >= 0)
        keys[shared] = self._keys[places[shared]]
        return keys, places


def _limit(context: TaskContext, source: str, clusters: _Clusters) -> int | None:
    """Largest mixed key that is held out of a source; None if it has no document."""
    holdout = context.plan.pipeline.sources[source].holdout
    assert holdout is not None
    if holdout.frac is not None:
        return frac_limit(holdout.frac)
    assert holdout.documents is not None
    count = holdout.documents
    others = {n for n, s in context.plan.pipeline.sources.items() if s.holdout is not None}
    smallest = np.zeros(0, np.uint64)
    survivors = free = 0
    for part in _parts(context, [source]):
        keys = clusters.order(part, others)
        survivors, free = survivors + int(part.alive.sum()), free + len(keys)
        smallest = np.concatenate([smallest, keys])
        if smallest.size > count:
            smallest = np.partition(smallest, count - 1)[:count]
    if survivors == 0:
        return None
    if free < count or survivors <= count:
        raise DataError(
            f"sources.{source}.holdout.documents is {count:,}, and of its {survivors:,} documents"
            f" {free:,} can be held out; some must stay to train on. Ask for fewer, or for a frac."
        )
    return int(smallest.max())
