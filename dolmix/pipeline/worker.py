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
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from loguru import logger as datatrove_log

from dolmix.errors import DolmixError
from dolmix.files import commit
from dolmix.pipeline.context import TaskContext
from dolmix.pipeline.passes import RUNNERS
from dolmix.pipeline.plan import Plan, Task
from dolmix.pipeline.records import RecordBook, TaskRecord

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
    """The one step of every datatrove pipeline that dolmix runs: rank n runs `tasks[n]`."""

    plan: Plan
    tasks: tuple[Task, ...]

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Run one task; write its record, or its failure, and never raise for either."""
        del data, world_size
        run_task(self.plan, self.tasks[rank])


def run_task(plan: Plan, task: Task) -> None:
    """Run a task and commit its record last; a failure goes to `work/failures/`."""
    started = time.monotonic()
    folder = plan.pipeline.output
    report = progress_path(folder, task)
    commit.write_json(report, {"task": task.name, "pid": os.getpid()})
    context = TaskContext(plan, task, report)
    try:
        result = RUNNERS[task.pass_name](context)
    except DolmixError as error:
        write_failure(folder, task, str(error), explained=True)
    except Exception:  # noqa: BLE001 - a bug in one task must not tear down the pool
        write_failure(folder, task, traceback.format_exc(), explained=False)
    else:
        outputs = {kind: str(p.relative_to(folder)) for kind, p in result.outputs.items()}
        seconds = time.monotonic() - started
        record = TaskRecord(task.pass_name, task.name, task.key, outputs, result.counts, seconds)
        RecordBook(folder).write(record)
    finally:
        report.unlink(missing_ok=True)


def progress_path(run: Path, task: Task) -> Path:
    """Where a running task says how far it is."""
    return run / "work" / "progress" / task.pass_name / f"{task.key}.json"


def failure_path(run: Path, task: Task) -> Path:
    """Where a failed task says why."""
    return run / "work" / "failures" / task.pass_name / f"{task.key}.json"


def write_failure(run: Path, task: Task, message: str, *, explained: bool) -> None:
    """Keep a task's failure for the parent; `explained` tells bad data from a bug."""
    commit.write_json(failure_path(run, task), {"message": message, "explained": explained})
