"""Stores in the formats of other trainers, and their files as stores.

`export_store` writes a folder that the peer's own reader opens; token files whose bytes are the
same are hard links, so a store can stand in several formats at once for the price of its indices.
`import_store` reads such a folder, whoever wrote it, and commits a store through the same gates as
any other. Formats are described in docs/formats.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from dolmix.errors import StoreError, UsageError
from dolmix.files.commit import file_digest, new_directory
from dolmix.shards.interop import datatrove, megatron, olmo
from dolmix.shards.interop.foreign import Foreign, check_foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from dolmix.shards.layout import Manifest
    from dolmix.shards.reader import Store
    from dolmix.tokenizer import TokenizerPin

Format = Literal["datatrove", "megatron", "olmo"]

WRITERS: dict[Format, Callable[[Store, Path], None]] = {
    "datatrove": datatrove.write,
    "megatron": megatron.write,
    "olmo": olmo.write,
}
READERS: dict[Format, Callable[[Path, TokenizerPin], Iterator[Foreign]]] = {
    "datatrove": datatrove.read,
    "megatron": megatron.read,
    "olmo": olmo.read,
}
BLOCK_TOKENS = 1 << 24
"""Tokens appended together while importing, one document at least."""


def format_of(name: str) -> Format:
    """Return the format of this name. Raises UsageError for another one."""
    for form in WRITERS:
        if name == form:
            return form
    raise UsageError(f"format {name!r} is none of {', '.join(WRITERS)}")


def export_store(store: Store, target: Path, form: Format) -> list[Path]:
    """Write a store as the new folder `target`; return its files.

    Token files are hard links where the file system allows: never write into them. Raises
    StoreError if `target` exists, the store is remote, or the format cannot hold it.
    """
    if not store.num_documents:
        raise StoreError(f"{store.location} has no documents: there is nothing to export")
    try:
        with new_directory(target) as folder:
            WRITERS[form](store, folder)
    except FileExistsError:
        raise StoreError(f"{target} exists already; export into a new folder") from None
    except OSError as error:
        raise StoreError(f"{target} cannot be written: {error}") from error
    return sorted(path for path in target.iterdir() if path.is_file())


def import_store(
    inputs: Path,
    target: Path,
    form: Format,
    *,
    tokenizer: TokenizerPin,
    shard_tokens: int | None = None,
) -> Manifest:
    """Read a folder (or one token file in it) of another format and commit it as a store.

    target        `<source>@<version>`
    tokenizer     what made the ids; every document must end in its EOS
    shard_tokens  tokens in a shard of the new store

    Provenance is what the format has; without any, a document's id is `<file>:<number>`. The bytes
    of the texts are not known: `totals.bytes` is 0. Raises StoreError for files that are missing,
    contradict each other, or do not pass the gates of a store.
    """
    from dolmix.shards.layout import ParentFile
    from dolmix.shards.writer import SHARD_TOKENS, StoreWriter

    source, version = _named(target)
    parts = list(READERS[form](inputs, tokenizer))
    if not parts:
        raise StoreError(f"{inputs}: no file of the format {form} here")
    parents = [
        ParentFile(path=p.file.name, size=p.file.stat().st_size, digest=file_digest(p.file))
        for p in parts
    ]
    with StoreWriter(
        target,
        source=source,
        version=version,
        tokenizer=tokenizer,
        special_in_text="allow",
        parents=parents,
        shard_tokens=shard_tokens or SHARD_TOKENS,
    ) as writer:
        for part in parts:
            check_foreign(part)
            for tokens, lengths, rows in part.blocks(BLOCK_TOKENS):
                writer.append(tokens, lengths, rows, 0)
        return writer.commit()


def _named(target: Path) -> tuple[str, int]:
    source, at, version = target.name.rpartition("@")
    if not at or not version.isdecimal():
        raise StoreError(
            f"{target}: a store is named <source>@<version>, for example {target.name or 'web'}@1"
        )
    return source, int(version)
