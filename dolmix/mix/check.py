"""Whether a lock still fits its stores, and a mix its lock.

Findings are data, one a thing wrong, so that the command line can print them or hand them on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dolmix.config import Schema
from dolmix.errors import LockError, StoreError
from dolmix.mix.lock import Lock, read_lock
from dolmix.mix.resolve import resolve_file


class MixFinding(Schema):
    """One thing that does not fit."""

    source: str | None
    """Source that it concerns, None for the whole mix."""
    message: str
    """What is wrong, with both values, and what to do."""


def lock_path_of(mix: Path) -> Path:
    """Where `mix resolve` writes the lock of a mix file: `<stem>.lock.json` beside it."""
    return mix.with_name(f"{mix.stem}.lock.json")


def check_file(path: Path, overrides: Sequence[str] = ()) -> tuple[Lock, list[MixFinding]]:
    """Check a lock against its stores, or a mix file against its stores and the lock beside it.

    Raises what reading or resolving raises; findings are what was readable but does not fit.
    """
    if path.suffix == ".json":
        lock = read_lock(path)
        return lock, list(store_findings(lock))
    lock = resolve_file(path, overrides)
    beside = lock_path_of(path)
    return lock, list(_stale(lock, read_lock(beside), beside)) if beside.is_file() else []


def store_findings(lock: Lock) -> Iterator[MixFinding]:
    """Open every store of a lock and tell which are absent, damaged or of other content."""
    for source in sorted(lock.sources):
        try:
            lock.open_store(source).close()
        except (StoreError, LockError) as error:
            yield MixFinding(source=source, message=str(error))


def _stale(now: Lock, locked: Lock, path: Path) -> Iterator[MixFinding]:
    if now.order_hash != locked.order_hash:
        yield MixFinding(
            source=None,
            message=f"{path} is not what the mix resolves to today:\n"
            f"  locked  {locked.order_hash}\n"
            f"  today   {now.order_hash}\n"
            f"See what changed by resolving to another file (-o) and `dolmix mix diff`.",
        )
