"""Noticing that the run hangs, and saying where.

A thread of every rank writes a sign of life to `OUT/watch/rank-N.json`: how often it did so, the
step, what the rank is doing and for how long, and its stack. Once a rank has not got on for
`timeout_s`, its thread knows that the run hangs: ranks wait for each other. The first thread that
notices looks which ranks give signs of life no more (stopped, or their machine is gone), else which
got least far, and says so on stderr with their stacks. Every rank that still can writes the stacks
of all its threads beside its sign of life. Then all end; those of this machine that are silent are
killed.
"""

import faulthandler
import json
import os
import signal
import socket
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from dolmix.files.commit import attempt_path

EXIT_CODE = 1
LONGEST_BEAT_S = 15.0
MOST_STACKS = 4
WAITING = "waiting"
"""How a rank says that it does nothing but wait for others."""

Signs = dict[int, dict[str, Any]]
"""Last sign of life of each rank that gave one."""


class _Mark(NamedTuple):
    """The last time that a rank got on."""

    step: int
    doing: str
    since: float
    beats: int
    """Signs of life given until then: a process that is stopped as a whole is not late by that."""


class Watch:
    """Watches one rank while it is entered; what the rank does is told with `at`."""

    def __init__(self, folder: Path, *, rank: int, size: int, timeout_s: float) -> None:
        self.folder, self.rank, self.size, self.timeout_s = folder, rank, size, timeout_s
        self.beat_s = min(LONGEST_BEAT_S, timeout_s / 8)
        self._mark = _Mark(0, "starting", time.monotonic(), 0)
        self._main = threading.main_thread().ident or 0
        self._beats = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in (self._file("json"), self._file("stacks"), self._alarm):
            old.unlink(missing_ok=True)
        self.at(0, "starting")
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._file("json").unlink(missing_ok=True)
        with suppress(OSError):
            self.folder.rmdir()  # by the last rank

    def at(self, step: int, doing: str) -> None:
        """Say that this rank got on: what it does now."""
        self._mark = _Mark(step, doing, time.monotonic(), self._beats)

    @property
    def _alarm(self) -> Path:
        return self.folder / "hangs"

    def _file(self, kind: str, rank: int | None = None) -> Path:
        return self.folder / f"rank-{self.rank if rank is None else rank}.{kind}"

    def _run(self) -> None:
        while not self._over.wait(self.beat_s):
            self._give_sign()
            late = (self._beats - self._mark.beats) * self.beat_s > self.timeout_s
            if self._alarm.exists() or late:
                self._end(first=late and self._raise_alarm())

    def _give_sign(self) -> None:
        """Write this rank's sign of life; a disk that fails is no reason to stop."""
        self._beats += 1
        step, doing, since, _ = self._mark
        frame = sys._current_frames().get(self._main)  # noqa: SLF001 - the only way to another's
        sign = {
            "beats": self._beats,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "began": _began(os.getpid()),
            "step": step,
            "doing": doing,
            "for_s": round(time.monotonic() - since, 1),
            "stack": traceback.format_stack(frame),
        }
        final = self._file("json")
        attempt = attempt_path(final)
        with suppress(OSError):
            attempt.write_text(json.dumps(sign))
            attempt.replace(final)

    def _raise_alarm(self) -> bool:
        """Tell the other ranks; whether this one is the first that does."""
        try:
            os.close(os.open(self._alarm, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        except OSError:
            return True
        return True

    def _end(self, *, first: bool) -> None:
        with suppress(OSError), self._file("stacks").open("w") as file:
            faulthandler.dump_traceback(file, all_threads=True)
        if first:
            before = self._signs()
            for _ in range(3):
                time.sleep(self.beat_s)
                self._give_sign()
            now = self._signs()
            sys.stderr.write(report(before, now, size=self.size, folder=self.folder))
            sys.stderr.flush()
            for rank in silent(before, now, self.size):
                _kill(now.get(rank))
        else:
            time.sleep(self.beat_s)  # the first one looks for a sign of life
            self._give_sign()
            time.sleep(3 * self.beat_s)
        os._exit(EXIT_CODE)

    def _signs(self) -> Signs:
        found: Signs = {}
        for rank in range(self.size):
            with suppress(OSError, ValueError):
                found[rank] = json.loads(self._file("json", rank).read_bytes())
        return found


def silent(before: Signs, now: Signs, size: int) -> list[int]:
    """Ranks that gave no sign of life between two looks."""
    return [
        rank
        for rank in range(size)
        if rank not in now or now[rank]["beats"] == before.get(rank, {}).get("beats")
    ]


def report(before: Signs, now: Signs, *, size: int, folder: Path) -> str:
    """Say which ranks hold the others up, what each does, and the stacks of those that do."""
    gone = silent(before, now, size)
    suspects = gone or _least_far(now)
    lines = [f"the run hangs: {_who(suspects)} did not get on"]
    lines += [
        f"  rank {rank}: {_told(now.get(rank), is_silent=rank in gone)}" for rank in range(size)
    ]
    for rank in suspects[:MOST_STACKS]:
        if rank in now:
            lines += [f"stack of rank {rank}:", *"".join(now[rank]["stack"]).rstrip().splitlines()]
    lines.append(
        f"Stacks of all threads: {folder}/rank-*.stacks. The same command goes on from the latest "
        "checkpoint; raise faults.timeout_s if this was only slow."
    )
    return "\n".join(lines) + "\n"


def _least_far(signs: Signs) -> list[int]:
    """Ranks at the earliest step, without those that only wait for others, if any then are left."""
    least = min(sign["step"] for sign in signs.values())
    at_least = [rank for rank, sign in signs.items() if sign["step"] == least]
    busy = [rank for rank in at_least if not signs[rank]["doing"].startswith(WAITING)]
    return busy or at_least


def _who(ranks: list[int]) -> str:
    names = ", ".join(map(str, ranks))
    return f"rank {names}" if len(ranks) == 1 else f"ranks {names}"


def _told(sign: dict[str, Any] | None, *, is_silent: bool) -> str:
    if sign is None:
        return "never gave a sign of life"
    where = f"process {sign['pid']} on {sign['host']}"
    doing = f"step {sign['step']}, {sign['doing']} for {sign['for_s']:,} s"
    if not is_silent:
        return f"{doing} ({where})"
    return f"no sign of life any more; last {doing} ({where}{_state(sign)})"


def _state(sign: dict[str, Any]) -> str:
    """State of a process of this machine, as Linux names it."""
    if not _is_here(sign):
        return ""
    with suppress(OSError):
        for line in Path(f"/proc/{sign['pid']}/status").read_text().splitlines():
            if line.startswith("State:"):
                return ", " + line.removeprefix("State:").strip()
    return ""


def _kill(sign: dict[str, Any] | None) -> None:
    if sign is not None and _is_here(sign):
        with suppress(OSError):
            os.kill(sign["pid"], signal.SIGKILL)


def _is_here(sign: dict[str, Any]) -> bool:
    """Whether the process that gave a sign is on this machine and is still the same one."""
    here = sign["host"] == socket.gethostname()
    return here and sign["began"] is not None and _began(sign["pid"]) == sign["began"]


def _began(pid: int) -> int | None:
    """When a process began, in the kernel's ticks; None where that cannot be known."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
