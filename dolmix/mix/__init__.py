"""Mixes as declared (`Mix`), resolved and pinned (`Lock`), and changed by a run (`Ledger`).

Reading a lock needs numpy, pydantic and PyYAML alone. Resolving opens stores, which is all that
mixing ever sees of curation.
"""

from dolmix.mix.check import MixFinding, check_file, lock_path_of, store_findings
from dolmix.mix.counts import Cut, StageCounts
from dolmix.mix.ledger import Ledger, LedgerRecord, stage_counts
from dolmix.mix.lock import (
    Lock,
    LockSource,
    LockStage,
    OrderSource,
    OrderSpec,
    OrderStage,
    Window,
    read_lock,
)
from dolmix.mix.picture import draw
from dolmix.mix.resolve import resolve, resolve_file
from dolmix.mix.schedule import BatchPhase, Schedule, ScheduledBatch
from dolmix.mix.show import describe, tree
from dolmix.mix.spec import Mix, MixSource, Stage, load_mix
from dolmix.mix.updates import RULES, code_rule, new_quotas, paper_rule, room_left

__all__ = [
    "RULES",
    "BatchPhase",
    "Cut",
    "Ledger",
    "LedgerRecord",
    "Lock",
    "LockSource",
    "LockStage",
    "Mix",
    "MixFinding",
    "MixSource",
    "OrderSource",
    "OrderSpec",
    "OrderStage",
    "Schedule",
    "ScheduledBatch",
    "Stage",
    "StageCounts",
    "Window",
    "check_file",
    "code_rule",
    "describe",
    "draw",
    "load_mix",
    "lock_path_of",
    "new_quotas",
    "paper_rule",
    "read_lock",
    "resolve",
    "resolve_file",
    "room_left",
    "stage_counts",
    "store_findings",
    "tree",
]
