"""Tokens of a store beside their text: a document, an instance, or any span.

What is shown is a list of *runs*, each of one document: where it stands, where it came from, its
ids, and with the store's tokenizer their texts. Plain data, ready for JSON.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_args

import numpy as np

from dolmix.errors import UsageError
from dolmix.shards.describe import describe_document, load_pinned
from dolmix.shards.packs import Packing, open_instances

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dolmix.shards.reader import Store
    from dolmix.tokenizer import Tokenizer

IDS_A_LINE = 8


class Part(NamedTuple):
    """Which part of a store to show; a manifest if none."""

    document: int | None = None
    instance: int | None = None
    span: tuple[int, int] | None = None
    length: int | None = None
    """Tokens of an instance."""
    packing: Packing = "concat"

    @classmethod
    def of(
        cls,
        document: int | None,
        instance: int | None,
        span: str | None,
        length: int | None,
        packing: str,
    ) -> Part:
        """Check what a person asked for; `span` is `A:B`. Raises UsageError."""
        asked = [x for x in (document, instance, span) if x is not None]
        if len(asked) > 1:
            raise UsageError(f"show one thing: a document, an instance or a span; not {asked}")
        if (instance is None) != (length is None):
            raise UsageError(f"instance {instance} of length {length}: give both, or none")
        if packing not in get_args(Packing):
            raise UsageError(f"packing {packing!r} is none of {', '.join(get_args(Packing))}")
        return cls(document, instance, _parsed(span), length, cast("Packing", packing))


def show_part(store: Store, part: Part, tokenizer: Path | None) -> dict[str, Any]:
    """Return the manifest, or the part as its own function does. Raises as they do."""
    if part.document is not None:
        return show_document(store, part.document, tokenizer)
    if part.instance is not None and part.length is not None:
        return show_instance(
            store, part.instance, tokenizer, length=part.length, packing=part.packing
        )
    if part.span is not None:
        return show_span(store, *part.span, tokenizer)
    return store.manifest.model_dump(mode="json")


def show_document(store: Store, document: int, tokenizer: Path | None) -> dict[str, Any]:
    """Return provenance, span, ids and text of a document, and itself as a run.

    Raises StoreError for a document outside the store, UsageError for another tokenizer.
    """
    entry = describe_document(store, document, tokenizer)
    decoder = _decoder(store, tokenizer)
    return {**entry, "runs": list(_runs(store, entry["start"], entry["stop"], 0, decoder))}


def show_span(store: Store, start: int, stop: int, tokenizer: Path | None) -> dict[str, Any]:
    """Return the runs of the tokens [start, stop); `at` counts from the start of the store.

    Raises StoreError for a span outside the store, UsageError for another tokenizer.
    """
    runs = _runs(store, start, stop, start, _decoder(store, tokenizer))
    return {"store": store.manifest.name, "start": start, "stop": stop, "runs": list(runs)}


def show_instance(
    store: Store,
    instance: int,
    tokenizer: Path | None,
    *,
    length: int,
    packing: Packing = "concat",
) -> dict[str, Any]:
    """Return the runs of an instance; `at` counts from the start of its row.

    Raises OrderError for an instance that there is not, StoreError without its pack, UsageError for
    another tokenizer.
    """
    instances = open_instances(store, length, packing)
    numbers = np.array([instance])
    spans, labels = instances.spans(numbers), instances.labels(numbers)
    decoder = _decoder(store, tokenizer)
    places = zip(spans.at.tolist(), spans.starts.tolist(), spans.lengths.tolist(), strict=True)
    runs = [run for at, a, n in places for run in _runs(store, a, a + n, at, decoder)]
    return {
        "store": store.manifest.name,
        "instance": instance,
        "instances": instances.num_instances,
        "packing": packing,
        "sequence_length": length,
        "labels": length if labels is None else int(labels.sum()),
        "padding": length + 1 - int(spans.lengths.sum()),
        "runs": runs,
    }


def _parsed(span: str | None) -> tuple[int, int] | None:
    """Parse `A:B`; thousands may be separated by `_` or `,`."""
    if span is None:
        return None
    parts = span.replace(",", "").replace("_", "").split(":")
    if len(parts) != 2 or not all(part.isdecimal() for part in parts):  # noqa: PLR2004 - A and B
        raise UsageError(f"{span!r} is no span of tokens; write A:B, for example 0:4096")
    start, stop = int(parts[0]), int(parts[1])
    return start, stop


def _decoder(store: Store, path: Path | None) -> Tokenizer | None:
    return None if path is None else load_pinned(store, path)


def _runs(
    store: Store, start: int, stop: int, at: int, decoder: Tokenizer | None
) -> Iterator[dict[str, Any]]:
    """Yield the runs of the tokens [start, stop), the first of them at `at`."""
    documents = store.documents_in(start, stop)
    for row in store.provenance(documents):
        begin, end = store.document_span(row.document)
        low, high = max(begin, start), min(end, stop)
        tokens = store.tokens(low, high).tolist()
        run = {
            "document": row.document,
            "id": row.id,
            "url": row.url,
            "path": row.path,
            "record": row.record,
            "num_tokens": row.num_tokens,
            "document_start": low - begin,
            "at": at + low - start,
            "tokens": tokens,
        }
        if decoder is not None:
            lines = range(0, len(tokens), IDS_A_LINE)
            run["texts"] = decoder.token_texts(tokens)
            run["lines"] = [decoder.decode(tokens[n : n + IDS_A_LINE]) for n in lines]
        yield run
