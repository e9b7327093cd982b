"""What runs inside a worker process: one task, its failure written down instead of raised.

Imported ahead of time in the process that workers are forked from, so that a task starts in
milliseconds.
"""

import os
import time
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import orjson

from dolmix.errors import DolmixError
from dolmix.files import commit
from dolmix.files.processes import return_memory
from dolmix.pipeline.ahead import PLAN_FILE
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.passes import RUNNERS
from dolmix.pipeline.plan import Plan, Task, read_plan
from dolmix.pipeline.records import RecordBook, TaskRecord
from dolmix.pipeline.reports import progress_path, write_failure


@lru_cache(maxsize=1)
def load_work(run: Path, todo: Path) -> tuple[Plan, list[tuple[str, int]]]:
    """Begin with a pass: read the plan of the run, and the open tasks of the pass.

    What an earlier pass has freed goes back to the operating system first.
    """
    if _plan_once.cache_info().currsize:  # a pass went before
        return_memory()
    plan = _plan_once(run, (run / PLAN_FILE).stat().st_mtime_ns)
    return plan, [(name, number) for name, number in orjson.loads(todo.read_bytes())]


@lru_cache(maxsize=1)
def _plan_once(run: Path, _mtime_ns: int) -> Plan:
    """Read the plan of a run once a process, however many passes its tasks are of."""
    return read_plan(run)


def run_task(plan: Plan, task: Task, *, threads: int = 1) -> None:
    """Run a task and commit its record last; a failure goes to `work/failures/`.

    threads  that it may keep busy
    """
    started = time.monotonic()
    folder = plan.pipeline.output
    report = progress_path(folder, task)
    context = TaskContext(plan, task, report, threads=threads)
    try:
        commit.write_note(report, {"task": task.name, "pid": os.getpid()})
        result = RUNNERS[task.pass_name](context)
        steps = context.clock.seconds
        _write_record(plan, task, result, (time.monotonic() - started, steps))
        for pass_name, other in result.also.items():
            _write_record(plan, plan.task(pass_name, task.source, task.part), other, (0.0, {}))
    except DolmixError as error:
        write_failure(folder, task, _with_place(context, error), explained=True)
    except OSError as error:
        where, why = error.filename or folder, error.strerror or error
        message = f"{where}: {why}. Free space or mend the permissions, then run again."
        write_failure(folder, task, message, explained=True)
    except Exception:  # noqa: BLE001 - a bug in one task must not tear down the pool
        write_failure(folder, task, traceback.format_exc(), explained=False)
    finally:
        report.unlink(missing_ok=True)


def _write_record(
    plan: Plan, task: Task, result: TaskResult, took: tuple[float, Mapping[str, float]]
) -> None:
    folder = plan.pipeline.output
    outputs = {kind: str(p.relative_to(folder)) for kind, p in result.outputs.items()}
    RecordBook(folder).write(
        TaskRecord(task.pass_name, task.name, task.key, outputs, result.counts, *took)
    )


def _with_place(context: TaskContext, error: DolmixError) -> str:
    """Name the file that a task over a part was reading, unless the message does."""
    if not context.task.source or context.task.pass_name in {"limits", "store", "valid"}:
        return str(error)
    path = context.part.path
    return str(error) if path in str(error) else f"{path}: {error}"
