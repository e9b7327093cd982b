"""From the order to tokens, and the proof of what was consumed.

`Batches` reads a step's rows from the stores that a lock pins. `row_digests` and `chain` fold the
rows of all steps into one running digest: who logs it proves, token for token, what was trained.
Normative: docs/order.md, sections 4, 5 and 7.
"""

from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.mix import Lock, read_lock
from dolmix.order.lookup import Places, open_order
from dolmix.shards import ConcatInstances

U32Array: TypeAlias = NDArray[np.uint32]
U8Array: TypeAlias = NDArray[np.uint8]

DIGEST_BYTES = 16
CHAIN_START = bytes(DIGEST_BYTES)
"""chain_0, before the first step."""


class Batches:
    """Token rows by step, for any rank of any number of ranks. Closes its stores when left.

    Raises LockError if a store's content is not the locked one, StoreError if there is none.
    """

    def __init__(self, lock: Lock | str | Path) -> None:
        self.lock = lock if isinstance(lock, Lock) else read_lock(lock)
        self.order = open_order(self.lock)
        self.stores = [self.lock.open_store(name) for name in self.order.sources]
        length = self.lock.order.sequence_length
        self.instances = [ConcatInstances(store, length) for store in self.stores]

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
        drawn = zip(places.source.tolist(), places.instance.tolist(), strict=True)
        for row, (source, instance) in zip(rows, drawn, strict=True):
            row[:] = self.instances[source].tokens(instance)
        return rows


def row_digests(tokens: NDArray[Any]) -> U8Array:
    """Blake2b-128 of each row's tokens as u32 LE: (rows, L + 1) integers → (rows, 16) uint8."""
    rows = np.ascontiguousarray(tokens, "<u4")
    digests = [blake2b(row.tobytes(), digest_size=DIGEST_BYTES).digest() for row in rows]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(rows), DIGEST_BYTES)


def chain(previous: bytes, digests: U8Array) -> bytes:
    """Extend the proof by one step: blake2b-128 of chain_(t-1) and the step's digests.

    digests   (batch, 16) uint8   of the whole batch, in batch order: row r::W is rank r's of W
    """
    return blake2b(previous + digests.tobytes(), digest_size=DIGEST_BYTES).digest()
