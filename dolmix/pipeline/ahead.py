"""Starting the process that workers are forked from before anything else is loaded.

It loads what tasks need (`preload.py`) while the run is being planned, on another processor. This
module imports nothing heavy, so that it is started at once.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from dolmix.errors import ConfigError
from dolmix.settings import read_settings

WARM = "DOLMIX_WARM"
"""Environment variable with a pipeline as JSON, for the process that workers are forked from."""
MOST_BYTES = 1 << 16
"""A larger pipeline does not fit the environment; its workers load what they need themselves."""
PLAN_FILE = "plan.json"
"""The plan of a run, in its folder."""


def start_for_command(arguments: Sequence[str]) -> None:
    """Start it for `run PIPELINE [KEY.PATH=VALUE]...`, before the command line is understood."""
    command, *rest = [a for a in arguments if not a.startswith("-")] or [""]
    if command == "run" and rest:
        start_for(Path(rest[0]), rest[1:])


def start_for(path: Path, overrides: Sequence[str]) -> None:
    """Start it for a pipeline file, unless its folder holds a run, which may be done.

    Whatever is wrong with the file is for whoever reads it properly to say.
    """
    with suppress(ConfigError, AttributeError, KeyError, OSError, TypeError, ValueError):
        raw = read_settings(path, overrides)
        workers = raw.get("executor", {}).get("workers")
        if workers != 1 and not (Path(raw["output"]) / PLAN_FILE).exists():
            start(json.dumps(raw))


def start(pipeline: str) -> None:
    """Start it, unless it runs; it loads what tasks of this pipeline, as JSON, need."""
    from multiprocess import forkserver, get_context  # not the one that a program may use itself

    get_context("forkserver").set_forkserver_preload(["dolmix.pipeline.preload"])
    if len(pipeline) < MOST_BYTES:
        os.environ[WARM] = pipeline
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop(WARM, None)
