"""Paragraphs and lines that the corpus has said before: found over all documents, taken out.

A unit (a paragraph, or a line) is known by a 64-bit hash of its normalised bytes. Of equal units
the first one in corpus order stays (sources, parts and records in their order, then the order of
the text), whatever computed what when; all later ones are duplicates, in the same document or in
another. Texts are those that the filters left, of documents that neither a filter nor an earlier
dedup step dropped. All units are judged at once: of a paragraph whose first document this step
drops for its share of duplicates, no later copy comes back.

`exact` keeps the hashes themselves: among n different units, two share a hash with a probability of
about n^2 / 2^65, so 10^9 units lose 0.03 of one by chance. `bloom` keeps some bits a unit instead
(`dolmix.dedup.bloom`): a unit that is new is taken for a duplicate with at most the stated
probability, and a duplicate is never missed.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dolmix.config import Frac, Name, Schema
from dolmix.document import BoolArray, F64Array, I64Array, TextBatch, U64Array
from dolmix.errors import DataError

if TYPE_CHECKING:
    from dolmix.dedup.bloom import BloomFilter
    from dolmix.dedup.seen import SeenKeys
    from dolmix.text.edits import Edits
    from dolmix.text.units import Units

Unit = Literal["paragraph", "line"]
UnitNormalize = Literal["none", "strip", "whitespace"]

ALL_DUPLICATE, DUPLICATE_FRAC = "all_duplicate", "duplicate_frac"
REASONS = (ALL_DUPLICATE, DUPLICATE_FRAC)
"""Bare reasons of the documents that the step drops: nothing but duplicates, or too many."""
HASHING = ("unit", "normalize", "min_bytes", "seed")
COMPARING = ("method", "capacity", "false_positive_rate", "tasks")
"""Settings that keys depend on, and those on which besides it depends what is a duplicate; all
others decide what is done with it."""
CHANCE_DEVIATIONS = 6
"""Standard deviations by which a range may hold more than its share of the keys."""


class Paragraphs(Schema):
    """Take out paragraphs or lines that stand earlier in the corpus; drop what little is left."""

    version: ClassVar[int] = 1
    """Raised whenever hashes or spans change their meaning; enters the task keys."""
    definition: ClassVar[str] = "dolmix-paragraphs-1"

    type: Literal["paragraphs"] = "paragraphs"
    name: Name | None = None
    """Name of this step in reasons, columns and reports; its type when not given."""
    unit: Unit = "paragraph"
    """What is compared. `paragraph`: a run of lines that are not blank; `line`: a line that is not
    blank. Blank is what has white space alone (`str.isspace`)."""
    normalize: UnitNormalize = "whitespace"
    """What does not count as a difference. `whitespace`: each run of white space as one space, none
    at the ends; `strip`: white space at the ends; `none`: every byte counts."""
    min_bytes: Annotated[int, Field(ge=1)] = 20
    """Shortest unit that is compared, in bytes of its normalised text; shorter ones always stay."""
    method: Literal["exact", "bloom"] = "exact"
    """What remembers the units that were seen: their hashes, or a Bloom filter."""
    capacity: Annotated[int, Field(ge=1)] | None = None
    """Different units that the Bloom filter is made for; more of them fail the run, since the
    stated rate would not hold."""
    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-6
    """Probability, at `capacity` units, that the Bloom filter takes a new unit for a duplicate."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 0
    """Seed of the hashes, and so of the Bloom filter."""
    against: Path | None = None
    """Folder with the filters (`*.bloom`) of an earlier run that had the same settings: units that
    it had are duplicates here. For method bloom."""
    cut: bool = True
    """Whether duplicates are taken out of the texts. Without, texts stay as they are, and
    `max_duplicate_frac` alone decides."""
    max_duplicate_frac: Frac | None = None
    """Drop a document when more than this share of its units' bytes is duplicate; null never."""
    tasks: Annotated[int, Field(ge=1, le=4096)] = 8
    """Tasks of the pass that compares, each over one range of hashes. No result of `exact` depends
    on it; `bloom` has one filter for each: the memory of a task is its share of the bits."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.method == "bloom") != (self.capacity is not None):
            raise ValueError(
                "method bloom needs capacity: how many different units the corpus may have"
                if self.capacity is None
                else f"capacity {self.capacity:,} is a setting of method bloom; method is exact"
            )
        if self.against is not None and self.method != "bloom":
            raise ValueError("against names Bloom filters; set method bloom and its capacity")
        if not self.cut and self.max_duplicate_frac is None:
            raise ValueError(
                "cut is false and max_duplicate_frac is null: the step would do nothing"
            )
        return self

    @property
    def label(self) -> str:
        """The step's name in reasons, columns and reports."""
        return self.name or self.type

    def resolved(self) -> Self:
        """Return the form that a plan records."""
        return self

    def units(self, texts: TextBatch) -> "Units":
        """Find and hash the units of texts: arrays in bytes of each text, keys as `unit` says."""
        from dolmix.text.units import AS_IT_IS, COLLAPSED, LINE, PARAGRAPH, STRIPPED, split_units

        normalize = {"none": AS_IT_IS, "strip": STRIPPED, "whitespace": COLLAPSED}[self.normalize]
        unit = LINE if self.unit == "line" else PARAGRAPH
        return split_units(
            texts, unit=unit, normalize=normalize, min_bytes=self.min_bytes, seed=self.seed
        )

    def older_filters(self) -> list[Path]:
        """Files of an earlier run's filters, one a range in their order; none without `against`.

        Raises DataError if there is not one for each range.
        """
        found = [] if self.against is None else sorted(self.against.glob("*.bloom"))
        if self.against is not None and len(found) != self.tasks:
            raise DataError(
                f"{self.label}.against: {self.against} has {len(found)} files *.bloom, but there "
                f"are {self.tasks} ranges; name the folder of a run with tasks {self.tasks}"
            )
        return found

    def older_digests(self) -> list[str]:
        """Digests of those files, in their order; they enter the task keys."""
        if self.against is None:
            return []
        from dolmix.dedup.bloom import filter_digest

        return [filter_digest(path) for path in self.older_filters()]

    def keys_of(self, number: int) -> str:
        """Say what the keys of a range are: filters of other ones hold other things."""
        settings = " ".join(f"{name} {getattr(self, name)}" for name in HASHING)
        return f"{self.definition}, {settings}, range {number} of {self.tasks}"

    def memory(self, share: int = 1) -> "BloomFilter | SeenKeys":
        """Give something that remembers keys: all of them, or those of one of `share` ranges.

        A range of a Bloom filter gets room for what chance may add to its share of the keys.
        """
        if self.capacity is None:
            from dolmix.dedup.seen import SeenKeys

            return SeenKeys()
        from dolmix.dedup.bloom import BloomFilter

        return BloomFilter.sized(self.capacity_of(share), self.false_positive_rate, self.seed)

    def capacity_of(self, share: int) -> int:
        """Different keys that the filter of one of `share` ranges is made for."""
        mean = (self.capacity or 0) / share
        return math.ceil(mean + (CHANCE_DEVIATIONS * math.sqrt(mean) if share > 1 else 0))

    def verdicts(self, units: "Units", duplicate: BoolArray) -> "Verdicts":
        """Decide documents and texts from the units that are duplicates.

        duplicate  (M,) bool  one for each of `units`
        """
        from dolmix.text.units import cut_units

        sizes = units.stops - units.starts
        counts = np.diff(units.ends)
        duplicates = _sums(duplicate.astype(np.int64), units.ends)
        total, gone = _sums(sizes, units.ends), _sums(sizes * duplicate, units.ends)
        share = gone / np.maximum(total, 1)
        reason = np.full(len(counts), -1, np.int64)
        if self.max_duplicate_frac is not None:
            reason[share > self.max_duplicate_frac] = REASONS.index(DUPLICATE_FRAC)
        if self.cut:
            reason[(counts > 0) & (duplicates == counts)] = REASONS.index(ALL_DUPLICATE)
        out = duplicate if self.cut else np.zeros_like(duplicate)
        edits = cut_units(units.starts, units.stops, units.ends, out)
        return Verdicts(counts, duplicates, gone, share, reason, edits)


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What N documents lose; every array is (N,).

    units            int64    units of the document, short ones included
    duplicate_units  int64    those that stand earlier in the corpus
    duplicate_bytes  int64    bytes of those, as they stand in the text
    duplicate_frac   float64  of the bytes of all units
    reason           int64    index of REASONS, -1 where the document stays
    edits            what to take out of each text
    """

    units: I64Array
    duplicate_units: I64Array
    duplicate_bytes: I64Array
    duplicate_frac: F64Array
    reason: I64Array
    edits: "Edits"


def range_starts(ranges: int) -> U64Array:
    """(ranges,) uint64: first key of each of `ranges` equal ranges of 64-bit keys."""
    return np.array([-(-(number << 64) // ranges) for number in range(ranges)], np.uint64)


def _sums(values: I64Array, ends: I64Array) -> I64Array:
    """(N,) int64: sum of each document's values."""
    before: I64Array = np.concatenate([[0], np.cumsum(values)])
    return before[ends[1:]] - before[ends[:-1]]
