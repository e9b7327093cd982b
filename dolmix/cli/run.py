"""`dolmix run`, `plan`, `status`: curation from a pipeline file."""

import sys
from typing import TYPE_CHECKING

from dolmix.cli import render
from dolmix.cli.options import AsJson, Overrides, PipelineFile, RunDir

if TYPE_CHECKING:
    from dolmix.pipeline.funnel import Funnel


def run(path: PipelineFile, settings: Overrides = None, as_json: AsJson = False) -> None:
    """Do everything a pipeline file asks for that is not done yet.

    Example: dolmix run configs/pipelines/quickstart.yaml executor.workers=4
    """
    from dolmix.config import load
    from dolmix.pipeline.engine import run_pipeline
    from dolmix.pipeline.funnel import funnels, silent_rules
    from dolmix.pipeline.spec import Pipeline

    plan = run_pipeline(load(Pipeline, path, settings or []))
    sys.stderr.writelines(f"note: {line}\n" for line in silent_rules(plan))
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
    """Print how far a run is, pass by pass.

    Example: dolmix status runs/quickstart
    """
    from dolmix.pipeline.funnel import status as read_status

    facts = read_status(run)
    if as_json:
        render.as_json(facts)
    else:
        rows = [[p["pass"], p["tasks"], p["done"]] for p in facts["passes"]]
        render.table(["pass", "tasks", "done"], rows)


def show_funnels(made: "list[Funnel]", *, as_json: bool) -> None:
    """Print one funnel a source: what came in, what was dropped and why, what was committed."""
    if as_json:
        render.as_json([funnel.describe() for funnel in made])
        return
    for funnel in made:
        skipped = f", {funnel.bad_records:,} bad records set aside" if funnel.bad_records else ""
        size = f"{funnel.num_bytes / 1e6:,.1f} MB"
        render.lines([f"{funnel.source}: {funnel.documents:,} documents, {size}{skipped}"])
        rows = [
            [f"  {reason}", f"-{count:,}", f"{count / max(funnel.documents, 1):.1%}"]
            for reason, count in sorted(funnel.dropped.items(), key=lambda item: -item[1])
        ]
        render.table(["  dropped because", "documents", "share"], rows)
        share = funnel.kept / max(funnel.documents, 1)
        store = f"{funnel.store}  {funnel.content_hash[:7]}"
        render.lines(
            [f"  kept {funnel.kept:,} ({share:.1%}), {funnel.tokens:,} tokens  ->  {store}", ""]
        )


def _input_bytes(parts: "list[object]") -> int:
    sizes = {part.path: part.identity["size"] for part in parts}  # type: ignore[attr-defined]
    return sum(sizes.values())
