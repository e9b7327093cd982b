"""The only writer of visible files.

A file or directory appears under its name complete or not at all: bytes go to a hidden neighbour
that carries an attempt id, are flushed to disk, and are renamed. A killed process leaves only
hidden neighbours behind, which no reader ever looks at and `sweep` removes.
"""

import json
import os
import re
import secrets
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

ATTEMPT_SUFFIX = ".part"
ATTEMPT_NAME = re.compile(r"\..+\.[0-9a-f]{12}\.part")
"""Names that `attempt_path` gives; nothing else is ever swept away."""
SYNC_THREADS = 8
"""Files flushed at once, where many are."""
DIGEST_BLOCK = 1 << 18
"""Bytes read at once into one buffer, which stays in the processor's cache while it is hashed."""


def canonical_json(value: Any) -> bytes:
    """Encode as canonical JSON: sorted keys, no spaces, UTF-8 (docs/order.md, conventions).

    Raises ValueError for NaN and infinities. Floats are the caller's business: nothing that decides
    an order holds one.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def fingerprint(value: Any) -> str:
    """Blake2b-256 of canonical JSON, 64 lower-case hex digits."""
    return blake2b(canonical_json(value), digest_size=32).hexdigest()


def file_digest(path: Path) -> str:
    """Blake2b-256 of a file's bytes, 64 lower-case hex digits."""
    digest = blake2b(digest_size=32)
    buffer = memoryview(bytearray(DIGEST_BLOCK))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()


def attempt_path(final: Path) -> Path:
    """Name a hidden neighbour of `final` that no other attempt shares."""
    return final.with_name(f".{final.name}.{secrets.token_hex(6)}{ATTEMPT_SUFFIX}")


@contextmanager
def new_file(final: Path) -> Iterator[Path]:
    """Yield a temporary path; on success it becomes `final` at once, on an exception it is removed.

    An existing `final` is replaced: callers write the same bytes for the same name.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(final)
    try:
        yield attempt
        publish(attempt, final)
    finally:
        attempt.unlink(missing_ok=True)


@contextmanager
def new_files(finals: Sequence[Path]) -> Iterator[list[Path]]:
    """Yield a temporary path for each of many files; on success each becomes its `final`.

    As `new_file` for every one of them, one after the other, but the disk is waited for together:
    for many small files. A kill may leave some with their names and some without.
    """
    from concurrent.futures import ThreadPoolExecutor

    folders = sorted({final.parent for final in finals})
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    attempts = [attempt_path(final) for final in finals]
    try:
        yield attempts
        with ThreadPoolExecutor(SYNC_THREADS) as threads:
            deque(threads.map(sync, attempts), maxlen=0)
        for attempt, final in zip(attempts, finals, strict=True):
            attempt.replace(final)
        for folder in folders:
            sync(folder)
    finally:
        for attempt in attempts:
            attempt.unlink(missing_ok=True)


def publish(attempt: Path, final: Path) -> None:
    """Flush a written attempt and give it its name, replacing what had it."""
    sync(attempt)
    attempt.replace(final)
    sync(final.parent)


@contextmanager
def new_directory(final: Path) -> Iterator[Path]:
    """Yield a temporary directory that becomes `final` at once, or is removed on an exception.

    Raises FileExistsError if `final` exists: a committed directory is never replaced.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(final)
    attempt.mkdir()
    try:
        yield attempt
        for path in sorted(attempt.rglob("*")):
            sync(path)
        sync(attempt)
        if final.exists():
            raise FileExistsError(final)
        attempt.rename(final)
        sync(final.parent)
    finally:
        shutil.rmtree(attempt, ignore_errors=True)


def write_bytes(final: Path, data: bytes) -> None:
    """Write a whole file at once, atomically."""
    with new_file(final) as attempt:
        attempt.write_bytes(data)


def write_json(final: Path, value: Any, *, indent: int | None = None) -> None:
    """Write JSON atomically: canonical, or with `indent` for people, keys in their own order."""
    if indent is None:
        write_bytes(final, canonical_json(value))
    else:
        text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
        write_bytes(final, text.encode() + b"\n")


def write_note(final: Path, value: Any) -> None:
    """Write canonical JSON that only running processes read: whole or not at all, never flushed."""
    final.parent.mkdir(parents=True, exist_ok=True)
    attempt = attempt_path(final)
    attempt.write_bytes(canonical_json(value))
    attempt.replace(final)


def sweep(folder: Path) -> int:
    """Remove what killed attempts left below `folder`; return how many files and directories went.

    Call it only while no task writes below `folder`.
    """
    leftovers = [p for p in folder.rglob(f".*{ATTEMPT_SUFFIX}") if ATTEMPT_NAME.match(p.name)]
    for path in leftovers:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(leftovers)


def sync(path: Path) -> None:
    """Flush a file's or a directory's data to disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
