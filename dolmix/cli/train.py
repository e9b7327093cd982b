"""`dolmix train`: start the bundled trainer's processes and wait for them.

torch stays out of this process. The training processes run under torchrun in a session of their
own, so that Ctrl-C reaches them once and in order; they write a checkpoint and end. A second Ctrl-C
kills them, hanging ones too. If this process is killed, they notice, write a checkpoint and end.
"""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Annotated, Literal

import typer

from dolmix.cli.options import AsJson, Overrides

TrainFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="Training file (YAML).")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say parameters, memory, steps and time; start nothing.")
]
TokensPerS = Annotated[
    float | None, typer.Option(help="With --dry-run: speed of one process, for the time.")
]
INTERRUPTED = 130
STOP_S = 600
"""Seconds that torchrun leaves the processes to write a checkpoint when it is stopped itself."""


def train(
    config: TrainFile,
    overrides: Overrides = None,
    *,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    tokens_per_s: TokensPerS = None,
) -> None:
    """Train a model on a lock; the same command goes on from the latest checkpoint.

    Example: dolmix train configs/train/quickstart.yaml max_steps=100
    """
    _require_torch()
    if dry_run:
        raise typer.Exit(forecast(config, overrides or (), tokens_per_s, as_json=as_json))
    _refuse({"--json": as_json, "--tokens-per-s": tokens_per_s is not None})
    raise typer.Exit(launch(config, overrides or ()))


def forecast(
    config: Path, overrides: Sequence[str], tokens_per_s: float | None, *, as_json: bool
) -> int:
    """Have one process say what the run would be; returns its exit code."""
    options = ["--json"] if as_json else []
    if tokens_per_s is not None:
        options += ["--tokens-per-s", str(tokens_per_s)]
    command = [sys.executable, "-m", "trainer", str(config), *overrides, "--dry-run", *options]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - our own interpreter


def _refuse(given: dict[str, bool]) -> None:
    """Raise UsageError for options that mean nothing without --dry-run."""
    from dolmix.errors import UsageError

    if alone := [name for name, wanted in given.items() if wanted]:
        raise UsageError(f"{' and '.join(alone)}: with --dry-run only")


def launch(config: Path, overrides: Sequence[str]) -> int:
    """Run the processes that `processes` asks for; return the run's exit code.

    130 says that a checkpoint was written at an interruption, or that none was waited for. Raises
    ConfigError if the file cannot be read or `processes` is no number of processes, and UsageError
    if it is `gpu` and there is none.
    """
    with tempfile.TemporaryDirectory(prefix="dolmix-train-") as name:
        folder = Path(name)
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and arguments
            _torchrun(config, overrides), env=_environment(folder), start_new_session=True
        )
        with _passing_signals_to(child, folder) as received:
            code = child.wait()
        explained = _read_number(folder / "exit")
        gave_up = len(received) > 1 or not (folder / "pid").is_file()
    if explained is not None and (explained or code == 0):
        return explained
    if received and gave_up:
        return INTERRUPTED
    return code if code >= 0 else 128 - code


def _torchrun(config: Path, overrides: Sequence[str]) -> list[str]:
    from pydantic import PositiveInt

    from dolmix.config import Schema, load

    class Launch(Schema, extra="ignore"):
        """The one setting that is read before the processes exist; the trainer checks the rest."""

        processes: PositiveInt | Literal["gpu"] = 1

    processes = load(Launch, config, overrides).processes
    if processes == "gpu":
        processes = _count_gpus()
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return [*runner, f"--nproc-per-node={processes}", "-m", "trainer", str(config), *overrides]


def _count_gpus() -> int:
    """Ask torch, in a process of its own. Raises UsageError if there is none or torch is broken."""
    from dolmix.errors import UsageError

    code = "import torch; print(torch.__version__, torch.cuda.device_count())"
    asked = subprocess.run(  # noqa: S603 - our own interpreter and code
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False
    )
    if asked.returncode:
        raise UsageError("torch is installed but does not load; its message is above.")
    version, count = asked.stdout.split()[-2:]
    if count == "0":
        raise UsageError(
            f"processes: gpu, but torch {version} sees no GPU. Set processes to a number to train "
            "on the CPU, or install a CUDA build of torch."
        )
    return int(count)


def _environment(folder: Path) -> dict[str, str]:
    """Environment of torchrun: where to report, whom to outlive, how threads and memory behave."""
    ours = {"DOLMIX_LAUNCH": str(folder), "DOLMIX_LAUNCHER_PID": str(os.getpid())}
    defaults = {
        "OMP_NUM_THREADS": "1",  # torchrun warns without it; the trainer sets its own number
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin halve the speed of a machine in use
        # Keep freed memory: glibc maps, clears and unmaps each large tensor anew otherwise.
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(1 << 30),
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(STOP_S),
    }
    return defaults | dict(os.environ) | ours


@contextmanager
def _passing_signals_to(child: subprocess.Popen[bytes], folder: Path) -> Iterator[list[int]]:
    """Pass SIGINT, SIGTERM and SIGHUP on; yields the list of those received.

    The first goes to the first training process, which stops all of them after a checkpoint, or,
    while that cannot be asked yet, to torchrun, which ends them. Any later one goes to torchrun and
    kills the training processes: one that hangs hears no gentler signal.
    """
    received: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        del frame
        received.append(number)
        trainer = _read_number(folder / "pid")
        gently = trainer is not None and len(received) == 1
        with suppress(ProcessLookupError):  # it may end at this moment
            os.kill(trainer if gently and trainer is not None else child.pid, signal.SIGTERM)
        for file in folder.glob("rank-*") if len(received) > 1 else ():
            with suppress(ProcessLookupError):
                os.kill(int(file.read_text()), signal.SIGKILL)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, forward) for number in numbers]
    try:
        yield received
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _read_number(file: Path) -> int | None:
    return int(file.read_text()) if file.is_file() else None


def _require_torch() -> None:
    from dolmix.errors import UsageError

    if find_spec("torch") is None:
        raise UsageError(
            "dolmix train needs torch, which is not installed. Install the extra: "
            "pip install 'dolmix[train]'. For a build without CUDA, first install torch as "
            "PyTorch's own Get Started page says."
        )
