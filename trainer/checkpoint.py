"""Checkpoints: complete or absent, and readable at any number of ranks.

`OUT/checkpoints/step-000100/` holds the sharded tensors of torch's distributed checkpoint (weights
and both moments) and `meta.json`, written last: the step, the order's hash, the batch proof so far,
the configuration and versions. The folder is written under a hidden name and renamed once, so a
killed run leaves none half-written. Only tensors are stored: reading one runs no code from the
file.
"""

import json
import pickle
import platform
import re
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors

from dolmix import __version__
from dolmix.config import Schema, parse
from dolmix.errors import ConfigError, LockError, Problem
from dolmix.files.commit import attempt_path, new_directory, sweep, write_json
from trainer.config import ModelConfig, TrainConfig
from trainer.optim import AdamW
from trainer.parallel import World

META = "meta.json"
WATCHED = (
    "seed", "microbatch", "mask_repeats", "documents", "precision", "loss", "optimizer", "schedule",
)  # fmt: skip
"""Settings, besides the model's, that a resumed run may change and that change its result."""
_NAME = re.compile(r"step-\d{6,}")


class CheckpointError(LockError):
    """A checkpoint that cannot be written or gone on from; every rank finds the same."""


class Meta(Schema):
    """What a checkpoint knows about itself; the state after `step` updates."""

    format: Literal["dolmix-checkpoint-1"] = "dolmix-checkpoint-1"
    step: int
    """Updates done."""
    tokens: int
    """Tokens trained on."""
    order_hash: str
    """Hash of the lock's order; a run on another order refuses this checkpoint."""
    chain: str
    """Batch proof after `step`, hex (order specification, section 7)."""
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


def save(folder: Path, tensors: Mapping[str, Tensor], meta: Meta, world: World) -> Path:
    """Write `folder/step-NNNNNN`; every rank calls it, and returns when the checkpoint is visible.

    Raises CheckpointError, on every rank, if any of them cannot write its part, and FileExistsError
    if that checkpoint is there already.
    """
    final = folder / f"step-{meta.step:06d}"
    with new_directory(final) if world.is_first else nullcontext(final) as attempt:
        shared = Path(world.broadcast_text(str(attempt)))
        writer = FileSystemWriter(shared, sync_files=False)  # the commit syncs every file
        try:
            save_tensors(dict(tensors), storage_writer=writer)
        except CheckpointException as error:
            raise CheckpointError(
                f"checkpoint {final} cannot be written ({_first_failure(error)}). The checkpoints "
                "before it are whole: make room or choose another output, and start again."
            ) from None
        if world.is_first:
            write_json(shared / META, meta.model_dump(mode="json"), indent=1)
    world.barrier()
    return final


def load(path: Path, tensors: dict[str, Tensor], *, alone: bool = False) -> None:
    """Read a checkpoint into `tensors` in place, sharded as they are; every rank calls it.

    alone: one process reads whole tensors, whatever others do. Raises CheckpointError, on every
    rank, if any of them cannot read its part.
    """
    reader = _TensorReader(path, _read_index(path))
    try:
        with warnings.catch_warnings():  # that one process reads is meant
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            load_tensors(tensors, storage_reader=reader, no_dist=alone)
    except CheckpointException as error:
        raise _unreadable(path, _first_failure(error)) from None


def restore(path: Path, model: nn.Module, optimizer: AdamW, meta: Meta) -> None:
    """Read weights and moments in place and set the optimiser's count of updates."""
    load(path, training_tensors(model, optimizer))
    for parameter in model.parameters():
        optimizer.state[parameter]["step"].fill_(meta.step)


def complete(folder: Path) -> list[Path]:
    """Checkpoints of a run that are whole, earliest first."""
    found = [path for path in _named(folder) if (path / META).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left beside the complete checkpoints; no other run may be writing."""
    sweep(folder)
    for path in _named(folder):
        if not (path / META).is_file():
            _remove(path)


def read_meta(path: Path) -> Meta:
    """Read a checkpoint's `meta.json`. Raises LockError or ConfigError if it is damaged."""
    file = path / META
    if not file.is_file():
        raise LockError(
            f"{path} is no complete checkpoint: it has no {META}. Give the folder of one, "
            "such as OUT/checkpoints/step-000100, or resume: auto."
        )
    try:
        return parse(Meta, json.loads(file.read_bytes()), origin=str(file))
    except ValueError as error:
        raise LockError(f"{file} is not JSON ({error}): remove that checkpoint's folder.") from None


def check_fits(path: Path, meta: Meta, order_hash: str, model: ModelConfig) -> None:
    """Refuse a checkpoint of another run.

    Settings of the model that the checkpoint does not know had their default values. Raises
    CheckpointError for another order, with both hashes, and ConfigError for another model, with
    each difference.
    """
    if meta.order_hash != order_hash:
        raise CheckpointError(
            f"checkpoint {path} was trained on order {meta.order_hash}, but the lock's order is "
            f"{order_hash}: its batches would not continue. Use the lock of that order "
            "(`dolmix mix diff` compares two locks), or set another output."
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


def changed_settings(meta: Meta, config: TrainConfig) -> Iterator[str]:
    """Name the settings that change the result and are not as the checkpoint's run had them."""
    saved = dict(_leaves(meta.config))
    for path, value in _leaves(config.model_dump(mode="json")):
        if path.partition(".")[0] in WATCHED and path in saved and saved[path] != value:
            yield f"{path} {value!r}, was {saved[path]!r}"


def prune(folder: Path, keep: int) -> None:
    """Remove all but the `keep` latest checkpoints, each hidden by one rename first."""
    for path in complete(folder)[:-keep]:
        _remove(path)


def _remove(path: Path) -> None:
    hidden = attempt_path(path)
    path.rename(hidden)
    shutil.rmtree(hidden)


def _first_failure(error: CheckpointException) -> str:
    rank = min(error.failures)
    cause, _ = error.failures[rank]
    return f"rank {rank}: {_cause(cause)}"


def _cause(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def _unreadable(path: Path, why: str) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {path} cannot be read ({why}). If it is damaged, remove that folder: the run "
        "goes on from the checkpoint before it."
    )


def _named(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values inside nested mappings, each with its dotted path."""
    if not isinstance(value, dict):
        yield path, value
        return
    for key, inner in value.items():
        yield from _leaves(inner, f"{path}.{key}" if path else key)


class _TensorReader(FileSystemReader):
    """Reads tensors by an index that was read before: torch's own reader unpickles anything."""

    def __init__(self, path: Path, index: Metadata) -> None:
        super().__init__(path)
        self._index = index

    def read_metadata(self, *args: Any, **options: Any) -> Metadata:
        """Give the index, marked as the base class does, for any arguments."""
        del args, options
        if self._index.storage_meta is None:
            self._index.storage_meta = StorageMeta()
        self._index.storage_meta.load_id = self.load_id
        return self._index


def _read_index(path: Path) -> Metadata:
    """Read torch's index of tensors without running what else a pickle might hold."""
    try:
        with (path / ".metadata").open("rb") as file:
            index: Metadata = _IndexUnpickler(file).load()
    except Exception as error:  # noqa: BLE001 - a damaged pickle raises anything
        raise _unreadable(path, _cause(error)) from None
    return index


class _IndexUnpickler(pickle.Unpickler):
    """Knows the names that make up an index, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _INDEX_NAMES.get(module, ()):
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):
            return _member  # how Python before 3.11.4 pickles a member of an enumeration
        raise pickle.UnpicklingError(f"the checkpoint's index names {module}.{name}: not read")


def _member(kind: Any, name: str) -> Any:
    """Give a member of an enumeration, and an attribute of nothing else."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind[name]
    raise pickle.UnpicklingError(f"the checkpoint's index names {name} of {kind!r}: not read")


_INDEX_NAMES: dict[str, tuple[str, ...]] = {
    "pathlib": ("PosixPath",),
    "pathlib._local": ("PosixPath",),
    "torch": ("Size", "float32", "float64", "bfloat16", "float16"),
    "torch.serialization": ("_get_layout",),
    "torch.distributed.checkpoint.filesystem": ("_StorageInfo",),
    "torch.distributed.checkpoint.metadata": (
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    ),
}
