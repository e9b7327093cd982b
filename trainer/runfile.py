"""`OUT/run.json`: what a run is, for whoever reads its metrics later.

Written by the first rank when a run starts, and again when it goes on; the metrics beside it have
the numbers. `python -m trainer plot` takes names and differences of runs from it.
"""

import json
from pathlib import Path
from typing import Any, Literal

from dolmix.config import Schema, parse
from dolmix.errors import ConfigError
from dolmix.files.commit import write_json
from trainer import checkpoint
from trainer.config import TrainConfig
from trainer.data import Data
from trainer.parallel import World
from trainer.speed import Speed

NAME = "run.json"


class RunFile(Schema):
    """A run as it was last started."""

    format: Literal["dolmix-training-1"] = "dolmix-training-1"
    mix: str
    """Name of the mix, from the lock."""
    order_hash: str
    order: dict[str, Any]
    """What decides which instance trains when, as in the lock."""
    num_steps: int
    num_tokens: int
    processes: int
    device: str
    flops_per_token: float
    """Of forward and backward (`trainer.speed` has the convention)."""
    peak_flops: float | None
    """Of one device, FLOP/s, that MFU is a share of."""
    config: dict[str, Any]
    """The configuration, all defaults filled in."""
    versions: dict[str, str]


def write_run(config: TrainConfig, data: Data, world: World, speed: Speed) -> None:
    """Write `OUT/run.json`, replacing one that is there."""
    run = RunFile(
        mix=data.lock.name,
        order_hash=data.lock.order_hash,
        order=data.lock.order.model_dump(mode="json"),
        num_steps=data.num_steps,
        num_tokens=data.tokens_through(data.num_steps),
        processes=world.size,
        device=speed.device,
        flops_per_token=speed.flops_per_token,
        peak_flops=speed.peak_flops,
        config=config.model_dump(mode="json"),
        versions=checkpoint.versions(),
    )
    write_json(config.output / NAME, run.model_dump(mode="json"), indent=1)


def read_run(output: Path) -> RunFile | None:
    """Read what is known of a run; None where nothing is, as of runs of earlier versions."""
    file = output / NAME
    if not file.is_file():
        return None
    try:
        return parse(RunFile, json.loads(file.read_bytes()), origin=str(file))
    except (ConfigError, ValueError):
        return None
