"""One process of a training run: `python -m trainer CONFIG [key.path=value]...`.

Alone it is the whole run; torchrun starts several. Exit codes: 0 finished, 1 bad data or a failed
step, 2 usage or configuration, 130 interrupted, with a checkpoint to go on from.
"""

import logging
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from dolmix.config import load
from dolmix.errors import DolmixError, StoreError, UsageError
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.lifetime import INTERRUPTED, StopRequest, announce, claimed, explained_exit
from trainer.loop import Training, describe
from trainer.parallel import join_world

log = logging.getLogger("trainer")


def main(arguments: Sequence[str]) -> int:
    """Train as the configuration says and return the exit code."""
    first = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(message)s")
    try:
        return explained_exit(0 if train(arguments) else INTERRUPTED)
    except DolmixError as error:
        # What follows from files alone fails on all ranks alike and is said once; a store can be
        # missing on one machine only.
        local = isinstance(error, StoreError)
        if first or local:
            sys.stderr.write(f"{error}\n")
        return error.exit_code if local else explained_exit(error.exit_code)


def train(arguments: Sequence[str]) -> bool:
    """Train to the end (True) or until asked to stop (False)."""
    if not arguments:
        raise UsageError("usage: python -m trainer CONFIG [key.path=value]...")
    config = load(TrainConfig, arguments[0], arguments[1:])
    stop = StopRequest()
    with join_world(config) as world, claimed(config.output, world):
        if world.is_first:
            announce()
        with Data(config, rank=world.rank, world=world.size) as data:
            if world.is_first:
                log.info(describe(config, data, world))
            training = Training(config, data, world)
            finished = training.run(stop)
        if world.is_first:
            log.info(
                "%s after step %d of %d; metrics in %s",
                "finished" if finished else "interrupted",
                training.progress.step,
                data.num_steps,
                config.output / "metrics.jsonl",
            )
    return finished


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
