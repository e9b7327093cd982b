"""`dolmix run`, `plan`, `status`: curation from a pipeline file."""

import sys
from typing import TYPE_CHECKING

from dolmix.cli import render
from dolmix.cli.options import AsJson, Overrides, PipelineFile, RunDir

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dolmix.pipeline.funnel import Funnel
    from dolmix.sources import Part


def run(path: PipelineFile, settings: Overrides = None, as_json: AsJson = False) -> None:
    """Do everything a pipeline file asks for that is not done yet.

    Example: dolmix run configs/pipelines/quickstart.yaml executor.workers=4
    """
    from dolmix.config import load
    from dolmix.pipeline.engine import run_pipeline
    from dolmix.pipeline.findings import notes
    from dolmix.pipeline.funnel import funnels
    from dolmix.pipeline.spec import Pipeline

    plan = run_pipeline(load(Pipeline, path, settings or []))
    sys.stderr.writelines(f"note: {line}\n" for line in notes(plan))
    show_funnels(funnels(plan), as_json=as_json)


def plan(path: PipelineFile, settings: Overrides = None, as_json: AsJson = False) -> None:
    """Check a pipeline file and its inputs, and print what `run` would do.

    Example: dolmix plan configs/pipelines/quickstart.yaml
    """
    from dolmix.config import load
    from dolmix.pipeline.engine import open_tasks
    from dolmix.pipeline.plan import make_plan
    from dolmix.pipeline.spec import Pipeline

    made = make_plan(load(Pipeline, path, settings or []))
    if as_json:
        render.as_json(made.describe())
        return
    inputs = [
        [name, len({p.path for p in parts}), len(parts), _input_bytes(parts)]
        for name, parts in made.parts.items()
    ]
    render.table(["source", "files", "parts", "bytes"], inputs)
    todo = [[name, len(t), len(open_tasks(made, name))] for name, t in made.passes.items()]
    render.table(["pass", "tasks", "to do"], todo)


def status(run: RunDir, as_json: AsJson = False) -> None:
    """Print how far a run is, pass by pass, and what `run` notes of its rules.

    Example: dolmix status runs/quickstart
    """
    from dolmix.pipeline.findings import status as read_status

    facts = read_status(run)
    if as_json:
        render.as_json(facts)
    else:
        rows = [[p["pass"], p["tasks"], p["done"]] for p in facts["passes"]]
        render.table(["pass", "tasks", "done"], rows)
        render.lines(f"{source}: {told['account']}" for source, told in facts["warc"].items())
        render.lines(f"note: {line}" for line in facts["notes"])


def show_funnels(made: "list[Funnel]", *, as_json: bool) -> None:
    """Print one funnel a source: what came in, what each step dropped and why, what was kept."""
    if as_json:
        render.as_json([funnel.describe() for funnel in made])
        return
    for funnel in made:
        render.lines([_headline(funnel), *(f"  {line}" for line in _of_warc(funnel))])
        render.table(["  step", "dropped", "left", "reasons"], _steps(funnel))
        share = f"{funnel.kept / max(funnel.documents, 1):.1%}"
        store = f"{funnel.store}  {funnel.content_hash[:7]}"
        held = f", held out {funnel.held_out:,}" if funnel.held_out else ""
        kept = f"  kept {funnel.kept:,} ({share}), {funnel.tokens:,} tokens: {store}{held}"
        render.lines([kept, ""])


def _headline(funnel: "Funnel") -> str:
    bad = f", {funnel.bad_records:,} bad records set aside" if funnel.bad_records else ""
    size = f"{funnel.num_bytes / 1e6:,.1f} MB"
    return f"{funnel.source}: {funnel.documents:,} documents, {size}{bad}"


def _of_warc(funnel: "Funnel") -> list[str]:
    return [line] if (line := funnel.warc_account()) else []


def _steps(funnel: "Funnel") -> "Iterator[list[object]]":
    left = funnel.documents
    for label in funnel.steps:
        reasons = funnel.reasons_of(label)
        left -= sum(reasons.values())
        notes = [f"{reason} {count:,}" for reason, count in reasons.items()]
        listed = ", ".join([*notes, *filter(None, [funnel.edit_of(label)])])
        yield [f"  {label}", sum(reasons.values()), left, listed]


def _input_bytes(parts: "list[Part]") -> int:
    sizes = {part.path: int(part.identity["size"]) for part in parts}
    return sum(sizes.values())
