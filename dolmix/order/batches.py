"""From the order to tokens, and the proof of what was consumed.

`Batches` reads a step's rows from the stores that a lock pins: tokens, where documents begin in
them, which labels count. `row_digests` and `chain` fold the rows of all steps into one running
digest: who logs it proves, token for token, what was trained. Normative: docs/order.md, sections 4,
5 and 7.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.mix import Lock, read_lock
from dolmix.order.interleave import I64Array
from dolmix.order.lookup import Places, open_order
from dolmix.order.olmo import OlmoInstances
from dolmix.order.repeats import open_repeat_mask, repeats_in
from dolmix.shards import Store
from dolmix.shards.bits import Bits
from dolmix.shards.instances import Instances
from dolmix.shards.masks import open_loss_mask
from dolmix.shards.packs import open_instances
from dolmix.shards.prefetch import prefetched

U32Array: TypeAlias = NDArray[np.uint32]
I32Array: TypeAlias = NDArray[np.int32]
U8Array: TypeAlias = NDArray[np.uint8]
BoolArray: TypeAlias = NDArray[np.bool_]

DIGEST_BYTES = 16
CHAIN_START = bytes(DIGEST_BYTES)
"""chain_0, before the first step."""


@dataclass(frozen=True, eq=False)
class Rows:
    """One rank's rows of a step: n instances of L inputs and one more token."""

    places: Places
    """Where the rows stand in the order, and which instances they are."""
    tokens: U32Array
    """(n, L + 1) uint32: inputs are [:, :-1], labels [:, 1:]."""
    labels: BoolArray
    """(n, L) labels that count in the loss: no padding, no first token of a packed piece, and what
    the source's loss mask counts, if it has one."""
    repeats: BoolArray
    """(n,) rows that only repeat themselves, which a trainer leaves out of its loss by default."""
    start_rows: I64Array
    """(m,) row of each beginning of a document (or of padding) among the inputs, ascending."""
    starts: I64Array
    """(m,) its place in the row, from 0; every row begins with a 0."""

    def __len__(self) -> int:
        return len(self.tokens)

    def boundaries(self, start: int = 0, stop: int | None = None) -> I32Array:
        """Where documents begin among the inputs of rows [start, stop), laid end to end.

        returns  (m + 1,) int32   from 0, rising, to (stop - start) * L: `cu_seqlens` of attention
                                  that keeps documents apart
        """
        stop = len(self) if stop is None else stop
        length = self.tokens.shape[1] - 1
        low, high = np.searchsorted(self.start_rows, (start, stop))
        begins = (self.start_rows[low:high] - start) * length + self.starts[low:high]
        return np.append(begins, (stop - start) * length).astype(np.int32)


class Batches:
    """Token rows by step, for any rank of any number of ranks. Closes its stores when left.

    Raises LockError if a store's content is not the locked one, StoreError if there is none.
    """

    def __init__(self, lock: Lock | str | Path) -> None:
        self.lock = lock if isinstance(lock, Lock) else read_lock(lock)
        self.order = open_order(self.lock)
        self.stores = [self.lock.open_store(name) for name in self.order.sources]
        opened = list(zip(self.order.sources, self.stores, strict=True))
        self.instances = [_instances(self.lock, name, store) for name, store in opened]
        self._loss = [_loss_mask(self.lock, name, store) for name, store in opened]
        self._repeats = [open_repeat_mask(instances) for instances in self.instances]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def num_steps(self) -> int:
        """Steps of the order."""
        return self.order.num_steps

    def close(self) -> None:
        """Close the stores."""
        for store in self.stores:
            store.close()

    def places(self, step: int) -> Places:
        """Places of a step, all ranks. Raises OrderError outside 1..num_steps."""
        return self.order.batch(step)

    def tokens(self, step: int, rank: int = 0, world: int = 1) -> U32Array:
        """Rows of a step that a rank takes: (batch / world, L + 1) uint32, in batch order.

        The last token of a row is only a label. Raises OrderError outside 1..num_steps, or where
        the ranks cannot share the batch evenly.
        """
        places = self.places(step).of_rank(rank, world)
        rows = np.empty((len(places), self.lock.order.sequence_length + 1), np.uint32)
        for source, of_source in _by_source(places):
            self.instances[source].read(places.instance[of_source], rows, of_source)
        return rows

    def rows(self, step: int, rank: int = 0, world: int = 1) -> Rows:
        """Rows of a step that a rank takes, with boundaries and masks. Raises as `tokens`."""
        places = self.places(step).of_rank(rank, world)
        size, length = len(places), self.lock.order.sequence_length
        tokens = np.empty((size, length + 1), np.uint32)
        labels, repeated = np.ones((size, length), np.bool_), np.zeros(size, np.bool_)
        begins = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        for source, rows in _by_source(places):
            instances, numbers = self.instances[source], places.instance[rows]
            instances.read(numbers, tokens, rows)
            labels[rows] = self._labels(source, numbers)
            flags = self._repeats[source]
            repeated[rows] = (
                repeats_in(instances, numbers, tokens[rows]) if flags is None else flags.at(numbers)
            )
            row, at = instances.starts(numbers)
            begins.append((rows[row[at < length]], at[at < length]))
        row, at = (np.concatenate(column) for column in zip(*begins, strict=True))
        order = np.argsort(row, kind="stable")
        return Rows(places, tokens, labels, repeated, row[order], at[order])

    def read_ahead(
        self,
        steps: Iterable[int],
        rank: int = 0,
        world: int = 1,
        *,
        depth: int = 2,
        threads: int = 1,
    ) -> Iterator[Rows]:
        """Yield the rows of steps in turn, up to `depth` of them read before they are asked for.

        An error is raised in the place of its step; closing the iterator drops what was read ahead,
        as a run must when its weights change. Raises as `tokens`.
        """
        return prefetched(
            lambda step: self.rows(step, rank, world), steps, depth=depth, threads=threads
        )

    def _labels(self, source: int, numbers: I64Array) -> BoolArray:
        """(n, L) labels of a source's instances that count."""
        instances, mask = self.instances[source], self._loss[source]
        packed = instances.labels(numbers)
        shape = (len(numbers), instances.sequence_length)
        labels = np.ones(shape, np.bool_) if packed is None else packed
        if mask is None:
            return labels
        counted = np.zeros((shape[0], shape[1] + 1), np.bool_)
        spans = instances.spans(numbers)
        begins = spans.rows * counted.shape[1] + spans.at
        mask.read_spans(spans.starts, spans.lengths, counted.reshape(-1), begins)
        return labels & counted[:, 1:]


def _by_source(places: Places) -> Iterator[tuple[int, I64Array]]:
    """Yield each source that there is, by index, with the rows of its instances."""
    for source in np.unique(places.source).tolist():
        yield source, np.flatnonzero(places.source == source)


def _loss_mask(lock: Lock, source: str, store: Store) -> Bits | None:
    pin = lock.sources[source].loss
    if pin is None:
        return None
    return open_loss_mask(store, column=pin.column, roles=pin.roles, digest=pin.digest)


def _instances(lock: Lock, source: str, store: Store) -> Instances:
    order = lock.order
    if order.versions.mix == "olmo":
        return OlmoInstances(store, order.sequence_length)
    return open_instances(store, order.sequence_length, order.packing, order.sources[source].pack)


def row_digests(tokens: NDArray[Any]) -> U8Array:
    """Blake2b-128 of each row's tokens as u32 LE: (rows, L + 1) integers → (rows, 16) uint8."""
    rows = np.ascontiguousarray(tokens, "<u4")
    digests = [blake2b(row, digest_size=DIGEST_BYTES).digest() for row in rows]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(rows), DIGEST_BYTES)


def chain(previous: bytes, digests: U8Array) -> bytes:
    """Extend the proof by one step: blake2b-128 of chain_(t-1) and the step's digests.

    digests   (batch, 16) uint8   of the whole batch, in batch order: row r::W is rank r's of W
    """
    return blake2b(previous + digests.tobytes(), digest_size=DIGEST_BYTES).digest()
