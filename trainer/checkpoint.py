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
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.state_dict_loader import load as load_tensors
from torch.distributed.checkpoint.state_dict_saver import save as save_tensors

from dolmix import __version__
from dolmix.config import Schema, parse
from dolmix.errors import ConfigError, LockError, Problem
from dolmix.files.commit import new_directory, write_json
from trainer.config import ModelConfig
from trainer.parallel import World

META = "meta.json"
_NAME = re.compile(r"step-\d{6,}")


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


def training_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Name every tensor of the training state: `model.<parameter>`, `<moment>.<parameter>`.

    Moments that the optimiser has not made yet are made here, as zeros, so that a checkpoint can be
    read into them.
    """
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        state = optimizer.state[parameter]
        state.setdefault("step", torch.zeros((), device=parameter.device))
        tensors[f"model.{name}"] = parameter.detach()
        for moment in ("exp_avg", "exp_avg_sq"):
            tensors[f"{moment}.{name}"] = state.setdefault(
                moment, torch.zeros_like(parameter, requires_grad=False)
            )
    return tensors


def save(folder: Path, tensors: Mapping[str, Tensor], meta: Meta, world: World) -> Path:
    """Write `folder/step-NNNNNN`; every rank calls it, and returns when the checkpoint is visible.

    Raises FileExistsError if that checkpoint is there already.
    """
    final = folder / f"step-{meta.step:06d}"
    with new_directory(final) if world.is_first else nullcontext(final) as attempt:
        shared = Path(world.broadcast_text(str(attempt)))
        writer = FileSystemWriter(shared, sync_files=False)  # the commit syncs every file
        save_tensors(dict(tensors), storage_writer=writer)
        if world.is_first:
            write_json(shared / META, meta.model_dump(mode="json"), indent=1)
    world.barrier()
    return final


def load(path: Path, tensors: dict[str, Tensor]) -> None:
    """Read a checkpoint into `tensors` in place, sharded as they are; every rank calls it."""
    load_tensors(tensors, storage_reader=_TensorReader(path))


def restore(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, meta: Meta) -> None:
    """Read weights and moments in place and set the optimiser's count of updates."""
    load(path, training_tensors(model, optimizer))
    for parameter in model.parameters():
        optimizer.state[parameter]["step"].fill_(meta.step)


def complete(folder: Path) -> list[Path]:
    """Checkpoints of a run that are whole, earliest first."""
    found = [p for p in folder.glob("step-*") if _NAME.fullmatch(p.name) and (p / META).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


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

    Raises LockError for another order, with both hashes, and ConfigError for another model, with
    each difference.
    """
    if meta.order_hash != order_hash:
        raise LockError(
            f"checkpoint {path} was trained on order {meta.order_hash}, but the lock's order is "
            f"{order_hash}: its batches would not continue. Use the lock of that order "
            "(`dolmix mix diff` compares two locks), or set another output."
        )
    saved = meta.config["model"]
    asked = model.model_dump(mode="json")
    problems = [
        Problem(f"model.{key}", f"{asked[key]!r}, but the checkpoint has {saved.get(key)!r}")
        for key in asked
        if key != "expert_backend" and asked[key] != saved.get(key)
    ]
    if problems:
        raise ConfigError(f"resuming from {path}", problems)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the `keep` latest checkpoints, each by its `meta.json` first."""
    for path in complete(folder)[:-keep]:
        (path / META).unlink()
        shutil.rmtree(path)


class _TensorReader(FileSystemReader):
    """Reads torch's index of tensors without running what else a pickle might hold."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """Read the index file; the signature is the base class's."""
        del args
        with Path(self._get_metadata_path(kwargs.get("rank"))).open("rb") as file:
            metadata: Metadata = _IndexUnpickler(file).load()
        if metadata.storage_meta is None:
            metadata.storage_meta = StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class _IndexUnpickler(pickle.Unpickler):
    """Knows the names that make up an index, and no others."""

    def find_class(self, module: str, name: str) -> Any:
        if name in _INDEX_NAMES.get(module, ()):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the checkpoint's index names {module}.{name}: not read")


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
