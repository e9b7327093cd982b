"""Batches from the lock and its order alone.

Which rows a rank gets, and how many ranks there are, never changes the batch of a step: rank r of W
takes places r::W. Every rank digests its own rows; the digests of all, in place order, extend the
chain that proves which tokens were trained on (order specification, section 7).
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from dolmix.errors import ConfigError, OrderError, Problem
from dolmix.mix import read_lock
from dolmix.order import Batches, row_digests
from trainer.config import Span, TrainConfig


@dataclass(frozen=True, eq=False)
class Batch:
    """One rank's part of a step's batch: n rows of L + 1 tokens."""

    tokens: NDArray[np.int64]
    """(n, L + 1): inputs are [:, :-1], labels [:, 1:]."""
    sources: NDArray[np.int64]
    """(n,) each row's source, as index into `Data.sources`."""
    digests: NDArray[np.uint8]
    """(n, 16) each row's digest."""


class Data:
    """The order's batches for one rank; closes the stores when left.

    Raises LockError or StoreError where a store is not the locked one, ConfigError where the
    configuration does not fit the lock, OrderError where the ranks cannot share a batch evenly.
    """

    def __init__(self, config: TrainConfig, *, rank: int, world: int) -> None:
        self._rank, self._world = rank, world
        self._batches = Batches(read_lock(config.lock))
        spec = self._batches.lock.order
        self._offset = spec.schedule.offset
        self.order_hash = self._batches.lock.order_hash
        self.sources = self._batches.order.sources
        self.sequence_length = spec.sequence_length
        self.order_steps = spec.num_steps
        self.num_steps = config.max_steps or self.order_steps
        try:
            self._check(config)
        except BaseException:
            self._batches.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._batches.close()

    def batch(self, step: int) -> Batch:
        """Read this rank's rows of a step; steps count from 1."""
        rows = self._batches.tokens(step, self._rank, self._world)
        places = self._batches.places(step).of_rank(self._rank, self._world)
        return Batch(rows.astype(np.int64), places.source, row_digests(rows))

    def tokens_through(self, step: int) -> int:
        """Tokens in steps 1..step of the whole run, all ranks; may lie beyond the order's end."""
        return self._offset(step) * self.sequence_length

    def tokens_in(self, span: Span) -> int:
        """Tokens of a span given in tokens or in steps."""
        return self.tokens_through(span.steps or 0) if span.tokens is None else span.tokens

    def _check(self, config: TrainConfig) -> None:
        spec = self._batches.lock.order
        problems = []
        if self.num_steps > self.order_steps:
            problems.append(
                Problem(
                    "max_steps", f"{self.num_steps:,}, but the lock has {self.order_steps:,} steps"
                )
            )
        largest = max(store.manifest.tokenizer.largest_id for store in self._batches.stores)
        if largest >= config.model.vocab:
            what = f"{config.model.vocab:,}, but the stores' tokenizer has ids up to {largest:,}"
            problems.append(Problem("model.vocab", f"{what}: {largest + 1:,} or more is needed"))
        if problems:
            raise ConfigError(f"training on {config.lock}", problems)
        for phase in spec.batch_size:
            if phase.instances % self._world:
                raise OrderError(
                    f"{self._world} processes cannot share a batch of {phase.instances:,} "
                    f"instances evenly (from step {phase.from_step:,} of {config.lock}). "
                    "Choose a number of processes that divides it."
                )
