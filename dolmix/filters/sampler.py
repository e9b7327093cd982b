"""A sample by keyed hash of the id: the same documents for any task count, order or machine.

Samples of one seed are nested: what a smaller share keeps, a larger one keeps too.
"""

from collections.abc import Iterator
from hashlib import blake2b
from typing import Literal

import numpy as np
import pyarrow as pa

from dolmix.config import Frac
from dolmix.document import Columns, TextBatch
from dolmix.filters.base import Filter, Rule
from dolmix.text.hashes import name_hashes

DRAW_BITS = 53
"""Bits of a hash that a float64 in [0, 1) holds exactly."""


class Sampler(Filter):
    """Keep a share of the documents, chosen by their ids alone."""

    rule_settings = ("keep_frac",)

    type: Literal["sampler"] = "sampler"
    keep_frac: Frac
    """Share of the documents to keep."""
    seed: int = 0
    """Another seed keeps other documents."""

    @property
    def definition(self) -> str:
        """The hash that draws."""
        return "blake2b-64 of the id, keyed by the seed"

    def column_types(self) -> dict[str, pa.DataType]:
        """One column, never null."""
        return {"draw": pa.float64()}

    def columns(self, texts: TextBatch) -> Columns:
        """Draw a number in [0, 1) for every document: 53 bits of a hash of its id."""
        key = str(self.seed).encode()
        ids = map(str, texts.ids.to_pylist())
        bits = name_hashes(ids, blake2b(digest_size=8, key=key[:64])) >> np.uint64(64 - DRAW_BITS)
        return {"draw": pa.array(bits.astype(np.float64) / (1 << DRAW_BITS))}

    def rules(self) -> Iterator[Rule]:
        """One rule: what is drawn at the share or above it goes."""
        yield Rule("draw", at_least=self.keep_frac)
