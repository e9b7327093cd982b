"""What a person asks of a store: which there are, what is in one, one document of it.

Each function returns plain data, ready for JSON; nothing here changes a store.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from dolmix.errors import StoreError, UsageError
from dolmix.shards.layout import MANIFEST
from dolmix.shards.reader import read_manifest
from dolmix.tokenizer import Tokenizer, TokenizerConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from dolmix.document import I64Array
    from dolmix.shards.reader import Store

BLOCK = 1 << 22
"""Tokens counted together."""


def list_stores(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Return one entry for each store at or below the paths; hidden folders are left out.

    Raises StoreError for a path that holds no store.
    """
    entries = []
    for path in paths:
        found = list(_stores_below(path))
        if not found:
            raise StoreError(f"{path}: no store here or below, that is, no folder with {MANIFEST}")
        for root in found:
            manifest = read_manifest(root)
            entries.append(
                {
                    "store": manifest.name,
                    "path": str(root),
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


def describe_contents(store: Store, *, top: int, tokenizer: Path | None) -> dict[str, Any]:
    """Return totals, lengths, shards and the `top` most frequent tokens; reads every token once.

    Raises StoreError for an id that the tokenizer does not have, UsageError for another tokenizer.
    """
    manifest = store.manifest
    counts = _token_counts(store)
    ranked = np.argsort(-counts, kind="stable")[:top]
    ids = [int(token) for token in ranked if counts[token]]
    names = load_pinned(store, tokenizer).token_texts(ids) if tokenizer else [None] * len(ids)
    totals = manifest.totals
    return {
        "store": manifest.name,
        "totals": totals.model_dump(),
        "bytes_per_token": totals.bytes / totals.tokens if totals.tokens else None,
        "distinct_tokens": int(np.count_nonzero(counts)),
        "length_quantiles": manifest.length_quantiles,
        "shards": [
            entry.model_dump(include={"name", "tokens", "documents"}) for entry in manifest.shards
        ],
        "top_tokens": [
            {"id": token, "count": int(counts[token]), "text": name}
            for token, name in zip(ids, names, strict=True)
        ],
    }


def load_pinned(store: Store, path: Path) -> Tokenizer:
    """Load the tokenizer of a store. Raises UsageError if the store was made with another."""
    pin = store.manifest.tokenizer
    tokenizer = Tokenizer(TokenizerConfig(path=path, eos=pin.eos, special_in_text="allow"))
    if tokenizer.pin().digest != pin.digest:
        raise UsageError(
            f"{path} has digest {tokenizer.pin().digest}; {store.path} was made with"
            f" {pin.digest}. Give the tokenizer file of the pipeline that wrote the store."
        )
    return tokenizer


def _stores_below(path: Path) -> Iterator[Path]:
    if (path / MANIFEST).is_file():
        yield path
        return
    for manifest in sorted(path.rglob(MANIFEST)):
        inside = manifest.relative_to(path).parts
        if not any(part.startswith(".") for part in inside):
            yield manifest.parent


def _token_counts(store: Store) -> I64Array:
    """(largest id + 1,) int64: how often each id occurs. Raises StoreError for a larger id."""
    largest = store.manifest.tokenizer.largest_id
    counts = np.zeros(largest + 1, np.int64)
    for start in range(0, store.num_tokens, BLOCK):
        block = store.tokens(start, min(start + BLOCK, store.num_tokens))
        if int(block.max()) > largest:
            at = int(np.argmax(block > largest))
            raise StoreError(
                f"{store.path}: token {start + at:,} is id {int(block[at]):,}, the tokenizer's"
                f" largest is {largest:,}. All that is wrong: dolmix shards verify {store.path}"
                " --full"
            )
        counts += np.bincount(block, minlength=counts.size)
    return counts
