"""What a person asks of a store: which there are, what is in one, one document of it.

Each function returns plain data, ready for JSON; nothing here changes a store.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolmix.errors import StoreError, UsageError
from dolmix.files.paths import is_remote, reading_errors
from dolmix.shards.folders import open_folder
from dolmix.shards.layout import MANIFEST
from dolmix.shards.reader import read_manifest
from dolmix.tokenizer import Tokenizer, TokenizerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from dolmix.shards.reader import Store


def list_stores(locations: Iterable[str | Path]) -> list[dict[str, Any]]:
    """Return one entry for each store at or below paths or URIs; hidden folders are left out.

    Raises StoreError for a location that holds no store.
    """
    entries = []
    for location in locations:
        found = list(_stores_below(str(location)))
        if not found:
            raise StoreError(
                f"{location}: no store here or below, that is, no folder with {MANIFEST}"
            )
        for root in found:
            manifest = read_manifest(open_folder(root))
            entries.append(
                {
                    "store": manifest.name,
                    "path": root,
                    "tokens": manifest.totals.tokens,
                    "documents": manifest.totals.documents,
                    "dtype": manifest.dtype,
                    "content_hash": manifest.content_hash,
                }
            )
    return entries


def describe_document(store: Store, document: int, tokenizer: Path | None) -> dict[str, Any]:
    """Return provenance, span and ids of a document, and its text if the tokenizer is given.

    Raises StoreError for a document outside the store, UsageError for another tokenizer.
    """
    row = store.provenance([document])[0]
    start, stop = store.document_span(document)
    tokens = store.tokens(start, stop).tolist()
    entry = {**asdict(row), "start": start, "stop": stop, "tokens": tokens}
    if tokenizer is not None:
        entry["text"] = load_pinned(store, tokenizer).decode(tokens)
    return entry


def load_pinned(store: Store, path: Path) -> Tokenizer:
    """Load the tokenizer of a store. Raises UsageError if the store was made with another."""
    pin = store.manifest.tokenizer
    tokenizer = Tokenizer(TokenizerConfig(path=path, eos=pin.eos, special_in_text="allow"))
    if tokenizer.pin().digest != pin.digest:
        raise UsageError(
            f"{path} has digest {tokenizer.pin().digest}; {store.location} was made with"
            f" {pin.digest}. Give the tokenizer file of the pipeline that wrote the store."
        )
    return tokenizer


def _stores_below(location: str) -> Iterator[str]:
    if is_remote(location):
        yield from _remote_stores_below(location)
        return
    path = Path(location)
    if (path / MANIFEST).is_file():
        yield location
        return
    for manifest in sorted(path.rglob(MANIFEST)):
        inside = manifest.relative_to(path).parts
        if not any(part.startswith(".") for part in inside):
            yield str(manifest.parent)


def _remote_stores_below(location: str) -> Iterator[str]:
    from fsspec.core import url_to_fs

    with reading_errors(location):
        system, root = url_to_fs(location)
        manifests = sorted(system.glob(f"{root.rstrip('/')}/**/{MANIFEST}"))
        found = [system.unstrip_protocol(name).removesuffix(f"/{MANIFEST}") for name in manifests]
    yield from found
