"""One stage's instances in order: place k ⇄ (source, epoch, instance), in closed form.

Normative: docs/order.md, sections 3 and 6 (`dolmix-mix-1`). Counts per source at the edges of a
block are exact integers; inside a block, places are permuted; within a source, epochs are permuted.
Nothing is stored: any range costs what its blocks cost, the inverse O(epochs log K).
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.mix import LedgerRecord, OrderSpec, Window, stage_counts
from dolmix.order.windowed import WindowedPermutation, groups
from dolmix.permute import Context, Permutation, U64Array, forward_groups

I64Array: TypeAlias = NDArray[np.int64]


class Block(NamedTuple):
    """A run of a stage's instances, [start, stop), and what each source has given at its edges."""

    number: int
    start: int
    stop: int
    before: list[int]
    after: list[int]


class StageOrder:
    """Order of one stage. `k` counts the stage's instances from 0; sources go by index, by name.

    The records of a ledger change the quotas of the stages that they name, and with them where
    later fresh stages go on in each source.
    """

    def __init__(self, spec: OrderSpec, stage: int, records: Sequence[LedgerRecord] = ()) -> None:
        this = spec.stages[stage]
        self.name, self.size = this.name, this.instances
        self._seed, self._block, self._reuse = spec.seed, spec.block, this.order == "reuse"
        self._window = spec.window
        self._names = sorted(spec.sources)
        self._supply = [spec.sources[s].num_instances for s in self._names]
        self._counts = stage_counts(spec, stage, records)
        self._totals = self._counts.totals
        fresh = [n for n in range(stage) if spec.stages[n].order == "fresh"]
        given = [stage_counts(spec, n, records).totals for n in fresh if not self._reuse]
        self._first = [sum(column) for column in zip(*given, [0] * len(self._names), strict=True)]

    def counts(self, k: int) -> list[int]:
        """c_s(k): instances of each source among the first k; exact integers of any size."""
        return self._counts.at(k)

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
        edges = [self.counts(min(b * self._block, self.size)) for b in [*numbers, numbers.stop]]
        source, ordinal = np.empty((2, stop - start), np.int64)
        for number, (before, after) in zip(numbers, pairwise(edges), strict=True):
            first = number * self._block
            block = Block(number, first, min(first + self._block, self.size), before, after)
            low, high = max(start, block.start), min(stop, block.stop)
            rows = slice(low - start, high - start)
            source[rows], ordinal[rows] = self._draw_block(block, low, high)
        epoch, position = np.divmod(ordinal, np.array(self._supply, np.int64)[source])
        return source, epoch, self._instances(source, epoch, position)

    def find(self, source: int, instance: int) -> Iterator[tuple[int, int]]:
        """Places of an instance of a source: (k, epoch), each once, by epoch."""
        first, quota, supply = self._first[source], self._totals[source], self._supply[source]
        if not quota:
            return
        for epoch in range(first // supply, (first + quota - 1) // supply + 1):
            position = self._epoch(source, epoch).find(instance)
            drawn = epoch * supply + position - first
            if 0 <= drawn < quota:
                yield self._place(source, drawn), epoch

    def _draw_block(self, block: Block, low: int, high: int) -> tuple[I64Array, I64Array]:
        """Return sources and ordinals of the block's places [low, high) of the stage."""
        before = np.array(block.before, np.int64)
        taken = np.array(block.after, np.int64) - before
        source = np.repeat(np.arange(taken.size), taken)
        ordinal = np.arange(block.stop - block.start) + np.repeat(
            np.array(self._first, np.int64) + before - (np.cumsum(taken) - taken), taken
        )
        places = np.arange(low - block.start, high - block.start, dtype=np.uint64)
        slots = self._slots(block).forward(places)
        return source[slots], ordinal[slots]

    def _instances(self, source: I64Array, epoch: I64Array, position: I64Array) -> I64Array:
        """Instance at each position of a source's epoch; one permutation an epoch."""
        if not len(source):
            return position
        first = int(epoch.min())
        span = int(epoch.max()) - first + 1
        # few groups are told apart by a radix sort
        small = np.uint16 if len(self._names) * span <= 1 << 16 else np.int64
        found = list(groups((source * span + (epoch - first)).astype(small)))
        rows = np.concatenate([rows for _, rows in found])
        places = position[rows].astype(np.uint64)
        orders = [self._epoch(group // span, first + group % span) for group, _ in found]
        instance = np.empty_like(position)
        instance[rows] = _forward(orders, [len(rows) for _, rows in found], places)
        return instance

    def _place(self, source: int, drawn: int) -> int:
        """Place of the instance that is the stage's `drawn`-th of its source."""
        low, high = self._counts.span(source, drawn)
        first = low // self._block
        blocks = range(first, high // self._block + 1)
        reached = bisect_right(
            blocks, drawn, key=lambda b: self._counts.of(source, b * self._block)
        )
        block = self.block(first + reached - 1)
        taken = [a - b for a, b in zip(block.after, block.before, strict=True)]
        slot = sum(taken[:source]) + drawn - block.before[source]
        return block.start + self._slots(block).find(slot)

    def _slots(self, block: Block) -> Permutation:
        context = (self._seed, "block", self.name, block.number)
        return _block_permutation(context, block.stop - block.start)

    def _epoch(self, source: int, epoch: int) -> Permutation | WindowedPermutation:
        name = self._names[source]
        context: Context = (self._seed, "source", name, epoch)
        if self._reuse:
            context = (self._seed, "reuse", self.name, name, epoch)
        return _epoch_permutation(context, self._supply[source], self._window)


def _forward(
    orders: Sequence[Permutation | WindowedPermutation], sizes: Sequence[int], places: U64Array
) -> U64Array:
    """Map runs of places end to end, each by its own permutation."""
    plain = [order for order in orders if isinstance(order, Permutation)]
    if len(plain) == len(orders):
        return forward_groups(plain, sizes, places)
    edges = pairwise(accumulate(sizes, initial=0))
    runs = [order.forward(places[a:b]) for order, (a, b) in zip(orders, edges, strict=True)]
    return np.concatenate(runs)


@lru_cache(maxsize=512)
def _epoch_permutation(
    context: Context, n: int, window: Window | None
) -> Permutation | WindowedPermutation:
    return Permutation(context, n) if window is None else WindowedPermutation(context, n, window)


@lru_cache(maxsize=64)
def _block_permutation(context: Context, n: int) -> Permutation:
    return Permutation(context, n)
