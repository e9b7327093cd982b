"""Small stores to write and read: real token files on disk, documents made from a seed."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dolmix.shards import Manifest, ParentFile, StoreWriter, TokenizerPin
from dolmix.shards.ids import id_key

EOS_ID = 0


@dataclass(frozen=True)
class Documents:
    """Documents as a writer takes them: tokens (T,), lengths (N,), one provenance row each."""

    tokens: np.ndarray
    lengths: np.ndarray
    rows: pa.Table

    def slice(self, start: int, stop: int) -> "Documents":
        """Documents [start, stop)."""
        ends = np.concatenate([[0], np.cumsum(self.lengths)])
        tokens = self.tokens[ends[start] : ends[stop]]
        return Documents(tokens, self.lengths[start:stop], self.rows.slice(start, stop - start))

    @property
    def spans(self) -> list[tuple[int, int]]:
        """[start, stop) of each document, in tokens."""
        ends = np.cumsum(self.lengths).tolist()
        return list(pairwise([0, *ends]))


def pin(*, largest_id: int = 300, unk_id: int | None = None) -> TokenizerPin:
    """Pin of a tokenizer that needs no file."""
    return TokenizerPin(
        digest="5" * 64,
        largest_id=largest_id,
        eos="<|endoftext|>",
        eos_id=EOS_ID,
        unk_id=unk_id,
        specials={"<|endoftext|>": EOS_ID},
    )


def documents(lengths: list[int], *, seed: int = 0, largest_id: int = 300) -> Documents:
    """Random documents of these lengths in tokens, each ending in EOS."""
    rng = np.random.default_rng(seed)
    counts = np.array(lengths, np.int64)
    tokens = rng.integers(1, largest_id, int(counts.sum()), endpoint=True)
    tokens[np.cumsum(counts) - 1] = EOS_ID
    size = len(lengths)
    rows = pa.table(
        {
            "id": pa.array([f"doc-{n}" for n in range(size)], pa.string()),
            "url": pa.array([None if n % 3 else f"http://x/{n}" for n in range(size)], "string"),
            "path": pa.array(["part/a.jsonl.gz"] * size, pa.string()),
            "record": pa.array(range(size), pa.int64()),
            "language.score": pa.array(rng.random(size), pa.float32()),
        }
    )
    return Documents(tokens, counts, rows)


def with_text_hashes(documents: Documents) -> Documents:
    """Give each document the hash of the text `text of <its id>`."""
    keys = [id_key(f"text of {name}") for name in documents.rows["id"].to_pylist()]
    rows = documents.rows.append_column("text_hash", pa.array(keys, pa.uint64()))
    return Documents(documents.tokens, documents.lengths, rows)


def open_writer(folder: Path, *, version: int = 1, **settings: Any) -> StoreWriter:
    """Open a writer for `folder/web@version`."""
    settings = {"tokenizer": pin(), "special_in_text": "plain", **settings}
    parents = settings.pop("parents", [ParentFile(path="part/a.jsonl.gz", size=7, digest="ab")])
    return StoreWriter(
        folder / f"web@{version}", source="web", version=version, parents=parents, **settings
    )


def write(
    folder: Path, documents: Documents, *, cuts: tuple[int, ...] = (), **settings: Any
) -> Manifest:
    """Write and commit `web@1`, appending between the cuts."""
    edges = [0, *cuts, len(documents.lengths)]
    with open_writer(folder, **settings) as writer:
        for start, stop in pairwise(edges):
            part = documents.slice(start, stop)
            writer.append(part.tokens, part.lengths, part.rows, text_bytes=3 * (stop - start))
        return writer.commit()


def contents(root: Path) -> dict[str, bytes]:
    """All files below `root` with their bytes."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}
