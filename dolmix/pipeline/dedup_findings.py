"""What a person should know of dedup: a step that found nothing, or took too much, and why.

Both are usual signs of a wrong setting or of wrong inputs, and neither stops a run, so they are
said at its end with the numbers that point to the cause.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dolmix.dedup import MinHash
from dolmix.dedup.base import Dedup
from dolmix.pipeline.plan import Plan
from dolmix.pipeline.records import RecordBook

MANY_DOCUMENTS = 1000
"""Among fewer, finding nothing is no surprise."""
FEW_FRAC = 0.5
"""Share of documents with keys below which that is the likely cause of finding nothing."""
LARGE_FRAC = 0.5
"""Share of what a step dropped that one cluster must have to be named as the cause."""


@dataclass(frozen=True, slots=True)
class DedupFinding:
    """One step to look at."""

    kind: Literal["found_nothing", "dropped_duplicates"]
    step: str
    documents: int
    dropped: int
    cause: str


def dedup_findings(plan: Plan) -> Iterator[DedupFinding]:
    """Yield what there is to say, step by step, once the clusters pass is done."""
    tasks = plan.passes.get("clusters", [])
    record = RecordBook(plan.pipeline.output).find("clusters", tasks[0].key) if tasks else None
    if record is None or "steps" not in record.counts:
        return
    limit, documents = plan.pipeline.warn_drop_frac, record.counts["documents"]
    for step in plan.pipeline.document_steps:
        counts = record.counts["steps"][step.label]
        dropped = _dropped(record.counts, step)
        if not counts["pairs"] and documents >= MANY_DOCUMENTS:
            cause = _cause_of_nothing(step, documents, counts)
            yield DedupFinding("found_nothing", step.label, documents, 0, cause)
        elif limit is not None and dropped > limit * documents:
            cause = _cause_of_much(dropped, counts)
            yield DedupFinding("dropped_duplicates", step.label, documents, dropped, cause)


def _dropped(counts: Mapping[str, Any], step: Dedup) -> int:
    kind = "reported" if step.drop == "none" else "dropped"
    reason = f"{step.label}.duplicate"
    return sum(reasons.get(reason, 0) for reasons in counts[kind].values())


def _cause_of_nothing(step: Dedup, documents: int, counts: Mapping[str, Any]) -> str:
    comparable = counts["comparable"]
    if comparable < FEW_FRAC * documents:
        return (
            f"only {comparable:,} of them have anything to compare: see that the inputs hold what "
            f"{step.type} compares"
        )
    if isinstance(step, MinHash):
        bands, rows = step.banding
        found = step.banding.probability(step.threshold)
        return (
            f"{bands} bands x {rows} rows find {found:.0%} of the pairs of similarity "
            f"{step.threshold}: more bands of fewer rows find more, unless the inputs were "
            f"deduplicated before"
        )
    return "the inputs may have been deduplicated before, or differ in what was added to each text"


def _cause_of_much(dropped: int, counts: Mapping[str, Any]) -> str:
    largest, clusters, members = counts["largest"], counts["clusters"], counts["members"]
    if largest > LARGE_FRAC * dropped:
        return (
            f"one cluster has {largest:,} documents: a template, an error page or empty texts, or "
            f"bands that join what is not alike"
        )
    return (
        f"{members:,} documents in {clusters:,} clusters, {members / max(clusters, 1):.1f} each: "
        f"the same inputs may be listed twice, or be there under two sources"
    )
