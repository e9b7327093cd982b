"""What a dedup step is: keys that documents may share, and the order in which one of them is kept.

A step is its own configuration. Two documents that share the key of any band are candidates;
candidates that hang together form a cluster; of a cluster the document that comes first by
`keep_by` survives.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints, field_validator

from dolmix.config import Name, Schema
from dolmix.document import BoolArray, TextBatch, U64Array

GIVEN_COLUMNS = ("source_priority", "id")
"""Columns of `keep_by` that every document has: the place of its source in the pipeline, and its
id."""

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


class Dedup(Schema):
    """Base of every dedup step; subclasses add `type: Literal[...]`, settings and `match_keys`."""

    version: ClassVar[int] = 1
    """Raised whenever keys change their meaning; enters the task key."""
    definition: ClassVar[str] = ""
    """Name of the algorithm, exact to the bit."""

    type: str
    name: Name | None = None
    """Name of this step in reasons and reports; its type when not given. Unique within a
    pipeline."""
    keep_by: Annotated[tuple[KeepKey, ...], Field(min_length=1)] = GIVEN_COLUMNS
    """Which document of a cluster survives: columns in order, smaller is better, `-column` larger
    is better, missing values last. `source_priority` is the place of its source in the pipeline;
    ties end at the earliest document."""

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

    def match_keys(self, texts: TextBatch) -> MatchKeys:
        """Compute the keys of every document; `num_bands` keys each."""
        raise NotImplementedError
