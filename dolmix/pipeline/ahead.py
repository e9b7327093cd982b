"""Starting the process that workers are forked from before anything else is loaded.

It loads what tasks need (`preload.py`) while the run is being planned, on another processor. This
module imports nothing heavy, so that it is started at once.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dolmix.errors import ConfigError
from dolmix.settings import read_settings

WARM = "DOLMIX_WARM"
"""Environment variable with a pipeline as JSON, for the process that workers are forked from."""
MOST_BYTES = 1 << 16
"""A larger pipeline does not fit the environment; its workers load what they need themselves."""
TUNABLES = "GLIBC_TUNABLES"
"""Environment variable with settings of the C library, which a process reads as it starts."""
HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""Memory in pages of 2 MiB, where the system gives them on request: a task fills some 100 MiB, and
looks up words and tokens all over it. The tokenize pass takes a fifth less time for it."""
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
    names = {TUNABLES: ":".join(filter(None, [HUGE_PAGES, os.environ.get(TUNABLES)]))}
    if len(pipeline) < MOST_BYTES:
        names[WARM] = pipeline
    with _in_environment(names):
        forkserver.ensure_running()


@contextmanager
def _in_environment(names: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a process that the body starts."""
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
