"""datatrove: `.ds` tokens, `.ds.index` document ends, `.ds.metadata`; one set a shard.

`.ds` is the bytes of `.tok` and `.ds.index` those of `.end`: both are links. `.ds.metadata` has
three lines: `<tokenizer>|<bytes of a token>`, the number of tokens, and that number for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dolmix.errors import StoreError
from dolmix.shards.interop.foreign import Foreign, docs_rows, link_or_copy, mapped, token_files
from dolmix.shards.layout import END_DTYPE, shard_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dolmix.shards.reader import Store
    from dolmix.tokenizer import TokenizerPin

SIZES = {2: "<u2", 4: "<u4"}


def write(store: Store, folder: Path) -> None:
    """Link a store's shards into a folder under datatrove's names."""
    name = f"blake2b:{store.manifest.tokenizer.digest}|{store.dtype.itemsize}"
    for entry in store.manifest.shards:
        tokens = folder / f"{entry.name}.ds"
        link_or_copy(shard_file(store.path, entry.name, "tok"), tokens)
        link_or_copy(shard_file(store.path, entry.name, "end"), folder / f"{tokens.name}.index")
        docs = folder / f"{entry.name}.docs.parquet"
        link_or_copy(shard_file(store.path, entry.name, "docs"), docs)
        lines = (name, str(entry.tokens), _for_people(entry.tokens))
        (folder / f"{tokens.name}.metadata").write_text("\n".join(lines), encoding="utf-8")


def read(inputs: Path, tokenizer: TokenizerPin) -> Iterator[Foreign]:
    """Yield the token files of a folder, with the type that their index shows."""
    for file in token_files(inputs, ".ds"):
        ends = mapped(file.with_name(f"{file.name}.index"), END_DTYPE)
        last = int(ends[-1]) if len(ends) else 0
        size = file.stat().st_size
        if size != tokenizer.dtype.itemsize * last and (not last or size / last not in SIZES):
            raise StoreError(
                f"{file} has {size:,} bytes for {last:,} tokens by its index: neither 2 nor 4 a"
                " token. Were both files written together?"
            )
        dtype = SIZES[size // last] if last else tokenizer.dtype
        rows = docs_rows(file.with_name(f"{file.name.removesuffix('.ds')}.docs.parquet"))
        yield Foreign(file, mapped(file, dtype), ends, rows)


def _for_people(tokens: int) -> str:
    for unit, size in (("TT", 10**12), ("GT", 10**9), ("MT", 10**6), ("kT", 10**3)):
        if tokens >= size:
            return f"{tokens / size:.3g} {unit}"
    return f"{tokens} T"
