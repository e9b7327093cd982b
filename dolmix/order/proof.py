"""Whether a run trained on what its lock says: its logged chains, computed again from the stores.

chain_t folds the tokens of the steps 1 to t (docs/order.md, section 7). Every chain that was logged
is the start of the next, so each stretch between two of them is checked by itself: rows are read
and digested in parallel, a few steps at a time, and checking may begin at any logged step.
"""

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from pathlib import Path

from dolmix.config import Schema
from dolmix.errors import LockError, OrderError
from dolmix.mix import Lock, read_lock
from dolmix.order.batches import CHAIN_START, Batches, U8Array, chain, row_digests
from dolmix.order.opening import Locked, open_batches
from dolmix.order.runlog import LoggedChain, ledger_of, order_hash_of, read_chains
from dolmix.order.window import parse_steps

MOST_THREADS = 16
AHEAD = 2
"""Steps in the air per thread: their digests wait for the ones before them."""


class Disagreement(Schema):
    """The first logged chain that the stores do not give."""

    after_step: int
    """Last step that agrees, 0 for none: the difference is in a step after it."""
    step: int
    """Step of the chain that differs."""
    logged: str
    computed: str


class Proof(Schema):
    """What was computed again, and whether it agrees with the log."""

    order_hash: str
    first_step: int
    """First step whose rows were read."""
    last_step: int
    """Last step whose rows were read."""
    chains: int
    """Logged chains that agree."""
    disagreement: Disagreement | None
    """None where all agree."""

    @property
    def ok(self) -> bool:
        """Whether every chain agrees."""
        return self.disagreement is None


def verify_log(
    lock: Locked,
    log: str | Path,
    *,
    steps: str | None = None,
    ledger: str | Path | None = None,
    threads: int | None = None,
) -> Proof:
    """Compute the chains of a run again and compare them, up to the first that differs.

    log      the run's output folder, its metrics file, or one of its checkpoints
    steps    window `a:b` of steps; starts at the last chain logged before a, which is trusted
    ledger   the run's, where its weights changed; by default the one in its output folder
    threads  readers; by default one a core. The result does not depend on them

    Raises LockError where the run's checkpoints name another order, OrderError for a window without
    a logged chain or a log beyond the order's end, and as `read_chains` and `Batches`.
    """
    lock, log = lock if isinstance(lock, Lock) else read_lock(lock), Path(log)
    _check_order(lock, log)
    with open_batches(lock, ledger or ledger_of(log)) as batches:
        start, links = _window(read_chains(log), batches.num_steps, steps, log)
        todo = range(start.step + 1, links[-1].step + 1)
        readers = threads or min(os.cpu_count() or 1, MOST_THREADS)
        with closing(_digests(batches, todo, readers)) as digests:
            agreed, disagreement = _compared(start, links, digests)
    last = links[agreed - 1].step if agreed else start.step
    return Proof(
        order_hash=lock.order_hash,
        first_step=todo.start,
        last_step=disagreement.step if disagreement else last,
        chains=agreed,
        disagreement=disagreement,
    )


def _compared(
    start: LoggedChain, links: Sequence[LoggedChain], digests: Iterator[U8Array]
) -> tuple[int, Disagreement | None]:
    """Count the chains that agree up to the first that does not, and return what is wrong there."""
    known = start
    for agreed, link in enumerate(links):
        computed = known.chain
        for step_digests in islice(digests, link.step - known.step):
            computed = chain(computed, step_digests)
        if computed != link.chain:
            return agreed, Disagreement(
                after_step=known.step,
                step=link.step,
                logged=link.chain.hex(),
                computed=computed.hex(),
            )
        known = link
    return len(links), None


def _check_order(lock: Lock, log: Path) -> None:
    trained = order_hash_of(log)
    if trained is not None and trained != lock.order_hash:
        raise LockError(
            f"{log} was trained on another order.\n"
            f"  run   {trained}\n"
            f"  lock  {lock.order_hash}\n"
            f"Name the lock that it was trained on."
        )


def _window(
    chains: Sequence[LoggedChain], num_steps: int, steps: str | None, log: Path
) -> tuple[LoggedChain, list[LoggedChain]]:
    """Return the chain to start from and those to compare."""
    if chains[-1].step > num_steps:
        raise OrderError(
            f"{log} goes to step {chains[-1].step:,}, but the order ends with step {num_steps:,}: "
            f"the run was trained on another lock."
        )
    window = parse_steps(steps, num_steps)
    before = [link for link in chains if link.step < window.start]
    links = [link for link in chains if link.step in window]
    if not links:
        raise OrderError(
            f"{log} has no chain within the steps {window.start:,} to {window.stop - 1:,}: its "
            f"chains are of the steps {chains[0].step:,} to {chains[-1].step:,}."
        )
    return (before[-1] if before else LoggedChain(0, CHAIN_START)), links


def _digests(batches: Batches, steps: range, threads: int) -> Generator[U8Array, None, None]:
    """Yield each step's row digests in order; only a few steps are in memory at any time."""

    def read(step: int) -> U8Array:
        return row_digests(batches.tokens(step))

    todo, waiting = iter(steps), deque[Future[U8Array]]()
    pool = ThreadPoolExecutor(threads)
    try:
        waiting.extend(pool.submit(read, step) for step in islice(todo, AHEAD * threads))
        while waiting:
            digests = waiting.popleft().result()
            waiting.extend(pool.submit(read, step) for step in islice(todo, 1))
            yield digests
    finally:
        pool.shutdown(cancel_futures=True)
