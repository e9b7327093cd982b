"""Parts: what one task reads, planned without reading texts.

A plan follows from the inputs and `part_bytes` alone, so it is the same on every machine and for
any number of workers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, Literal

from dolmix.files import parquet, zstd_frames
from dolmix.files.paths import (
    Compression,
    InputFile,
    Kind,
    expand,
    format_of,
    identify,
    is_remote,
)


@dataclass(frozen=True, slots=True)
class Split:
    """A stretch `[start, stop)` of a file, in bytes as stored or in row groups.

    Frames are those of zstd: such a stretch begins and ends where frames do.
    """

    unit: Literal["bytes", "frames", "row_groups"]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one task reads: a file or a stretch of one.

    uri            where to open it: an absolute local path, or a URI
    path           its name for people and provenance; relative, `/` separated
    split          None for a whole file
    first_record   number of its first record in the file: 0 for the first part, known for row
                   groups, else None
    identity       size, time or etag, digest of the ends of the whole file (`files.paths.identify`)
    """

    uri: str
    path: str
    kind: Kind
    compression: Compression
    split: Split | None
    first_record: int | None
    identity: dict[str, int | str]

    def to_json(self) -> dict[str, Any]:
        """Give plain data that `from_json` turns back into an equal part."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Part":
        """Rebuild what `to_json` gave."""
        split = value["split"]
        return cls(**{**value, "split": None if split is None else Split(**split)})


def plan_parts(inputs: Sequence[str], *, part_bytes: int, splittable: bool = True) -> list[Part]:
    """Cut the files that `inputs` name, in order, into parts of about `part_bytes` stored bytes.

    Plain JSONL and WARC, plain or gzip, are cut into byte ranges, Parquet into runs of row groups,
    local JSONL in several zstd frames into runs of frames; other gzip, single frames and WARC in
    zstd stay whole. `splittable=False` keeps all but Parquet whole, as ids made of record numbers
    need.

    Raises DataError for inputs that name no file, a folder, a file twice, or a file of unknown
    suffix.
    """
    if part_bytes < 1:
        raise ValueError(f"part_bytes is {part_bytes}; at least 1 byte is needed")
    files = [(file, *format_of(file.uri)) for file in expand(inputs)]
    return [
        part
        for file, kind, compression in files
        for part in _plan_file(
            file, kind, compression, part_bytes if splittable or kind == "parquet" else 0
        )
    ]


def _plan_file(
    file: InputFile, kind: Kind, compression: Compression, part_bytes: int
) -> Iterator[Part]:
    """Cut one file; `part_bytes` 0 keeps it whole."""
    identity = identify(file.uri)
    size = int(identity["size"])
    cuts: list[tuple[Split | None, int | None]] = []
    if 0 < part_bytes < size:
        if kind == "parquet":
            cuts = _cut_row_groups(file.uri, size, part_bytes)
        elif kind == "warc":
            cuts = _cut_bytes(size, part_bytes) if compression != "zst" else []
        elif compression == "zst" and not is_remote(file.uri):
            cuts = _cut_frames(Path(file.uri), size, part_bytes)
        elif not compression:
            cuts = _cut_bytes(size, part_bytes)
    for split, first_record in cuts if len(cuts) > 1 else [(None, 0)]:
        yield Part(file.uri, file.path, kind, compression, split, first_record, identity)


def _cut_bytes(size: int, part_bytes: int) -> list[tuple[Split | None, int | None]]:
    count = -(-size // part_bytes)
    edges = [size * n // count for n in range(count + 1)]
    splits = [Split("bytes", a, b) for a, b in pairwise(edges)]
    return [(s, None if s.start else 0) for s in splits]


def _cut_frames(path: Path, size: int, part_bytes: int) -> list[tuple[Split | None, int | None]]:
    starts = zstd_frames.frame_starts(path) or [0]
    edges = _gather([b - a for a, b in zip(starts, [*starts[1:], size], strict=True)], part_bytes)
    splits = [Split("frames", starts[a], starts[b] if b < len(starts) else size) for a, b in edges]
    return [(s, None if s.start else 0) for s in splits]


def _cut_row_groups(uri: str, size: int, part_bytes: int) -> list[tuple[Split | None, int | None]]:
    groups = parquet.row_groups(uri) or []
    total = max(1, sum(g.num_bytes for g in groups))
    stored = [size * g.num_bytes // total for g in groups]
    first = list(accumulate((g.num_rows for g in groups), initial=0))
    return [(Split("row_groups", a, b), first[a]) for a, b in _gather(stored, part_bytes)]


def _gather(sizes: Sequence[int], part_bytes: int) -> list[tuple[int, int]]:
    """Cut items into runs `[start, stop)`, each closed by what brings it to `part_bytes`."""
    runs, start, total = [], 0, 0
    for n, size in enumerate(sizes):
        total += size
        if total >= part_bytes or n == len(sizes) - 1:
            runs.append((start, n + 1))
            start, total = n + 1, 0
    return runs
