"""MinHash: documents that share most of their word n-grams, found without comparing all pairs.

A document is its set of shingles (runs of `ngram` words, `dolmix.dedup.words`), each hashed to 64
bits. Lane i of the signature is the smallest value of `(high * m_i + low) mod 2^32` over the
shingles, where high and low are the halves of a shingle's hash and m_i is drawn from the seed: one
multiplication for each shingle and lane. Two documents agree in a lane with a probability equal to
the Jaccard similarity s of their shingle sets (Broder 1997).

Collision curve: with `bands` bands of `rows` lanes, documents become candidates with probability

    1 - (1 - s^rows)^bands

which is what tests/dolmix/dedup/test_minhash_curve.py measures on edited documents of known
similarity, within sampling error. For 14 x 8 that is 0.05 at s = 0.5, 0.56 at 0.7, 0.92 at 0.8 and
0.9996 at 0.9.

The preset `datatrove-0.10` takes datatrove's words, hashes and permutations in their place
(`dolmix.dedup.datatrove_signatures`): its lanes are those of datatrove to the bit.

A document shorter than a shingle is one shingle of all its words, so it matches documents with the
same words and, but for a chance of 2^-64, no others; under `short: keep` it is not valid, as in
datatrove, which never drops it. A document without any word is not valid and never matches; exact
dedup takes care of it.
"""

import unicodedata
from dataclasses import dataclass
from importlib import metadata
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from dolmix.dedup.base import Dedup, MatchKeys, Signed
from dolmix.dedup.lsh import Banding, optimal_banding
from dolmix.dedup.sketches import sketches
from dolmix.document import BoolArray, I64Array, TextBatch, U32Array, U64Array


@dataclass(frozen=True, eq=False)
class Signatures:
    """MinHash signatures of N documents.

    lanes  (N, num_hashes) uint32, or uint64 for datatrove's of 64 bits
    valid  (N,) bool   False for a document without words, and under `short: keep` for one with less
                       than a shingle; its lanes mean nothing
    """

    lanes: U32Array | U64Array
    valid: BoolArray


DATATROVE: dict[str, Any] = {
    "preset": "datatrove-0.10",
    "bands": 14,
    "rows": 8,
    "hash_function": "xxhash",
    "hash_bits": 64,
}
"""Settings of the preset: those of datatrove's MinhashConfig; n-grams and seed are the same."""


class MinHash(Dedup):
    """Drop near-duplicates: documents whose sets of word n-grams overlap.

    Signatures: Broder 1997. Banding: Indyk and Motwani 1998.
    """

    type: Literal["minhash"] = "minhash"
    preset: Literal["datatrove-0.10"] | None = None
    """Whose words, hashes and lanes: datatrove's to the bit, for its files and its decisions (needs
    spaCy), or dolmix's own, which are several times faster. datatrove's has 14 bands of 8 rows
    unless given, and as many hashes as they need."""
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
    short: Literal["exact", "keep"] = "exact"
    """What becomes of documents with fewer words than a shingle: `exact` drops those with the same
    words, `keep` none, as datatrove does."""
    hash_function: Literal["xxhash", "sha1"] | None = None
    """For datatrove-0.10, what hashes a shingle: its default `xxhash`, or `sha1`, FineWeb's."""
    hash_bits: Literal[64, 32] | None = None
    """For datatrove-0.10, bits of that hash and of a lane: 64 unless given."""
    verify: bool = False
    """Compare the shingles of candidates, and join only those whose Jaccard similarity is at least
    `threshold`: no false positives, at the cost of reading the texts of candidates again."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or raw.get("preset") != DATATROVE["preset"]:
            return raw
        filled = {**DATATROVE, **{key: value for key, value in raw.items() if value is not None}}
        bands, rows = filled["bands"], filled["rows"]
        if isinstance(bands, int) and isinstance(rows, int):
            filled.setdefault("num_hashes", bands * rows)
        return filled

    @model_validator(mode="after")
    def _check_preset(self) -> Self:
        hashed = {"hash_function": self.hash_function, "hash_bits": self.hash_bits}
        named = [f"{name} is {value}" for name, value in hashed.items() if value is not None]
        if self.preset is None and named:
            raise ValueError(
                f"{' and '.join(named)}, but only preset datatrove-0.10 has a choice; leave it "
                "out, or set the preset"
            )
        if self.preset is not None and self.num_hashes != (self.bands or 0) * (self.rows or 0):
            raise ValueError(
                f"num_hashes is {self.num_hashes:,}, but datatrove has bands x rows = "
                f"{self.bands} x {self.rows} of them, and each lane depends on how many; leave "
                "num_hashes out"
            )
        if self.preset is not None and self.seed >= 1 << 32:
            raise ValueError(f"seed is {self.seed:,}, but datatrove's are below {1 << 32:,}")
        return self

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

    @model_validator(mode="after")
    def _check_verify(self) -> Self:
        if self.verify and self.against is not None:
            raise ValueError(
                "verify needs the texts of both sides, and an index holds none; drop 'verify' or "
                "'against'"
            )
        return self

    @property
    def verifies(self) -> bool:
        """As set."""
        return self.verify

    @property
    def definition(self) -> str:  # type: ignore[override] # the preset decides
        """Name of the algorithm, exact to the bit."""
        if self.preset is None:
            return "dolmix-minhash-1"
        return f"datatrove 0.10.1 MinhashDedupSignature, {self.hash_function}, {self.hash_bits} bit"

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
        """Letters and digits depend on the Unicode version of this Python.

        Raises FilterError for preset datatrove-0.10 without spaCy.
        """
        own = {"unicode": unicodedata.unidata_version}
        return own if self.preset is None else own | _datatrove_digests()

    def signatures(self, texts: TextBatch) -> Signatures:
        """Compute one signature a document, in compiled code over the UTF-8 bytes.

        Raises FilterError for preset datatrove-0.10 without spaCy.
        """
        lanes, counts = self._sign_own(texts) if self.preset is None else self._sign_peer(texts)
        return Signatures(lanes, counts >= (self.ngram if self.short == "keep" else 1))

    def _sign_own(self, texts: TextBatch) -> tuple[U32Array, I64Array]:
        from dolmix.dedup.kernels import multipliers, signatures
        from dolmix.dedup.words import letter_table

        lanes = multipliers(self.seed, self.num_hashes)
        return signatures(texts.utf8, texts.offsets, letter_table(), self.ngram, lanes)

    def _sign_peer(self, texts: TextBatch) -> tuple[U32Array | U64Array, I64Array]:
        from dolmix.dedup.datatrove_signatures import scheme_of, sign

        scheme = scheme_of(
            self.hash_function or "xxhash",
            self.hash_bits or 64,
            ngram=self.ngram,
            num_hashes=self.num_hashes,
            seed=self.seed,
        )
        lanes, counts = sign(texts, scheme)
        return (lanes.astype(np.uint32) if self.hash_bits == 32 else lanes), counts

    def band_keys(self, signatures: Signatures) -> U64Array:
        """(N, num_bands) uint64: one key a band; meaningless where a signature is not valid."""
        from dolmix.dedup.kernels import band_keys

        return band_keys(signatures.lanes, *self.banding)

    def match_keys(self, texts: TextBatch) -> MatchKeys:
        """`num_bands` keys of width 1 a document."""
        return self._keys(self.signatures(texts))

    @property
    def sketch_bytes(self) -> int:
        """One byte a lane."""
        return self.num_hashes

    def sign(self, texts: TextBatch) -> Signed:
        """Compute keys and sketches from one set of signatures."""
        signatures = self.signatures(texts)
        return Signed(self._keys(signatures), sketches(signatures.lanes))

    def _keys(self, signatures: Signatures) -> MatchKeys:
        return MatchKeys(self.band_keys(signatures)[:, :, None], signatures.valid)


def similarity(left: U32Array | U64Array, right: U32Array | U64Array) -> float:
    """Estimate the Jaccard similarity of two documents from their lanes, (num_hashes,) each.

    The estimate is unbiased with standard deviation sqrt(s (1 - s) / num_hashes).
    """
    return float(np.mean(left == right))


def _datatrove_digests() -> dict[str, str]:
    from dolmix.text.splitters import splitter_digest

    return {
        "words": splitter_digest("spacy-en"),
        "datatrove": metadata.version("datatrove"),
        "regex": metadata.version("regex"),
    }
