"""Edges sorted on disk, in memory that is set beforehand: sorted runs, then one merge of all."""

from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path

import numpy as np

from dolmix.document import I64Array

EDGE_BYTES = 16
WORK_BYTES = 80
"""Memory that one edge takes while a block is sorted: itself, its order, and two copies."""
FEWEST_EDGES = 256
"""Edges in memory at once, at the least."""


def block_size(memory: int) -> int:
    """Edges in memory at once for `memory` bytes."""
    return max(memory // WORK_BYTES, FEWEST_EDGES)


def in_blocks(edges: Iterable[I64Array], size: int) -> Iterator[I64Array]:
    """Cut and join blocks of (P, 2) to `size` edges each, the last one less."""
    waiting: list[I64Array] = []
    held = 0
    for block in edges:
        for start in range(0, len(block), size):
            piece = block[start : start + size]
            waiting.append(piece)
            held += len(piece)
            if held >= size:
                whole = np.concatenate(waiting)
                yield whole[:size]
                waiting, held = [whole[size:]], held - size
    if held:
        yield np.concatenate(waiting)


def write_edges(path: Path, edges: Iterable[I64Array]) -> None:
    """Write edges as raw (P, 2) i64."""
    with path.open("wb") as file:
        for block in edges:
            file.write(np.ascontiguousarray(block, "<i8").tobytes())


def read_edges(path: Path, size: int) -> Iterator[I64Array]:
    """Read edges back, `size` at once."""
    for start in range(0, path.stat().st_size // EDGE_BYTES, size):
        yield _read(path, start, size)


def sorted_edges(edges: Iterable[I64Array], *, memory: int, folder: Path) -> Iterator[I64Array]:
    """Yield all different edges in ascending order, in blocks.

    edges    blocks of (P, 2) int64, in any order, with repeats
    memory   bytes, about
    folder   for sorted runs; they are gone when the last block has been yielded
    """
    size = block_size(memory)
    names = (folder / f"{number}.run" for number in count())
    runs = []
    for block in in_blocks(edges, size):
        path = next(names)
        write_edges(path, [_unique(block)])
        runs.append(path)
    buffered = max(size // (len(runs) + 1), FEWEST_EDGES)
    yield from _merged([_Run(path, buffered) for path in runs])
    for path in runs:
        path.unlink()


class _Run:
    """A sorted run, of which a stretch is in memory."""

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self.left = path.stat().st_size // EDGE_BYTES
        self.at = 0
        self.held = np.empty((0, 2), np.int64)
        self.refill()

    def refill(self) -> None:
        """Read on once the stretch in memory is used up."""
        if not len(self.held) and self.left:
            self.held = _read(self.path, self.at, self.size)
            self.at += len(self.held)
            self.left -= len(self.held)

    def take(self, last: I64Array | None) -> I64Array:
        """Take what is held up to an edge, that one too; everything without one."""
        stop = len(self.held) if last is None else _place_after(self.held, last)
        taken, self.held = self.held[:stop], self.held[stop:]
        self.refill()
        return taken


def _merged(runs: list[_Run]) -> Iterator[I64Array]:
    """Merge runs: what is not above the lowest last edge in memory is complete."""
    while runs:
        lasts = [run.held[-1] for run in runs if run.left]
        last = min(lasts, key=tuple, default=None)
        yield _unique(np.concatenate([run.take(last) for run in runs]))
        runs = [run for run in runs if len(run.held)]


def _place_after(edges: I64Array, last: I64Array) -> int:
    """Count the edges that are not above `last`; (P, 2) ascending."""
    start = int(np.searchsorted(edges[:, 0], last[0], "left"))
    stop = int(np.searchsorted(edges[:, 0], last[0], "right"))
    return start + int(np.searchsorted(edges[start:stop, 1], last[1], "right"))


def _unique(edges: I64Array) -> I64Array:
    """Sort edges and drop repeats."""
    ordered = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    if not len(ordered):
        return ordered
    new: I64Array = ordered[np.r_[True, (ordered[1:] != ordered[:-1]).any(axis=1)]]
    return new


def _read(path: Path, start: int, size: int) -> I64Array:
    edges = np.fromfile(path, "<i8", 2 * size, offset=EDGE_BYTES * start)
    return edges.astype(np.int64, copy=False).reshape(-1, 2)
