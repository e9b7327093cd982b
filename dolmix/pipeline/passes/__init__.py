"""What one task of each pass does: a pure function from a `TaskContext` to outputs and counts."""

from collections.abc import Callable, Mapping

from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.passes.candidates import find_candidates
from dolmix.pipeline.passes.clusters import choose_survivors
from dolmix.pipeline.passes.filter import filter_part
from dolmix.pipeline.passes.signatures import sign_part
from dolmix.pipeline.passes.store import commit_store
from dolmix.pipeline.passes.tokenize import tokenize_part

RUNNERS: Mapping[str, Callable[[TaskContext], TaskResult]] = {
    "filter": filter_part,
    "signatures": sign_part,
    "candidates": find_candidates,
    "clusters": choose_survivors,
    "tokenize": tokenize_part,
    "store": commit_store,
}
"""Pass name → the function that runs one of its tasks."""
