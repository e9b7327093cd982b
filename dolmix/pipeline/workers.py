"""The processes that the tasks of a run run in, from its first pass with work to its last."""

from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dolmix.files.processes import tie_children
from dolmix.pipeline.pool import PassRunner, TaskRunner


class Workers:
    """Worker processes: forked when they are first needed, ended at the exit.

    children  process number → process, of all workers that there were at the start
    """

    def __init__(self, number: int) -> None:
        self.children: dict[int, Any] = {}
        self._number = number
        self._pool: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.end()

    def run(self, tasks: int, run: Path, todo: Path, logs: Path) -> None:
        """Run the tasks that a file lists, and wait for them; a single worker is this process."""
        tie_children()
        work = PassRunner(TaskRunner(run, todo), tasks, logs)
        try:
            if self._number > 1 and self._pool is None:
                self._start()
            # the next in line goes to the worker that is free first
            each = map if self._pool is None else self._pool.imap_unordered
            deque(each(work, range(tasks)), maxlen=0)
        except BaseException:
            self.end()  # at once, while the monitor still watches
            raise

    def end(self) -> None:
        """End the processes, whatever they are at."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.terminate()
            pool.join()

    def _start(self) -> None:
        from multiprocess import active_children, get_context

        self._pool = get_context("forkserver").Pool(self._number)
        self.children |= {child.pid: child for child in active_children()}
