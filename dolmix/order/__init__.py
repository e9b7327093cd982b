"""The order: which instance trains when, and when a document trained.

(step, place) ⇄ (source, epoch, instance) ⇄ documents, in milliseconds from a small lock. Reading an
order and its tokens needs numpy, pydantic and PyYAML alone; documents need pyarrow.
"""

from dolmix.order.batches import CHAIN_START, Batches, chain, row_digests
from dolmix.order.diff import diff_locks, first_differing_step
from dolmix.order.documents import (
    BatchRow,
    FoundDocument,
    RowPiece,
    Sighting,
    find_document,
    step_documents,
)
from dolmix.order.lookup import Order, Place, Places, open_order
from dolmix.order.repeats import repeats

__all__ = [
    "CHAIN_START",
    "BatchRow",
    "Batches",
    "FoundDocument",
    "Order",
    "Place",
    "Places",
    "RowPiece",
    "Sighting",
    "chain",
    "diff_locks",
    "find_document",
    "first_differing_step",
    "open_order",
    "repeats",
    "row_digests",
    "step_documents",
]
