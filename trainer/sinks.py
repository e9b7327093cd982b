"""Where a run's rows go: JSON lines always, TensorBoard and Weights & Biases where asked for.

A sink takes rows in the order of their steps. It is started at the step that a run goes on from:
what a killed run told of later steps is taken back (JSON lines are cut off, TensorBoard purges) or
not told again (Weights & Biases), so that no sink has a step twice. JSON lines are what a run is
judged by: an error there ends it. The others only show: one that fails is left out from then on,
with a warning.
"""

import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TextIO

from dolmix.config import Schema, parse
from dolmix.errors import ConfigError, Problem, UsageError
from dolmix.files.commit import write_json
from trainer.config import TrainConfig, WandbConfig

log = logging.getLogger(__name__)
METRICS = "metrics.jsonl"
TAIL_BYTES = 1 << 20
"""Enough of a file's end to hold a few rows."""
Row = Mapping[str, Any]
"""What is known of a step: `step`, and numbers, or mappings and lists of numbers, by name."""


class Sink(Protocol):
    """Takes rows, of the first rank alone."""

    def start(self, step: int, told: int) -> None:
        """Get ready for the step after `step`; `told`: the last one that JSON lines know of."""

    def write(self, rows: Sequence[Row]) -> None:
        """Take rows whose steps never fall."""

    def sync(self) -> None:
        """Have all rows where a killed process does not lose them."""

    def close(self) -> None:
        """Take no more."""


class JsonLines:
    """One line a row, in a file whose lines of one step stand together."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def start(self, step: int, told: int) -> None:
        """Cut off the lines of later steps, and what a killed run tore; open the file."""
        del told
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", encoding="utf-8")
        self._file.truncate(_bytes_through(self.path, step))

    def write(self, rows: Sequence[Row]) -> None:
        """Append rows; what JSON cannot write (NaN, infinity) becomes null."""
        if self._file is not None:
            self._file.writelines(json.dumps(strict(row)) + "\n" for row in rows)
            self._file.flush()

    def sync(self) -> None:
        """Flush the file to disk."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class TensorBoard:
    """Scalars in event files of one folder; a resumed run purges the steps that it does again."""

    def __init__(self, folder: Path, moe_layers: Sequence[int] = ()) -> None:
        self.folder, self._moe_layers = folder, moe_layers
        self._writer: Any = None

    def start(self, step: int, told: int) -> None:
        """Open a further event file, which takes back the later steps of those before it."""
        del told
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(self.folder), purge_step=step + 1)

    def write(self, rows: Sequence[Row]) -> None:
        """Add every number of every row; those of single layers of the last row alone."""
        for row in rows:
            for name, value in numbers(row, self._moe_layers, layers=row is rows[-1]):
                self._writer.add_scalar(name, value, row["step"])
        self._writer.flush()

    def sync(self) -> None:
        """Hand all events to the operating system."""
        self._writer.flush()

    def close(self) -> None:
        """Write the rest; close the file."""
        if self._writer is not None:
            self._writer.close()


class WandbState(Schema):
    """What a run knows about its Weights & Biases run, in `OUT/wandb/dolmix.json`."""

    id: str
    """Of the run there, the same however often this one is resumed."""
    sent: int
    """Last step that was told before the run was last started."""


class Wandb:
    """Rows of one Weights & Biases run; steps that were told once are not told again.

    A run there cannot take steps back. A resumed run therefore begins with the first step that no
    run before it has told.
    """

    def __init__(
        self, config: WandbConfig, output: Path, settings: Row, moe_layers: Sequence[int] = ()
    ) -> None:
        self.config, self.output, self.settings = config, output, settings
        self._moe_layers = moe_layers
        self._sent = 0
        self._run: Any = None

    def start(self, step: int, told: int) -> None:
        """Open the run, the same one where there was one.

        Raises UsageError if it does not open, or what is known of it is damaged.
        """
        # Before wandb is imported: a machine without a network should not look for one.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        state = self._state(max(step, told))
        self._sent = state.sent
        try:
            self._run = wandb.init(
                id=state.id, resume="allow", dir=str(self.output), mode=self.config.mode,
                project=self.config.project, entity=self.config.entity, name=self.config.name,
                group=self.config.group, tags=self.config.tags, config=dict(self.settings),
                settings=wandb.Settings(
                    silent=True, console="off", disable_git=True, disable_code=True
                ),
            )  # fmt: skip
        except (wandb.Error, OSError) as error:
            why = str(error).rstrip(".")
            raise UsageError(
                f"metrics.wandb: no run of project {self.config.project!r} could be opened: {why}. "
                "Log in (`wandb login`), or set metrics.wandb.mode: offline."
            ) from None

    def write(self, rows: Sequence[Row]) -> None:
        """Log every row of a step that was not told; single layers of the last row alone."""
        for row in rows:
            if row["step"] > self._sent:
                values = dict(numbers(row, self._moe_layers, layers=row is rows[-1]))
                self._run.log(values, step=row["step"])

    def sync(self) -> None:
        """Do nothing: a process of its own writes what it was told, though this one is killed."""

    def close(self) -> None:
        """Write or send the rest; end the run, and the process that writes it."""
        if self._run is not None:
            import wandb

            self._run.finish()
            wandb.teardown()  # `finish` alone comes back before the file is whole

    def _state(self, told: int) -> WandbState:
        """Read, bring up to date and write what is known of the run."""
        path = self.output / "wandb" / "dolmix.json"
        if path.is_file():
            state = _read_state(path)
            state = state.model_copy(update={"sent": max(state.sent, told)})
        else:
            state = WandbState(id=os.urandom(8).hex(), sent=0)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, state.model_dump(mode="json"))
        return state


def _read_state(path: Path) -> WandbState:
    """Read what a run knows of its Weights & Biases run. Raises UsageError for a damaged file."""
    try:
        return parse(WandbState, json.loads(path.read_bytes()), origin=str(path))
    except ConfigError as error:
        why = "; ".join(map(str, error.problems))
    except ValueError as error:
        why = f"it is not JSON: {error}"
    raise UsageError(
        f"{path} cannot be read ({why}). Remove it: metrics then go to a new Weights & Biases run, "
        "which begins where this one goes on."
    )


class Sinks:
    """All sinks of a run as one; only JSON lines may fail.

    The others take their rows from a thread: tens of milliseconds, in which the device would have
    nothing to do.
    """

    def __init__(self, lines: JsonLines, others: Sequence[Sink] = ()) -> None:
        self._lines, self._others = lines, [*others]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    def start(self, step: int) -> None:
        """Start all for the step after `step`. Raises UsageError where one does not open."""
        told = last_step(self._lines.path)
        for sink in [self._lines, *self._others]:
            sink.start(step, told)

    def write(self, rows: Sequence[Row]) -> None:
        """Give rows to all, JSON lines first."""
        self._lines.write(rows)
        if self._others:
            self._thread.submit(self._each, lambda sink: sink.write(rows))

    def sync(self) -> None:
        """Have the rows of all on disk, or as near to it as they get."""
        self._lines.sync()
        if self._others:
            self._thread.submit(self._each, lambda sink: sink.sync()).result()

    def close(self) -> None:
        """Close all."""
        self._lines.close()
        self._thread.submit(self._each, lambda sink: sink.close())
        self._thread.shutdown(wait=True)

    def _each(self, do: Callable[[Sink], None]) -> None:
        for sink in [*self._others]:
            try:
                do(sink)
            except Exception as error:  # noqa: BLE001 - whatever a display does, training goes on
                log.warning(
                    "%s: left out from now on, since it failed (%s: %s); metrics.jsonl goes on",
                    type(sink).__name__, type(error).__name__, error,
                )  # fmt: skip
                self._others.remove(sink)


def open_sinks(config: TrainConfig) -> Sinks:
    """Name the sinks that a configuration asks for; nothing is opened before they are started."""
    output, asked, moe_layers = config.output, config.metrics, config.model.moe_layers
    others: list[Sink] = []
    if asked.tensorboard:
        others.append(TensorBoard(output / "tensorboard", moe_layers))
    if asked.wandb is not None:
        settings = config.model_dump(mode="json")
        others.append(Wandb(asked.wandb, output, settings, moe_layers))
    return Sinks(JsonLines(output / METRICS), others)


def check_sinks(config: TrainConfig, origin: str) -> None:
    """Raise ConfigError, naming pip's line, where a package of a sink is not installed."""
    asked = {"tensorboard": config.metrics.tensorboard, "wandb": config.metrics.wandb is not None}
    problems = [
        Problem(
            f"metrics.{name}",
            f"needs the package {name}, which is not installed: pip install 'dolmix[{name}]'",
        )
        for name, wanted in asked.items()
        if wanted and find_spec(name) is None
    ]
    if problems:
        raise ConfigError(origin, problems)


def numbers(row: Row, moe_layers: Sequence[int], *, layers: bool) -> Iterator[tuple[str, float]]:
    """Numbers of a row with their names, `source_loss/web`, `router/entropy/layer-03`.

    layers: whether to give lists, which have one number for each layer of `moe_layers`.
    """
    for name, value in row.items():
        if name != "step":
            yield from _numbers(name, value, moe_layers, layers=layers)


def _numbers(
    name: str, value: Any, moe_layers: Sequence[int], *, layers: bool
) -> Iterator[tuple[str, float]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _numbers(f"{name}/{key}", inner, moe_layers, layers=layers)
    elif isinstance(value, list) and layers:
        named = (f"{name}/layer-{layer:02d}" for layer in moe_layers)
        yield from zip(named, value, strict=True)
    elif isinstance(value, int | float) and math.isfinite(value):
        yield name, float(value)


def strict(value: Any) -> Any:
    """Replace what JSON cannot write (NaN, infinity) by null."""
    if isinstance(value, Mapping):
        return {key: strict(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def last_step(path: Path) -> int:
    """Step of the last whole line of a file of rows; 0 where there is none."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - TAIL_BYTES, 0))
        lines = file.read().splitlines(keepends=True)
    return next((step for line in reversed(lines) if (step := _step_of(line)) is not None), 0)


def _bytes_through(path: Path, step: int) -> int:
    """Bytes of the lines up to a step's; what a killed run tore or wrote later ends them."""
    size = 0
    with path.open("rb") as file:
        for line in file:
            known = _step_of(line)
            if known is None or known > step:
                break
            size += len(line)
    return size


def _step_of(line: bytes) -> int | None:
    """Step of a whole line; None of a torn one."""
    try:
        step: int = json.loads(line)["step"]
    except (ValueError, LookupError, TypeError):
        return None
    return step if line.endswith(b"\n") else None
