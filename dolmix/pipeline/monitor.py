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
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeAlias

import orjson

from dolmix.errors import TaskError
from dolmix.files.processes import is_alive
from dolmix.pipeline.plan import Plan, Task
from dolmix.pipeline.records import RecordBook
from dolmix.pipeline.reports import progress_folder

Facts: TypeAlias = dict[str, Any]
"""Counts of a task, running or finished; of a running one also its name, process and file."""

COUNTED = ("documents", "bytes", "tokens")
POLL_S = 0.25
GRACE_S = 1.0
UNWIND_S = 5.0
LINE_EVERY_S = 30.0


class WorkerLost(Exception):  # noqa: N818 - a state, named as one
    """A worker process ended while it had a task."""


class Monitor:
    """Watches one pass while it runs, and shows it unless `quiet`.

    children  workers by process number, if others watched them before: one that was killed between
              two passes is noticed too
    """

    def __init__(
        self,
        plan: Plan,
        pass_name: str,
        *,
        quiet: bool = False,
        children: dict[int, Any] | None = None,
    ) -> None:
        self.pass_name = pass_name
        self.quiet = quiet
        self.book = RecordBook(plan.pipeline.output)
        self.progress = progress_folder(plan.pipeline.output, pass_name)
        self.lost = ""
        self._interrupted = False
        self._suspects: dict[int, float] = {}
        self._children = {} if children is None else children
        self._stop = threading.Event()
        self._over = threading.Event()
        self._started = time.monotonic()
        self._todo: set[str] = set()
        self._finished: dict[str, Facts] = {}

    @contextmanager
    def watching(self, tasks: Sequence[Task]) -> Iterator[None]:
        """Poll in a thread while the body runs the tasks.

        Raises WorkerLost when a worker was killed, which its pool would wait for for ever.
        """
        self._todo = {t.key for t in tasks}
        self._started = time.monotonic()
        thread = threading.Thread(target=self._watch, daemon=True)
        thread.start()
        try:
            with self._noting_interrupts():
                yield
        except KeyboardInterrupt:
            if self.lost:
                raise WorkerLost(self.lost) from None
            raise
        finally:
            self._over.set()
            self._stop.set()
            thread.join()
            self._write(self._line([], final=True), final=True)

    @contextmanager
    def _noting_interrupts(self) -> Iterator[None]:
        """Remember that a person interrupted: workers that end from then on are not lost."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def note(number: int, frame: FrameType | None) -> None:
            self._interrupted = True
            if callable(before):
                before(number, frame)

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def _watch(self) -> None:
        said = time.monotonic()
        live = sys.stderr.isatty()
        while not self._stop.wait(POLL_S):
            running = list(self._running())
            if live or time.monotonic() - said >= LINE_EVERY_S:
                said = time.monotonic()
                self._write(self._line(running))
            self._look_for_lost_workers(running)

    def _running(self) -> Iterator[Facts]:
        """Yield what the tasks in progress say."""
        for path in self.progress.glob("[!.]*.json"):
            try:
                yield orjson.loads(path.read_bytes()) | {"path": str(path)}
            except FileNotFoundError:
                continue

    def _line(self, running: Sequence[Facts], *, final: bool = False) -> str:
        for key in (self.book.keys(self.pass_name) & self._todo) - self._finished.keys():
            record = self.book.find(self.pass_name, key)
            self._finished[key] = {} if record is None else dict(record.counts)
        elapsed = max(time.monotonic() - self._started, 1e-3)
        facts = [*running, *self._finished.values()]
        total = {name: sum(int(f.get(name, 0)) for f in facts) for name in COUNTED}
        done = len(self._finished) / len(self._todo)
        parts = [f"{self.pass_name:<10} {len(self._finished)}/{len(self._todo)} tasks"]
        if total["documents"]:
            parts.append(f"{total['documents']:,} documents")
        if total["bytes"]:
            parts.append(f"{total['bytes'] / 1e6 / elapsed:,.1f} MB/s")
        if total["tokens"]:
            parts.append(f"{total['tokens']:,} tokens")
        parts += _kept_shares(facts)
        if not final and done:
            parts.append(f"{elapsed / done - elapsed:,.0f} s left")
        return "  ".join([*parts, f"{elapsed:,.1f} s"])

    def _look_for_lost_workers(self, running: Sequence[Facts]) -> None:
        """Find a worker that was killed, and stop the run if the pass goes on without it.

        Either its task's progress file stays behind, or it ended otherwise than the pool ends its
        own (exit code 0 or SIGTERM). Both are believed after a moment only: an exit code that the
        pool and this thread ask for at once may come out wrong, but then the pass is over.
        """
        from multiprocess import active_children

        self._children |= {child.pid: child for child in active_children()}
        endings = {pid: child.exitcode for pid, child in self._children.copy().items()}
        tasks = {int(facts["pid"]): str(facts["task"]) for facts in running}
        gone = {pid for pid, code in endings.items() if code not in {None, 0, -signal.SIGTERM}}
        gone |= {pid for pid in tasks if not is_alive(pid)}
        for pid in gone:
            since = self._suspects.setdefault(pid, time.monotonic())
            if self._interrupted or time.monotonic() - since < GRACE_S:
                continue
            self.lost = (
                f"{tasks.get(pid, 'between two tasks')}: its worker (process {pid}) was killed, "
                f"perhaps for lack of memory. Lower executor.workers or part_bytes and run again."
            )
            self._stop.set()
            self._end_the_run()
            return

    def _end_the_run(self) -> None:
        """Interrupt the pool's wait, as Ctrl-C does; leave at once if the pool cannot end.

        A worker that was killed may have held a lock of the pool's queues, and the pool's own end
        waits for it. Workers die with this process, and a rerun goes on from the records.
        """
        os.kill(os.getpid(), signal.SIGINT)
        if not self._over.wait(UNWIND_S):
            sys.stderr.write(f"{self.pass_name}: {self.lost}\n")
            sys.stderr.flush()
            os._exit(TaskError.exit_code)

    def _write(self, line: str, *, final: bool = False) -> None:
        if self.quiet:
            return
        if sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{line}" + ("\n" if final else ""))
        else:
            sys.stderr.write(f"{line}\n")
        sys.stderr.flush()


def _kept_shares(facts: Sequence[Facts]) -> list[str]:
    """Share of documents that each filter kept, over all sources: `gopher 74%`."""
    judged: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    for fact in facts:
        judged.update(fact.get("judged", {}))
        if "judged" in fact:
            for reason, count in fact["dropped"].items():
                dropped[reason.partition(".")[0]] += count
    return [f"{name} {1 - dropped[name] / n:.0%}" for name, n in judged.items() if n]
