"""The store: one immutable directory for a version of a source (`dolmix-store-1`).

Any writer of a valid store can feed a mix; curation and mixing meet nowhere else. Importing this
package and reading tokens needs numpy and pydantic alone; pyarrow loads for writing and for
provenance.
"""

from dolmix.shards.instances import ConcatInstances, Instances, Piece, count_instances
from dolmix.shards.layout import Manifest, ParentFile, ShardEntry, Totals
from dolmix.shards.packs import Pack, Packing, make_pack, open_instances
from dolmix.shards.reader import DocumentRow, Store, open_store, read_manifest
from dolmix.shards.verify import Finding, verify
from dolmix.shards.writer import StoreWriter
from dolmix.tokenizer import TokenizerPin

__all__ = [
    "ConcatInstances",
    "DocumentRow",
    "Finding",
    "Instances",
    "Manifest",
    "Pack",
    "Packing",
    "ParentFile",
    "Piece",
    "ShardEntry",
    "Store",
    "StoreWriter",
    "TokenizerPin",
    "Totals",
    "count_instances",
    "make_pack",
    "open_instances",
    "open_store",
    "read_manifest",
    "verify",
]
