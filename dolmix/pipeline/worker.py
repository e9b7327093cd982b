"""What runs inside a worker process: one task, its failure written down instead of raised.

Imported ahead of time in the process that workers are forked from, so that a task starts in
milliseconds. On Linux a worker dies with its parent: killing `dolmix run` leaves no process behind.
"""

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import orjson
from loguru import logger as datatrove_log

from dolmix.errors import DolmixError
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext, TaskResult
from dolmix.pipeline.passes import RUNNERS
from dolmix.pipeline.plan import Plan, Task, read_plan
from dolmix.pipeline.records import RecordBook, TaskRecord
from dolmix.pipeline.reports import progress_path, write_failure

PR_SET_PDEATHSIG = 1

datatrove_log.disable("datatrove")


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the process that forked it dies (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@cache
def tie_children() -> None:
    """Make every process that this one forks from now on die with it."""
    os.register_at_fork(after_in_child=die_with_parent)


@dataclass(frozen=True)
class TaskRunner:
    """The one step of every datatrove pipeline that dolmix runs: rank n runs the n-th open task.

    Small on purpose: it is pickled for every task. Plan and list of open tasks are read from the
    run's folder, once a process.
    """

    run: Path
    todo: Path
    """File that lists the open tasks as (pass, number)."""

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Run one task; write its record, or its failure, and never raise for either."""
        del data, world_size
        plan, todo = load_work(self.run, self.todo)
        pass_name, number = todo[rank]
        run_task(plan, plan.passes[pass_name][number])


@lru_cache(maxsize=1)
def load_work(run: Path, todo: Path) -> tuple[Plan, list[tuple[str, int]]]:
    """Read the plan of a run and the open tasks of one of its passes."""
    plan = read_plan(run)
    return plan, [(name, number) for name, number in orjson.loads(todo.read_bytes())]


def run_task(plan: Plan, task: Task) -> None:
    """Run a task and commit its record last; a failure goes to `work/failures/`."""
    started = time.monotonic()
    folder = plan.pipeline.output
    report = progress_path(folder, task)
    context = TaskContext(plan, task, report)
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
