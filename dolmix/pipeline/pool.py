"""What is sent to workers: one rank of datatrove's local executor, run where it arrives.

datatrove starts a pool of processes for every pipeline that it runs. A run of dolmix is one
pipeline a pass, so that its workers would be forked anew, and load again, for every pass. Here a
worker makes the executor itself, once a pass, and runs the ranks that it is given: the parent sends
a few paths, and does not load datatrove.
"""

import sys
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TaskRunner:
    """The one step of every datatrove pipeline that dolmix runs: rank n runs the n-th open task.

    A process reads the plan from the run's folder once, and the list of open tasks once a pass.
    """

    run: Path
    todo: Path
    """File that lists the open tasks as (pass, number)."""

    def __call__(self, data: Any, rank: int, world_size: int) -> None:
        """Run one task; write its record, or its failure, and never raise for either."""
        from dolmix.pipeline.threads import spare_threads  # the parent of workers needs neither
        from dolmix.pipeline.worker import load_work, run_task

        del data
        plan, todo = load_work(self.run, self.todo)
        pass_name, number = todo[rank]
        threads = spare_threads(world_size, plan.pipeline.executor.workers)
        run_task(plan, plan.passes[pass_name][number], threads=threads)


@dataclass(frozen=True)
class PassRunner:
    """A pass as datatrove's local executor runs it, rank by rank; small, since it is pickled."""

    runner: TaskRunner
    tasks: int
    logs: Path
    """datatrove's logging folder."""

    def __call__(self, rank: int) -> None:
        """Run one rank, as datatrove does."""
        _executor(self)._run_for_rank(rank)  # noqa: SLF001 - what datatrove's own pool calls


@cache
def load_engine() -> type[Any]:
    """Load datatrove's local executor; it says nothing of its own: records say what a task did.

    It opens no log for a rank either: nothing would be in it, and loguru takes 9 ms for it.
    """
    from datatrove.executor import base
    from datatrove.executor.local import LocalPipelineExecutor
    from loguru import logger

    logger.remove()
    logger.add(sys.stderr, level="INFO")  # for what others log, as a datatrove task has it
    logger.disable("datatrove")
    base.add_task_logger, base.close_task_logger = (lambda *_, **__: None), (lambda _: None)
    executor: type[Any] = LocalPipelineExecutor
    return executor


@lru_cache(maxsize=1)
def _executor(work: PassRunner) -> Any:
    return load_engine()(
        [work.runner], tasks=work.tasks, logging_dir=str(work.logs), skip_completed=False
    )
