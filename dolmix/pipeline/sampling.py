"""Which documents of a source are looked at to find its limits: parts first, then documents.

Both are chosen by keyed hashes, of a part's place and of a document's id, so that the sample
follows from configuration and inputs alone, and costs no more for a source of any size.
"""

from collections.abc import Sequence
from dataclasses import asdict
from hashlib import blake2b
from heapq import nsmallest

import numpy as np
import pyarrow as pa

from dolmix.document import BoolArray, U64Array
from dolmix.filters.base import Filter
from dolmix.pipeline.spec import Pipeline
from dolmix.sources import Part
from dolmix.text.hashes import name_hashes

PERSON = b"dolmix-calibrat1"
RANGE = 1 << 64


def num_sampled(filters: Sequence[Filter]) -> int:
    """Count the filters that a sample goes through: up to the last that asks for a limit."""
    asking = [number for number, filter_ in enumerate(filters) if filter_.quantiles()]
    return asking[-1] + 1 if asking else 0


def sampled_parts(pipeline: Pipeline, source: str, parts: Sequence[Part]) -> list[int]:
    """Numbers of the parts of a source that its sample is taken from, ascending."""
    most = pipeline.calibration.parts
    if len(parts) <= most:
        return list(range(len(parts)))
    places = [f"{part.path}\x1f{part.split and asdict(part.split)}" for part in parts]
    drawn = draws(pipeline.seed, source, places).tolist()
    return sorted(nsmallest(most, range(len(parts)), key=lambda n: (drawn[n], n)))


def sample_rate(
    pipeline: Pipeline, parts: Sequence[Part], chosen: Sequence[int]
) -> tuple[int, int]:
    """Share of the documents of the chosen parts that are looked at, as a fraction (a, b).

    A file's bytes count in equal shares for the parts that it is cut into; (1, 1) is all of them.
    """
    cuts: dict[str, int] = {}
    for part in parts:
        cuts[part.path] = cuts.get(part.path, 0) + 1
    stored = sum(int(parts[n].identity["size"]) // cuts[parts[n].path] for n in chosen)
    wanted = pipeline.calibration.sample_bytes
    return (wanted, stored) if wanted < stored else (1, 1)


def sampled(ids: pa.StringArray, rate: tuple[int, int], *, seed: int, source: str) -> BoolArray:
    """(N,) bool: documents of the sample, by a keyed hash of their ids."""
    share, whole = rate
    if share >= whole:
        return np.ones(len(ids), np.bool_)
    drawn: BoolArray = draws(seed, source, ids.to_pylist()) < np.uint64(share * RANGE // whole)
    return drawn


def draws(seed: int, source: str, names: Sequence[str]) -> U64Array:
    """(N,) uint64: a hash of each name, keyed by the run's seed and the source."""
    start = blake2b(f"{seed}\x1f{source}\x1f".encode(), digest_size=8, person=PERSON)
    return name_hashes(names, start)
