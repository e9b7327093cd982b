"""What a person should know of a run: how far it is, and which rules decide nothing or too much.

A threshold that never fires and one that takes most of the corpus are decisions somebody should
have made; neither is an error. Findings speak of finished filter passes only: half a run says
little about a rule.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from dolmix.errors import FilterError
from dolmix.filters.base import Filter
from dolmix.pipeline.dedup_findings import dedup_findings
from dolmix.pipeline.funnel import Funnel, funnels
from dolmix.pipeline.limits import judging_filters, limits_of
from dolmix.pipeline.plan import Plan, read_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.trust import engine_fault

Kind = Literal[
    "dropped_all",
    "dropped_much",
    "never_fired",
    "counted_none",
    "emptied",
    "found_nothing",
    "dropped_duplicates",
]


@dataclass(frozen=True, slots=True)
class RuleCount:
    """What one active rule did: the documents it judged are those that no earlier rule dropped."""

    rule: str
    """Its reason with the filter's name: `gopher.word_count_low`."""
    limit: str
    """As a person reads it: `< 50`; empty where a class of datatrove decides."""
    judged: int
    dropped: int
    """Missing values that it dropped are among them."""

    @property
    def drop_frac(self) -> float:
        """Share of the documents judged that it dropped; 0.0 of none."""
        return self.dropped / self.judged if self.judged else 0.0

    def describe(self) -> dict[str, Any]:
        """Give the counts as plain data."""
        return {**asdict(self), "drop_frac": self.drop_frac}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to look at."""

    source: str
    """Name of the source; `dedup` for all together."""
    kind: Kind
    name: str
    """Filter, rule, column or dedup step that it is about; empty for the source as a whole."""
    judged: int
    dropped: int
    limit: str = ""
    """Limit of a rule, as a person reads it."""
    warn_drop_frac: float | None = None
    """The pipeline's setting, where that is what the finding goes by."""
    cause: str = ""
    """What it may come from, where that can be told."""

    def __str__(self) -> str:
        """Say it in one sentence, numbers and all."""
        rule = f"{self.name} ({self.limit})" if self.limit else self.name
        share = f"{self.dropped / max(self.judged, 1):.1%}"
        told = {
            "dropped_all": f"{self.name} dropped all {self.judged:,} documents",
            "dropped_much": f"{rule} dropped {self.dropped:,} of the {self.judged:,} documents "
            f"that it judged: {share}, warn_drop_frac is {self.warn_drop_frac or 0:.1%}",
            "never_fired": f"{rule} never fired on the {self.judged:,} documents that it judged",
            "counted_none": f"{self.name} is 0 over all {self.judged:,} documents judged",
            "emptied": f"{self.dropped:,} of the {self.judged:,} documents kept have no text left "
            f"after their edits: each is one end-of-text token",
            "found_nothing": f"{rule} found no duplicate among {self.judged:,} documents: "
            f"{self.cause}",
            "dropped_duplicates": f"{rule} dropped {self.dropped:,} of {self.judged:,} documents "
            f"({share}, warn_drop_frac is {self.warn_drop_frac or 0:.1%}): {self.cause}",
        }
        return f"{self.source}: {told[self.kind]}"

    def describe(self) -> dict[str, Any]:
        """Give the finding as plain data."""
        return {**asdict(self), "text": str(self)}


def rule_counts(funnel: Funnel, filter_: Filter) -> Iterator[RuleCount]:
    """Count what each active rule of a filter did in one source, in the order in which they judge.

    A rule that takes its reasons from a column has every reason that no other rule names, and no
    limit that a person set.
    """
    reasons = funnel.reasons_of(filter_.label)
    active = [rule for rule in filter_.rules() if rule.active]
    named = {code for rule in active for code in (rule.code, rule.missing_code)}
    others = sum(count for code, count in reasons.items() if code not in named)
    left = funnel.judged[filter_.label]
    for rule in active:
        dropped = reasons.get(rule.code, 0) + reasons.get(rule.missing_code, 0)
        dropped += others if rule.reason_from else 0
        limit = "" if rule.reason_from else rule.limit
        yield RuleCount(f"{filter_.label}.{rule.code}", limit, left, dropped)
        left -= dropped


def findings(plan: Plan) -> list[Finding]:
    """Everything to look at, source by source; nothing while the filter pass is not done."""
    book = RecordBook(plan.pipeline.output)
    if not all(book.has("filter", task.key) for task in plan.passes["filter"]):
        return []
    of_filters = [finding for funnel in funnels(plan) for finding in _of_source(plan, funnel)]
    return of_filters + list(_of_dedup(plan))


def notes(plan: Plan) -> list[str]:
    """Say every finding in a sentence; what never happened at all, in one sentence a filter."""
    told: dict[str, list[str]] = {}
    for found in findings(plan):
        filter_, _, code = found.name.partition(".")
        if found.kind == "never_fired":
            rules = told.setdefault(f"{found.source}: never fired: {filter_}", [])
            rules.append(f"{code} {found.limit}".rstrip() + f": 0 of {found.judged:,}")
        elif found.kind == "counted_none":
            judged = f"{found.judged:,} documents judged"
            told.setdefault(f"{found.source}: 0 in all {judged}: {filter_}", []).append(code)
        else:
            told[str(found)] = []
    lines = [f"{line} ({', '.join(names)})" if names else line for line, names in told.items()]
    return [*lines, *_remarks(plan)]


def _remarks(plan: Plan) -> Iterator[str]:
    """Yield what filters and engines have to say; nothing of one whose files are gone by now."""
    if (fault := engine_fault(plan.pipeline.output)) is not None:
        yield (
            f"tokenizer: fastokens gave other ids than tokenizers ({fault}); tokenizers encoded"
            f" everything, at about a thirtieth of the speed"
        )
    for name, source in plan.pipeline.sources.items():
        yield from (_found(name, one) for one in (limits_of(plan, name) or {}).get("limits", ()))
        for filter_ in source.filters:
            with suppress(FilterError):
                yield from (f"{name}: {filter_.label}: {said}" for said in filter_.remarks())


def _found(source: str, one: dict[str, Any]) -> str:
    """Say a limit that a run found in its own data."""
    asked, count = f"{one['frac']:.2%}", one["documents"]
    if one["limit"] is None:
        return (
            f"{source}: {one['filter']}.{one['setting']}: no document of the sample has a value in "
            f"{one['column']}, so that nothing is dropped by it"
        )
    return (
        f"{source}: {one['filter']}.{one['setting']} is {one['limit']:.6g}: the worst {asked} of "
        f"{count:,} documents sampled ({one['beyond']:,}, {one['beyond'] / count:.2%})"
    )


def status(run: Path) -> dict[str, Any]:
    """Tell how far a run is: tasks done per pass, what each rule did, what to look at.

    From `plan.json` and the records alone. Raises UsageError for a folder that holds no run.
    """
    plan = read_plan(run)
    book = RecordBook(plan.pipeline.output)
    return {
        "name": plan.pipeline.name,
        "run": str(run),
        "passes": [
            {"pass": name, "tasks": len(tasks), "done": sum(book.has(name, t.key) for t in tasks)}
            for name, tasks in plan.passes.items()
        ],
        "rules": {
            funnel.source: [
                counts.describe()
                for filter_ in judging_filters(plan, funnel.source)
                for counts in rule_counts(funnel, filter_)
            ]
            for funnel in funnels(plan)
        },
        "limits": {
            source: found["limits"]
            for source in plan.pipeline.sources
            if (found := limits_of(plan, source)) is not None
        },
        "warc": {
            funnel.source: {"records": dict(funnel.warc_records), "account": account}
            for funnel in funnels(plan)
            if (account := funnel.warc_account())
        },
        "findings": [finding.describe() for finding in findings(plan)],
        "notes": notes(plan),
    }


def _of_dedup(plan: Plan) -> Iterator[Finding]:
    limit = plan.pipeline.warn_drop_frac
    for found in dedup_findings(plan):
        numbers = (found.documents, found.dropped, "", limit)
        yield Finding("dedup", found.kind, found.step, *numbers, cause=found.cause)
    yield from _of_paragraphs(plan)


def _of_paragraphs(plan: Plan) -> Iterator[Finding]:
    """Tell that paragraph dedup, once it is done, found nothing, or dropped much."""
    step, limit = plan.pipeline.paragraph_step, plan.pipeline.warn_drop_frac
    book = RecordBook(plan.pipeline.output)
    marked = plan.passes.get("paragraph_marks", [])
    if step is None or not all(book.has("paragraph_marks", task.key) for task in marked):
        return
    made = funnels(plan)
    judged = sum(funnel.judged[step.label] for funnel in made)
    dropped = sum(funnel.dropped_by(step.label) for funnel in made)
    counts = sum((funnel.edit_counts.get(step.label, Counter()) for funnel in made), Counter())
    units, found = counts["units"], counts["duplicate_units"]
    numbers = (step.label, judged, dropped, "", limit)
    said = f"{found:,} of {units:,} {step.unit}s stand earlier in the corpus"
    if judged and not found:
        cause = f"{said}; min_bytes {step.min_bytes} may be too high, or dates and counts differ"
        yield Finding("dedup", "found_nothing", *numbers, cause=cause)
    elif limit is not None and dropped > limit * judged:
        yield Finding("dedup", "dropped_duplicates", *numbers, cause=said)


def _of_source(plan: Plan, funnel: Funnel) -> Iterator[Finding]:
    limit = plan.pipeline.warn_drop_frac
    for filter_ in judging_filters(plan, funnel.source):
        label = filter_.label
        judged, dropped = funnel.judged[label], funnel.dropped_by(label)
        if not judged:
            continue
        if dropped == judged:
            yield Finding(funnel.source, "dropped_all", label, judged, dropped)
        for rule in rule_counts(funnel, filter_):
            numbers = (rule.judged, rule.dropped, rule.limit)
            if rule.judged and not rule.dropped:
                yield Finding(funnel.source, "never_fired", rule.rule, *numbers)
            elif limit is not None and rule.drop_frac > limit:
                yield Finding(funnel.source, "dropped_much", rule.rule, *numbers, limit)
        for column, total in funnel.edit_counts.get(label, {}).items():
            if not total:
                yield Finding(funnel.source, "counted_none", f"{label}.{column}", judged, 0)
    if funnel.emptied:
        yield Finding(funnel.source, "emptied", "", funnel.kept_by_filters, funnel.emptied)
