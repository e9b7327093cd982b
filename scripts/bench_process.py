"""Wall time, processor time and memory of a program and of every process that it starts.

Linux only: orphans of the program become children of this process, which waits for them, so that
no worker's time is lost however it is started and ended.
"""

import ctypes
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_texts import ROOT

PR_SET_CHILD_SUBREAPER = 36
EVERY_S = 0.5
"""Looking through /proc ten times a second took 6 % of a processor from a run that uses all."""
TOGETHER_EVERY = 4
"""Memory of all together, shared pages counted once, is asked for each so many times."""
PROC = Path("/proc")


@dataclass(frozen=True)
class Measured:
    """What a program took.

    wall_s            from its start to its end
    cpu_s             of all its processes
    peak_mb           largest resident size of any of its processes, in 10**6 bytes
    peak_together_mb  largest sum over its processes at one time, shared pages counted once
    """

    wall_s: float
    cpu_s: float
    peak_mb: float
    peak_together_mb: float


def measured(command: Sequence[str]) -> Measured:
    """Run a program to its end. Raises RuntimeError with its output if it fails.

    It keeps bytecode on disk, as pip does for what it installs, whatever this process does.
    """
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    before, started = _children_s(), time.perf_counter()
    paths = [str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]
    given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    child = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**given, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    watch = _Watch(child.pid)
    _, errors = child.communicate()
    wall = time.perf_counter() - started
    peak, together = watch.end()
    _wait_for_orphans()
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: {errors.decode(errors='replace')[-3000:]}")
    return Measured(wall, _children_s() - before, peak / 1e6, together / 1e6)


class _Watch:
    """Looks at the processes of a session until told to end."""

    def __init__(self, session: int) -> None:
        self._session = session
        self._peak = self._together = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> tuple[int, int]:
        """Peak of one process and of all together, in bytes."""
        self._over.set()
        self._thread.join()
        return self._peak, self._together

    def _look(self) -> None:
        turn = 0
        while not self._over.wait(EVERY_S):
            members = list(_members(self._session))
            peaks = [_field(pid, "status", "VmHWM") for pid in members]
            self._peak = max([self._peak, *peaks])
            if turn % TOGETHER_EVERY == 0:
                sizes = [_field(pid, "smaps_rollup", "Pss") for pid in members]
                self._together = max(self._together, sum(sizes))
            turn += 1


def _members(session: int) -> Iterator[int]:
    """Yield the processes of a session."""
    for path in PROC.iterdir():
        if path.name.isdigit():
            try:
                fields = (path / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session:
                yield int(path.name)


def _field(pid: int, file: str, name: str) -> int:
    """Read a size from a file of /proc, in bytes; 0 once the process is gone."""
    try:
        lines = (PROC / str(pid) / file).read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(x.split()[1]) for x in lines if x.startswith(f"{name}:")), 0)


def _wait_for_orphans() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if sys.platform != "linux":
    raise ImportError("bench_process looks into /proc: Linux only")
