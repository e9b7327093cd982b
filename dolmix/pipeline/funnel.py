"""What a run kept and why the rest went: counts per source and reason, from task records."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dolmix.pipeline.plan import Plan, Task, read_plan
from dolmix.pipeline.records import RecordBook, TaskRecord


@dataclass
class Funnel:
    """One source's way from input records to committed tokens."""

    source: str
    steps: tuple[str, ...] = ()
    """Filters of the source, then dedup steps, in the order in which they judge."""
    records: int = 0
    bad_records: int = 0
    documents: int = 0
    num_bytes: int = 0
    judged: Counter[str] = field(default_factory=Counter)
    """Filter → documents that reached it."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Reason → documents, filters and dedup."""
    dropped_bytes: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    tokens: int = 0
    store: str = ""
    content_hash: str = ""

    def dropped_by(self, label: str) -> int:
        """Documents dropped by one filter or dedup step."""
        return sum(self.reasons_of(label).values())

    def reasons_of(self, label: str) -> dict[str, int]:
        """Bare reason → documents, of one filter or dedup step; most frequent first."""
        mine = [(r.partition(".")[2], n) for r, n in self.dropped.items() if _label(r) == label]
        return dict(sorted(mine, key=lambda item: (-item[1], item[0])))

    def describe(self) -> dict[str, Any]:
        """Funnel as plain data."""
        return {
            "source": self.source,
            "records": self.records,
            "bad_records": self.bad_records,
            "documents": self.documents,
            "bytes": self.num_bytes,
            "judged": dict(self.judged),
            "dropped": dict(self.dropped),
            "dropped_bytes": dict(self.dropped_bytes),
            "kept": self.kept,
            "tokens": self.tokens,
            "store": self.store,
            "content_hash": self.content_hash,
        }


def funnels(plan: Plan) -> list[Funnel]:
    """One funnel a source, as far as the run has come."""
    dedup = [step.label for step in plan.pipeline.dedup]
    made = {
        name: Funnel(name, (*(f.label for f in source.filters), *dedup))
        for name, source in plan.pipeline.sources.items()
    }
    for task, record in _done(plan, "filter"):
        funnel, counts = made[task.source], record.counts
        funnel.records += counts["records"]
        funnel.bad_records += counts["bad_records"]
        funnel.documents += counts["documents"]
        funnel.num_bytes += counts["bytes"]
        funnel.judged.update(counts["judged"])
        funnel.dropped.update(counts["dropped"])
        funnel.dropped_bytes.update(counts["dropped_bytes"])
    for _, record in _done(plan, "clusters"):
        for source, counts in record.counts["dropped"].items():
            made[source].dropped.update(counts)
        for source, counts in record.counts["dropped_bytes"].items():
            made[source].dropped_bytes.update(counts)
    for task, record in _done(plan, "store"):
        funnel = made[task.source]
        funnel.kept = record.counts["documents"]
        funnel.tokens = record.counts["tokens"]
        funnel.store = record.outputs["store"]
        funnel.content_hash = record.counts["content_hash"]
    return list(made.values())


def silent_rules(plan: Plan) -> list[str]:
    """Warn of filters that dropped all they saw, and of rules that never fired."""
    warnings = []
    for funnel in funnels(plan):
        quiet = []
        for filter_ in plan.pipeline.sources[funnel.source].filters:
            judged, reasons = funnel.judged[filter_.label], funnel.reasons_of(filter_.label)
            if judged and sum(reasons.values()) == judged:
                warnings.append(
                    f"{funnel.source}: {filter_.label} dropped all {judged:,} documents"
                )
            never = [r.code for r in filter_.rules() if r.active and r.code not in reasons]
            if judged and never:
                quiet.append(f"{filter_.label} ({', '.join(never)})")
        if quiet:
            warnings.append(f"{funnel.source}: never fired: {'; '.join(quiet)}")
    return warnings


def status(run: Path) -> dict[str, Any]:
    """Tell how far a run is: tasks done per pass, from `plan.json` and the records.

    Raises UsageError for a folder that holds no run.
    """
    plan, book = read_plan(run), RecordBook(run)
    passes = [
        {"pass": name, "tasks": len(tasks), "done": sum(book.has(name, t.key) for t in tasks)}
        for name, tasks in plan.passes.items()
    ]
    return {"name": plan.pipeline.name, "run": str(run), "passes": passes}


def _label(reason: str) -> str:
    return reason.partition(".")[0]


def _done(plan: Plan, pass_name: str) -> Iterator[tuple[Task, TaskRecord]]:
    book = RecordBook(plan.pipeline.output)
    for task in plan.passes.get(pass_name, []):
        record = book.find(pass_name, task.key)
        if record is not None:
            yield task, record
