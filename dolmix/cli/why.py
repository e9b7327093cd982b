"""`dolmix why`, `whatif`: why a document was dropped, and what another threshold would do."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dolmix.cli import render
from dolmix.cli.options import AsJson, RunDir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dolmix.pipeline.explained import Explanation, RuleVerdict
    from dolmix.pipeline.whatif import Amount, SourceChange, WhatIf

SHOWN_CHARACTERS = 300
"""Characters of a line of a diff that are printed; `--json` has them all."""

Document = Annotated[str, typer.Argument(metavar="DOC", help="Document id, or file:record from 0.")]
Settings = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE.FILTER.SETTING=VALUE...", help="Settings to try."),
]
Text = Annotated[bool, typer.Option("--text", help="Show the document's text too.")]
SampleText = Annotated[
    bool, typer.Option("--text", help="Show the first 200 characters of the sampled documents.")
]
Samples = Annotated[
    int, typer.Option("--samples", min=0, metavar="N", help="Documents to sample of each kind.")
]


def why(run: RunDir, document: Document, text: Text = False, as_json: AsJson = False) -> None:
    """Explain what became of a document: each rule's value, edits, duplicates, where it is.

    Example: dolmix why runs/quickstart web.jsonl.zst:1234
    """
    from dolmix.pipeline.why import why as explain

    found = explain(run, document, text=text)
    if as_json:
        render.as_json([one.describe() for one in found])
        return
    for one in found:
        _show(one)


def whatif(
    run: RunDir,
    settings: Settings,
    samples: Samples = 3,
    text: SampleText = False,
    as_json: AsJson = False,
) -> None:
    """Tell which documents other thresholds would keep or drop, from what the run measured.

    Example: dolmix whatif runs/quickstart web.gopher.max_symbol_frac=0.2
    """
    from dolmix.pipeline.whatif import whatif as compare

    found = compare(run, settings, samples=samples, text=text)
    if as_json:
        render.as_json(found.describe())
    else:
        _show_changes(found)


def _show(one: "Explanation") -> None:
    size = f"{one.num_bytes:,} bytes"
    render.lines([f"{one.source}  {one.id}  {one.path}:{one.record}  {size}"])
    if one.rules:
        head = ["  filter", "rule", "value", "drops when", "verdict"]
        render.table(head, [_rule(told) for told in one.rules])
    render.lines(_after_rules(one))


def _rule(told: "RuleVerdict") -> list[object]:
    value = "-" if told.value is None else _value(told.value)
    verdict = told.verdict.upper() if told.verdict == "drop" else told.verdict
    return [f"  {told.filter}", told.rule.partition(".")[2], value, told.limit or "-", verdict]


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _after_rules(one: "Explanation") -> "Iterator[str]":
    for edit in one.edits:
        counts = ", ".join(f"{n} {c:,}" for n, c in edit.counts.items() if c)
        yield f"  edited by {edit.filter}: {edit.removed_bytes:,} bytes out; {counts}".rstrip("; ")
    for hunk in one.diff:
        yield from (f"    {_cut(line)}" for line in hunk.lines())
    for found in one.duplicates:
        about = "about " if found.estimated else ""
        alike = "" if found.jaccard is None else f", Jaccard {about}{found.jaccard:.3f}"
        only = "" if found.drops else ", which drops nothing"
        yield (
            f"  duplicate of {found.of_source} {found.of_id}: {found.step}{only}, cluster "
            f"{found.cluster}{alike}"
        )
    if one.paragraphs is not None:
        units = dict(one.paragraphs)
        yield (
            f"  {units['step']}: {units['duplicate_units']:,} of {units['units']:,} units stand "
            f"earlier, {units['duplicate_frac']:.1%} of the bytes"
        )
    if one.note:
        yield f"  note: {one.note}"
    where = "" if one.store is None else f" in {one.store[0]}, document {one.store[1]:,}"
    yield f"  {one.outcome}{where}" + (f": {one.reason}" if one.reason else "")
    if one.text is not None:
        yield from ("", one.text)


def _cut(line: str) -> str:
    more = len(line) - SHOWN_CHARACTERS
    half = SHOWN_CHARACTERS // 2
    return line if more <= 0 else f"{line[:half]} ... {more:,} characters ... {line[-half:]}"


def _show_changes(found: "WhatIf") -> None:
    for change in found.sources:
        render.lines([f"{change.source}: {change.documents:,} documents"])
        rows = [*_rows("come", change.come), *_rows("go", change.go)]
        head = ["  ", "reason", "documents", "bytes", "tokens (estimated)"]
        if rows:
            render.table(head, rows)
        render.lines(_about(change))
    render.lines(f"note: {line}" for line in found.notes)


def _rows(kind: str, groups: "Mapping[str, Amount]") -> "Iterator[list[object]]":
    for reason, amount in groups.items():
        yield [f"  {kind}", reason, amount.documents, amount.num_bytes, amount.tokens]


def _about(change: "SourceChange") -> "Iterator[str]":
    kept = f"{change.kept_before:,} to {change.kept_after:,}"
    sure = "" if change.exact else " (at least; see undecided)"
    yield f"  kept by the filters: {kept}{sure}"
    if change.moved:
        yield f"  dropped either way, by another rule: {change.moved:,}"
    for lacking, amount in change.undecided.items():
        yield (
            f"  undecided: {amount.documents:,} documents, {amount.num_bytes:,} bytes, lack the "
            f"columns of {lacking}"
        )
    for sample in change.samples:
        place = f"{sample.id}  {sample.url or '-'}"
        held = f"{sample.column} {_value(sample.value)}" if sample.value is not None else ""
        yield f"  {sample.kind}: {place}  {sample.reason}  {held}".rstrip()
        if sample.text is not None:
            yield f"    {sample.text!r}"
