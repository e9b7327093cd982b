"""Why a document is where it is: every rule's value against its limit, edits, duplicates, its end.

Everything comes from what the run wrote down. The input is read again only for the text of a
document whose text was edited, or where the text is asked for.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from dolmix.errors import UsageError
from dolmix.filters.base import EDIT, Filter, Rule
from dolmix.pipeline.edit_lines import Hunk, Span, hunks
from dolmix.pipeline.explained import Duplicate, Edit, Explanation, RuleVerdict, Verdict
from dolmix.pipeline.part_view import PartView, Places
from dolmix.pipeline.plan import Plan, read_plan

MOST = 100
"""Documents of one id that are explained."""


def why(run: Path, document: str, *, text: bool = False) -> list[Explanation]:
    """Explain what became of a document, by id or by `file:record`; one entry for each that fits.

    text  read the text too

    Raises UsageError for a folder that holds no run, and for a document that it does not hold, with
    ids that are like it.
    """
    plan = read_plan(run)
    places = Places(plan)
    found = places.by_id(document) or places.by_record(document)
    if found:
        return [explain(view, row, text=text) for view, row in found[:MOST]]
    bad = places.bad_record(document)
    if bad is not None:
        return [bad]
    raise UsageError(_unknown(run, document, places))


def explain_part(plan: Plan, source: str, part: int) -> Iterator[Explanation]:
    """Explain every document of a part that the filters judged, in order, without any text."""
    view = PartView(plan, source, part)
    return (explain(view, row, diff=False) for row in range(view.num_documents))


def explain(view: PartView, row: int, *, text: bool = False, diff: bool = True) -> Explanation:
    """Explain the document in one row of a part's decisions.

    text  with its text
    diff  read the text to show what edits changed, if there is an edit
    """
    record = view.record(row)
    given = view.values(row, ["id", "num_bytes", "reached", "reason"])
    duplicates = list(_duplicates(view, record))
    marks = view.marks(record)
    reasons = [given["reason"], *(d.reason for d in duplicates if d.drops)]
    reasons += [marks["reason"]] if marks else []
    edits = list(_edits(view, row, marks))
    read, note = view.text(row) if text or (diff and edits) else (None, "")
    reason = next((r for r in reasons if r is not None), None)
    outcome, store = view.end(row, reason)
    return Explanation(
        source=view.source,
        id=given["id"],
        path=view.path,
        record=view.first_record + record,
        num_bytes=given["num_bytes"],
        outcome=outcome,
        reason=reason,
        rules=tuple(rule_verdicts(view, row)),
        edits=tuple(edits),
        diff=tuple(_diff(view, row, read, marks)) if read is not None and edits else (),
        duplicates=tuple(duplicates),
        paragraphs=_units(view, marks),
        store=store,
        text=read if text else None,
        note=note,
    )


def rule_verdicts(view: PartView, row: int) -> Iterator[RuleVerdict]:
    """Say of every active rule what it made of a document, in the order in which they judge.

    Of a filter without one, what it measured.
    """
    filters = view.filters
    reached = view.values(row, ["reached"])["reached"]
    labels = [f.label for f in filters]
    last = labels.index(reached) if reached in labels else -1
    dropped = False
    for number, filter_ in enumerate(filters):
        active = [rule for rule in filter_.rules() if rule.active]
        for told in (
            (_rule(view, row, filter_, rule) for rule in active)
            if active
            else _measured(view, row, filter_)
        ):
            verdict = told.verdict
            if number > last:
                verdict = "not reached"
            elif verdict == "drop" and dropped:
                verdict = "beyond too"
            dropped = dropped or verdict == "drop"
            yield told.with_verdict(verdict)


def _measured(view: PartView, row: int, filter_: Filter) -> Iterator[RuleVerdict]:
    """Give the values of a filter that judges nothing; what its edit did stands elsewhere."""
    for bare, kind in filter_.column_types().items():
        if pa.types.is_nested(kind) or bare in filter_.edit_counts():
            continue
        column = f"{filter_.label}.{bare}"
        value = view.column(column, row)[0].as_py()
        verdict: Verdict = "missing" if value is None else "measured"
        yield RuleVerdict(filter_.label, column, column, value, "", verdict)


def _rule(view: PartView, row: int, filter_: Filter, rule: Rule) -> RuleVerdict:
    """Hold one value against one rule, as if no other had judged before."""
    column = rule.column if "." in rule.column else f"{filter_.label}.{rule.column}"
    values = view.column(column, row)
    value = values[0].as_py()
    code = rule.code
    verdict: Verdict = "keep"
    if value is None and rule.on_missing == "drop":
        verdict, code = "drop", rule.missing_code
    elif value is None:
        verdict = "missing"
    elif rule.fires(values)[0]:
        verdict = "drop"
        if rule.reason_from:
            own = view.column(f"{filter_.label}.{rule.reason_from}", row)[0].as_py()
            code = own or code
    return RuleVerdict(
        filter=filter_.label,
        rule=f"{filter_.label}.{code}",
        column=column,
        value=value,
        limit="" if rule.reason_from else rule.limit,
        verdict=verdict,
    )


def _duplicates(view: PartView, record: int) -> Iterator[Duplicate]:
    """Say for whom dedup dropped a document, or would have under `drop: none`."""
    steps = {step.label: step for step in view.plan.pipeline.document_steps}
    for drops in (True, False):
        for row in view.duplicates(record, dropped=drops):
            step = steps[row["reason"].partition(".")[0]]
            yield Duplicate(
                step=step.label,
                reason=row["reason"],
                drops=drops,
                cluster=row["cluster"],
                of_source=row["duplicate_of_source"],
                of_id=row["duplicate_of_id"],
                jaccard=row["jaccard"],
                estimated=not (step.same_text or step.verifies),
            )


def _edits(view: PartView, row: int, marks: dict[str, Any] | None) -> Iterator[Edit]:
    """Say what each filter's edit, and paragraph dedup's, took out of a document that it changed.

    A column holds all edits up to its own: what is new is the difference.
    """
    removed = 0
    for label, spans in view.edits(row, marks):
        now = sum(stop - start - (put != 0) for start, stop, put in spans)
        yield Edit(label, now - removed, view.edit_counts(label, row, marks))
        removed = now


def _diff(
    view: PartView, row: int, text: str | None, marks: dict[str, Any] | None
) -> Iterator[Hunk]:
    steps: list[tuple[str, list[Span]]] = list(view.edits(row, marks))
    if steps and text is not None:
        yield from hunks(text.encode(), steps[-1][1], steps)


def _units(view: PartView, marks: dict[str, Any] | None) -> dict[str, Any] | None:
    """Give what paragraph dedup counted, under bare names."""
    step = view.plan.pipeline.paragraph_step
    if marks is None or step is None:
        return None
    counts = {n.removeprefix(f"{step.label}."): v for n, v in marks.items() if "." in n}
    return {"step": step.label, **{n: v for n, v in counts.items() if n != EDIT}}


def _unknown(run: Path, document: str, places: Places) -> str:
    """Say that a document is not there, what is like it, and what is not judged yet."""
    close = places.like(document)
    hint = f" Did you mean {', '.join(map(repr, close))}?" if close else ""
    waiting = places.num_waiting
    rest = f" {waiting:,} parts are not judged yet." if waiting else ""
    return (
        f"{run}: no document {document!r}: neither an id, nor file:record (from 0).{hint}{rest} "
        f"`dolmix status {run}` tells how far the run is."
    )
