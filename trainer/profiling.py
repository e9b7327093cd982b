"""`profile: {steps: [a, b]}`: a trace of some steps, and a table of where they go.

Writes `OUT/profile/` when the last of them is done, for each rank that is asked:
`rank-0.trace.json.gz` (Chrome's trace format, for Perfetto), `rank-0.json` and `rank-0.txt` (see
`trainer.profile_table`). Without the setting nothing here runs. The device is waited for before the
first and after the last step alone. The profiler slows the host, so that a small model's device
idles more than it does without: the time of the steps just before is told too. Where blocks are not
compiled, norms, attention and experts are marked while the profile is taken; marks inside what is
compiled would change it.
"""

import gzip
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from dolmix.files.commit import new_file, write_bytes, write_json
from trainer.attention import Attention
from trainer.config import TrainConfig
from trainer.model import Model
from trainer.moe import MoE
from trainer.norm import RMSNorm
from trainer.parallel import World
from trainer.profile_table import ATTENTION, DATA, MOE, NORM, STEP, rendered, table

log = logging.getLogger(__name__)
B = TypeVar("B")
BEFORE = 10
"""Steps before the profile whose time is told beside that of the profiled ones."""
MARKED: tuple[tuple[type[nn.Module], str], ...] = (
    (RMSNorm, NORM), (Attention, ATTENTION), (MoE, MOE),
)  # fmt: skip


class Profiling:
    """Profiles one rank's steps `first` to `last`."""

    def __init__(
        self,
        config: TrainConfig,
        world: World,
        model: Model,
        on_pause: Callable[[float], None] = lambda _: None,
    ) -> None:
        """on_pause: told the seconds that were taken from the training to write things down."""
        assert config.profile is not None
        self.world, self.model = world, model
        self._path = config.output / "profile" / f"rank-{world.rank}"
        self.first, self.last = config.profile.steps
        self._says = world.rank == min(config.profile.ranks)
        self._on_pause, compiled = on_pause, config.parallel.compile
        self._is_compiled = world.device.type == "cuda" if compiled is None else compiled
        self._profiler: profile | None = None
        self._marks = ExitStack()
        self._began = 0.0
        self._before: list[float] = []
        self._done = 0
        self._started_at = self.first

    def around(self, batches: Iterator[tuple[int, B]], step: int) -> Iterator[tuple[int, B]]:
        """Give the steps from `step` on as they come, and profile those that are asked for.

        A run that stops in between leaves a profile of the steps that it did; one that does none of
        them says so, unless there is a profile of before.
        """
        if step > self.last:
            self._warn(f"this run goes on with step {step:,}")
        self._started_at = max(self.first, step)
        try:
            for number in range(step, self.last + 1):
                if number < self.first:
                    self._before = [*self._before[-BEFORE:], time.perf_counter()]
                    yield next(batches)
                    continue
                if self._profiler is None:
                    self._start()
                with record_function(STEP):
                    with record_function(DATA):
                        batch = next(batches)
                    yield batch
                self._done += 1
        except StopIteration:
            return
        finally:
            self._stop()
            if step <= self.last and not self._done:
                self._warn(f"this run ended before step {self._started_at:,} was done")
        yield from batches

    def _warn(self, why: str) -> None:
        """Say, on the first of the ranks that were asked, that there is no profile, and why."""
        if self._says and not self._path.with_suffix(".json").is_file():
            first, last = self.first, self.last
            log.warning("profile.steps [%d, %d]: nothing was profiled, for %s", first, last, why)

    def _start(self) -> None:
        on_gpu = self.world.device.type == "cuda"
        activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if on_gpu else [])
        self._wait()
        self._before.append(time.perf_counter())
        if not self._is_compiled:
            self._marks.enter_context(_marked(self.model))
        self._profiler = profile(activities=activities, acc_events=True)  # else torch 2.11 warns
        self._profiler.start()
        self._began = time.perf_counter()

    def _wait(self) -> None:
        if self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)

    def _stop(self) -> None:
        profiler, self._profiler = self._profiler, None
        if profiler is None:
            return
        self._wait()
        ended = time.perf_counter()
        self._marks.close()
        profiler.stop()
        if self._done:
            self._write(profiler, ended - self._began)
        self._on_pause(time.perf_counter() - ended)

    def _write(self, profiler: profile, seconds: float) -> None:
        path = self._path
        found = table(profiler, steps=self._done, seconds=seconds)
        marks = self._before[1:]  # the first step of a run compiles
        each = (marks[-1] - marks[0]) / (len(marks) - 1) if len(marks) > 1 else None
        found = {
            "first_step": self._started_at,
            "rank": self.world.rank,
            "unprofiled_step_ms": None if each is None else round(1e3 * each, 4),
        } | found
        text = rendered(found)
        write_json(path.with_suffix(".json"), found, indent=1)
        write_bytes(path.with_suffix(".txt"), text.encode())
        with tempfile.TemporaryDirectory() as name:
            plain = Path(name) / "trace.json"
            profiler.export_chrome_trace(str(plain))
            with (
                new_file(path.with_suffix(".trace.json.gz")) as attempt,
                plain.open("rb") as trace,
                gzip.open(attempt, "wb", compresslevel=6) as packed,
            ):
                shutil.copyfileobj(trace, packed)
        if self.world.is_first:
            log.info("profile of %d steps: %s", self._done, path.with_suffix(".txt"))


def open_profile(
    config: TrainConfig, world: World, model: Model, on_pause: Callable[[float], None]
) -> Profiling | None:
    """Give what profiles this rank's steps; None where that is not asked for."""
    if config.profile is None or world.rank not in config.profile.ranks:
        return None
    return Profiling(config, world, model, on_pause)


@contextmanager
def _marked(model: nn.Module) -> Iterator[None]:
    """Mark what the kinds of module do in forward, as ranges of the profile."""
    with ExitStack() as hooks:
        for module in model.modules():
            for kind, name in MARKED:
                if isinstance(module, kind):
                    open_ranges: list[record_function] = []
                    hooks.callback(_hook_before(module, name, open_ranges).remove)
                    hooks.callback(_hook_after(module, open_ranges).remove)
        yield


def _hook_before(module: nn.Module, name: str, open_ranges: list[record_function]) -> Any:
    def begin(*_: object) -> None:
        open_ranges.append(record_function(name))
        open_ranges[-1].__enter__()

    return module.register_forward_pre_hook(begin)


def _hook_after(module: nn.Module, open_ranges: list[record_function]) -> Any:
    def end(*_: object) -> None:
        open_ranges.pop().__exit__(None, None, None)

    return module.register_forward_hook(end)
