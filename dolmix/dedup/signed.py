"""Everything that one dedup step compares: signed parts of an older run's index, then this run's.

Documents are numbered over all of them, survivors of the filters only, in the order of parts and of
records in a part; the numbers follow from the parts' counts alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from dolmix.dedup.runs import KeyRun
from dolmix.document import F64Array, I64Array


@dataclass(frozen=True, slots=True)
class SignedPart:
    """Files of one part for one step.

    documents    documents that the filters kept
    comparable   those of them that have keys
    keys         their keys, a key run (`dolmix.dedup.runs`)
    sketches     (documents, sketch bytes) uint8, raw; None for a step without sketches
    """

    documents: int
    comparable: int
    wide: bool
    keys: Path
    sketches: Path | None


@dataclass(frozen=True)
class SignedParts:
    """Parts in the order that numbers their documents; the first `num_old` are the index's."""

    parts: Sequence[SignedPart]
    num_old: int = 0

    @cached_property
    def starts(self) -> I64Array:
        """(parts + 1,) int64: number of the first document of each part, then of all documents."""
        return np.cumsum([0, *(part.documents for part in self.parts)], dtype=np.int64)

    @property
    def num_documents(self) -> int:
        """Documents of both sides."""
        return int(self.starts[-1])

    @property
    def own(self) -> int:
        """Number of this run's first document."""
        return int(self.starts[self.num_old])

    def runs(self) -> list[KeyRun]:
        """Key runs of all parts."""
        starts = self.starts.tolist()
        return [
            KeyRun(part.keys, part.comparable, part.wide, starts[number])
            for number, part in enumerate(self.parts)
        ]

    def similarities(self, pairs: I64Array, width: int) -> F64Array:
        """Estimate the similarity of document pairs, (P, 2) int64, from sketches of `width`."""
        from dolmix.dedup.sketches import similarities

        paths = [part.sketches or Path() for part in self.parts]
        return similarities(paths, self.starts, pairs, width)
