"""What a dedup step is: keys that documents may share, and the order in which one of them is kept.

A step is its own configuration. Two documents that share the key of any band are candidates;
candidates that hang together form a cluster; of a cluster the document that comes first by
`keep_by` survives.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, StringConstraints, field_validator

from dolmix.config import Name, Schema
from dolmix.document import BoolArray, TextBatch, U8Array, U64Array

GIVEN_COLUMNS = ("source_priority", "id")
"""Columns of `keep_by` that every document has: the place of its source in the pipeline, and its
id."""

CHOICES = frozenset({"name", "keep_by", "drop", "against", "verify"})
"""Settings that decide what becomes of candidates, and change no key."""

KeepKey = Annotated[str, StringConstraints(pattern=r"^-?[A-Za-z0-9_][A-Za-z0-9_.-]*$")]
"""A column, smaller is better; `-column`, larger is better."""


@dataclass(frozen=True, eq=False)
class MatchKeys:
    """Keys of N documents, one a band.

    values  (N, bands, width) uint64   documents with equal `values[n, band]` are candidates
    valid   (N,) bool                  False: nothing to compare, the document must not be matched
    """

    values: U64Array
    valid: BoolArray


@dataclass(frozen=True, eq=False)
class Signed:
    """What the signature pass keeps of N documents.

    keys      one a band
    sketches  (N, H) uint8   for estimates of similarity; H is 0 for a step that has none
    """

    keys: MatchKeys
    sketches: U8Array


class Dedup(Schema):
    """Base of every dedup step; subclasses add `type: Literal[...]`, settings and `match_keys`."""

    version: ClassVar[int] = 1
    """Raised whenever keys change their meaning; enters the task key."""
    definition: ClassVar[str] = ""
    """Name of the algorithm, exact to the bit."""
    same_text: ClassVar[bool] = False
    """Whether equal keys mean equal texts: a similarity of 1."""

    type: str
    name: Name | None = None
    """Name of this step in reasons and reports; its type when not given. Unique within a
    pipeline."""
    keep_by: Annotated[tuple[KeepKey, ...], Field(min_length=1)] = GIVEN_COLUMNS
    """Which document of a cluster survives: columns in order, smaller is better, `-column` larger
    is better, missing values last. `source_priority` is the place of its source in the pipeline;
    ties end at the earliest document."""
    drop: Literal["new", "none"] = "new"
    """`new` drops duplicates from this run, never from what it is compared `against`; `none` drops
    nothing and writes what would go to `decisions/reported/`."""
    against: Path | None = None
    """Run, or index of one, whose documents are there already: those of this run that repeat one of
    them go too. Needs a run with `dedup_index: true` and the same settings of this step."""

    @field_validator("keep_by")
    @classmethod
    def _refuse_repeats(cls, keep_by: tuple[str, ...]) -> tuple[str, ...]:
        names = [key.removeprefix("-") for key in keep_by]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(
                    f"column {name!r} is given twice; the first one decides, drop the other"
                )
        return keep_by

    @property
    def label(self) -> str:
        """The step's name in reasons and reports."""
        return self.name or self.type

    def resolved(self) -> Self:
        """Write out what the step works out itself: the form that a plan records."""
        return self

    @property
    def num_bands(self) -> int:
        """How many keys a document has."""
        raise NotImplementedError

    def keep_columns(self) -> tuple[str, ...]:
        """Columns of `keep_by` that a filter must write, bare of their sign, in order."""
        names = (key.removeprefix("-") for key in self.keep_by)
        return tuple(name for name in names if name not in GIVEN_COLUMNS)

    def digests(self) -> dict[str, str]:
        """Name what keys depend on beside the settings, by role; it enters the task key."""
        return {}

    @property
    def sketch_bytes(self) -> int:
        """Bytes of a document's sketch; 0 for a step that estimates no similarity."""
        return 0

    @property
    def verifies(self) -> bool:
        """Whether candidates are compared text by text before they count."""
        return False

    def key_settings(self) -> dict[str, Any]:
        """Give the settings that keys depend on, as plain data."""
        return self.model_dump(mode="json", exclude=set(CHOICES))

    def sign(self, texts: TextBatch) -> Signed:
        """Compute keys and sketches of every document."""
        return Signed(self.match_keys(texts), np.zeros((len(texts), 0), np.uint8))

    def match_keys(self, texts: TextBatch) -> MatchKeys:
        """Compute the keys of every document; `num_bands` keys each."""
        raise NotImplementedError
