"""Checkpoints: complete or absent, and readable at any number of ranks.

`OUT/checkpoints/step-000100/` holds the sharded tensors of torch's distributed checkpoint (weights
and both moments) and `meta.json`, written last: the step, the order and the ledger with their
hashes, the batch proof so far, what `trainer.guard` remembers, sizes of all files, the
configuration and versions. The folder is written under a hidden name and renamed once, so a killed
run leaves none half-written. `trainer.saving` writes them, `trainer.tensor_files` reads tensors.
"""

import json
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, ValidationError
from torch import Tensor, nn

from dolmix import __version__
from dolmix.config import Schema, parse
from dolmix.errors import ConfigError, LockError, Problem
from dolmix.files.commit import attempt_path, sweep
from dolmix.mix import OrderSpec
from dolmix.order import diff_specs, difference_lines
from trainer.config import CheckpointConfig, ModelConfig, TrainConfig
from trainer.guard import GuardState
from trainer.optim import AdamW
from trainer.tensor_files import CheckpointError, check_sizes, load, unreadable

META = "meta.json"
WATCHED = (
    "seed", "microbatch", "mask_repeats", "documents", "precision", "loss", "optimizer", "schedule",
    "faults", "dynamic",
)  # fmt: skip
"""Settings, besides the model's, that a resumed run may change and that change its result."""
UNWATCHED = ("faults.timeout_s", "faults.max_skipped")
_NAME = re.compile(r"step-\d{6,}")


class Meta(Schema):
    """What a checkpoint knows about itself; the state after `step` updates."""

    format: Literal["dolmix-checkpoint-1", "dolmix-checkpoint-2", "dolmix-checkpoint-3"] = (
        "dolmix-checkpoint-3"
    )
    step: int
    """Steps done."""
    tokens: int
    """Tokens trained on."""
    order_hash: str
    """Hash of the lock's order; a run on another order refuses this checkpoint."""
    order: dict[str, Any] = Field(default_factory=dict)
    """That order; absent in format 1."""
    tokenizer: str = ""
    """Digest of the tokenizer that made the stores; absent in formats 1 and 2."""
    ledger_hash: str = ""
    """Hash of the last record of the ledger that the run had reached; empty: the order's."""
    chain: str
    """Batch proof after `step`, hex (order specification, section 7)."""
    guard: GuardState = GuardState()
    """Losses and gradient norms of the last steps, and the updates left out."""
    files: dict[str, int] = Field(default_factory=dict)
    """Bytes of every other file."""
    config: dict[str, Any]
    """The run's configuration, all defaults filled in."""
    versions: dict[str, str]
    """Versions of what wrote it."""


def versions() -> dict[str, str]:
    """Versions of Python, torch and dolmix, for `Meta.versions`."""
    return {"python": platform.python_version(), "torch": torch.__version__, "dolmix": __version__}


def training_tensors(model: nn.Module, optimizer: AdamW) -> dict[str, Tensor]:
    """Name every tensor of the training state: `model.<parameter>`, `<moment>.<parameter>`.

    Moments that the optimiser has not made yet are made here, as zeros, so that a checkpoint can be
    read into them.
    """
    tensors: dict[str, Tensor] = {f"model.{name}": buffer for name, buffer in model.named_buffers()}
    for name, parameter in model.named_parameters():
        state = optimizer.state_of(parameter)
        tensors[f"model.{name}"] = parameter.detach()
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}.{name}"] = state[moment]
    return tensors


def restore(path: Path, model: nn.Module, optimizer: AdamW, meta: Meta) -> None:
    """Read weights and moments in place and set the optimiser's count of steps.

    Raises DamagedError, on every rank, if any of them cannot read its part.
    """
    check_sizes(path, meta.files)
    load(path, training_tensors(model, optimizer))
    for parameter in model.parameters():
        optimizer.state[parameter]["step"].fill_(meta.step)


def complete(folder: Path) -> list[Path]:
    """Checkpoints of a run that are whole, earliest first."""
    found = [path for path in _named(folder) if (path / META).is_file()]
    return sorted(found, key=step_of)


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left beside the complete checkpoints; no other run may be writing."""
    sweep(folder)
    for path in _named(folder):
        if not (path / META).is_file():
            _remove(path)


def read_meta(path: Path) -> Meta:
    """Read a checkpoint's `meta.json`.

    Raises LockError where there is none, DamagedError if it is damaged.
    """
    file = path / META
    if not file.is_file():
        raise LockError(
            f"{path} is no complete checkpoint: it has no {META}. Give the folder of one, "
            "such as OUT/checkpoints/step-000100, or resume: auto."
        )
    try:
        return parse(Meta, json.loads(file.read_bytes()), origin=str(file))
    except ConfigError as error:
        raise unreadable(path, str(error)) from None
    except ValueError as error:
        raise unreadable(path, f"{META} is not JSON: {error}") from None


def check_fits(path: Path, meta: Meta, order: OrderSpec, model: ModelConfig) -> None:
    """Refuse a checkpoint of another run.

    Settings of the model that the checkpoint does not know had their default values. Raises
    CheckpointError for another order, with both hashes and each difference, and ConfigError for
    another model, with each difference.
    """
    if meta.order_hash != order.hash:
        raise CheckpointError(
            f"checkpoint {path} was trained on order {meta.order_hash}, but the lock's order is "
            f"{order.hash}: its batches would not continue.\n"
            + "".join(f"  {line}\n" for line in _order_differences(meta, order))
            + "Use the lock of that order, or set another output."
        )
    known = parse(ModelConfig, meta.config.get("model"), origin=f"the model in {path / META}")
    asked, saved = model.model_dump(mode="json"), known.model_dump(mode="json")
    problems = [
        Problem(f"model.{key}", f"{asked[key]!r}, but the checkpoint has {saved[key]!r}")
        for key in asked
        if key != "expert_backend" and asked[key] != saved[key]
    ]
    if problems:
        raise ConfigError(f"resuming from {path}", problems)


def _order_differences(meta: Meta, order: OrderSpec) -> Iterator[str]:
    """Yield what `dolmix mix diff` would say of the checkpoint's order and the lock's."""
    try:
        saved = OrderSpec.model_validate(meta.order)
    except ValidationError:  # format 1 kept its hash alone
        yield "`dolmix mix diff` compares two locks"
        return
    yield from difference_lines(diff_specs(saved, order))


def changed_settings(meta: Meta, config: TrainConfig) -> Iterator[str]:
    """Name the settings that change the result and are not as the checkpoint's run had them."""
    saved = dict(leaves(meta.config))
    for path, value in leaves(config.model_dump(mode="json")):
        watched = path.partition(".")[0] in WATCHED and path not in UNWATCHED
        if watched and path in saved and saved[path] != value:
            yield f"{path} {value!r}, was {saved[path]!r}"


def is_due(config: CheckpointConfig, step: int) -> bool:
    """Whether to write a checkpoint after a step."""
    steps = [n for n in (config.every_steps, config.keep.every) if n is not None]
    return any(step % n == 0 for n in steps) or _is_spaced(config, step)


def kept(config: CheckpointConfig, steps: Iterable[int]) -> set[int]:
    """Choose which of the checkpoints at these steps to keep."""
    ordered, keep = sorted(steps), config.keep
    chosen = set(ordered[-keep.recent :])
    if keep.every is not None:
        chosen |= {step for step in ordered if step % keep.every == 0}
    return chosen | {step for step in ordered if _is_spaced(config, step)}


def _is_spaced(config: CheckpointConfig, step: int) -> bool:
    """Whether a step is one of the log-spaced ones, which `KeepConfig` defines."""
    if not config.keep.log_spaced:
        return False
    every = config.every_steps
    if every is None or step < every:
        return step & (step - 1) == 0
    times, rest = divmod(step, every)
    return rest == 0 and times & (times - 1) == 0


def step_of(path: Path) -> int:
    """Step of a checkpoint, from its name."""
    return int(path.name.removeprefix("step-"))


def prune(folder: Path, config: CheckpointConfig) -> None:
    """Remove the checkpoints that are not to be kept, each hidden by one rename first."""
    paths = complete(folder)
    chosen = kept(config, map(step_of, paths))
    for path in paths:
        if step_of(path) not in chosen:
            _remove(path)


def set_aside(path: Path, output: Path) -> Path:
    """Move a damaged checkpoint out of the way of the next one of that step; returns where to."""
    place = output / "damaged" / attempt_path(path).name.strip(".").removesuffix(".part")
    place.parent.mkdir(exist_ok=True)
    return path.rename(place)


def _remove(path: Path) -> None:
    hidden = attempt_path(path)
    path.rename(hidden)
    shutil.rmtree(hidden)


def _named(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values inside nested mappings, each with its dotted path."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        yield from leaves(inner, f"{path}.{key}" if path else key)
