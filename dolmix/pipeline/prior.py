"""What an earlier run in the same folder left of a part: its decisions, to decide from again.

When a run starts whose filter tasks are not those of `plan.json`, the old plan is kept as
`work/prior-plan.json`. Nothing of it is needed: a plan or a file that is not there, or is damaged,
means that a part is read and judged from its text.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from dolmix.errors import DolmixError
from dolmix.files import commit
from dolmix.pipeline.ahead import PLAN_FILE
from dolmix.pipeline.plan import PRIOR_PLAN_FILE, Plan, Task, read_plan
from dolmix.pipeline.records import RecordBook
from dolmix.sources import Part


@dataclass(frozen=True)
class Prior:
    """What an earlier filter task found in the same part, read under the same policy.

    labels       names of its filters, in order
    whole        whether they read every document (`tag: all`)
    bad_records  None where there were none
    counts       those of its record
    """

    decisions: Path
    bad_records: Path | None
    labels: tuple[str, ...]
    whole: bool
    counts: Mapping[str, Any]


def keep_prior_plan(plan: Plan) -> None:
    """Keep the plan of the folder's last run, before `plan` takes its place, if filters differ.

    One that was never carried out so far as to be of use does not take the place of one that was.
    """
    run = plan.pipeline.output
    with suppress(DolmixError, OSError, LookupError):
        old = read_plan(run)
        book = RecordBook(run)
        done = all(book.path("filter", t.key).exists() for t in old.passes["filter"])
        kept = run / PRIOR_PLAN_FILE
        if _keys(old) != _keys(plan) and (done or not kept.exists()):
            commit.write_bytes(kept, (run / PLAN_FILE).read_bytes())


def find_prior(plan: Plan, task: Task) -> Prior | None:
    """Find the earlier result on a filter task's part; None if there is none, or not all of it."""
    run, part = plan.pipeline.output, plan.parts[task.source][task.part]
    prior = _prior_plan(run, _stamp(run / PRIOR_PLAN_FILE))
    old = prior.tasks.get((task.source, _identity(part))) if prior is not None else None
    if prior is None or old is None:
        return None
    then, now = prior.plan.pipeline, plan.pipeline
    if then.on_bad_record.policy != now.on_bad_record.policy:
        return None
    with suppress(OSError, ValueError, KeyError):
        record = orjson.loads(RecordBook(run).path("filter", old.key).read_bytes())
        files = {kind: _there(run, path) for kind, path in record["outputs"].items()}
        return Prior(
            decisions=files["decisions"],
            bad_records=files.get("bad_records"),
            labels=tuple(f.label for f in then.sources[task.source].filters),
            whole=then.tag == "all",
            counts=record["counts"],
        )
    return None


def _there(run: Path, path: str) -> Path:
    """Where an output is, or where it was set aside. Raises FileNotFoundError if it is gone."""
    for place in (run / path, run / "work" / "old" / path):
        if place.exists():
            return place
    raise FileNotFoundError(path)


def _keys(plan: Plan) -> list[str]:
    return [task.key for task in plan.passes["filter"]]


def _stamp(path: Path) -> int:
    """Time of a file, so that one that was written anew is read anew; 0 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


@lru_cache(maxsize=1)
def _prior_plan(run: Path, stamp: int) -> "_PriorPlan | None":
    """Read the kept plan, once a process."""
    if not stamp:
        return None
    with suppress(DolmixError, OSError, LookupError):
        plan = read_plan(run, PRIOR_PLAN_FILE)
        parts = {t: plan.parts[t.source][t.part] for t in plan.passes["filter"]}
        return _PriorPlan(plan, {(t.source, _identity(p)): t for t, p in parts.items()})
    return None


@dataclass(frozen=True)
class _PriorPlan:
    """A plan, and its filter tasks by source and part, wherever the part's file was then."""

    plan: Plan
    tasks: Mapping[tuple[str, bytes], Task]


def _identity(part: Part) -> bytes:
    """Everything of a part but where it is opened."""
    return commit.canonical_json({k: v for k, v in part.to_json().items() if k != "uri"})
