"""Batches from the lock and its order alone.

Which rows a rank gets, and how many ranks there are, never changes the batch of a step: rank r of W
takes places r::W. Every rank digests its own rows; the digests of all, in place order, extend the
chain that proves which tokens were trained on (order specification, section 7).
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from dolmix.errors import ConfigError, DataError, DolmixError, LockError, Problem, StoreError
from dolmix.mix import Ledger, read_lock
from dolmix.order import Batches, row_digests
from trainer.config import TrainConfig
from trainer.fits import check_run
from trainer.held_out import close_held_out, misfits, open_held_out, packing_of
from trainer.parallel import World
from trainer.questions import Task, open_tasks

if TYPE_CHECKING:
    from dolmix.shards.instances import Instances

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Batch:
    """One rank's part of a step's batch: n rows of L + 1 tokens."""

    tokens: NDArray[np.int64]
    """(n, L + 1): inputs are [:, :-1], labels [:, 1:]."""
    sources: NDArray[np.int64]
    """(n,) each row's source, as index into `Data.sources`."""
    digests: NDArray[np.uint8]
    """(n, 16) each row's digest."""
    masked: NDArray[np.bool_]
    """(n,) rows that the loss leaves out, since their inputs only repeat themselves."""
    documents: tuple["DocumentStarts", ...] | None = None
    """One for each microbatch, where attention keeps documents apart."""
    labels: NDArray[np.bool_] | None = None
    """(n, L) labels that count, where some do not: padding of packed rows, loss masks."""


@dataclass(frozen=True, eq=False)
class DocumentStarts:
    """Where documents start in a microbatch of n inputs of L tokens (see `Documents`)."""

    ids: NDArray[np.int32]
    """(n, L) a number of each token's document within its row."""
    starts: NDArray[np.int32]
    """(S,) flat positions where documents start, padded with n * L to a power of two."""


class Data:
    """The order's batches for one rank; closes the stores when left.

    Raises LockError or StoreError where a store is not the locked one, ConfigError where the
    configuration does not fit the lock, OrderError where the ranks cannot share a batch evenly,
    DataError for a file of questions that is none.
    """

    def __init__(self, config: TrainConfig, *, rank: int, world: int) -> None:
        self._rank, self._world = rank, world
        self._mask_repeats = config.mask_repeats
        self._apart, self._microbatch = config.documents == "apart", config.microbatch
        self._batches = Batches(read_lock(config.lock))
        self.lock = self._batches.lock
        self.held_out: dict[str, Instances] = {}
        self.tasks: dict[str, Task] = {}
        spec = self.lock.order
        self._offset = spec.schedule.offset
        self.sources = self._batches.order.sources
        self.sequence_length = spec.sequence_length
        # One for all: sources of several tokenizers are not resolved to a lock.
        self.tokenizer = self._batches.stores[0].manifest.tokenizer.digest
        self.num_steps = config.max_steps or spec.num_steps
        try:
            check_run(config, spec, world, besides=self._too_few_rows(config))
            self._open_evaluation(config)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the stores."""
        self._batches.close()
        close_held_out(self.held_out)

    def follow(self, ledger: Ledger) -> None:
        """Take batches by the order as a ledger changes it; none may be in the making."""
        self._batches.order = self._batches.order.with_ledger(ledger)

    def begins_stage(self, step: int) -> bool:
        """Whether a step is the first of a stage."""
        order = self._batches.order
        return step == 1 or order.stage_of(step) != order.stage_of(step - 1)

    def open_block(self, step: int) -> tuple[str, int] | None:
        """Stage and number of the first block that steps 1..step have not touched, if any."""
        return self._batches.order.open_block(step)

    def batch(self, step: int) -> Batch:
        """Read this rank's rows of a step; steps count from 1."""
        rows = self._batches.rows(step, self._rank, self._world)
        masked = rows.repeats if self._mask_repeats else np.zeros(len(rows), np.bool_)
        documents = None
        if self._apart:
            size = self._microbatch
            cuts = [(c, min(c + size, len(rows))) for c in range(0, len(rows), size)]
            documents = tuple(
                document_starts(rows.boundaries(*cut), self.sequence_length) for cut in cuts
            )
        return Batch(
            rows.tokens.astype(np.int64),
            rows.places.source,
            row_digests(rows.tokens),
            masked,
            documents,
            None if rows.labels.all() else rows.labels,
        )

    def tokens_through(self, step: int) -> int:
        """Tokens in steps 1..step of the whole run, all ranks; may lie beyond the order's end."""
        return self._offset(step) * self.sequence_length

    def _open_evaluation(self, config: TrainConfig) -> None:
        """Open what is evaluated on. Raises StoreError, ConfigError, DataError."""
        spec, asked = self.lock.order, config.evaluation
        if self._rank == 0 and (unmeasured := _unmeasured(config)):
            log.warning("evaluation.every_steps is not set: %s", unmeasured)
        self.held_out = open_held_out(asked.stores, spec.sequence_length, packing_of(spec))
        known, vocab = {self.tokenizer: "the lock's stores were made"}, config.model.vocab
        if problems := [*misfits(self.held_out, vocab, known), *self._trained_on()]:
            raise ConfigError(f"training on {config.lock}", problems)
        self.tasks = open_tasks(asked, window=spec.sequence_length, known=known, vocab=vocab)

    def _trained_on(self) -> Iterator[Problem]:
        trained = {store.content_hash for store in self._batches.stores}
        for source, instances in self.held_out.items():
            if instances.store.content_hash in trained:
                what = "is a store that is trained on: its loss would say nothing"
                yield Problem(f"evaluation.stores.{source}", what)

    def _too_few_rows(self, config: TrainConfig) -> Iterator[Problem]:
        largest = max(store.manifest.tokenizer.largest_id for store in self._batches.stores)
        if largest >= config.model.vocab:
            what = f"{config.model.vocab:,}, but the stores' tokenizer has ids up to {largest:,}"
            yield Problem("model.vocab", f"{what}: {largest + 1:,} or more is needed")


def _unmeasured(config: TrainConfig) -> str:
    """Say what of the section `evaluation` is not measured while training; nothing if all is."""
    asked = config.evaluation
    if asked.every_steps is not None or not (asked.stores or asked.tasks):
        return ""
    if config.dynamic is None:
        return "nothing is measured while training"
    names = ", ".join(asked.tasks)
    return f"dynamic measures the stores while training, not the tasks {names}" if names else ""


def document_starts(boundaries: NDArray[np.int32], length: int) -> DocumentStarts:
    """Give each token of a microbatch its document, from where documents begin.

    boundaries (m + 1,) as `Rows.boundaries` gives them; length: inputs of a row.
    """
    found, size = boundaries[:-1], int(boundaries[-1])
    first = np.zeros(size, np.bool_)
    first[found] = True
    ids = first.reshape(-1, length).cumsum(1) - 1
    # A power of two of starts: few sizes, so few recompilations.
    starts = np.full(1 << max(6, len(found).bit_length()), size, np.int32)
    starts[: len(found)] = found
    return DocumentStarts(ids.astype(np.int32), starts)


def open_data(config: TrainConfig, world: World) -> Data:
    """Open the data on every rank.

    Raises what `Data` raises, on every rank; DolmixError for locks, stores, and files of questions,
    which can be missing on one machine only, and for a tokenizer where it is.
    """
    data, found = None, None
    try:
        data = Data(config, rank=world.rank, world=world.size)
    except (ConfigError, LockError, StoreError, DataError) as error:
        found = error
    told = set(world.gather_texts("" if found is None else str(found)))
    if isinstance(found, ConfigError) and len(told) == 1:
        raise found
    if problems := sorted(told - {""}):
        if data is not None:
            data.close()
        raise DolmixError("\n".join(problems))
    assert data is not None
    return data
