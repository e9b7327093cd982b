"""What is sent to workers: datatrove's local executor, over processes that are there already.

datatrove starts a pool of processes for every pipeline that it runs. A run of dolmix is one
pipeline a pass, so that its workers would be forked anew, and load again, for every pass.
"""

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from loguru import logger as datatrove_log

datatrove_log.disable("datatrove")


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
        from dolmix.pipeline.worker import load_work, run_task  # the parent of workers needs none

        del data, world_size
        plan, todo = load_work(self.run, self.todo)
        pass_name, number = todo[rank]
        run_task(plan, plan.passes[pass_name][number])


class PoolExecutor(LocalPipelineExecutor):  # type: ignore[misc,unused-ignore]
    """datatrove's local executor.

    pool  a `multiprocess` pool; None runs everything in this process
    """

    def __init__(self, runner: TaskRunner, tasks: int, logs: Path, pool: Any) -> None:
        super().__init__([runner], tasks=tasks, logging_dir=str(logs), skip_completed=False)
        self._pool = pool

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}

    def run(self) -> None:
        """Run every rank; the next in line goes to the worker that is free first."""
        each = map if self._pool is None else self._pool.imap_unordered
        deque(each(self.run_rank, range(self.tasks)), maxlen=0)

    def run_rank(self, rank: int) -> None:
        """Run one rank, as datatrove does."""
        self._run_for_rank(rank)
