"""The order: which instance trains when, and when a document trained.

(step, place) ⇄ (source, epoch, instance) ⇄ documents, in milliseconds from a small lock. Reading an
order and its tokens needs numpy, pydantic and PyYAML alone; documents need pyarrow.
"""

from dolmix.order.batches import CHAIN_START, Batches, chain, row_digests
from dolmix.order.diff import (
    diff_locks,
    diff_orders,
    diff_specs,
    difference_lines,
    first_differing_step,
)
from dolmix.order.documents import (
    BatchPlace,
    BatchRow,
    Rank,
    RowPiece,
    TextRequest,
    step_documents,
    step_rows,
)
from dolmix.order.export import Exported, export_olmo_indices, export_order
from dolmix.order.find import By, FoundDocument, Sighting, find_document
from dolmix.order.lookup import Order, Place, Places, open_order
from dolmix.order.proof import Disagreement, Proof, verify_log
from dolmix.order.repeats import repeats
from dolmix.order.runlog import lock_of, step_reached
from dolmix.order.stats import SourceStats, StageStats, WindowStats, window_stats
from dolmix.order.window import parse_steps

__all__ = [
    "CHAIN_START",
    "BatchPlace",
    "BatchRow",
    "Batches",
    "By",
    "Disagreement",
    "Exported",
    "FoundDocument",
    "Order",
    "Place",
    "Places",
    "Proof",
    "Rank",
    "RowPiece",
    "Sighting",
    "SourceStats",
    "StageStats",
    "TextRequest",
    "WindowStats",
    "chain",
    "diff_locks",
    "diff_orders",
    "diff_specs",
    "difference_lines",
    "export_olmo_indices",
    "export_order",
    "find_document",
    "first_differing_step",
    "lock_of",
    "open_order",
    "parse_steps",
    "repeats",
    "row_digests",
    "step_documents",
    "step_reached",
    "step_rows",
    "verify_log",
    "window_stats",
]
