"""Which instance trains when, and when an instance trains.

`Order` maps (step, place) to (source, epoch, instance) and back. It holds no state: any batch
follows from the lock alone, so resuming is choosing a step, and the number of ranks never changes a
batch. Pure integers; no store is opened. Normative: docs/order.md, sections 3, 4 and 6.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dolmix.errors import LedgerError, OrderError
from dolmix.mix import Ledger, LedgerRecord, Lock, OrderSpec, read_lock
from dolmix.mix.spec import did_you_mean
from dolmix.order.interleave import I64Array, StageOrder
from dolmix.order.olmo import OlmoStage


class Place(NamedTuple):
    """One time that an instance trains."""

    stage: str
    """Stage, by name."""
    step: int
    """Step, from 1."""
    place: int
    """Position in the step's batch, from 0."""
    k: int
    """Global number of the place: the k-th instance of the whole run, from 0."""
    epoch: int
    """Epoch of the source, or of the source within a `reuse` stage, from 0."""


@dataclass(frozen=True, eq=False)
class Places:
    """Consecutive places as columns; each (n,) int64."""

    k: I64Array
    """Global number of the place."""
    source: I64Array
    """Source, as index into `Order.sources`."""
    epoch: I64Array
    """Epoch of the source."""
    instance: I64Array
    """Instance of the source."""

    def __len__(self) -> int:
        return len(self.k)

    def of_rank(self, rank: int, world: int) -> "Places":
        """Select places rank, rank + world, ...: what one of `world` ranks takes.

        Raises OrderError if the ranks cannot share the places evenly, or there is no such rank.
        """
        if world < 1 or len(self) % world:
            raise OrderError(
                f"{world} ranks cannot share a batch of {len(self):,} instances evenly. Choose a "
                f"number of ranks that divides {len(self):,}, or resolve another batch_size."
            )
        if not 0 <= rank < world:
            raise OrderError(f"there is no rank {rank} among {world}: ranks are 0 to {world - 1}")
        rows = slice(rank, None, world)
        return Places(self.k[rows], self.source[rows], self.epoch[rows], self.instance[rows])


class Order:
    """The order of a locked mix, with the changes that a run's ledger made to it."""

    def __init__(self, spec: OrderSpec, records: Sequence[LedgerRecord] = ()) -> None:
        self.spec = spec
        self.records = tuple(records)
        """Records of the run's ledger; none where weights never change."""
        self.sources = tuple(sorted(spec.sources))
        """Source names; a place's `source` is an index into these."""
        self.num_steps = spec.num_steps
        self.num_instances = spec.num_instances
        self.schedule = spec.schedule
        self._stages: list[StageOrder | OlmoStage] = [
            OlmoStage(spec) if spec.versions.mix == "olmo" else StageOrder(spec, n, self.records)
            for n in range(len(spec.stages))
        ]
        self._starts = [0, *accumulate(stage.size for stage in self._stages)]

    def with_ledger(self, ledger: Ledger) -> "Order":
        """Return the order as the run's ledger changes it; steps already issued stay as they were.

        Raises LedgerError for the ledger of another order.
        """
        if ledger.order_hash != self.spec.hash:
            raise LedgerError(
                f"the ledger is of the order {ledger.order_hash}, not of {self.spec.hash}. Use the "
                f"lock that the run was started with."
            )
        return Order(self.spec, ledger.records)

    def open_block(self, step: int) -> tuple[str, int] | None:
        """Stage and number of the first block that steps 1..step have not touched.

        New weights can hold from there on; None where the stage has no such block. `step` is the
        last step that was issued, 0 before the first. Raises OrderError outside 0..num_steps.
        """
        name = self.stage_of(max(step, 1))
        number = next(n for n, stage in enumerate(self._stages) if stage.name == name)
        inside = self.schedule.offset(step) - self._starts[number]
        block = -(-inside // self.spec.block)
        return (name, block) if block * self.spec.block < self._stages[number].size else None

    def batch(self, step: int) -> Places:
        """Places of a step, in batch order. Raises OrderError outside 1..num_steps."""
        self.stage_of(step)
        return self.places(self.schedule.offset(step - 1), self.schedule.offset(step))

    def places(self, start: int, stop: int) -> Places:
        """Places [start, stop) of the whole run. Raises OrderError outside the order."""
        if not 0 <= start <= stop <= self.num_instances:
            raise OrderError(
                f"[{start:,}, {stop:,}) is not within the order's {self.num_instances:,} places"
            )
        parts = [(np.zeros(0, np.int64),) * 3]
        for first, stage in zip(self._starts, self._stages, strict=False):
            low, high = max(start - first, 0), min(stop - first, stage.size)
            if low < high:
                parts.append(stage.draw(low, high))
        source, epoch, instance = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Places(np.arange(start, stop, dtype=np.int64), source, epoch, instance)

    def find(self, source: str, instance: int) -> list[Place]:
        """Every place that trains an instance, in order of training; empty if none does.

        Raises OrderError for a source or an instance that the mix does not have.
        """
        index = self.source_index(source)
        supply = self.spec.sources[source].num_instances
        if not 0 <= instance < supply:
            raise OrderError(
                f"source {source!r} has {supply:,} instances, numbered from 0; {instance:,} is none"
            )
        found = []
        for first, stage in zip(self._starts, self._stages, strict=False):
            for k, epoch in sorted(stage.find(index, instance)):
                step = self.schedule.step_of(first + k)
                place = first + k - self.schedule.offset(step - 1)
                found.append(Place(stage.name, step, place, first + k, epoch))
        return found

    def stage_of(self, step: int) -> str:
        """Name of the stage of a step; a step is never of two. Raises OrderError as `batch`."""
        if not 1 <= step <= self.num_steps:
            raise OrderError(
                f"there is no step {step:,}: the order has steps 1 to {self.num_steps:,}"
            )
        k = self.schedule.offset(step - 1)
        return self._stages[bisect_right(self._starts, k) - 1].name

    def source_index(self, source: str) -> int:
        """Index of a source in `sources`. Raises OrderError for an unknown name."""
        if source not in self.sources:
            raise OrderError(f"unknown source {source!r}{did_you_mean(source, self.sources)}")
        return self.sources.index(source)


def open_order(lock: Lock | str | Path) -> Order:
    """Open the order of a lock, given as an object or as a file; opens no store."""
    return Order((lock if isinstance(lock, Lock) else read_lock(lock)).order)
