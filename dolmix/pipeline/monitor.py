"""Watching a pass from the parent: progress for people, and a check that no worker has vanished.

Tasks write small progress files; the monitor reads them, shows throughput, kept share and time left
(a live line on a terminal, one line every 30 s otherwise), and interrupts the run when a worker was
killed, since a pool would wait for it for ever.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import orjson

from dolmix.pipeline.plan import Plan, Task
from dolmix.pipeline.records import RecordBook

POLL_S = 0.25
LINE_EVERY_S = 30.0


class WorkerLost(Exception):  # noqa: N818 - a state, named as one
    """A worker process ended while it had a task."""


class NullMonitor:
    """Shows nothing and watches nothing."""

    @contextmanager
    def watching(self, tasks: Sequence[Task]) -> Iterator[None]:
        """Surround the execution of `tasks`."""
        del tasks
        yield


class Monitor(NullMonitor):
    """Shows one pass while it runs."""

    def __init__(self, plan: Plan, pass_name: str) -> None:
        self.plan = plan
        self.pass_name = pass_name
        self.book = RecordBook(plan.pipeline.output)
        self.lost = ""
        self._stop = threading.Event()
        self._started = time.monotonic()

    @contextmanager
    def watching(self, tasks: Sequence[Task]) -> Iterator[None]:
        """Poll in a thread while the body runs the tasks.

        Raises WorkerLost when a worker vanished with a task in hand.
        """
        self._started = time.monotonic()
        thread = threading.Thread(target=self._watch, args=(tasks,), daemon=True)
        thread.start()
        try:
            yield
        except KeyboardInterrupt:
            if self.lost:
                raise WorkerLost(self.lost) from None
            raise
        finally:
            self._stop.set()
            thread.join()
            self._write(self._line(tasks, final=True), final=True)

    def _watch(self, tasks: Sequence[Task]) -> None:
        said = time.monotonic()
        live = sys.stderr.isatty()
        while not self._stop.wait(POLL_S):
            if live or time.monotonic() - said >= LINE_EVERY_S:
                said = time.monotonic()
                self._write(self._line(tasks))
            self._look_for_lost_workers(tasks)

    def _line(self, tasks: Sequence[Task], *, final: bool = False) -> str:
        running, finished = self._facts(tasks)
        elapsed = max(time.monotonic() - self._started, 1e-3)
        total = {k: sum(int(f.get(k, 0)) for f in (*running, *finished)) for k in COUNTED}
        parts = [f"{self.pass_name:<10} {len(finished)}/{len(tasks)} tasks"]
        if total["documents"]:
            parts.append(f"{total['documents']:,} documents")
        if total["bytes"]:
            parts.append(f"{total['bytes'] / 1e6 / elapsed:,.1f} MB/s")
        if total["tokens"]:
            parts.append(f"{total['tokens']:,} tokens")
        if self.pass_name == "filter" and total["documents"]:
            parts.append(f"{total['kept'] / total['documents']:.0%} kept")
        done_share = len(finished) / len(tasks)
        if not final and done_share:
            parts.append(f"{elapsed / done_share - elapsed:,.0f} s left")
        return "  ".join([*parts, f"{elapsed:,.1f} s"])

    def _facts(self, tasks: Sequence[Task]) -> tuple[list[dict[str, int]], list[dict[str, int]]]:
        from dolmix.pipeline.worker import progress_path

        running, finished = [], []
        for task in tasks:
            try:
                running.append(orjson.loads(progress_path(self.book.run, task).read_bytes()))
            except FileNotFoundError:
                record = self.book.find(self.pass_name, task.key)
                if record is not None:
                    finished.append(dict(record.counts))
        return running, finished

    def _look_for_lost_workers(self, tasks: Sequence[Task]) -> None:
        from dolmix.pipeline.worker import progress_path

        for task in tasks:
            path = progress_path(self.book.run, task)
            try:
                pid = orjson.loads(path.read_bytes()).get("pid", 0)
            except FileNotFoundError:
                continue
            if pid and not _alive(pid) and path.exists():
                self.lost = (
                    f"task {task.name}: its worker (process {pid}) was killed, perhaps for lack of "
                    f"memory. Lower executor.workers or part_bytes and run again."
                )
                os.kill(os.getpid(), signal.SIGINT)  # wakes the pool's wait, as Ctrl-C does
                return

    def _write(self, line: str, *, final: bool = False) -> None:
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if final else ""))
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


COUNTED = ("documents", "bytes", "kept", "tokens")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
