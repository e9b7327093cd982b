"""MinHash: documents that share most of their word n-grams, found without comparing all pairs.

A document is its set of shingles (runs of `ngram` words, `dolmix.dedup.words`), each hashed to 64
bits. Lane i of the signature is the smallest value of `(high * m_i + low) mod 2^32` over the
shingles, where high and low are the halves of a shingle's hash and m_i is drawn from the seed: one
multiplication for each shingle and lane. Two documents agree in a lane with a probability equal to
the Jaccard similarity s of their shingle sets (Broder 1997).

Collision curve: with `bands` bands of `rows` lanes, documents become candidates with probability

    1 - (1 - s^rows)^bands

which is what tests/dolmix/dedup/test_minhash.py measures on pairs of known similarity, within
sampling error. For 14 x 8 that is 0.05 at s = 0.5, 0.56 at 0.7, 0.92 at 0.8 and 0.9996 at 0.9.

A document shorter than a shingle is one shingle of all its words, so it matches documents with the
same words. A document without any word is not valid and never matches; exact dedup takes care of
it.
"""

import unicodedata
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dolmix.dedup.base import Dedup, MatchKeys
from dolmix.dedup.lsh import Banding, optimal_banding
from dolmix.document import BoolArray, TextBatch, U32Array, U64Array


@dataclass(frozen=True, eq=False)
class Signatures:
    """MinHash signatures of N documents.

    lanes  (N, num_hashes) uint32
    valid  (N,) bool   False for a document without words; its lanes mean nothing
    """

    lanes: U32Array
    valid: BoolArray


class MinHash(Dedup):
    """Drop near-duplicates: documents whose sets of word n-grams overlap.

    Signatures: Broder 1997. Banding: Indyk and Motwani 1998.
    """

    definition: ClassVar[str] = "dolmix-minhash-1"

    type: Literal["minhash"] = "minhash"
    threshold: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """Jaccard similarity around which pairs start to be found; chooses bands and rows where they
    are not given."""
    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Words in a shingle."""
    num_hashes: Annotated[int, Field(ge=2, le=4096)] = 112
    """Lanes of a signature; more of them make the collision curve steeper and cost time."""
    bands: Annotated[int, Field(ge=1)] | None = None
    """Keys a document; given together with `rows`, replaces the choice by threshold."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Lanes that must all agree within a band."""
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 1
    """Draws the lanes; two runs compare only with equal seeds."""

    @model_validator(mode="after")
    def _check_banding(self) -> Self:
        if (self.bands is None) != (self.rows is None):
            given, absent = ("bands", "rows") if self.rows is None else ("rows", "bands")
            raise ValueError(f"{given} is given without {absent}; give both, or a threshold")
        if self.bands is not None and self.rows is not None:
            needed = self.bands * self.rows
            if needed > self.num_hashes:
                raise ValueError(
                    f"bands x rows = {self.bands} x {self.rows} needs {needed:,} hashes, but "
                    f"num_hashes is {self.num_hashes:,}; lower bands or rows, or raise num_hashes"
                )
        return self

    @property
    def banding(self) -> Banding:
        """Bands and rows in use: as given, or the best for the threshold."""
        if self.bands is not None and self.rows is not None:
            return Banding(self.bands, self.rows)
        return optimal_banding(self.threshold, self.num_hashes)

    @property
    def num_bands(self) -> int:
        """Keys a document."""
        return self.banding.bands

    def resolved(self) -> Self:
        """Write bands and rows out, since they come from a solver that may change."""
        bands, rows = self.banding
        return self.model_copy(update={"bands": bands, "rows": rows})

    def digests(self) -> dict[str, str]:
        """Letters and digits depend on the Unicode version of this Python."""
        return {"unicode": unicodedata.unidata_version}

    def signatures(self, texts: TextBatch) -> Signatures:
        """Compute one signature a document, in one pass of compiled code over the UTF-8 bytes."""
        from dolmix.dedup.kernels import multipliers, signatures
        from dolmix.dedup.words import letter_table

        lanes = multipliers(self.seed, self.num_hashes)
        return Signatures(*signatures(texts.utf8, texts.offsets, letter_table(), self.ngram, lanes))

    def band_keys(self, signatures: Signatures) -> U64Array:
        """(N, num_bands) uint64: one key a band; meaningless where a signature is not valid."""
        from dolmix.dedup.kernels import band_keys

        return band_keys(signatures.lanes, *self.banding)

    def match_keys(self, texts: TextBatch) -> MatchKeys:
        """`num_bands` keys of width 1 a document."""
        signatures = self.signatures(texts)
        return MatchKeys(self.band_keys(signatures)[:, :, None], signatures.valid)


def similarity(left: U32Array, right: U32Array) -> float:
    """Estimate the Jaccard similarity of two documents from their lanes, (num_hashes,) each.

    The estimate is unbiased with standard deviation sqrt(s (1 - s) / num_hashes).
    """
    return float(np.mean(left == right))
