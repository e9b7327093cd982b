"""Whether a lock still fits its stores, and a mix its lock.

Findings are data, one a thing wrong, so that the command line can print them or hand them on.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from dolmix.config import Schema
from dolmix.errors import LockError, StoreError
from dolmix.files.paths import is_remote
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


def check_file(
    path: Path, overrides: Sequence[str] = (), *, quick: bool = False
) -> tuple[Lock, list[MixFinding]]:
    """Check a lock against its stores, or a mix file against its stores and the lock beside it.

    Every byte of the stores is digested unless `quick`. Raises what reading or resolving raises;
    findings are what was readable but does not fit.
    """
    if path.suffix == ".json":
        lock = read_lock(path)
        return lock, list(store_findings(lock, quick=quick))
    lock = resolve_file(path, overrides)
    findings = list(store_findings(lock, quick=quick))
    beside = lock_path_of(path)
    stale = _stale(lock, read_lock(beside), beside) if beside.is_file() else ()
    return lock, [*findings, *stale]


def store_findings(lock: Lock, *, quick: bool = False) -> Iterator[MixFinding]:
    """Tell which stores and packs of a lock are absent, of other content or damaged.

    The manifest and the sizes of files are compared with the lock and, unless `quick`, the digest
    of every file with the manifest: one flipped bit or two swapped shards are found and named. Of
    remote stores, manifest and sizes alone are looked at.
    """
    from dolmix.shards import verify

    for source in sorted(lock.sources):
        try:
            _open(lock, source)
        except (StoreError, LockError) as error:
            named = "" if str(error).startswith("source ") else f"source {source!r}: "
            yield MixFinding(source=source, message=f"{named}{error}")
            continue
        if is_remote(lock.store_location(source)):
            continue
        for finding in verify(lock.store_path(source), full=not quick, contents=False):
            where = lock.store_path(source) / finding.file
            message = f"source {source!r}: {where}: {finding.message}. Copy the store again."
            yield MixFinding(source=source, message=message)


def _open(lock: Lock, source: str) -> None:
    """Open a store and, where the order pins one, its pack. Raises StoreError and LockError."""
    from dolmix.shards.packs import open_instances

    order, pack = lock.order, lock.order.sources[source].pack
    with lock.open_store(source) as store:
        if pack is not None:
            open_instances(store, order.sequence_length, order.packing, pack)


def _stale(now: Lock, locked: Lock, path: Path) -> Iterator[MixFinding]:
    if now.order_hash != locked.order_hash:
        yield MixFinding(
            source=None,
            message=f"{path} is not what the mix resolves to today:\n"
            f"  locked  {locked.order_hash}\n"
            f"  today   {now.order_hash}\n"
            f"See what changed by resolving to another file (-o) and `dolmix mix diff`.",
        )
