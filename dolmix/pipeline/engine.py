"""Running a plan: pass after pass, each one datatrove pipeline over the tasks without a record.

datatrove's executor runs the tasks, in processes that stay from pass to pass; dolmix's records
decide what is done. A failed task does not stop the others of its pass; the run stops at the
barrier and names every failure.
"""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import orjson

from dolmix.errors import DataError, StoreError, TaskError
from dolmix.files import commit
from dolmix.files.commit import fingerprint
from dolmix.pipeline import ahead
from dolmix.pipeline.ahead import PLAN_FILE
from dolmix.pipeline.funnel import funnels
from dolmix.pipeline.monitor import Monitor, WorkerLost
from dolmix.pipeline.plan import Plan, Task, make_plan
from dolmix.pipeline.prior import keep_prior_plan
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.reports import failure_path
from dolmix.pipeline.scratch import drop_texts
from dolmix.pipeline.spec import Pipeline
from dolmix.pipeline.workers import Workers

SHOWN_FAILURES = 10
RESULTS = ("calibration", "decisions", "bad-records", "excluded")
"""Folders in which a person may read every file: they hold the current plan's results alone."""
FOLDERS = (*RESULTS, "records", "stores", "work")
"""Folders of a run that dolmix writes to, and sweeps after a kill."""


def run_pipeline(pipeline: Pipeline, *, quiet: bool = False) -> Plan:
    """Do everything that has no record yet, and return the plan that was carried out.

    Raises DataError, FilterError, ConfigError before anything runs; TaskError when tasks failed;
    StoreError when another run writes to the same folder or a store is in the way.
    """
    run = pipeline.output
    if not (run / PLAN_FILE).exists():  # else there may be nothing to do
        _start_ahead(pipeline)
    plan = make_plan(pipeline)
    with _only_writer(run), Workers(pipeline.executor.workers) as workers:
        for folder in FOLDERS:
            commit.sweep(run / folder)
        for left in run.glob(f".{PLAN_FILE}.*"):
            if commit.ATTEMPT_NAME.fullmatch(left.name):
                left.unlink()
        shutil.rmtree(run / "work" / "progress", ignore_errors=True)
        shutil.rmtree(run / "work" / "failures", ignore_errors=True)
        keep_prior_plan(plan)
        plan.write()
        for pass_name, tasks in plan.passes.items():
            monitor = Monitor(plan, pass_name, quiet=quiet, children=workers.children)
            run_pass(plan, pass_name, tasks, monitor, workers)
            if pass_name == "filter":
                check_bad_records(plan)
        set_old_files_aside(plan)
        drop_texts(run)
    return plan


def open_tasks(plan: Plan, pass_name: str) -> list[Task]:
    """Tasks of a pass that have no record."""
    book = RecordBook(plan.pipeline.output)
    return [t for t in plan.passes[pass_name] if not book.has(pass_name, t.key)]


def run_pass(
    plan: Plan, pass_name: str, tasks: list[Task], monitor: Monitor, workers: Workers
) -> None:
    """Run the open tasks of one pass and wait for them.

    Raises TaskError naming each task that failed.
    """
    run = plan.pipeline.output
    todo = open_tasks(plan, pass_name)
    if todo:
        _start_ahead(plan.pipeline)
        try:
            with monitor.watching(todo):
                _execute(plan, pass_name, todo, workers)
        except WorkerLost as lost:
            raise TaskError(f"{pass_name}: {lost}") from None
    failures = list(_failures(run, tasks))
    silent = [t for t in open_tasks(plan, pass_name) if not _failed(run, t)]
    failures += [f"{t.name}: the task ended without a result or an error" for t in silent]
    if failures:
        shown = failures[:SHOWN_FAILURES]
        rest = len(failures) - len(shown)
        more = [f"... and {rest} more"] if rest else []
        raise TaskError(
            "\n".join(
                [
                    f"{pass_name}: {len(failures)} of {len(tasks)} tasks failed",
                    *(f"  {line}" for line in [*shown, *more]),
                    "Finished tasks are kept: mend the cause and run the same command again.",
                ]
            )
        )


def check_bad_records(plan: Plan) -> None:
    """Hold each source's share of skipped records against the cap.

    Raises DataError with the numbers and where the records were set aside.
    """
    limit = plan.pipeline.on_bad_record.max_frac
    for funnel in funnels(plan):
        bad, records, source = funnel.bad_records, funnel.records, funnel.source
        if bad > limit * records:
            raise DataError(
                f"sources.{source}: {bad:,} of {records:,} records cannot be read "
                f"({bad / max(records, 1):.2%}), on_bad_record.max_frac is {limit:.2%}. They are "
                f"set aside with their causes in {plan.pipeline.output / 'bad-records' / source}. "
                f"Mend the input or raise on_bad_record.max_frac."
            )


def set_old_files_aside(plan: Plan) -> None:
    """Move results that no record of the plan names, of another configuration, to `work/old/`."""
    run, book = plan.pipeline.output, RecordBook(plan.pipeline.output)
    records = (book.find(name, t.key) for name, tasks in plan.passes.items() for t in tasks)
    current = {run / path for r in records if r is not None for path in r.outputs.values()}
    for folder in RESULTS:
        for path in sorted((run / folder).rglob("*")):
            if path.is_file() and path not in current:
                aside = run / "work" / "old" / path.relative_to(run)
                aside.parent.mkdir(parents=True, exist_ok=True)
                path.replace(aside)


def _start_ahead(pipeline: Pipeline) -> None:
    """Start the process that workers are forked from, if the run has any and it does not run."""
    if pipeline.executor.workers > 1:
        ahead.start(pipeline.model_dump_json())


def _execute(plan: Plan, pass_name: str, todo: list[Task], workers: Workers) -> None:
    """Hand the tasks to the workers, the longest first: so all end together."""
    run = plan.pipeline.output
    logs = run / "logs" / fingerprint([t.key for t in todo])[:16]
    shutil.rmtree(logs, ignore_errors=True)
    numbers = {t.key: n for n, t in enumerate(plan.passes[pass_name])}
    todo = sorted(todo, key=lambda t: -_part_bytes(plan, t))
    listed = run / "work" / "todo" / f"{pass_name}-{logs.name}.json"
    commit.write_json(listed, [[pass_name, numbers[t.key]] for t in todo])
    try:
        workers.run(len(todo), run, listed, logs)
    finally:
        shutil.rmtree(logs, ignore_errors=True)
        listed.unlink(missing_ok=True)


def _part_bytes(plan: Plan, task: Task) -> int:
    """Count the stored bytes of the part of a task; 0 for one over no part, or all."""
    if not task.source or task.pass_name in {"store", "valid"}:
        return 0
    part = plan.parts[task.source][task.part]
    split = part.split
    if split is None or split.unit == "row_groups":
        return int(part.identity["size"])
    return split.stop - split.start


def _failed(run: Path, task: Task) -> bool:
    return failure_path(run, task).exists()


def _failures(run: Path, tasks: list[Task]) -> Iterator[str]:
    """Yield one message for each failed task."""
    for task in tasks:
        path = failure_path(run, task)
        if path.exists():
            failure = orjson.loads(path.read_bytes())
            note = "" if failure["explained"] else "unexpected error, please report it:\n"
            yield f"{task.name}: {note}{failure['message']}"


@contextmanager
def _only_writer(run: Path) -> Iterator[None]:
    """Hold the run's folder for this process; the operating system lets go when it dies."""
    try:
        run.mkdir(parents=True, exist_ok=True)
        file = (run / ".lock").open("a")
    except OSError as error:
        raise StoreError(
            f"{run}: cannot write here ({error.strerror}). Choose another output or mend it."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise StoreError(
                f"{run}: another dolmix process is writing here. Wait for it, or choose another "
                f"output."
            ) from None
        yield
