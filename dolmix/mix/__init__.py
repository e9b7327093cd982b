"""Mixes: what a person declares (`Mix`), and the same resolved and pinned (`Lock`).

Reading a lock needs numpy, pydantic and PyYAML alone. Resolving opens stores, which is all that
mixing ever sees of curation.
"""

from dolmix.mix.check import MixFinding, check_file, lock_path_of, store_findings
from dolmix.mix.lock import (
    Lock,
    LockSource,
    LockStage,
    OrderSource,
    OrderSpec,
    OrderStage,
    read_lock,
)
from dolmix.mix.resolve import resolve, resolve_file
from dolmix.mix.schedule import BatchPhase, Schedule
from dolmix.mix.show import describe, tree
from dolmix.mix.spec import Mix, MixSource, Stage, load_mix

__all__ = [
    "BatchPhase",
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
    "Stage",
    "check_file",
    "describe",
    "load_mix",
    "lock_path_of",
    "read_lock",
    "resolve",
    "resolve_file",
    "store_findings",
    "tree",
]
