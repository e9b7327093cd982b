"""The compare pass of paragraph dedup: of one range of keys, which were seen in an earlier run.

Runs are taken in corpus order, so a key is seen exactly if an earlier run has it, whatever computed
what when. With `exact` the range is gone through in pieces of bounded size; with `bloom` the range
has one filter, of a size that is set. Either way memory does not grow with the corpus.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np

from dolmix.dedup.bloom import BloomFilter
from dolmix.dedup.paragraphs import Paragraphs, range_starts
from dolmix.dedup.seen import SeenKeys
from dolmix.document import U8Array, U64Array
from dolmix.errors import DataError
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.passes.paragraph_hashes import paragraph_step, read_runs

KEYS_AT_ONCE = 1 << 24
"""Keys that `exact` holds at once, at 16 to 32 bytes each."""


def compare_range(context: TaskContext) -> TaskResult:
    """Write one byte for every key of the range in every run: whether an earlier run has it."""
    step = paragraph_step(context)
    starts = range_starts(step.tasks)
    bounds = [*(int(s) for s in starts), 1 << 64][
        context.task.key_range : context.task.key_range + 2
    ]
    sizes = [_count(runs, *bounds) for runs in _runs(context)]
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    folder = context.run / "work" / "paragraphs" / "ranges"
    stem = f"{context.task.key_range:04d}-{context.task.key[:12]}"
    outputs = {"seen": folder / f"{stem}.seen", "offsets": folder / f"{stem}.npy"}
    with commit.new_file(outputs["seen"]) as attempt:
        seen = _new_bytes(attempt, int(offsets[-1]))
        memories = _compare(context, step, bounds, seen)
        if isinstance(seen, np.memmap):
            seen.flush()
    if isinstance(memories, BloomFilter):
        outputs["filter"] = folder / f"{stem}.bloom"
        memories.save(outputs["filter"])
    with commit.new_file(outputs["offsets"]) as attempt, attempt.open("wb") as file:
        np.save(file, offsets)
    return TaskResult(outputs, {"keys": int(offsets[-1]), "seen": int(seen.sum(dtype=np.int64))})


def _compare(
    context: TaskContext, step: Paragraphs, bounds: list[int], seen: U8Array
) -> BloomFilter | None:
    """Fill in `seen`; returns the filter of a step that has one."""
    pieces = 1 if step.method == "bloom" else max(1, -(-len(seen) // KEYS_AT_ONCE))
    first, last = bounds
    cuts = [first + (last - first) * n // pieces for n in range(pieces + 1)]
    memory = None
    for low, high in pairwise(cuts):
        memory = _memory(context, step)
        place = 0
        for runs in _runs(context):
            for keys in runs:
                begin, start, stop = _places(keys, first, low, high)
                at = place + start - begin
                seen[at : at + stop - start] = memory.add(np.array(keys[start:stop]))
                place += _count([keys], first, last)
            context.report(keys=place)
            if isinstance(memory, BloomFilter):
                _check_capacity(step, memory)
    return memory if isinstance(memory, BloomFilter) else None


def _memory(context: TaskContext, step: Paragraphs) -> BloomFilter | SeenKeys:
    """Give what remembers the keys of the range: a filter begins with what an earlier run had."""
    memory = step.memory(step.tasks)
    if isinstance(memory, BloomFilter):
        memory.keys_of = step.keys_of(context.task.key_range)
        if step.against is not None:
            path = step.older_filters()[context.task.key_range]
            older = BloomFilter.load(path)
            try:
                memory.merge(older)
            except DataError as error:
                raise DataError(f"{path}: {error}") from None
    return memory


def _runs(context: TaskContext) -> Iterator[list[U64Array]]:
    """Yield the runs of every part, in corpus order; one file is open at a time."""
    for source, part in context.all_parts():
        yield read_runs(context.run, context.record("paragraph_hashes", source, part))


def _count(runs: list[U64Array], low: int, high: int) -> int:
    return sum(stop - start for _, start, stop in (_places(k, low, low, high) for k in runs))


def _places(keys: U64Array, first: int, low: int, high: int) -> tuple[int, int, int]:
    """Places in ascending keys at which `first`, `low` and `high` stand, or would."""
    found = np.searchsorted(keys, np.array([first, low], np.uint64)).tolist()
    stop = len(keys) if high == 1 << 64 else int(np.searchsorted(keys, np.uint64(high)))
    return found[0], found[1], stop


def _new_bytes(path: Path, size: int) -> U8Array:
    """Make a file of zeros, mapped for writing."""
    path.touch()
    return np.memmap(path, np.uint8, "w+", shape=(size,)) if size else np.zeros(0, np.uint8)


def _check_capacity(step: Paragraphs, memory: BloomFilter) -> None:
    """Raise DataError if a range's filter holds more keys than it was made for."""
    room = step.capacity_of(step.tasks)
    if memory.added > room:
        raise DataError(
            f"{step.label}: the Bloom filter of one of {step.tasks} ranges holds {memory.added:,} "
            f"units so far, it was made for {room:,}; false_positive_rate "
            f"{step.false_positive_rate:g} would not hold. Raise capacity above {step.capacity:,}, "
            f"or use method exact."
        )
