"""One process of a training run: `python -m trainer CONFIG [key.path=value]...`.

With `--dry-run` it says what the run would be (`trainer.dry_run`), and starts nothing.
Or a verb that needs torch but no training: `python -m trainer
export|import|verify|generate|evaluate|plot`.

Alone it is the whole run; torchrun starts several. Exit codes: 0 finished, 1 bad data or a failed
step, 2 usage or configuration, 130 interrupted, with a checkpoint to go on from.
"""

import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import NoReturn

from dolmix.config import load
from dolmix.errors import DolmixError, LockError, StoreError, UsageError
from trainer.config import TrainConfig
from trainer.console import log_to_stderr
from trainer.convert import VERBS, run
from trainer.data import open_data
from trainer.dry_run import dry_run
from trainer.lifetime import INTERRUPTED, StopRequest, announce, claimed, explained_exit
from trainer.loop import Training, describe
from trainer.parallel import join_world
from trainer.sinks import METRICS, check_sinks
from trainer.tensor_files import CheckpointError

log = logging.getLogger("trainer")


def main(arguments: Sequence[str]) -> int:
    """Train as the configuration says and return the exit code."""
    log_to_stderr()
    try:
        if arguments and arguments[0] in VERBS:
            return run(arguments[0], arguments[1:])
        if "--dry-run" in arguments:
            return dry_run(arguments)
        return explained_exit(0 if train(arguments) else INTERRUPTED)
    except DolmixError as error:
        local = _may_be_local(error)
        _say(error, everywhere=local)
        # Where one alone cannot go on, torchrun has to end the others.
        return error.exit_code if local else explained_exit(error.exit_code)


def train(arguments: Sequence[str]) -> bool:
    """Train to the end (True) or until asked to stop (False)."""
    if not arguments:
        raise UsageError(
            "usage: python -m trainer CONFIG [key.path=value]... [--dry-run] | "
            f"{'|'.join(VERBS)} ..."
        )
    config = load(TrainConfig, arguments[0], arguments[1:])
    check_sinks(config, arguments[0])
    stop = StopRequest()
    announce(f"rank-{os.environ.get('RANK', '0')}")
    with (
        join_world(config) as world,
        open_data(config, world) as data,  # before there is an output
        claimed(config.output, world),
    ):
        if world.is_first:
            announce("pid")
            log.info(describe(config, data, world))
        training = Training(config, data, world)
        finished = training.run(stop)
        if world.is_first:
            log.info(
                "%s after step %d of %d; metrics in %s",
                "finished" if finished else "interrupted",
                training.progress.step,
                data.num_steps,
                config.output / METRICS,
            )
    return finished


def _say(error: DolmixError, *, everywhere: bool) -> None:
    """Write what ended this process to stderr: once a machine, or `everywhere`, by every rank.

    What all ranks find alike is so told more than once, but nobody has to look for it on another
    machine, and a file or package that one of them lacks is told where it is lacking.
    """
    first = os.environ.get("RANK", "0") == "0"
    if first or everywhere or os.environ.get("LOCAL_RANK", "0") == "0":
        for handler in logging.getLogger().handlers:
            handler.flush()  # a progress line ends before
        sys.stderr.write(f"{error}\n" if first else f"{socket.gethostname()}: {error}\n")


def _may_be_local(error: DolmixError) -> bool:
    """Whether other ranks may know nothing of an error: a disk that fails, a folder not shared."""
    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    found_by_all = isinstance(error, CheckpointError)
    return isinstance(error, (StoreError, LockError)) and not (alone or found_by_all)


def leave(code: int) -> NoReturn:
    """End the process at once, after its last words.

    The ordinary way out runs C++ destructors of the communication libraries, where a rank whose
    peers are gone already can abort: "terminate called without an active exception", seen in 1 of
    12 runs of two processes over gloo (torch 2.13). All files are closed and committed by now.
    """
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
