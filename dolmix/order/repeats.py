"""Which instances only repeat themselves: the mask on the loss that OLMo trained with.

An instance is flagged where a span of 1 to 13 tokens stands 32 or more times in a row among its
inputs (OLMo's loader filter `find_periodic_sequences`, with the limits of OLMoE-1B-7B-0924). A
trainer leaves flagged instances out of its loss; they keep their places, so that orders with and
without the mask stay comparable, batch by batch (order specification, section 5). The flags of a
source may be computed once and kept beside its store, one bit an instance; they are the same.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dolmix.shards import Instances
from dolmix.shards.bits import Bits, bytes_of, write_bits
from dolmix.shards.derived import Derived, derive, find_derived

BoolArray: TypeAlias = NDArray[np.bool_]
I64Array: TypeAlias = NDArray[np.int64]

MAX_PERIOD = 13
MIN_TIMES = 32
VERSION = 1
FILE = "repeats.bits"
BLOCK = 1 << 20
"""Tokens looked at together."""
PADDING = 1 << 31
"""Ids from here on stand for padding while repeats are sought; no store has ids as large."""


def repeats(rows: NDArray[Any], *, periods: int = MAX_PERIOD, times: int = MIN_TIMES) -> BoolArray:
    """Find the rows in which a span of at most `periods` tokens stands `times` times in a row.

    rows      (n, L) integers   the inputs of n instances
    returns   (n,) bool

    Whole spans count: 31.9 times are 31. A span of p tokens stands t times in a row where
    (t - 1) p neighbours in a row equal the token p places before them. Every such run covers one of
    the places (t - 1) p - 1, 2 (t - 1) p - 1, ..., so rows without any equal pair there are done.
    Periods above a third of a row are no repeats, as in OLMo.
    """
    found = np.zeros(len(rows), np.bool_)
    for p in range(1, min(periods, rows.shape[1] // 3) + 1):
        need = (times - 1) * p
        doubted = (rows[:, p:][:, need - 1 :: need] == rows[:, :-p][:, need - 1 :: need]).any(1)
        at = np.flatnonzero(doubted & ~found)
        if at.size:
            same = rows[at, p:] == rows[at, :-p]
            found[at] = _longest_run_reaches(same, need)
    return found


def repeats_in(instances: Instances, numbers: I64Array, tokens: NDArray[Any]) -> BoolArray:
    """Find the instances that only repeat themselves; padding is no repetition.

    numbers   (n,)                instances
    tokens    (n, L + 1) integers  their rows, as `Instances.read` gives them
    returns   (n,) bool
    """
    inputs = tokens[:, :-1]
    spans = instances.spans(numbers)
    ends = np.bincount(spans.rows, spans.lengths, len(numbers)).astype(np.int64)
    padded = np.flatnonzero(ends < inputs.shape[1])
    if padded.size:
        inputs = inputs.astype(np.uint32)
        places = np.arange(inputs.shape[1], dtype=np.uint32)
        beyond = places >= ends[padded, None]
        inputs[padded] = np.where(beyond, places + PADDING, inputs[padded])
    return repeats(inputs)


def make_repeat_mask(instances: Instances) -> Bits:
    """Compute the flags of all instances, or open those computed earlier.

    Raises StoreError if they cannot be written beside the store.
    """
    found = derive_repeats(instances)
    return Bits(found.array(FILE, np.dtype(np.uint8), bytes_of(len(instances))))


def derive_repeats(instances: Instances) -> Derived:
    """Make the flags and return their directory, open. Raises as `make_repeat_mask`."""
    asked = _asked(instances)
    return derive(instances.store, "repeats", asked, lambda folder: _write(instances, folder))


def open_repeat_mask(instances: Instances) -> Bits | None:
    """Open the flags computed earlier: bit i tells of instance i. None if there are none.

    Raises StoreError for a damaged file.
    """
    found = find_derived(instances.store, "repeats", _asked(instances))
    if found is None:
        return None
    return Bits(found.array(FILE, np.dtype(np.uint8), bytes_of(len(instances))))


def _asked(instances: Instances) -> dict[str, str | int]:
    rule: dict[str, str | int] = {"periods": MAX_PERIOD, "times": MIN_TIMES, "version": VERSION}
    return rule | instances.layout


def _write(instances: Instances, folder: Path) -> dict[str, int]:
    size, ones = write_bits(folder / FILE, _flags(instances))
    return {"instances": size, "repeats": ones}


def _flags(instances: Instances) -> Iterator[BoolArray]:
    """Yield the flags of all instances in order, some at a time, read into one buffer."""
    width = instances.sequence_length + 1
    size = max(1, BLOCK // width)
    rows = np.empty((size, width), np.uint32)
    for first in range(0, len(instances), size):
        numbers = np.arange(first, min(first + size, len(instances)), dtype=np.int64)
        instances.read(numbers, rows[: len(numbers)])
        yield repeats_in(instances, numbers, rows[: len(numbers)])


def _longest_run_reaches(same: BoolArray, need: int) -> BoolArray:
    """Find the rows of (n, m) bool that hold `need` True values in a row; m >= need."""
    counts = np.zeros((same.shape[0], same.shape[1] + 1), np.int32)
    np.cumsum(same, axis=1, out=counts[:, 1:])
    reached: BoolArray = (counts[:, need:] - counts[:, :-need] == need).any(axis=1)
    return reached
