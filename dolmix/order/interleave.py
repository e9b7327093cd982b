"""One stage's instances in order: place k ⇄ (source, epoch, instance), in closed form.

Normative: docs/order.md, section 3 (`dolmix-mix-1`). Counts per source at the edges of a block
are exact integers; inside a block, places are permuted; within a source, epochs are permuted.
Nothing is stored: any range costs what its blocks cost, the inverse O(epochs log K).
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.mix import OrderSpec
from dolmix.permute import Context, Permutation

I64Array: TypeAlias = NDArray[np.int64]


class Block(NamedTuple):
    """A run of a stage's instances, [start, stop), and what each source has given at its edges."""

    number: int
    start: int
    stop: int
    before: list[int]
    after: list[int]


class StageOrder:
    """Order of one stage. `k` counts the stage's instances from 0; sources go by index, by name."""

    def __init__(self, spec: OrderSpec, stage: int) -> None:
        this, earlier = spec.stages[stage], spec.stages[:stage]
        self.name, self.size = this.name, this.instances
        self._seed, self._block, self._reuse = spec.seed, spec.block, this.order == "reuse"
        self._names = sorted(spec.sources)
        self._supply = [spec.sources[s].num_instances for s in self._names]
        self._quotas = [this.quotas[s] for s in self._names]
        self._first = [
            0 if self._reuse else sum(e.quotas[s] for e in earlier if e.order == "fresh")
            for s in self._names
        ]

    def counts(self, k: int) -> list[int]:
        """c_s(k): instances of each source among the first k; exact integers of any size."""
        counts, left, rest = [], k, self.size
        for quota in self._quotas:
            after = left * (rest - quota) // rest if rest else 0
            counts.append(left - after)
            left, rest = after, rest - quota
        return counts

    def named_counts(self, k: int) -> dict[str, int]:
        """Return `counts(k)` by source name, sources without any left out."""
        return {s: n for s, n in zip(self._names, self.counts(k), strict=True) if n}

    def block(self, number: int) -> Block:
        """Return block b: [b*B, min((b+1)*B, K))."""
        start = number * self._block
        stop = min(start + self._block, self.size)
        return Block(number, start, stop, self.counts(start), self.counts(stop))

    def draw(self, start: int, stop: int) -> tuple[I64Array, I64Array, I64Array]:
        """Return sources, epochs, instances of places [start, stop), each (stop - start,) int64."""
        numbers = range(start // self._block, -(-stop // self._block))
        parts = [self._draw_block(self.block(b), start, stop) for b in numbers]
        empty = np.zeros(0, np.int64)
        source = np.concatenate([empty, *(part[0] for part in parts)])
        ordinal = np.concatenate([empty, *(part[1] for part in parts)])
        epoch, position = np.divmod(ordinal, np.array(self._supply, np.int64)[source])
        return source, epoch, self._instances(source, epoch, position)

    def find(self, source: int, instance: int) -> Iterator[tuple[int, int]]:
        """Places of an instance of a source: (k, epoch), each once, by epoch."""
        first, quota, supply = self._first[source], self._quotas[source], self._supply[source]
        if not quota:
            return
        for epoch in range(first // supply, (first + quota - 1) // supply + 1):
            position = self._epoch(source, epoch).find(instance)
            drawn = epoch * supply + position - first
            if 0 <= drawn < quota:
                yield self._place(source, drawn), epoch

    def _draw_block(self, block: Block, start: int, stop: int) -> tuple[I64Array, I64Array]:
        """Return sources and ordinals of the block's places within [start, stop)."""
        low, high = max(start, block.start), min(stop, block.stop)
        places = np.arange(low - block.start, high - block.start, dtype=np.uint64)
        slots = self._slots(block).forward(places).astype(np.int64)
        before = np.array(block.before, np.int64)
        ends = np.cumsum(np.array(block.after, np.int64) - before)
        source = np.searchsorted(ends, slots, side="right")
        starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
        offset = np.array(self._first, np.int64) + before - starts
        return source, slots + offset[source]

    def _instances(self, source: I64Array, epoch: I64Array, position: I64Array) -> I64Array:
        """Instance at each position of a source's epoch; one permutation call an epoch."""
        instance = np.empty_like(position)
        for s in np.unique(source).tolist():
            of_source = np.flatnonzero(source == s)
            for e in np.unique(epoch[of_source]).tolist():
                rows = of_source[epoch[of_source] == e]
                order = self._epoch(s, e)
                instance[rows] = order.forward(position[rows].astype(np.uint64)).astype(np.int64)
        return instance

    def _place(self, source: int, drawn: int) -> int:
        """Place of the instance that is the stage's `drawn`-th of its source."""
        blocks = range(-(-self.size // self._block))
        number = bisect_right(blocks, drawn, key=lambda b: self.counts(b * self._block)[source]) - 1
        block = self.block(number)
        taken = [a - b for a, b in zip(block.after, block.before, strict=True)]
        slot = sum(taken[:source]) + drawn - block.before[source]
        return block.start + self._slots(block).find(slot)

    def _slots(self, block: Block) -> Permutation:
        context = (self._seed, "block", self.name, block.number)
        return _block_permutation(context, block.stop - block.start)

    def _epoch(self, source: int, epoch: int) -> Permutation:
        name = self._names[source]
        context: Context = (self._seed, "source", name, epoch)
        if self._reuse:
            context = (self._seed, "reuse", self.name, name, epoch)
        return _epoch_permutation(context, self._supply[source])


@lru_cache(maxsize=64)
def _epoch_permutation(context: Context, n: int) -> Permutation:
    return Permutation(context, n)


@lru_cache(maxsize=64)
def _block_permutation(context: Context, n: int) -> Permutation:
    return Permutation(context, n)
