"""Deduplication: documents that repeat another one, found by keys and decided by a stated order.

Four steps, each a pure function of its input, so that a pass can be cut into any number of tasks:
`match_keys` (text to keys), `candidate_pairs` (keys to pairs, one band at a time), `clusters`
(pairs to clusters), `survivors` (clusters to a drop list). Clusters and survivors are the same for
any cut and any order of input.
"""

from typing import Annotated

from pydantic import Field

from dolmix.dedup.base import Dedup, MatchKeys
from dolmix.dedup.clusters import clusters
from dolmix.dedup.exact import Exact
from dolmix.dedup.lsh import Banding, candidate_pairs
from dolmix.dedup.minhash import MinHash, Signatures
from dolmix.dedup.paragraphs import Paragraphs
from dolmix.dedup.survivors import sort_keys, survivors
from dolmix.dedup.urls import Urls

AnyDedup = Annotated[Exact | Urls | MinHash | Paragraphs, Field(discriminator="type")]
"""Any dedup step, told apart by its `type`."""

__all__ = [
    "AnyDedup",
    "Banding",
    "Dedup",
    "Exact",
    "MatchKeys",
    "MinHash",
    "Paragraphs",
    "Signatures",
    "Urls",
    "candidate_pairs",
    "clusters",
    "sort_keys",
    "survivors",
]
