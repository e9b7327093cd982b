"""Files derived from a store: `web@1.derived/<kind>-<key>/`, each with a manifest of its own.

A derived directory follows from the store and from what its kind was asked for, both named in
`derived.json`; the first 16 hex digits of their hash are its key, so asking again finds it. Its
digest covers its files too, and is what a lock pins. Anyone may delete one: made again, it has the
same bytes and the same digest. Nothing derived ever lies inside a store.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, ValidationError

from dolmix.config import Schema
from dolmix.errors import StoreError
from dolmix.files.commit import file_digest, fingerprint, new_directory, write_json
from dolmix.shards.folders import LocalFolder
from dolmix.shards.layout import Count, Digest
from dolmix.shards.reader import read_manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from dolmix.shards.folders import Folder
    from dolmix.shards.reader import Store
    from dolmix.shards.verify import Finding

MANIFEST = "derived.json"
Kind = Literal["pack", "loss", "repeats"]


class DerivedManifest(Schema):
    """What a derived directory holds and what it follows from."""

    format: Literal["dolmix-derived-1"] = "dolmix-derived-1"
    kind: Kind
    content_hash: Digest
    """Content hash of the store."""
    asked: dict[str, str | int]
    """What was asked for, version of the definition included."""
    counts: dict[str, Count]
    """How much there is of what."""
    files: Annotated[dict[str, Digest], Field(min_length=1)]
    """Digest of each file."""

    @property
    def key(self) -> str:
        """First 16 hex digits of the hash of kind, content and what was asked for."""
        return derived_key(self.kind, self.content_hash, self.asked)

    @property
    def digest(self) -> str:
        """Blake2b-256 over the whole manifest, and so over the digests of all files, hex."""
        return fingerprint(self.model_dump(mode="json"))


class Derived:
    """An open derived directory: its manifest, and its files as arrays."""

    def __init__(self, folder: Folder, name: str, manifest: DerivedManifest) -> None:
        self.folder = folder
        self.name = name
        self.manifest = manifest

    @property
    def location(self) -> str:
        """Path or URI of the directory."""
        return f"{self.folder.location}/{self.name}"

    def array(self, file: str, dtype: np.dtype[Any], size: int) -> NDArray[Any]:
        """(size,) items of a file, read-only. Raises StoreError for another size."""
        try:
            found = self.folder.array(f"{self.name}/{file}", dtype)
        except (OSError, ValueError) as error:
            raise StoreError(f"{self.location}/{file} cannot be read: {error}") from error
        if len(found) != size:
            raise StoreError(
                f"{self.location}/{file} has {len(found):,} entries, its manifest says {size:,}."
                " Delete the directory and make it again."
            )
        return found


def derived_key(kind: Kind, content_hash: str, asked: Mapping[str, str | int]) -> str:
    """First 16 hex digits of blake2b-256 over the canonical JSON of [kind, content_hash, asked]."""
    return fingerprint([kind, content_hash, dict(asked)])[:16]


def find_derived(store: Store, kind: Kind, asked: Mapping[str, str | int]) -> Derived | None:
    """Open what was derived from a store earlier; None if it was not.

    Raises StoreError for a directory that is damaged or not of this store.
    """
    key = derived_key(kind, store.content_hash, asked)
    folder, name = store.folder.beside(".derived"), f"{kind}-{key}"
    try:
        manifest = DerivedManifest.model_validate(json.loads(folder.read(f"{name}/{MANIFEST}")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ValidationError) as error:
        raise StoreError(
            f"{folder.location}/{name}/{MANIFEST} cannot be read: {error}. Delete the directory"
            " and make it again."
        ) from None
    if manifest.key != key:
        raise StoreError(
            f"{folder.location}/{name} says that it is {manifest.kind}-{manifest.key}. Delete the"
            " directory and make it again."
        )
    return Derived(folder, name, manifest)


def derive(
    store: Store,
    kind: Kind,
    asked: Mapping[str, str | int],
    write: Callable[[Path], Mapping[str, int]],
) -> Derived:
    """Open what follows from a store, written first if it is not there.

    write  puts files into an empty directory and returns the manifest's counts

    Raises StoreError if the store is remote and lacks it, or it cannot be written.
    """
    found = find_derived(store, kind, asked)
    if found is not None:
        return found
    target = _directory(store, kind, asked)
    with _writing(target) as attempt:
        counts = dict(write(attempt))
        files = {path.name: file_digest(path) for path in sorted(attempt.iterdir())}
        manifest = DerivedManifest(
            kind=kind,
            content_hash=store.content_hash,
            asked=dict(asked),
            counts=counts,
            files=files,
        )
        write_json(attempt / MANIFEST, manifest.model_dump(mode="json"))
    made = find_derived(store, kind, asked)
    if made is None:
        raise StoreError(f"{target} vanished while it was written. Run again.")
    return made


def derived_faults(root: Path) -> list[Finding]:
    """Check every directory derived from the store at `root`: manifests, digests, other files.

    Files are named relative to the store. Raises StoreError where there is no store, and never for
    a damaged directory.
    """
    beside = root.with_name(f"{root.name}.derived")
    found = [
        path
        for path in sorted(beside.iterdir() if beside.is_dir() else [])
        if not path.name.startswith(".")
    ]
    content_hash = read_manifest(root).content_hash if found else ""
    return [fault for path in found for fault in _faults_of(path, content_hash)]


def _faults_of(path: Path, content_hash: str) -> Iterator[Finding]:
    from dolmix.shards.verify import Finding

    where = f"../{path.parent.name}/{path.name}"
    try:
        manifest = DerivedManifest.model_validate(json.loads((path / MANIFEST).read_bytes()))
    except (OSError, ValueError) as error:
        yield Finding(f"{where}/{MANIFEST}", f"cannot be read: {error}. Delete {path}.")
        return
    if manifest.content_hash != content_hash:
        message = f"is of content {manifest.content_hash}, the store's is {content_hash}"
        yield Finding(f"{where}/{MANIFEST}", message)
    if path.name != f"{manifest.kind}-{manifest.key}":
        yield Finding(f"{where}/{MANIFEST}", f"says that it is {manifest.kind}-{manifest.key}")
    for name in sorted({file.name for file in path.iterdir()} | manifest.files.keys()):
        expected = manifest.files.get(name)
        digest = file_digest(path / name) if (path / name).is_file() else "missing"
        if name != MANIFEST and digest != expected:
            message = f"digest is {digest}, its manifest says {expected}. Delete {path}."
            yield Finding(f"{where}/{name}", message)


def _directory(store: Store, kind: Kind, asked: Mapping[str, str | int]) -> Path:
    folder = store.folder.beside(".derived")
    if not isinstance(folder, LocalFolder):
        key = derived_key(kind, store.content_hash, asked)
        raise StoreError(
            f"{folder.location}/{kind}-{key} is not there, and nothing is written beside a remote"
            " store. Make it beside a local copy and upload it."
        )
    return folder.root / f"{kind}-{derived_key(kind, store.content_hash, asked)}"


@contextmanager
def _writing(target: Path) -> Iterator[Path]:
    """Commit a directory, or leave the one that another attempt committed first."""
    try:
        with new_directory(target) as attempt:
            yield attempt
    except FileExistsError:
        # made by another at the same time, from the same store: the same bytes
        return
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error}") from error
