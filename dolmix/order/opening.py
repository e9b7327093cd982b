"""Opening an order as a run followed it: the lock, and the ledger of weights that changed."""

from pathlib import Path

from dolmix.errors import UsageError
from dolmix.mix import Ledger, Lock, read_lock
from dolmix.order.batches import Batches
from dolmix.order.lookup import Order

Locked = Lock | str | Path
"""A lock, as an object or as a file."""


def order_of(lock: Locked, ledger: str | Path | None = None) -> Order:
    """Open the order of a lock as a run's ledger changed it; opens no store.

    Raises LedgerError for a ledger of another order or a damaged one, UsageError where there is no
    such file.
    """
    lock = lock if isinstance(lock, Lock) else read_lock(lock)
    order = Order(lock.order)
    return order if ledger is None else order.with_ledger(read_ledger(ledger, lock))


def open_batches(lock: Locked, ledger: str | Path | None = None) -> Batches:
    """Open an order with its stores. Raises as `order_of` and `Batches` do."""
    lock = lock if isinstance(lock, Lock) else read_lock(lock)
    order = order_of(lock, ledger)
    batches = Batches(lock)
    batches.order = order
    return batches


def read_ledger(path: str | Path, lock: Lock) -> Ledger:
    """Read a run's ledger. Raises UsageError where there is no file, LedgerError for a bad one."""
    if not Path(path).is_file():
        raise UsageError(f"{path}: no such ledger. A run writes one where its weights change.")
    return Ledger.read(path, lock.order)
