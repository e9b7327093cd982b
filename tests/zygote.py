"""Training processes that start in a moment: forked from one that has imported torch already.

`Zygote` starts that process; it forks a child for each request and there calls the same `main` that
`python -m trainer` does, with the ranks' environment. A child may first call a function of
`injected_faults`. It has never run a backward pass, after which torch refuses to be forked.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Zygote:
    """The process to fork from, seen from the tests."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            cwd=ROOT,
            text=True,
        )
        self._running: set[int] = set()

    def start(
        self, arguments: Sequence[str], *, processes: int = 1, log: Path, fault: str = ""
    ) -> "Run":
        """Start the ranks of a run; stderr goes to `log-RANK`, stdout to `log-RANK.out`."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        shared = {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(processes),
            "LOCAL_WORLD_SIZE": str(processes),
        }
        pids = []
        for rank in range(processes):
            env = shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            told = {"arguments": [*arguments], "env": env, "fault": fault, "log": f"{log}-{rank}"}
            pids.append(self.ask(**told))
        self._running |= set(pids)
        return Run(self, pids, log)

    def ask(self, **request: Any) -> Any:
        """Send a request and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Kill what still runs, and the zygote."""
        for pid in self._running:
            if self.ask(poll=pid) is None:
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.communicate()


class Run:
    """The ranks of one run."""

    def __init__(self, zygote: Zygote, pids: list[int], log: Path) -> None:
        self.zygote, self.pids, self.log = zygote, pids, log

    def signal(self, number: int, rank: int | None = None) -> None:
        """Send a signal to one rank, or to all that still run."""
        for pid in self.pids if rank is None else [self.pids[rank]]:
            if self.zygote.ask(poll=pid) is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)

    def wait(self, timeout_s: float = 120) -> list[int]:
        """Exit codes of the ranks; a signal's are negative."""
        wait_for(
            lambda: all(self.zygote.ask(poll=pid) is not None for pid in self.pids),
            f"end; said:\n{self.said()}",
            timeout_s,
        )
        return [self.zygote.ask(poll=pid) for pid in self.pids]

    def said(self, rank: int = 0) -> str:
        """Return what a rank wrote to stderr so far."""
        file = Path(f"{self.log}-{rank}")
        return file.read_text() if file.exists() else ""

    def printed(self, rank: int = 0) -> str:
        """Return what a rank wrote to stdout so far."""
        return Path(f"{self.log}-{rank}.out").read_text()


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 120) -> None:
    """Poll until `condition` holds; fail after `timeout_s`."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"still no {what}"
        time.sleep(0.01)


def serve() -> None:
    """Answer requests until the tests are gone."""
    import trainer.__main__  # noqa: F401 - before any fork

    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "poll" in request:
            pid = request["poll"]
            if pid not in ended:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = ended.get(pid)
        else:
            answer = _fork(request)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _fork(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    out = os.open(request["log"] + ".out", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDWR)
    for target, fd in ((0, nothing), (1, out), (2, log)):
        os.dup2(fd, target)
    os.environ.update(request["env"])
    from trainer.__main__ import leave, main

    code = 1
    try:
        if request["fault"]:
            import injected_faults

            getattr(injected_faults, request["fault"])()
        code = main(request["arguments"])
    except BaseException:  # noqa: BLE001 - as an interpreter does at its end
        import traceback

        traceback.print_exc()
    return leave(code)


if __name__ == "__main__":
    serve()
