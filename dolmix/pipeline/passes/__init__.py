"""What one task of each pass does: a pure function from a `TaskContext` to outputs and counts."""

from collections.abc import Callable, Mapping

from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.passes.calibrate import measure_part, write_limits
from dolmix.pipeline.passes.candidates import find_candidates
from dolmix.pipeline.passes.clusters import choose_survivors
from dolmix.pipeline.passes.filter import filter_part
from dolmix.pipeline.passes.holdout import choose_held_out
from dolmix.pipeline.passes.index import make_index
from dolmix.pipeline.passes.paragraph_groups import compare_range
from dolmix.pipeline.passes.paragraph_hashes import hash_part
from dolmix.pipeline.passes.paragraph_marks import mark_part
from dolmix.pipeline.passes.signatures import sign_part
from dolmix.pipeline.passes.store import commit_store, commit_valid
from dolmix.pipeline.passes.tokenize import tokenize_part
from dolmix.pipeline.passes.verify import verify_pairs, write_shingles

RUNNERS: Mapping[str, Callable[[TaskContext], TaskResult]] = {
    "calibrate": measure_part,
    "limits": write_limits,
    "filter": filter_part,
    "signatures": sign_part,
    "candidates": find_candidates,
    "shingles": write_shingles,
    "verify": verify_pairs,
    "clusters": choose_survivors,
    "index": make_index,
    "paragraph_hashes": hash_part,
    "paragraph_groups": compare_range,
    "paragraph_marks": mark_part,
    "holdout": choose_held_out,
    "tokenize": tokenize_part,
    "valid": commit_valid,
    "store": commit_store,
}
"""Pass name → the function that runs one of its tasks."""
