"""What a window of steps holds: shares against their targets, repeats, documents, epochs.

The window is walked through once, in pieces of bounded size; besides them a bit is held for each
instance and each document of the stores.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dolmix.config import Schema
from dolmix.mix import Lock
from dolmix.order.batches import Batches
from dolmix.order.interleave import I64Array
from dolmix.order.lookup import Order, Places
from dolmix.order.opening import Locked, open_batches
from dolmix.order.pieces import Marks, pieces_of
from dolmix.order.window import parse_steps

CHUNK = 1 << 17
"""Instances walked through at a time; a multiple of 8."""


class StageStats(Schema):
    """The part of a stage that lies in the window."""

    name: str
    first_step: int
    last_step: int
    instances: int


class SourceStats(Schema):
    """What a source gives to the window."""

    instances: int
    tokens: int
    """Inputs: instances times L."""
    share: float
    """Of the window's instances, in [0, 1]."""
    target_share: float
    """What the lock's quotas of the window's stages ask for, in [0, 1]; a ledger changes what is
    drawn, not this."""
    unique_instances: int
    repeats: int
    """Instances that the window draws again, having drawn them before."""
    unique_documents: int
    """Documents with a token in the window, as input or as label."""
    documents: int
    """Documents in the store."""
    epochs: float
    """Passes over the source within the window: instances over those that the source has."""
    first_epoch: int | None
    """Lowest epoch drawn from; None where nothing is drawn. `reuse` stages count their own."""
    last_epoch: int | None
    """Highest epoch drawn from."""


class WindowStats(Schema):
    """What a window of steps holds."""

    first_step: int
    last_step: int
    instances: int
    tokens: int
    unique_documents: int
    stages: tuple[StageStats, ...]
    sources: dict[str, SourceStats]
    """By name; every source of the mix."""


def window_stats(
    lock: Locked, steps: str | None = None, *, ledger: str | Path | None = None
) -> WindowStats:
    """Count what the steps `a:b`, by default all, hold.

    Raises OrderError for a window outside the order, and as `Batches` for stores.
    """
    with open_batches(lock, ledger) as batches:
        order, length = batches.order, batches.lock.order.sequence_length
        window = parse_steps(steps, order.num_steps)
        start, stop = (order.schedule.offset(step - 1) for step in (window.start, window.stop))
        tallies = [_Tally(batches, index) for index in range(len(order.sources))]
        for low in range(start, stop, CHUNK):
            places = order.places(low, min(low + CHUNK, stop))
            for source in np.unique(places.source).tolist():
                tallies[source].add(places, np.flatnonzero(places.source == source))
        stages = tuple(_stages(order, start, stop))
        targets = _targets(batches.lock, stages)
        sources = {
            name: tally.stats(stop - start, targets[name], length)
            for name, tally in zip(order.sources, tallies, strict=True)
        }
    return WindowStats(
        first_step=window.start,
        last_step=window.stop - 1,
        instances=stop - start,
        tokens=(stop - start) * length,
        unique_documents=sum(stats.unique_documents for stats in sources.values()),
        stages=stages,
        sources=sources,
    )


class _Tally:
    """What a source has given so far."""

    def __init__(self, batches: Batches, index: int) -> None:
        self._instances = batches.instances[index]
        self._documents = batches.stores[index].num_documents
        self._drawn = Marks(len(self._instances))
        self._count = 0
        self._epochs: list[int] = []

    def add(self, places: Places, rows: I64Array) -> None:
        """Count the places of this source, given by row."""
        self._drawn.add(places.instance[rows])
        self._count += len(rows)
        epochs = places.epoch[rows]
        known = [*self._epochs, int(epochs.min()), int(epochs.max())]
        self._epochs = [min(known), max(known)]

    def stats(self, total: int, target_share: float, length: int) -> SourceStats:
        """Sum up, in a window of `total` instances of `length` tokens."""
        unique = len(self._drawn)
        first, last = self._epochs or (None, None)
        return SourceStats(
            instances=self._count,
            tokens=self._count * length,
            share=self._count / total,
            target_share=target_share,
            unique_instances=unique,
            repeats=self._count - unique,
            unique_documents=self._unique_documents(),
            documents=self._documents,
            epochs=self._count / max(len(self._instances), 1),
            first_epoch=first,
            last_epoch=last,
        )

    def _unique_documents(self) -> int:
        seen = Marks(self._documents)
        for numbers in self._drawn.slices(CHUNK):
            seen.add(pieces_of(self._instances, numbers).document)
        return len(seen)


def _stages(order: Order, start: int, stop: int) -> Iterator[StageStats]:
    """Yield the stages that the places [start, stop) touch, and how much of each."""
    first, schedule = 0, order.schedule
    for stage in order.spec.stages:
        low, high = max(first, start), min(first + stage.instances, stop)
        first += stage.instances
        if low < high:
            yield StageStats(
                name=stage.name,
                first_step=schedule.step_of(low),
                last_step=schedule.step_of(high - 1),
                instances=high - low,
            )


def _targets(lock: Lock, stages: Sequence[StageStats]) -> dict[str, float]:
    """Share that each source should have of a window, by the quotas of its stages."""
    known = {stage.name: stage for stage in lock.order.stages}
    total = sum(part.instances for part in stages)
    return {
        source: sum(
            part.instances * known[part.name].quotas[source] / known[part.name].instances
            for part in stages
        )
        / total
        for source in lock.order.sources
    }
