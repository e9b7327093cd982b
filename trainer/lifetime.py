"""How one process of a run is asked to stop, and how it ends.

`dolmix train` starts the processes through torchrun, which knows success and failure only. So the
launcher names a folder in `DOLMIX_LAUNCH`. Every rank writes its process number there, as `rank-N`,
for a launcher that has to kill it; the first rank also as `pid`, once it can be asked to stop, and,
for an end that it can explain, its exit code as `exit`; it then ends with 0. One process that is
asked to stop is enough: the ranks tell each other with every batch, and all stop between the same
two steps.
"""

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from dolmix.errors import UsageError
from dolmix.files.commit import write_bytes
from dolmix.files.processes import is_alive
from trainer.parallel import World

LAUNCH = "DOLMIX_LAUNCH"
INTERRUPTED = 130


class StopRequest:
    """Whether this process should stop: SIGTERM or SIGINT came, or the launcher is gone."""

    def __init__(self) -> None:
        self._asked = False
        launcher = os.environ.get("DOLMIX_LAUNCHER_PID")
        self._launcher = int(launcher) if launcher else None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note)

    def __call__(self) -> bool:
        """Tell whether to stop before the next step."""
        return self._asked or (self._launcher is not None and not is_alive(self._launcher))

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._asked = True


@contextmanager
def claimed(output: Path, world: World) -> Iterator[None]:
    """Keep every other run out of an output folder while this one writes there.

    The claim ends with the first rank's process, however that ends. Raises UsageError, on every
    rank, while another run has the folder, or where it cannot be claimed.
    """
    with ExitStack() as open_files:
        refusal = _refusal(output, open_files) if world.is_first else ""
        if refusal := world.broadcast_text(refusal):
            raise UsageError(refusal)
        yield


def _refusal(output: Path, open_files: ExitStack) -> str:
    """Claim a folder, made if need be; say why not, or nothing."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = open_files.enter_context((output / ".running").open("w"))
    except OSError as error:
        return f"output {output} cannot be written: {error.strerror}. Set another output."
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return (
            f"another run is training into {output}. Wait for it, stop it, or set another output."
        )
    except OSError as error:
        return (
            f"output {output} cannot be claimed: its file system locks no files "
            f"({error.strerror}). Set an output on another one."
        )
    return ""


def announce(name: str) -> None:
    """Tell the launcher this process's number, as `rank-N` or `pid`."""
    if LAUNCH in os.environ:
        write_bytes(Path(os.environ[LAUNCH]) / name, str(os.getpid()).encode())


def explained_exit(code: int) -> int:
    """Give the launcher the run's exit code; return the one for torchrun to see."""
    if LAUNCH not in os.environ:
        return code
    if os.environ.get("RANK", "0") == "0":
        write_bytes(Path(os.environ[LAUNCH]) / "exit", str(code).encode())
    return 0
